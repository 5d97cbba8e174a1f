"""Runs ``git`` so that neither the machine's settings nor a repository's hooks change what it does. Knows no backup."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from airlock.child_program import lifeline, tied_to_this_process
from airlock.errors import PermanentError, TemporaryError

CHUNK = 1 << 20
_TIMEOUT_SECONDS = 3600
# the owner of a repository on a host is often not the user of this process; hooks must not run at all
_SETTINGS = (
    "-c",
    "safe.directory=*",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "gc.auto=0",
    "-c",
    "core.quotePath=false",
)
_WORDS = 300
_LONG = frozenset({"clone", "fetch", "fsck"})


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return {
        **kept,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        # an object that is not there is missing: nothing is asked of another machine, or written into the origin
        "GIT_NO_LAZY_FETCH": "1",
        # what the repository holds, not what replacements and grafts make of it
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_GRAFT_FILE": os.devnull,
        "LC_ALL": "C",
    }


def _command(arguments: tuple[str, ...], folder: Path | None) -> list[str]:
    place = [] if folder is None else ["-C", str(folder)]
    return ["git", *_SETTINGS, *place, *arguments]


def git(
    *arguments: str, folder: Path | None = None, label: str, codes: tuple[int, ...] = (0,), given: str = "",
    complaints: bool = False,
) -> str:  # fmt: skip
    """Run git in *folder* and return what it printed.

    :param given: its input; of none of the commands that run for long
    :param complaints: whether what it complained of is returned as well

    :raises PermanentError: git is not installed, or refused
    :raises TemporaryError: it took more than an hour
    """
    try:
        with lifeline() as held, tempfile.TemporaryFile() as asked:
            # a clone that goes on would fill a scratch folder after it was discarded
            command = _command(arguments, folder)
            asked.write(given.encode())
            asked.seek(0)
            done = subprocess.run(
                tied_to_this_process(command) if arguments[0] in _LONG else command,
                env=_environment(),
                check=False,
                capture_output=True,
                stdin=asked if given else held,
                timeout=_TIMEOUT_SECONDS,
            )
    except FileNotFoundError as error:
        raise _absent(label) from error
    except subprocess.TimeoutExpired as error:
        raise TemporaryError(
            f"{label}: git {arguments[0]} took more than {_TIMEOUT_SECONDS} s and was ended"
        ) from error
    if done.returncode not in codes:
        raise _refused(label, arguments, done.stderr)
    said = done.stdout + (done.stderr if complaints else b"")
    return said.decode(errors="surrogateescape")


def stream(*arguments: str, folder: Path, label: str) -> Iterator[bytes]:
    """Run git in *folder* and yield what it prints, in constant memory; errors as in ``git``."""
    with tempfile.TemporaryFile() as words:
        try:
            process = subprocess.Popen(
                _command(arguments, folder),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=words,
            )
        except FileNotFoundError as error:
            raise _absent(label) from error
        with process:
            try:
                while process.stdout is not None and (chunk := process.stdout.read(CHUNK)):
                    yield chunk
            finally:
                if process.poll() is None and process.stdout is not None:
                    process.stdout.close()  # abandoned early: git ends at its next write
            code = process.wait()
        if code != 0:
            words.seek(0)
            raise _refused(label, arguments, words.read())


def _absent(label: str) -> PermanentError:
    return PermanentError(f"{label}: the program git is not installed on this worker; install it")


def _refused(label: str, arguments: tuple[str, ...], words: bytes) -> PermanentError:
    lines = [line for line in words.decode(errors="replace").splitlines() if not line.startswith("hint:")]
    said = " ".join(" ".join(lines).split())[-_WORDS:]
    return PermanentError(f"{label}: git {arguments[0]} failed: {said or 'it said nothing'}")
