"""Which code of Airlock this process has: a digest of its files, and whether they changed after the process began.

Processes fork, and a child runs what its parent loaded: so the beginning is that of the oldest of its line that is
Airflow's. Knows files and processes; knows no Airflow.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_OURS = "airflow"
_CLOCK_TICKS = 2.0
"""Seconds by which the beginning of a process and the time of a file may be told differently."""


def files() -> tuple[Path, ...]:
    """Return every file of the package that is code or data of it, in order."""
    found = (path for path in _ROOT.rglob("*") if path.suffix in (".py", ".yaml") and path.is_file())
    return tuple(sorted(found))


@cache
def digest() -> str:
    """Return the hex sha256 of names and contents, as they were when this was first asked for."""
    whole = hashlib.sha256()
    for path in files():
        whole.update(f"{path.relative_to(_ROOT).as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def changed_since_begin() -> bool:
    """Return whether a file of the package is younger than this process, or the oldest of Airflow's that led to it."""
    import psutil

    own = psutil.Process()
    line = [own]
    for parent in own.parents():
        try:
            if not any(_OURS in word for word in parent.cmdline()):
                break
        except psutil.Error:
            break
        line.append(parent)
    began = min(one.create_time() for one in line)
    # not the time of the content alone, which a copy may keep
    changed = max(max(found.st_mtime, found.st_ctime) for found in (path.stat() for path in files()))
    return bool(changed > began + _CLOCK_TICKS)
