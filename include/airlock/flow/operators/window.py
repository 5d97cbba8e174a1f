"""The operator that waits for an open calendar. Waiting holds no worker: it defers to a moment and looks again."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.triggers.temporal import DateTimeTrigger

from airlock.change.permit import waits_in_vain
from airlock.errors import GateRefused
from airlock.flow.operators.release import ReleaseOperator
from airlock.flow.operators.task import release_of, task_boundary
from airlock.flow.operators.triggers import WaitTrigger
from airlock.flow.stages import conflicts, content
from airlock.flow.stages.calendar_gate import ask
from airlock.flow.stages.notices import notify
from airlock.models import utc_now

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)
CONFLICT_SECONDS = 30.0
"""Time between two looks at a release that holds what this one wants."""


class WindowOperator(ReleaseOperator):
    """Waits, without a worker, until the calendar is open and the time asked for has come."""

    def execute(self, context: Context, event: Any = None) -> None:  # noqa: ARG002 - what the trigger brings
        release = release_of(self.environment, context)
        with task_boundary(release, self.task_id):
            permit = release.permitted("wait for a window")
            now = utc_now()
            start = release.rfc.start_after
            asked = ask(release, now)
            decision = asked.decision
            if start is not None and start > now:
                until: datetime | None = start
                why = f"the RFC asks to start after {start:%d %b %Y %H:%M} UTC"
            elif decision.open:
                if conflicts.begin(release, release.plan, now):
                    self.defer(trigger=WaitTrigger(CONFLICT_SECONDS), method_name="execute")
                content.look_again(release, now)
                release.record("window", **asked.as_record())
                following = "move the traffic" if release.plan.traffic_first else "back up every resource"
                log.info("window open: %s; next: %s", decision.sentence, following)
                begun = "The return begins" if release.plan.returns else "The release begins"
                notify(release, "begun", begun, decision.sentence)
                return
            else:
                until, why = decision.look_again, decision.sentence
            in_vain = waits_in_vain(until, why, permit.expires_at)
            if until is None or in_vain:
                raise GateRefused(in_vain)
            log.info("closed: %s; next: look again on %s UTC", why, f"{until:%a %d %b %Y %H:%M}")
            self.defer(trigger=DateTimeTrigger(moment=until), method_name="execute")
