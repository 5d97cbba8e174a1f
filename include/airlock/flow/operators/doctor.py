"""Operators of the DAG ``doctor``: each asks where it runs: in a worker, in the triggerer, of the API server.

Hold no rules.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airlock.doctor.components import TRIGGERER, WORKER, Component, ServerView
from airlock.doctor.finding import Gravity, Report
from airlock.errors import AirlockError
from airlock.flow.api_server.components import key_for, own
from airlock.flow.operators.stopping import Stopped
from airlock.flow.stages import doctor

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)
_TRIGGERER_SECONDS = 120.0
ENVIRONMENTS, ASK, WORKERS, TRIGGERERS = "environments", "ask", "worker", "triggerer"


class EnvironmentsOperator(BaseOperator):
    """Returns the names of the service environments to ask for: those of the trigger form, or all."""

    def __init__(self, *, folder: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = folder

    def execute(self, context: Context) -> list[str]:
        asked = context["params"]
        try:
            return doctor.meant(self.folder, str(asked.get("service") or ""), str(asked.get("environment") or ""))
        except AirlockError as error:
            raise Stopped(f"stopped: {error}") from error


class AskOperator(BaseOperator):
    """Asks for one service environment, on a worker. Its state is that of the gravest finding: a fault fails it."""

    def __init__(self, *, folder: Path, name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder, self.name = folder, name

    def execute(self, context: Context) -> None:
        report = doctor.ask(doctor.named(self.folder, self.name))
        context["ti"].xcom_push(key="report", value=doctor.short(report).model_dump_json())
        _end(self.name, report)


class WorkerOperator(BaseOperator):
    """Says what the worker is that runs it; *number* tells several of them apart."""

    def __init__(self, *, number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.number = number

    def execute(self, context: Context) -> str:  # noqa: ARG002 - part of the contract
        return own(WORKER).model_dump_json()


class OwnComponentTrigger(BaseTrigger):
    """Fires at once, with what the triggerer is that runs it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{OwnComponentTrigger.__module__}.{OwnComponentTrigger.__qualname__}", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        import asyncio

        found = await asyncio.to_thread(own, TRIGGERER)
        yield TriggerEvent(found.model_dump_json())  # type: ignore[no-untyped-call]


class TriggererOperator(BaseOperator):
    """Asks a triggerer what it is; fails when none answers in time."""

    def execute(self, context: Context) -> None:  # noqa: ARG002 - part of the contract
        self.defer(trigger=OwnComponentTrigger(), method_name="answered", timeout=timedelta(seconds=_TRIGGERER_SECONDS))

    def answered(self, context: Context, event: str) -> str:  # noqa: ARG002 - part of the contract
        """Return what the triggerer said."""
        return event


class OutcomeOperator(BaseOperator):
    """Puts all together, and asks the API server; its last line and its state are the result."""

    def __init__(self, *, folder: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = folder

    def execute(self, context: Context) -> None:
        task = context["ti"]
        names = task.xcom_pull(task_ids=ENVIRONMENTS)
        if names is None:
            raise Stopped(f"stopped: nobody knows what to ask for; see the task {ENVIRONMENTS}")
        environments = [doctor.named(self.folder, name) for name in names]
        # with an index, for a look at all of them asks otherwise, and the API server's part answers this one
        said = task.xcom_pull(key=key_for(doctor.people_of(environments)), map_indexes=-1)
        server = ServerView.model_validate_json(said) if isinstance(said, str) else None
        others = tuple(Component.model_validate_json(one) for one in self._pulled(task, (WORKERS, TRIGGERERS)))
        reports = [Report.model_validate_json(one) for one in self._pulled(task, (ASK,), key="report")]
        found = [one for report in reports for one in report.findings]
        silent = len(names) - len(reports)
        whole = [*found, *doctor.wrong_files(self.folder).findings,
                 *doctor.components(own(WORKER), others, server, environments).findings]  # fmt: skip
        for one in found:
            if one.gravity is Gravity.FAULT:
                log.error("%s: %s %s: %s, %s: %s; next: %s", one.gravity, one.service, one.environment, one.area,
                          one.where, one.what, one.mend)
        if silent:
            raise Stopped(f"stopped: {silent} of {len(names)} service environments gave no answer; see their task "
                          f"{ASK}")  # fmt: skip
        untold: Counter[Gravity] = Counter()
        for report in reports:
            untold.update(report.untold)
        _end("all", Report(findings=tuple(whole), untold=dict(untold)))

    @staticmethod
    def _pulled(task: Any, tasks: tuple[str, ...], key: str = "return_value") -> list[str]:
        found: list[str] = []
        for name in tasks:
            values = task.xcom_pull(task_ids=[name], key=key) or []
            for one in values:
                found += one if isinstance(one, list) else [one]
        return [one for one in found if isinstance(one, str)]


def _end(name: str, report: Report) -> None:
    if report.gravest is Gravity.FAULT:
        raise Stopped(f"stopped: {name}: {report.sentence}; next: mend the lines above that begin with 'fault'")
    log.info("%s: %s", name, report.sentence)
