"""``python -m airlock``: reads the command line and turns errors into one sentence and an exit code.

Exit codes: 0 as wished; 1 refused, failed or problems found; 2 wrong input; 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from rich.console import Console

from airlock.errors import AirlockError, InvalidInput

_COMMANDS = ("services", "plan", "drivers", "evidence")
_STOPPED = 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with every group of commands.

    Each module of ``commands`` has ``add_parser(subparsers)``, which sets ``run(arguments, console) -> exit code``.
    """
    parser = argparse.ArgumentParser(prog="airlock", description="Change and release management for Apache Airflow.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in _COMMANDS:
        importlib.import_module(f"airlock.commands.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Errors of Airlock give one sentence on stderr, never a stack trace."""
    try:
        arguments = build_parser().parse_args(argv)
        code: int = arguments.run(arguments, Console())
        sys.stdout.flush()
    except InvalidInput as error:
        return _fail(error, 2)
    except AirlockError as error:
        return _fail(error, 1)
    except BrokenPipeError:
        # The reader (head, less) has gone; Python would complain again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _fail("stopped", _STOPPED)
    return code


def _fail(error: AirlockError | str, code: int) -> int:
    print(f"airlock: {' '.join(str(error).split())}", file=sys.stderr)
    return code
