"""The operators of the release DAG: they wait, ask people, keep progress and turn errors into states. No rules here.

Waiting never holds a worker: ``approve`` parks in ``awaiting_input``; the others defer to a moment and look again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from airlock.deploy.landing import acted
from airlock.deploy.progress import CanaryProgress, Decision, Move
from airlock.errors import GateRefused, InvalidInput
from airlock.flow.api_server.run_notes import note_own_run
from airlock.flow.operators.assets import announce_promotion, hints_from
from airlock.flow.operators.stopping import Stopped
from airlock.flow.operators.task import (
    AirlockOperator,
    KeptProgress,
    first_release,
    pause,
    release_of,
    task_boundary,
    when_open,
)
from airlock.flow.stages import backup, change, close, deploy, observe, rollback, tickets, train, undo
from airlock.flow.stages.cycle import form_of_cycle
from airlock.flow.stages.following_release import next_release
from airlock.flow.stages.release import Release
from airlock.models import Handle, Outcome, Resource, utc_now
from airlock.schedule.cycle import too_late
from airlock.service.find import ServiceEnvironment

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)
POLL_SECONDS = 10.0
ASSET_RUN = "asset_triggered"
SCHEDULED_RUN = "scheduled"
CYCLE_RUNS = (SCHEDULED_RUN, ASSET_RUN)


class ReleaseOperator(AirlockOperator):
    """Base of the operators: knows its service environment and opens the release of the run."""

    def __init__(self, *, environment: ServiceEnvironment, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.environment = environment


class StageOperator(AirlockOperator):
    """Runs one stage that needs no people: ``act(release)``; with *while_open*, it waits for an open calendar.

    Most tasks are of this class or take a backup. Both derive from Airflow's own, because Airflow merges all
    defaults anew for each ``__init__`` on the way, which is most of what a parse costs.
    """

    def __init__(
        self,
        *,
        environment: ServiceEnvironment,
        act: Callable[[Release], Any],
        after_seal: bool = False,
        while_open: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.act = act
        self.after_seal = after_seal
        self.while_open = while_open

    def execute(self, context: Context, event: Any = None) -> None:  # noqa: ARG002 - what the trigger brings
        release = release_of(self.environment, context)
        with task_boundary(release, self.task_id, after_seal=self.after_seal):
            if self.while_open:
                when_open(self, release, self.task_id.rpartition(".")[2], partial(self.act, release))
            else:
                self.act(release)


class ValidateOperator(ReleaseOperator):
    """Accepts the RFC: from the trigger form, or, in a cycle or for a train, from the standard-change template."""

    def execute(self, context: Context) -> None:
        release = open_release(self, context)
        with task_boundary(release, self.task_id):
            run = context["dag_run"]
            if departure := train.departure_of(run.run_id):
                asked, wanted = train.request_of(release, departure, run.run_id)
                change.validate(release, asked, train.SCHEDULER, wanted, departure[1])
                show_request(release, context)
                return
            if run.run_type not in CYCLE_RUNS:
                given = tickets.filled(release, dict(context["params"]))
                change.validate(release, given, requester_of(run), asked_at=run.run_after)
                show_request(release, context)
                return
            if run.run_type == SCHEDULED_RUN:
                self._refuse_late(release, run.run_after, context["ti"].try_number)
            hints = hints_from(context) if run.run_type == ASSET_RUN else None
            form, why, digest = form_of_cycle(release, hints)
            if form is None:
                release.record("skipped", why=why)
                log.info("nothing to release: %s", why)
                raise AirflowSkipException(why)
            change.validate(release, form, train.SCHEDULER, digest)
            show_request(release, context)

    def _refuse_late(self, release: Release, due: datetime, attempt: int) -> None:
        cycle = self.environment.cycle
        why = too_late(cycle, due, utc_now()) if cycle.timed and attempt == 1 else ""
        if why:
            release.record("skipped", why=why)
            log.info("nothing is released: %s", why)
            raise AirflowSkipException(why)


class UndoOperator(ReleaseOperator):
    """Accepts on-call's request to return to the version before."""

    def execute(self, context: Context) -> None:
        release = open_release(self, context)
        with task_boundary(release, self.task_id):
            given, run = context["params"], context["dag_run"]
            departure = train.departure_of(run.run_id)
            asked_by = train.return_of(release, departure, run.run_id) if departure else None
            requester = train.SCHEDULER if departure else requester_of(run)
            undo.request(release, given["reason"], given["incident"], requester, asked_by)
            show_request(release, context)


def show_request(release: Release, context: Context) -> None:
    """Let the run show what was asked for."""
    rfc = release.rfc
    asked = f"{rfc.change_type} change asked for by {rfc.requester}: {rfc.title}"
    note_own_run(context, f"{rfc.version}, under way", asked)


def open_release(task: ReleaseOperator, context: Context) -> Release:
    """Return the release that *task*, the first of its run, asks for: a new one when the one before was refused."""
    ended = release_of(task.environment, context)
    with task_boundary(ended, task.task_id, after_seal=True):
        return next_release(ended, first_release(task.environment, context))


def requester_of(run: Any) -> str:
    """Return who triggered *run*.

    :raises InvalidInput: nobody is known to
    """
    if not run.triggering_user_name:
        raise InvalidInput(
            "the run does not say who triggered it, so nobody can be kept from approving their own "
            "change; trigger it as a user, in the UI or through the REST API"
        )
    return str(run.triggering_user_name)


class TakeOperator(AirlockOperator):
    """Takes one backup: start, look, finish. A retry goes on with the backup that was begun."""

    def __init__(self, *, environment: ServiceEnvironment, resource: Resource, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.resource = resource

    def execute(self, context: Context, event: Any = None) -> None:  # noqa: ARG002 - what the trigger brings
        release = release_of(self.environment, context)
        with task_boundary(release, self.task_id):
            progress_store = KeptProgress(context, release)
            kept = progress_store.get("handle")
            handle = Handle.model_validate(kept) if kept else backup.start(release, self.resource)
            if not kept:
                progress_store.set("handle", handle.model_dump(mode="json"))
            while not backup.poll(release, self.resource, handle).done:
                pause(self, POLL_SECONDS)
            backup.finish(release, self.resource, handle)


class CanaryOperator(ReleaseOperator):
    """Repeats shift, look and judge for each step. A retry goes on from the step that was reached."""

    def execute(self, context: Context, event: Any = None) -> None:  # noqa: ARG002 - what the trigger brings
        release = release_of(self.environment, context)
        with task_boundary(release, self.task_id):
            progress_store = KeptProgress(context, release)
            progress = CanaryProgress.model_validate(progress_store.get("progress") or {})
            while True:
                turn = partial(self._turn, release, progress)
                shifts = progress.shifted_at is None
                decision = when_open(self, release, f"shift, step {progress.step + 1}", turn) if shifts else turn()
                progress = decision.progress
                progress_store.set("progress", progress.model_dump(mode="json"))
                if decision.move is Move.PASS:
                    return
                if decision.move is Move.ROLL_BACK:
                    raise GateRefused(f"{release.plan.trial} failed: {decision.why.rstrip('.')}; next: roll back")
                pause(self, decision.wait_seconds)

    @staticmethod
    def _turn(release: Release, progress: CanaryProgress) -> Decision:
        return observe.canary(release, progress, utc_now())


class PromoteOperator(ReleaseOperator):
    """Promotes, if that is what was decided."""

    def execute(self, context: Context, event: Any = None) -> None:  # noqa: ARG002 - what the trigger brings
        release = release_of(self.environment, context)
        with task_boundary(release, self.task_id):
            decision = release.latest("decision") or {"choice": "refuse", "why": "nothing was decided"}
            if decision["choice"] != "promote":
                raise AirflowSkipException(f"not promoted: {decision['why']}")
            when_open(self, release, "promote", partial(deploy.promote, release))


class BakeOperator(ReleaseOperator):
    """Watches the promoted version with the old one still warm, then stops the old one."""

    def execute(self, context: Context, event: Any = None) -> None:  # noqa: ARG002 - what the trigger brings
        release = release_of(self.environment, context)
        with task_boundary(release, self.task_id):
            progress_store = KeptProgress(context, release)
            if release.latest("baked") is not None:
                log.info("the bake is over already, as recorded; next: seal the evidence")
                return
            progress = CanaryProgress.model_validate(progress_store.get("progress") or {})
            while True:
                decision = observe.bake(release, progress, utc_now())
                progress = decision.progress
                progress_store.set("progress", progress.model_dump(mode="json"))
                if decision.move is Move.PASS:
                    deploy.retire(release)
                    return
                if decision.move is Move.ROLL_BACK:
                    version = release.plan.artifact.version
                    raise GateRefused(f"the bake of {version} failed: {decision.why.rstrip('.')}; next: roll back")
                pause(self, decision.wait_seconds)


class RollbackTrafficOperator(ReleaseOperator):
    """Brings all traffic back, if the release began and did not end well."""

    def execute(self, context: Context) -> None:
        release = release_of(self.environment, context)
        with task_boundary(release, self.task_id):
            why = rollback.needed(release)
            if not why:
                raise AirflowSkipException(
                    "nothing to roll back: the release "
                    + ("has landed" if acted(release.records()) else "changed nothing")
                )
            rollback.traffic(release, why)


class RollbackDataOperator(ReleaseOperator):
    """Restores the data that the plan names for a rollback."""

    def execute(self, context: Context) -> None:
        release = release_of(self.environment, context)
        with task_boundary(release, self.task_id):
            restored = rollback.data(release)
            log.info(
                "restored: %s", ", ".join(restored) or "nothing that restore_on_rollback of the plan names"
            )


class OutcomeOperator(ReleaseOperator):
    """Ends the run as the release ended: it fails unless the release was promoted, is skipped when there was nothing
    to do, and announces a promotion to the next environment."""

    def execute(self, context: Context) -> str:
        release = release_of(self.environment, context)
        with task_boundary(release, self.task_id, after_seal=True):
            result, why = close.outcome(release)
            note_own_run(context, close.headline(release, str(context["params"].get("version") or "")), why)
            if result is Outcome.SKIPPED:
                raise AirflowSkipException(why)
            if result is not Outcome.PROMOTED:
                raise Stopped(f"{self.task_id}: {release.id} was {result.replace('_', ' ')}: {why}")
            log.info("%s: %s: %s", release.id, result.upper(), why)
            if self.outlets:
                announce_promotion(release, context)
        return result
