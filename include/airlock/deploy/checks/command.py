"""Check ``command``: does a program say that all is well, by its exit code?

Runs on the worker that carries out the task, without a shell, without the worker's environment, and only what the
allow-list of the platform's owner allows (see ``allowed_commands``). It ends with all that it started at its time
limit, and when the task is stopped or killed. Of its output the digest is kept; its first line only where the rule
says so.
"""

from __future__ import annotations

import hashlib
import os
import re
import selectors
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from airlock.child_program import lifeline, tied_to_this_process
from airlock.deploy.allowed_commands import AllowedCommand, rule_for
from airlock.deploy.check import Check, Subject
from airlock.errors import InvalidInput, PermanentError
from airlock.models import Answer, Frozen, Verdict
from airlock.models.needs import Needs, Program, Stage
from airlock.options import Options
from airlock.plain_text import harmless

_PLACEHOLDER = re.compile(r"\{(version|address|host|port)\}")
_SURROUNDINGS = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
_FIRST_LINE = 200
_CHUNK = 1 << 16
_CANNOT_START = (126, 127)
_SIGNALLED = range(129, 193)
"""128 and the number of the signal."""
_END_SECONDS = 15.0


def _exit_code(code: int) -> int:
    if code in (*_CANNOT_START, *_SIGNALLED):
        raise ValueError(f"{code} says that a program could not be started, or was ended by a signal: nobody knows "
                         "then, which is no pass; name another code")
    return code


class CommandOptions(Options):
    """A program that is run on the worker; the allow-list of the platform's owner must allow it."""

    run: tuple[Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")], ...] = Field(
        min_length=1, max_length=100)
    """The program by its whole path, and its arguments; in these ``{version}``, ``{address}``, ``{host}`` and
    ``{port}`` stand for what is checked."""
    exit_codes: tuple[Annotated[int, Field(ge=0, le=255), AfterValidator(_exit_code)], ...] = Field((0,), min_length=1)
    """The exit codes that pass; those that stand for a program that could not be started, or was ended, never do."""
    within_seconds: float = Field(30, gt=0, le=3600)
    """When it is ended with all that it started."""


class CommandFound(Frozen):
    """How the program ended; ``None``: at its time limit. ``first_line`` is empty where no rule shows it."""

    exit_code: int | None
    seconds: float = Field(ge=0)
    output_bytes: int = Field(ge=0)
    output_sha256: str
    first_line: str = ""


class CommandCheck(Check):
    """See the module."""

    Options = CommandOptions
    Found = CommandFound
    needs = Needs(
        programs=(Program(name="{run.0}", stages=(Stage.CHECK,)),),
        also=("commands.yaml of the folder of policies allows the program with these arguments",),
    )
    options: CommandOptions

    @property
    def label(self) -> str:
        return f"command {self.options.run[0]}"

    def basis(self) -> dict[str, Any]:
        """The rule that allows it: who changes the list changes what was approved."""
        return {"rule": self._rule().model_dump(mode="json")}

    def look(self, subject: Subject) -> CommandFound:
        rule = self._rule()
        command = [self.options.run[0], *(_filled(argument, subject, self.label) for argument in self.options.run[1:])]
        _check_program(rule, self.label)
        digest, first, size, begun = hashlib.sha256(), b"", 0, time.monotonic()
        with _started(command, rule) as (process, output):
            for chunk in _read(output, begun + self.options.within_seconds):
                digest.update(chunk)
                size += len(chunk)
                first = (first + chunk)[: 4 * _FIRST_LINE]
            code = _ended(process, begun + self.options.within_seconds)
        return CommandFound(exit_code=code, seconds=round(time.monotonic() - begun, 3), output_bytes=size,
                            output_sha256=f"sha256:{digest.hexdigest()}",
                            first_line=_shown(first) if rule.shows_first_line else "")

    def judge(self, found: CommandFound) -> Verdict:
        code, said = found.exit_code, f": {found.first_line}" if found.first_line else ""
        if code is None:
            return Verdict(answer=Answer.ERROR,
                           sentence=f"{self.label} was ended after {self.options.within_seconds:g} s{said}")
        if code in self.options.exit_codes:
            return Verdict(answer=Answer.PASS, sentence=f"{self.label} ended with {code}{said}")
        if code in _CANNOT_START:
            return Verdict(answer=Answer.ERROR, sentence=f"{self.label} could not be started ({code}){said}")
        if code in _SIGNALLED:
            return Verdict(answer=Answer.ERROR, sentence=f"{self.label} was ended by signal {code - 128}{said}")
        return Verdict(answer=Answer.FAIL, sentence=f"{self.label} ended with {code}{said}")

    def _rule(self) -> AllowedCommand:
        rule = rule_for(self.options.run)
        if self.options.within_seconds > rule.most_seconds:
            raise InvalidInput(f"{self.label}: rule {rule.name} gives it {rule.most_seconds:g} s at most, "
                               f"{self.options.within_seconds:g} are asked for; lower within_seconds")
        return rule


def _filled(argument: str, subject: Subject, label: str) -> str:
    parts = urlsplit(subject.address)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    known = {"version": subject.version, "address": subject.address, "host": parts.hostname or "",
             "port": str(port or "")}

    def value(found: re.Match[str]) -> str:
        if not known[found[1]]:
            raise PermanentError(f"{label}: the target names no address of {subject.version}, and the command needs "
                                 f"its {found[1]}")
        return known[found[1]]

    return _PLACEHOLDER.sub(value, argument)


def _check_program(rule: AllowedCommand, label: str) -> None:
    """Refuse a program that anybody could have put there."""
    path = Path(rule.program)
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode) or not os.access(path, os.X_OK):
            raise PermanentError(f"{label}: is no program that may be run here; correct the rule {rule.name}, or its "
                                 "mode")
        if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermanentError(f"{label}: may be written by others than its owner, so nobody knows what it is; take "
                                 "that right away")
        if rule.sha256 is not None:
            with path.open("rb") as stream:
                found = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
            if found != rule.sha256:
                raise PermanentError(f"{label}: has the digest {found}, but rule {rule.name} allows {rule.sha256}")
    except OSError as error:
        raise PermanentError(f"{label}: cannot be read on this worker: {error.strerror}; install it on every "
                             "worker") from error


@contextmanager
def _started(command: list[str], rule: AllowedCommand) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Run *command* in an empty folder of its own; at the end of the block it ends with all that it started."""
    with tempfile.TemporaryDirectory(prefix="airlock-check-", ignore_cleanup_errors=True) as home:
        process: subprocess.Popen[bytes] | None = None
        try:
            with lifeline() as held:
                process = subprocess.Popen(
                    tied_to_this_process(command), stdin=held, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    cwd=home, env={**_SURROUNDINGS, "HOME": home, **rule.environment}, start_new_session=True,
                )
                assert process.stdout is not None  # noqa: S101 - it was asked for
                yield process, process.stdout
        finally:
            if process is not None:
                with suppress(subprocess.TimeoutExpired):  # what no signal ends must not hold the task for ever
                    process.wait(_END_SECONDS)
                if process.stdout is not None:
                    process.stdout.close()


def _read(output: IO[bytes], until: float) -> Iterator[bytes]:
    """Yield what the program writes until it closes its output or the time is over."""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while (left := until - time.monotonic()) > 0:
            if not selector.select(left):
                return
            chunk = os.read(output.fileno(), _CHUNK)
            if not chunk:
                return
            yield chunk


def _ended(process: subprocess.Popen[bytes], until: float) -> int | None:
    try:
        return process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None


def _shown(output: bytes) -> str:
    """Return the first line of *output* that says something, as harmless text."""
    lines = harmless(output.decode("utf-8", "replace")).split("\n")
    return next((" ".join(line.split())[:_FIRST_LINE] for line in lines if line.strip()), "")
