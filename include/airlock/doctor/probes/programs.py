"""Asks whether a program is there, and which version it says it is. Knows no driver."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.measures import at_least, version_in
from airlock.models.needs import Program

_SECONDS = 10
_OWN = "{python}"
"""How options call the interpreter of this process."""


def ask(subject: Subject, program: Program) -> Iterator[Finding]:
    """Look for *program*, and ask it for its version where one is needed."""
    name = sys.executable if program.name == _OWN else program.name
    found = shutil.which(name, path=program.folder or None)
    if found is None:
        where = program.folder or "the folders of PATH"
        yield subject.fault(f"the program {name} is not in {where}", _why(program),
                            "install it on every worker, for the user that Airflow runs as")  # fmt: skip
        return
    if not program.least:
        yield subject.fine(f"the program {found} is there")
        return
    version = version_in(said_version(found))
    text = ".".join(map(str, version))
    if not version:
        yield subject.found(Gravity.WARNING, f"{found} does not say its version", _why(program),
                            f"run {found} --version by hand")  # fmt: skip
    elif at_least(version, program.least):
        yield subject.fine(f"{found} has version {text}")
    else:
        yield subject.fault(f"{found} has version {text}, and {program.least} is the oldest that will do",
                            _why(program), "install a newer one")  # fmt: skip


def said_version(program: str) -> str:
    """Return what *program* says to ``--version``, or to ``version`` where it knows only that; empty if it says nothing
    in time."""
    environment = {"LC_ALL": "C", "PATH": os.environ.get("PATH", ""), "HOME": os.devnull}
    for word in ("--version", "version"):
        try:
            done = subprocess.run([program, word], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                                  timeout=_SECONDS, check=False)  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return ""
        said = (done.stdout or done.stderr)[:500].decode(errors="replace")
        if done.returncode == 0 or version_in(said):
            return said
    return said


def _why(program: Program) -> str:
    return f"it is needed for {', '.join(program.stages)}{f': {program.why}' if program.why else ''}"
