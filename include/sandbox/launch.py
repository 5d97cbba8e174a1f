"""Starts what is current in a version slot, as the unit file of a host would. Replaces itself by the version.

``python -m sandbox.launch HOST_FOLDER SLOT PORT``; the version's settings come from ``HOST_FOLDER/.env``.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

# Longer than supervisord's startsecs: an empty slot is then seen as ended in order, not as failing to start.
_QUIET_SECONDS = 1.5


def settings(path: Path) -> dict[str, str]:
    """The ``NAME=value`` lines of *path*; empty when there is no such file."""
    if not path.exists():
        return {}
    pairs = (line.partition("=") for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, mark, value in pairs if mark}


def main() -> None:
    """Become the current version of the slot, or end in order when the slot is empty."""
    host, slot, port = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    current = host / "slots" / slot / "current"
    if not current.exists():
        print(f"slot {slot} of {host} is empty: nothing to start", flush=True)
        time.sleep(_QUIET_SECONDS)
        return
    artifact = str(current.resolve())
    environment = {**os.environ, **settings(host / ".env"), "PORT": port}
    os.execve(sys.executable, [sys.executable, artifact], environment)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
