"""The operators of what is done outside releases: backups, drills, expiry. No rules here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.timetables.trigger import CronTriggerTimetable

from airlock.flow.api_server.run_notes import note_own_run
from airlock.flow.operators.stopping import Stopped
from airlock.flow.operators.task import pause, run_of, task_boundary
from airlock.flow.stages import keeping
from airlock.flow.stages.outside_releases import StreamRun
from airlock.models import Outcome, Resource, utc_now
from airlock.service.find import ServiceEnvironment
from airlock.service.model import RetentionPolicy, Schedule

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)
POLL_SECONDS = 30.0


class StreamOperator(BaseOperator):
    """Does one thing of one run of a stream: ``act(run)``."""

    def __init__(
        self, *, environment: ServiceEnvironment, stream: str, act: Callable[[StreamRun], Any], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.stream = stream
        self.act = act

    def execute(self, context: Context) -> None:
        run = run_of(self.environment, self.stream, context)
        with task_boundary(run, self.task_id):
            self.act(run)


class BackupOperator(BaseOperator):
    """Takes one backup and restores it as a test. A long one is waited for without a worker."""

    def __init__(self, *, environment: ServiceEnvironment, stream: str, resource: Resource, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.stream = stream
        self.resource = resource

    def execute(self, context: Context, event: Any = None) -> None:  # noqa: ARG002 - what the trigger brings
        run = run_of(self.environment, self.stream, context)
        with task_boundary(run, self.task_id):
            while True:
                handle, progress = keeping.look(run, self.resource)
                if progress.done:
                    break
                done, total = progress.completed, progress.total or "?"
                log.info("%s: %g of %s %s", self.resource.name, done, total, progress.unit)
                pause(self, POLL_SECONDS)
            keeping.take(run, self.resource, handle)


class ExpireOperator(BaseOperator):
    """Removes what the policy does not keep, or only says so."""

    def __init__(
        self, *, environment: ServiceEnvironment, stream: str, policy: RetentionPolicy, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.stream = stream
        self.policy = policy

    def execute(self, context: Context) -> None:
        run = run_of(self.environment, self.stream, context)
        with task_boundary(run, self.task_id):
            dry_run = self.policy.dry_run or bool(context["params"]["dry_run"])
            keeping.expire(run, self.policy, utc_now(), dry_run)


class EndOperator(BaseOperator):
    """Seals the run, whatever happened before, and fails unless everything was done."""

    def __init__(self, *, environment: ServiceEnvironment, stream: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.stream = stream

    def execute(self, context: Context) -> None:
        run = run_of(self.environment, self.stream, context)
        with task_boundary(run, self.task_id, after_seal=True):
            outcome, why = keeping.finish(run)
            note_own_run(context, f"{self.stream} → {outcome.replace('_', ' ')}", why)
        if outcome is not Outcome.COMPLETED:
            raise Stopped(f"{self.task_id}: {run.id}: {self.stream} {outcome}: {why}")


def timetable(schedule: Schedule) -> CronTriggerTimetable:
    """Return the timetable of *schedule*."""
    return CronTriggerTimetable(schedule.cron, timezone=schedule.timezone)
