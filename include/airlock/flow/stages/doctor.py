"""What the tasks of the DAG ``doctor`` do: ask for one service environment, and put all answers together.

Knows no Airflow; the rules are those of ``airlock.doctor``.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from airlock.doctor.components import Component, ServerView, judge, judge_people
from airlock.doctor.finding import Finding, Gravity, Report
from airlock.doctor.questions import diagnose, of_wrong_files
from airlock.errors import UnknownName
from airlock.service.find import find, find_all, read_services
from airlock.service.model import ServiceEnvironment

log = logging.getLogger(__name__)
_LEVELS = {Gravity.FAULT: logging.ERROR, Gravity.WARNING: logging.WARNING}
_KEPT = 100
"""Findings that one task hands to the last one; the log has all of them."""


def meant(folder: Path, service: str, environment: str) -> list[str]:
    """Return ``service environment`` of all that are declared, or of those that are asked for.

    :raises UnknownName: no file declares what is asked for, and none is wrong that might
    """
    reading = find_all(folder, service) if service else read_services(folder)
    found = [f"{one.service} {one.environment}" for one in reading.declared if environment in ("", one.environment)]
    if environment and not found and not reading.faults:
        raise UnknownName(f"{folder}: no environment {environment[:80]!r}: declared are "
                          f"{', '.join(sorted({one.environment for one in reading.declared}))}")
    log.info("asks for %s", ", ".join(found) or "no service")
    return found


def wrong_files(folder: Path) -> Report:
    """Say what is wrong with service files, whatever is asked for."""
    return told(of_wrong_files(read_services(folder).faults))


def named(folder: Path, name: str) -> ServiceEnvironment:
    """Return the service environment that ``meant`` called *name*."""
    service, _, environment = name.partition(" ")
    return find(folder, service, environment)


def ask(environment: ServiceEnvironment) -> Report:
    """Ask every question for *environment*, write down what was found, and return it."""
    return told(diagnose(environment))


def people_of(environments: Iterable[ServiceEnvironment]) -> list[str]:
    """Return the names of all people in the groups of *environments*."""
    return sorted({name for one in environments for people in one.groups.values() for name in people})


def components(
    own: Component, others: tuple[Component, ...], server: ServerView | None,
    environments: Iterable[ServiceEnvironment],
) -> Report:  # fmt: skip
    """Judge Airflow's components and the people of *environments*, write down what was found, and return it."""

    def found() -> Iterator[Finding]:
        yield from judge(own, others, server)
        for one in environments:
            yield from judge_people(f"{one.service} {one.environment}", one.groups, server)

    return told(found())


def told(findings: Iterable[Finding]) -> Report:
    """Write each finding into the log, the gravest as errors, and return them as a report."""
    report = Report(findings=tuple(findings))
    for one in report.findings:
        log.log(_LEVELS.get(one.gravity, logging.INFO), "%s: %s, %s: %s%s%s", one.gravity, one.area, one.where,
                one.what, f"; why: {one.why}" if one.why else "", f"; next: {one.mend}" if one.mend else "")
    return report


def short(report: Report) -> Report:
    """Return *report* as it is handed on: what is fine, and what is beyond a bound, is only counted."""
    rest = [one for one in report.findings if one.gravity is not Gravity.FINE]
    told_on = tuple(sorted(rest, key=lambda one: one.gravity is not Gravity.FAULT)[:_KEPT])
    counts = Counter(one.gravity for one in report.findings)
    counts.subtract(one.gravity for one in told_on)
    return Report(findings=told_on, untold={gravity: count for gravity, count in counts.items() if count})
