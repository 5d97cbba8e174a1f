"""moto's server with a record of who asked for what: one line for each request, with method, path, action and status.

Exists because moto keeps no such record, and a target must be able to say by itself what was done to it. Run as
``python -m sandbox.recorded_moto LOG -H HOST -p PORT``; the rest is moto's own command line.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from moto import server

_LONGEST_FORM = 1 << 20


class RecordedRequests(server.DomainDispatcherApplication):
    """moto's application; writes the line when the answer begins."""

    log = Path()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        action = _action(environ)

        def begun(status: str, *rest: Any) -> Any:
            with self.log.open("a", encoding="utf-8") as stream:
                method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/")
                stream.write(f"{method} {path} {action} {status.partition(' ')[0]}\n")
            return start_response(status, *rest)

        answer: Iterable[bytes] = super().__call__(environ, begun)
        return answer


def _action(environ: dict[str, Any]) -> str:
    """The name of the call: ``Action`` of AWS's query protocol, else its JSON protocol's target, else ``-``."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if "form-urlencoded" in environ.get("CONTENT_TYPE", "") and 0 < length <= _LONGEST_FORM:
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(body)
        found = parse_qs(body.decode(errors="replace")).get("Action")
        if found:
            return found[0]
    return str(environ.get("HTTP_X_AMZ_TARGET") or "-")


if __name__ == "__main__":
    RecordedRequests.log = Path(sys.argv[1])
    server.DomainDispatcherApplication = RecordedRequests  # type: ignore[misc]
    server.main(sys.argv[2:])
