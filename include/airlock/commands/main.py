"""``python -m airlock``: reads the command line and turns errors into one sentence and an exit code.

Exit codes: 0 as wished; 1 refused, failed, problems found or output that nobody takes; 2 wrong input; 130 stopped with
Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from airlock.errors import AirlockError, InvalidInput
from airlock.plain_text import harmless

_COMMANDS = (
    "new", "services", "plan", "calendar", "standard_change", "risk", "drivers", "doctor", "land", "evidence",
)
_STOPPED = 130
_NONE_GIVEN = ("required: COMMAND", "required: ACTION")
_LONG_WORD = re.compile(r"(\S{200})\S{20,}")


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments without repeating control characters to the terminal."""

    def error(self, message: str) -> NoReturn:
        """As ``argparse.ArgumentParser.error``, with all commands where none is given."""
        said = _LONG_WORD.sub(r"\1...", " ".join(harmless(message).split()))
        if said.endswith(_NONE_GIVEN):
            self.print_help(sys.stderr)
            self.exit(2, f"\n{self.prog}: error: {said}\n")
        super().error(said)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with every group of commands.

    Each module of ``commands`` has ``add_parser(subparsers)``, which sets ``run(arguments, console) -> exit code``.
    """
    parser = Parser(prog="airlock", description="Change and release management for Apache Airflow.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in _COMMANDS:
        importlib.import_module(f"airlock.commands.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Errors of Airlock give one sentence on stderr, never a stack trace."""
    _open_outputs()
    try:
        arguments = build_parser().parse_args(argv)
        code: int = arguments.run(arguments, Console())
        sys.stdout.flush()
    except InvalidInput as error:
        return _fail(error, 2)
    except AirlockError as error:
        return _fail(error, 1)
    except BrokenPipeError:
        _drop_output()  # the reader (head, less) has gone
        return 1
    except OSError as error:
        _drop_output()
        return _fail(f"input or output failed: {error}; check the disk and the paths", 1)
    except KeyboardInterrupt:
        return _fail("stopped", _STOPPED)
    return code


def _open_outputs() -> None:
    """Let every character through, whatever the terminal can show, and bear outputs that the caller closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    # Otherwise Python would complain again when it flushes at the end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: AirlockError | str, code: int) -> int:
    lines = [" ".join(harmless(line).split()) for line in str(error).splitlines()]
    print("airlock: " + _LONG_WORD.sub(r"\1...", "\n".join(lines)), file=sys.stderr)
    return code
