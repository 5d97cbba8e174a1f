"""The approval sensor for environments whose approval is decided in a ticket: asks there, waits there, counts here.

Waiting holds no worker. Marking the task as successful by hand yields no permit, as with approval in Airflow: the
permit is issued from the votes on record.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airlock.change.ticket import tickets_of
from airlock.errors import TemporaryError
from airlock.flow.operators.task import first_release, release_of, task_boundary
from airlock.flow.operators.ticket_trigger import TicketTrigger
from airlock.flow.stages import approval, ticket_votes
from airlock.flow.stages.change import refreeze
from airlock.flow.stages.following_release import ask_again
from airlock.flow.stages.notices import notify
from airlock.flow.stages.release import Release
from airlock.models import Plan, utc_now
from airlock.service.find import ServiceEnvironment

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


class TicketApproveOperator(BaseOperator):
    """Waits until the answers in the ticket carry the plan; ends when one rejects it, or when time ran out."""

    def __init__(self, *, environment: ServiceEnvironment, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.environment = environment

    def execute(self, context: Context, event: Any = None) -> None:  # noqa: ARG002 - it only wakes the task
        ended = release_of(self.environment, context)
        with task_boundary(ended, self.task_id, after_seal=True):
            release = ask_again(ended, first_release(self.environment, context))
        with task_boundary(release, self.task_id):
            _, plan = refreeze(release)
            if not plan.approvals:
                log.info("no approval is needed: allowed by the written policy: %s", plan.terms.rule)
                return
            request = ticket_votes.asked(release, plan)
            seen = None
            if not ticket_votes.carried(release, plan, request):
                try:
                    seen = ticket_votes.copy_answers(release, plan, request)
                except TemporaryError as error:
                    log.warning("%s; next: wait until the ticket can be read", error)
            standing = approval.look(release, plan, utc_now())
            if standing.decided == "approved":
                log.info("approved by the votes on record: %s; next: the permit is signed", standing.sentence)
                return
            if seen is not None:
                ticket_votes.refuse_closed(seen, standing.sentence)
            log.info("not approved yet: %s; next: wait for a change of the ticket", standing.sentence)
            self._wait(release, plan, seen.fingerprint if seen else "", standing.look_at)

    def _wait(self, release: Release, plan: Plan, seen: str, look_at: datetime) -> None:
        setting, shown = tickets_of(plan), release.latest("ticket") or {}
        key = str(shown.get("key"))
        what = f"{plan.service} {plan.rfc.version} to {plan.environment}, plan {plan.digest[7:19]}"
        title = f"Approval wanted in ticket {key}: {what}"
        people = ", ".join((release.latest("approval_request") or {}).get("eligible", ()))
        notify(release, "approval_wanted", title, f"plan {plan.digest}", link=str(shown.get("link", "")),
                       approvers=people)
        until = max(look_at, utc_now() + timedelta(seconds=setting.look_every_seconds))
        self.defer(
            trigger=TicketTrigger(
                setting.name, setting.connection, setting.options, key, seen, setting.look_every_seconds,
                until.isoformat(),
            ),
            method_name="execute",
        )  # fmt: skip
