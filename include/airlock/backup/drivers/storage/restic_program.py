"""Runs ``restic``: bounded in time, waiting for locks of others, secrets in its environment only, its errors named.

Debian 12's restic (0.14) ends with code 1 for nearly everything and says why in words; newer ones have a code for each
reason. Knows no snapshot and no backup.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from airlock.backup.drivers.storage.restic_errors import Locked, Refusal, failure, too_late, without_secrets
from airlock.child_program import lifeline, tied_to_this_process
from airlock.connections import connection
from airlock.errors import InvalidInput, PermanentError, TemporaryError

log = logging.getLogger(__name__)
LOOK_SECONDS = 180.0
"""How long a call may take that only looks. restic itself goes on for a quarter of an hour where a server is down."""
_AGAIN_SECONDS = 5.0
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "SSH_AUTH_SOCK")
_KEPT_BEGIN = ("XDG_", "AWS_", "AZURE_", "B2_", "GOOGLE_", "OS_", "RCLONE_", "ST_", "SSL_CERT_")
_PROXIES = {"http_proxy", "https_proxy", "no_proxy"}
_OURS = ("RESTIC_REPOSITORY", "RESTIC_PASSWORD", "RESTIC_FROM_", "RESTIC_PROGRESS_FPS", "RESTIC_HOST")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPTION = re.compile(r"[a-z0-9]+\.[a-z0-9-]+")
OnMessage = Callable[[Mapping[str, Any]], object]


@dataclass(frozen=True)
class Access:
    """Which repository, and what opens it. Never shown."""

    environment: Mapping[str, str] = field(repr=False)
    options: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


def access(connection_id: str, label: str) -> Access:
    """Return what an Airlock connection says: the password is that of the repository; ``repository`` in the extra says
    where it is, ``environment`` what its server wants to know, ``options`` what restic takes with ``-o``.

    :raises InvalidInput: something is missing, or is not what it should be
    """
    given = connection(connection_id)
    extra = given.extra_dejson
    where, named, options = extra.get("repository"), extra.get("environment") or {}, extra.get("options") or {}
    missing = [] if where else ["'repository' in its extra (as restic writes it: /srv/repository, s3:https://...)"]
    missing += [] if given.password else ["the repository's password"]
    if missing:
        raise InvalidInput(f"{label}: the connection {connection_id!r} lacks {' and '.join(missing)}; add it there")
    wrong = [name for name in named if not _NAME.fullmatch(str(name)) or str(name).startswith(_OURS)]
    wrong += [name for name in options if not _OPTION.fullmatch(str(name))]
    if wrong:
        raise InvalidInput(
            f"{label}: the extra of connection {connection_id!r} may not set {', '.join(map(ascii, wrong))}; "
            "next: take it out"
        )
    environment = {name: str(value) for name, value in named.items()}
    inside = re.findall(r"://[^/@]*?:([^/]*)@", str(where))
    secrets = tuple(one for one in (given.password, *environment.values(), *inside) if one and len(one) > 3)
    return Access(
        {**environment, "RESTIC_REPOSITORY": str(where), "RESTIC_PASSWORD": str(given.password)},
        {name: str(value) for name, value in options.items()},
        secrets,
    )


def _environment(given: Access) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items()
            if name in _KEPT or name.startswith(_KEPT_BEGIN) or name.lower() in _PROXIES}  # fmt: skip
    return {**kept, "LC_ALL": "C", "TZ": "UTC", "RESTIC_PROGRESS_FPS": "1", **given.environment}


@dataclass(frozen=True)
class Restic:
    """The program, with one repository.

    wait_seconds: how long a lock of somebody else is waited for
    """

    given: Access
    label: str
    wait_seconds: float

    def run(
        self, *arguments: str, seconds: float = 0, folder: Path | None = None,
        heard: OnMessage | None = None,
    ) -> str:  # fmt: skip
        """Run one command in *folder* and return what it printed; or, with *heard*, nothing: each message goes there.

        :param seconds: how long it may take, where it does more than look
        :raises TemporaryError: it took too long, the repository's server is not there, or somebody holds a lock
        :raises AccessRefused: the repository is not opened by this password, or its server lets nobody in with it
        :raises PermanentError: it failed for another reason
        """
        until = time.monotonic() + self.wait_seconds
        while True:
            try:
                return self._once(arguments, seconds or LOOK_SECONDS, folder, heard)
            except Locked as held:
                left = until - time.monotonic()
                if left <= 0:
                    raise TemporaryError(
                        f"{self.label}: {held} Waited for {self.wait_seconds:g} s ('wait_seconds'); next: run this "
                        "task again when that is done"
                    ) from None
                log.info("%s: %s It is waited for, %.0f s at most", self.label, held, left)
                time.sleep(min(_AGAIN_SECONDS, left))

    def _once(self, arguments: tuple[str, ...], seconds: float, folder: Path | None, heard: OnMessage | None) -> str:
        options = [word for name, value in self.given.options.items() for word in ("-o", f"{name}={value}")]
        command = ["restic", *arguments[:1], *options, *arguments[1:]]
        printed: list[str] = []
        begun = time.monotonic()
        with tempfile.TemporaryFile() as errors:
            code = self._carried_out(command, folder, errors, begun + seconds,
                                     printed.append if heard is None else lambda line: _tell(line, heard))
            said = without_secrets(_said(errors), self.given.secrets)
        if code is None:
            raise too_late(Refusal(self.label, arguments[0], 0, said), seconds)
        log.debug("%s: restic %s ended with code %d after %.1f s", self.label, arguments[0], code,
                  time.monotonic() - begun)
        if code != 0:
            raise failure(Refusal(self.label, arguments[0], code, said))
        return "\n".join(printed)

    def _carried_out(
        self, command: list[str], folder: Path | None, errors: IO[bytes], until: float, each: Callable[[str], object]
    ) -> int | None:
        """Run *command* and give *each* line that it prints; return its code, or ``None`` where its time was over."""
        process = None
        try:
            with lifeline() as held:
                process = subprocess.Popen(
                    tied_to_this_process(command, interrupted=True), env=_environment(self.given), cwd=folder,
                    stdin=held, stdout=subprocess.PIPE, stderr=errors,
                )  # fmt: skip
                late = False
                for line in _lines(process.stdout, until):
                    if line is None:
                        late = True
                    else:
                        each(line)
        except FileNotFoundError as error:
            raise PermanentError(f"{self.label}: {folder} is not there any more") from error
        finally:
            if process is not None:
                if process.stdout is not None:
                    process.stdout.close()
                process.wait()  # it ends with its lifeline
        return None if late else process.returncode


def _lines(pipe: IO[bytes] | None, until: float) -> Iterator[str | None]:
    """Yield what comes out of *pipe* line by line; ``None``, and no more, when the time is over before its end."""
    assert pipe is not None  # noqa: S101 - for the type checker
    rest = b""
    while True:
        left = until - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            yield None
            return
        chunk = os.read(pipe.fileno(), 1 << 16)
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
        if not chunk:
            if rest:
                yield rest.decode(errors="replace")
            return


def _tell(line: str, heard: OnMessage) -> None:
    try:
        message = json.loads(line)
    except ValueError:
        return  # words for people, which some versions print beside messages
    if isinstance(message, dict):
        heard(message)


def _said(errors: IO[bytes]) -> str:
    """Return the last of what it complained of."""
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - 20_000))
    return errors.read().decode(errors="replace")
