"""Asks supervisord whether it has the programs that a target starts and stops. Starts and stops nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from airlock.deploy.targets.supervisord_rpc import Supervisor
from airlock.doctor.finding import Finding, Subject
from airlock.models.needs import Permission

_SECONDS = 5.0


def ask(subject: Subject, connection: str, permissions: Sequence[Permission]) -> Iterator[Finding]:
    """Ask the supervisord of *connection* for each program; whoever may ask it may start and stop, too."""
    server = Supervisor(connection, timeout=_SECONDS)
    for program in dict.fromkeys(permission.on for permission in permissions):
        # a program that does not run is none to worry about: of two slots one is empty
        yield subject.fine(f"supervisord has the program {program} ({server.state(program)})")
