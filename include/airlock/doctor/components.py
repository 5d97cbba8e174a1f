"""Rules for Airflow's components: each alive, each with the plugin, all with the same code; and people who exist.

What is known of them comes as data: who asked whom is none of this module's business. Knows no Airflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.models.frozen import Frozen

API_SERVER, DAG_PROCESSOR, SCHEDULER = "API server", "DAG processor", "scheduler"
TRIGGERER, WORKER = "triggerer", "worker"
_SILENT_SECONDS = 60.0
_AREA = "components"
_MEND_CODE = "deploy the same image everywhere, and start the component again"


class Component(Frozen):
    """One process of Airflow, as it told itself. ``changed``: files of Airlock changed after the process began."""

    role: str
    host: str
    code: str
    airflow: str = ""
    plugin: bool = True
    changed: bool = False


class Job(Frozen):
    """A long-lived process as Airflow's own table has it, and how long ago it last said that it lives."""

    role: str
    host: str
    silent_seconds: float


class ServerView(Frozen):
    """What the API server knows: itself, which code the DAG processor read DAGs with, the jobs, and which of the people
    who were asked for exist. ``people_unknown`` says why that cannot be told."""

    itself: Component
    parsed_with: str = ""
    jobs: tuple[Job, ...] = ()
    people: dict[str, bool] = {}
    people_unknown: str = ""


def judge(own: Component, others: tuple[Component, ...], server: ServerView | None) -> Iterator[Finding]:
    """Judge all that is known, by the code of *own*, the worker that judges."""
    seen = dict.fromkeys((own, *others, *((server.itself,) if server else ())))
    for one in seen:
        yield from _component(own, one)
    if TRIGGERER not in {one.role for one in others}:
        yield Subject(_AREA, TRIGGERER).fault(
            "no triggerer answered", "whatever waits without a worker waits for ever: windows, canaries, tickets",
            "start a triggerer",
        )  # fmt: skip
    if server is None:
        yield Subject(_AREA, API_SERVER).fault(
            "its part of Airlock does not answer", "approvals lose answers, and runs show no notes, without the plugin",
            "put plugins/ on the API server's plugins folder, and start it again",
        )  # fmt: skip
        return
    yield from _processor(own, server)
    for role in (SCHEDULER, TRIGGERER, DAG_PROCESSOR):
        yield _alive(role, [job for job in server.jobs if job.role == role])
    yield Subject(_AREA, SCHEDULER).not_asked("its code", "no task can ask it; it carries out what was read for it")


def _component(own: Component, one: Component) -> Iterator[Finding]:
    subject = Subject(_AREA, f"{one.role} on {one.host}")
    if one.code != own.code:
        yield subject.fault(
            f"runs other code of Airlock ({one.code[:12]}) than the worker on {own.host} ({own.code[:12]})",
            "a plan that one makes is stale for the other", _MEND_CODE,
        )  # fmt: skip
    elif one.changed:
        yield subject.found(Gravity.WARNING, "files of Airlock were changed after it began",
                            "it runs what was there before", "start it again")  # fmt: skip
    else:
        yield subject.fine(f"runs code {one.code[:12]} of Airlock")
    if one.airflow != own.airflow:
        yield subject.fault(f"runs Airflow {one.airflow}, and the worker on {own.host} runs {own.airflow}",
                            "Airflow's components must have one version", _MEND_CODE)  # fmt: skip
    if not one.plugin:
        yield subject.fault("does not load the plugin of Airlock", "timetables of cycles are unknown to it",
                            "put plugins/ on its plugins folder, and start it again")  # fmt: skip


def _processor(own: Component, server: ServerView) -> Iterator[Finding]:
    subject = Subject(_AREA, DAG_PROCESSOR)
    if not server.parsed_with:
        yield subject.found(Gravity.WARNING, "nothing tells with which code it reads DAG files",
                            "this DAG was read before doctor was there", "wait for its next look")  # fmt: skip
    elif server.parsed_with != own.code:
        yield subject.fault(
            f"read this DAG with other code ({server.parsed_with[:12]}) than the worker has ({own.code[:12]})",
            "DAGs are built by one code and run by another", _MEND_CODE,
        )  # fmt: skip
    else:
        yield subject.fine(f"reads DAG files with code {server.parsed_with[:12]} of Airlock")


def _alive(role: str, jobs: list[Job]) -> Finding:
    subject = Subject(_AREA, role)
    living = [job for job in jobs if job.silent_seconds < _SILENT_SECONDS]
    if living:
        return subject.fine(f"{len(living)} of it live: {', '.join(sorted(job.host for job in living))}")
    last = min((job.silent_seconds for job in jobs), default=None)
    said = "there is none" if last is None else f"the last one has been silent for {last:.0f} s"
    return subject.fault(said, "releases do not go on without it", f"start a {role}")


def judge_people(where: str, groups: Mapping[str, tuple[str, ...]], server: ServerView | None) -> Iterator[Finding]:
    """Judge the people of the *groups* of one service environment, *where*."""
    subject = Subject("people", where)
    if server is None or server.people_unknown:
        why = server.people_unknown if server else "the API server's part of Airlock does not answer"
        yield subject.not_asked("whether the people of the groups exist in Airflow", why)
        return
    for group, people in groups.items():
        missing = [name for name in people if not server.people.get(name)]
        if len(missing) == len(people):
            yield subject.fault(f"nobody of the group {group} exists in Airflow ({', '.join(missing)})",
                                "its seats can never agree", "correct the names, as Airflow knows them")  # fmt: skip
        elif missing:
            yield subject.found(Gravity.WARNING, f"of the group {group}, Airflow does not know {', '.join(missing)}",
                                "they are asked, and cannot answer", "correct the names, as Airflow knows them")
        else:
            yield subject.fine(f"all {len(people)} of the group {group} exist in Airflow")
