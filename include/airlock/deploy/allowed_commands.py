"""The allow-list of programs that a check may run on a worker: ``commands.yaml`` of the folder of policies.

Exists because whoever writes a service file must not decide what runs on the machines that hold everybody's
credentials: whoever owns the platform does, in a file of their own. Knows no service and starts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from airlock.errors import InvalidInput
from airlock.models import Digest, Frozen, Name
from airlock.service.validated import load_policy, policies_folder

FILE = "commands.yaml"


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{text[:60]!r} is no regular expression: {error}; correct it") from error
    return text


def _program(text: str) -> str:
    if Path(text).as_posix() != text or ".." in Path(text).parts:
        raise ValueError(f"{text[:80]!r} is no plain path; write it without //, . and ..")
    return text


Pattern = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_pattern)]
"""A regular expression that a whole argument must match, as the service file has it."""
Program = Annotated[str, StringConstraints(pattern=r"^/[^\s\x00]+$", max_length=500), AfterValidator(_program)]


class AllowedCommand(Frozen):
    """One program, and with which arguments it may be run: one pattern for each, then any number that match ``more``.

    ``environment`` is all that it sees beside PATH, HOME and LANG. ``sha256`` ties it to one content.
    ``shows_first_line``: its first line of output holds nobody's data, and may be shown and kept.
    """

    name: Name
    program: Program
    arguments: tuple[Pattern, ...] = ()
    more: Pattern | None = None
    most_seconds: float = Field(60, gt=0, le=3600)
    environment: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")],
                      Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]] = Field(
        default_factory=dict)
    sha256: Digest | None = None
    shows_first_line: bool = False

    def allows(self, command: Sequence[str]) -> bool:
        """Return whether *command* (program, then arguments) is allowed by this rule."""
        program, *arguments = command
        few, rest = arguments[: len(self.arguments)], arguments[len(self.arguments):]
        if program != self.program or len(few) != len(self.arguments) or (rest and self.more is None):
            return False
        wanted = [*self.arguments, *[self.more or ""] * len(rest)]
        return all(re.fullmatch(pattern, given) for pattern, given in zip(wanted, arguments, strict=True))


class AllowedCommands(Frozen):
    """The whole file; of several rules that fit, the first counts."""

    commands: tuple[AllowedCommand, ...] = ()


def rule_for(command: Sequence[str]) -> AllowedCommand:
    """Return the rule that allows *command*. Where there is no file, nothing is allowed.

    :raises InvalidInput: none does, or the file is wrong
    """
    path = policies_folder() / FILE
    if not path.exists():
        raise InvalidInput(f"{path}: there is no list of allowed commands, so none may be run; whoever owns the "
                           "platform writes it")
    for rule in load_policy(path, AllowedCommands).commands:
        if rule.allows(command):
            return rule
    raise InvalidInput(f"{path}: no rule allows {command[0]} with these {len(command) - 1} argument(s); whoever owns "
                       "the platform adds one")
