"""``python -m sandbox up|down|status|demo|chaos``: the sandbox's command line. Prints; holds no logic of its own."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import sys
import time
from types import FrameType

from airlock.errors import AirlockError, InvalidInput
from sandbox import credentials, environment_file, postgres, stack
from sandbox.layout import Layout

FAILED = 1
INTERRUPTED = 130
EXECUTORS = ("local", "celery")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="Real servers on 127.0.0.1: Airflow, PostgreSQL, Envoy, OpenBao, moto, supervisor, Kubernetes API.",
        epilog="AIRLOCK_HOME chooses the folder (default .airlock), AIRLOCK_PORT_BASE the ports (default 28000).",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show what is done to which process")
    commands = parser.add_subparsers(dest="command", required=True)
    text = "start the sandbox and leave it running"
    up_parser = commands.add_parser("up", help=text, description=text)
    up_parser.add_argument("--executor", choices=EXECUTORS, default=EXECUTORS[0],
                           help="who runs tasks: the scheduler (default), or two workers of the CeleryExecutor")
    for name, text in (
        ("down", "stop the sandbox"),
        ("status", "say which servers run; exit code 0 if all do"),
        ("demo", "start the sandbox, take three releases through every stage, stop it again"),
    ):
        commands.add_parser(name, help=text, description=text)
    text = "strike releases with faults and see whether each lands; starts and stops the sandbox itself"
    chaos_parser = commands.add_parser("chaos", help=text, description=text)
    chaos_parser.add_argument("--number", type=int, default=20, help="how many releases (default 20)")
    chaos_parser.add_argument("--seed", type=int, help="chooses faults and moments (default: a new one, printed)")
    chaos_parser.add_argument("--only", action="append", metavar="FAULT@MOMENT", help="this fault; may be repeated")
    text = "run the airlock command line with the variables of the sandbox as it was started last"
    commands.add_parser("exec", help=text, description=text, add_help=False)
    given, rest = parser.parse_known_args(arguments)
    if rest and given.command != "exec":
        parser.error(f"unknown arguments: {' '.join(rest)}")
    logging.basicConfig(level=logging.INFO if given.verbose else logging.WARNING, format="%(message)s")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        layout = Layout.from_environment()
        if given.command == "chaos":
            return chaos(layout, given.seed, given.number, given.only)
        if given.command == "up":
            return up(layout, workers=given.executor == "celery")
        return _COMMANDS[given.command](layout) if given.command != "exec" else execute(layout, rest)
    except AirlockError as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def up(layout: Layout, *, workers: bool = False) -> int:
    """Start everything and say where it is; on a running sandbox only say where."""
    if stack.running(layout):
        if workers and not stack.has_workers(layout):
            raise InvalidInput("the sandbox runs already, without workers: make down, then start it again")
        print("the sandbox runs already")
        _greet(layout)
        return 0
    began = time.monotonic()
    stack.start_all(layout, _say, workers=workers)
    print(f"the sandbox is up after {time.monotonic() - began:.0f} s")
    _greet(layout)
    return 0


def down(layout: Layout) -> int:
    """Stop everything."""
    print("the sandbox is stopped" if stack.stop_all(layout, _say) else "the sandbox was not running")
    return 0


def status(layout: Layout) -> int:
    """Print a line per server."""
    found = stack.status(layout)
    for name, value in found.items():
        print(f"{name:24} {value}")
    return 0 if all(value == "running" for value in found.values()) else FAILED


def demo(layout: Layout) -> int:
    """Run the demo, which starts and stops the sandbox itself."""
    from sandbox.demo import run

    return int(run(layout))


def chaos(layout: Layout, seed: int | None, number: int, only: list[str] | None) -> int:
    """Run a campaign of faults."""
    from sandbox.chaos import campaign

    strikes = [campaign.named(text) for text in only or ()]
    return campaign.run(layout, strikes, secrets.randbelow(10**6) if seed is None else seed, number)


def execute(layout: Layout, arguments: list[str]) -> int:
    """Become ``python -m airlock ARGUMENTS`` with the variables that the sandbox's Airflow has.

    :raises InvalidInput: the sandbox was never started in this home
    """
    own = environment_file.kept(layout)
    if not own:
        raise InvalidInput(f"no sandbox was ever started in {layout.home}: run make up, or set AIRLOCK_HOME")
    path = os.pathsep.join((str(postgres.binaries()), os.environ.get("PATH", os.defpath)))
    os.execve(sys.executable, [sys.executable, "-m", "airlock", *arguments],  # noqa: S606
              {**os.environ, **own, "PATH": path})  # fmt: skip


def _greet(layout: Layout) -> None:
    print(f"\n  Airflow   {layout.url('airflow')}")
    print(f"  the shop  {layout.url('envoy')}/orders   (staging: {layout.url('envoy_staging')}/orders)\n")
    print(f"  {'log-in':18} {'password':14} role")
    for name, password in credentials.load(layout.sandbox).people.items():
        print(f"  {name:18} {password:14} {credentials.PEOPLE[name]}")
    print(f"\n  logs      {layout.log}\n  stop      make down")


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


_COMMANDS = {"down": down, "status": status, "demo": demo}


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
