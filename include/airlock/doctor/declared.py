"""Turns what one implementation declares that it needs into questions, one for each system that grants rights.

Knows the probes and no service file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from airlock.doctor.asking import SECONDS, Question
from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.probes import addresses, aws, files, kubernetes, postgresql, programs, slack, vault
from airlock.doctor.probes import supervisord as supervisor
from airlock.doctor.probes import tickets as ticket_systems
from airlock.models.needs import Needs, Permission, System

_REVIEW_SECONDS = 90.0


class Asking:
    """A question, with the connections that it *needs*."""

    def __init__(self, question: Question, *needs: str) -> None:
        """Bind them; an empty name is none."""
        self.question = question
        self.needs = frozenset(filter(None, needs))


def of_needs(subject: Subject, bound: Needs, options: Mapping[str, Any]) -> Iterator[Asking]:
    """Yield the questions for everything in *bound*, the permissions of one system and connection together."""
    for program in bound.programs:
        yield Asking(Question(subject, f"asked for the program {program.name}",
                              partial(programs.ask, program=program)))  # fmt: skip
    for address in bound.addresses:
        yield Asking(Question(subject, f"asked {addresses.shown(address.url)}",
                              partial(addresses.ask, address=address)))  # fmt: skip
    groups: dict[tuple[System, str], list[Permission]] = {}
    for permission in bound.permissions:
        groups.setdefault((permission.system, permission.connection), []).append(permission)
    for (system, name), permissions in groups.items():
        yield from _of_system(subject, system, name, permissions, bound, options)


def _of_system(
    subject: Subject, system: System, name: str, permissions: list[Permission], bound: Needs,
    options: Mapping[str, Any],
) -> Iterator[Asking]:  # fmt: skip
    if system is System.FILES:
        for path in dict.fromkeys(permission.on for permission in permissions):
            here = [permission for permission in permissions if permission.on == path]
            yield Asking(Question(subject, f"asked for the rights on {path}", partial(files.ask, permissions=here)))
        return
    known: dict[System, Callable[[Subject], Iterable[Finding]]] = {
        System.AWS: partial(aws.ask, connection=name, permissions=permissions),
        System.VAULT: partial(vault.ask, connection=name, permissions=permissions),
        System.KUBERNETES: partial(kubernetes.ask, connection=name, namespace=str(options.get("namespace", "")),
                                   permissions=permissions),
        System.POSTGRESQL: partial(postgresql.ask, connection=name, database=str(options.get("database", "")),
                                   permissions=permissions, programs=bound.programs),
        System.SUPERVISORD: partial(supervisor.ask, connection=name, permissions=permissions),
        System.SLACK: partial(slack.ask, connection=name, channel=str(options.get("channel", "")),
                              permissions=permissions),
        System.JIRA: partial(ticket_systems.ask, connection=name, permissions=permissions, options=options),
        System.SERVICENOW: partial(ticket_systems.ask, connection=name, permissions=permissions, options=options),
    }  # fmt: skip
    ask = known.get(system, partial(_nobody_asks, system=system))
    seconds = _REVIEW_SECONDS if system in (System.KUBERNETES, System.AWS) else SECONDS
    late = Gravity.WARNING if system is System.SLACK else Gravity.FAULT
    yield Asking(Question(subject, f"asked {system} for rights", ask, seconds, late), name)


def _nobody_asks(subject: Subject, system: System) -> Iterable[Finding]:
    yield subject.not_asked(f"the rights at {system}", "there is no way to ask for them that changes nothing")
