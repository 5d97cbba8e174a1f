"""Programs that a backup or a check starts, and that must not outlive the process that started them, even when it is
killed.

Knows processes; must not know what they do. What holds the program lies in the script beside this module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SCRIPT = str(Path(__file__).with_name("child_program_runner.py"))


def tied_to_this_process(command: list[str], *, interrupted: bool = False) -> list[str]:
    """Return the command that runs *command* on a lifeline; its input must be a ``lifeline``.

    :param interrupted: whether it is asked to end as by Ctrl-C, for programs that tidy up then and at no other signal
    """
    return [sys.executable, "-I", "-S", _SCRIPT, *(["--interrupt"] if interrupted else []), *command]


def limited_in_time(command: list[str], seconds: float) -> list[str]:
    """Return the command that runs *command* for so long at most, for libraries that start it themselves."""
    return [sys.executable, "-I", "-S", _SCRIPT, "--seconds", f"{seconds:g}", *command]


@contextmanager
def lifeline() -> Iterator[int]:
    """Give the file descriptor to pass as the program's input. At the end of the block, or of this process, the
    program ends with all that it started."""
    held, let_go = os.pipe()
    try:
        yield held
    finally:
        os.close(let_go)
        os.close(held)
