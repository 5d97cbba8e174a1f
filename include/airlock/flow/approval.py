"""The human approval sensor: one parked task that collects votes until a quorum of distinct people agreed.

Airflow accepts one answer for each request, so the request is renewed after every vote. The vote itself goes to the
ledger at once: clearing the task, or cleaning Airflow's database, loses nothing. Who may answer, and what an answer
counts for, is decided by the rules in ``change``; marking this task as successful by hand yields no permit.
"""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param

from airlock.change.approval import check_vote, eligible, tally
from airlock.change.difference import difference
from airlock.change.text import approval_text
from airlock.errors import GateRefused, PermanentError
from airlock.flow.operators import release_of, task_boundary
from airlock.flow.release import Release
from airlock.flow.stages.change import refreeze, votes_of
from airlock.models import Plan, Vote, utc_now
from airlock.services import ServiceEnvironment

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)
APPROVE, REJECT = "Approve", "Reject"
ANSWER_REASON = "answer_reason"
"""The approver's reason. Not ``reason``: Airflow would fill it in with the requester's, from the trigger form."""


class ApproveOperator(HITLOperator):
    """Asks the people whom the policy names, and ends when they agreed, when one rejected, or when time ran out."""

    def __init__(self, *, environment: ServiceEnvironment, **kwargs: Any) -> None:
        kwargs.pop("params", None)  # Airflow hands down those of the DAG: the trigger form, which nobody fills in here
        super().__init__(
            subject=f"Release {environment.service} to {environment.environment}?",
            options=[APPROVE, REJECT],
            params={
                ANSWER_REASON: Param(
                    "",
                    type=["null", "string"],
                    maxLength=2000,
                    format="multiline",
                    source="task",
                    title="Reason",
                    description="Needed when you reject; welcome when you approve.",
                )
            },
            response_timeout=timedelta(hours=environment.approvals.timeout_hours),
            **kwargs,
        )
        self.environment = environment

    def execute(self, context: Context) -> None:
        """Ask, or go on asking after a retry."""
        release = release_of(self.environment, context)
        with task_boundary(release, self.task_id):
            before, plan = refreeze(release)
            if not plan.approvals:
                log.info(
                    "no approval is needed: %s change, risk %d, allowed by the written policy",
                    plan.rfc.change_type,
                    plan.risk.score,
                )
                return
            if not self._request(context, plan):
                request = uuid.uuid4().hex
                context["task_state_store"].set("request", {"id": request, "plan": plan.digest})
                release.record(
                    "approval_request",
                    request=request,
                    plan_digest=plan.digest,
                    eligible=list(eligible(plan.approvals, plan.rfc.requester)),
                )
            self._ask(context, release, before, plan)

    def _request(self, context: Context, plan: Plan) -> str:
        kept = context["task_state_store"].get("request")
        return str(kept["id"]) if isinstance(kept, dict) and kept["plan"] == plan.digest else ""

    def _ask(self, context: Context, release: Release, before: Plan, plan: Plan) -> None:
        people = eligible(plan.approvals, plan.rfc.requester)
        self.assigned_users = [{"id": person, "name": person} for person in people]
        changed = difference(before, plan) if before.digest != plan.digest else ()
        what = f"{plan.service} {plan.artifact.version} to {plan.environment}"
        self.subject = f"Release {what}? Risk {plan.risk.score} ({plan.risk.level})"
        self.body = approval_text(plan, changed)
        votes = votes_of(release, self._request(context, plan))
        log.info(
            "asking %s to approve plan %s; %s",
            ", ".join(people),
            plan.digest,
            tally(plan.approvals, votes, plan.rfc.requester).sentence,
        )
        link = self.generate_link_to_ui_from_context(context=context, base_url=None) if _has_base_url() else ""
        release.notify(
            "approval_wanted",
            f"Approval wanted: {self.subject}",
            f"plan {plan.digest}",
            link=link,
            approvers=", ".join(people),
        )
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Count the vote; ask again while seats are open."""
        release = release_of(self.environment, context)
        store = context["task_state_store"]
        with task_boundary(release, self.task_id):
            plan = release.plan
            if event.get("error_type") == "timeout":
                store.delete("request")
                raise GateRefused(
                    f"nobody decided within {self.environment.approvals.timeout_hours:g} h; silence is not consent: "
                    "clear this task to ask again"
                )
            answer = super().execute_complete(context, event)
            request = self._request(context, plan)
            vote = self._vote(answer)
            try:
                check_vote(plan.approvals, vote, plan.rfc.requester)
            except PermanentError as error:
                log.warning("the answer of %s does not count: %s; next: ask again", vote.person, error)
                release.record("vote_refused", vote.person, request=request, why=str(error))
                self._ask(context, release, plan, plan)
            release.record(
                "vote", vote.person, request=request, plan_digest=plan.digest, vote=vote.model_dump(mode="json")
            )
            result = tally(plan.approvals, votes_of(release, request), plan.rfc.requester)
            log.info("%s answered %s; %s", vote.person, vote.choice, result.sentence)
            if result.decided == "waiting":
                self._ask(context, release, plan, plan)
            store.delete("request")
            if result.decided == "rejected":
                raise GateRefused(f"rejected: {result.sentence}; nothing was changed")
            log.info("approved; next: the permit is signed")
            return None

    @staticmethod
    def _vote(answer: Any) -> Vote:
        person = (answer["responded_by_user"] or {}).get("id")
        if not person:
            raise GateRefused("an answer without a person is no approval; clear this task to ask again")
        choice = "approve" if answer["chosen_options"] == [APPROVE] else "reject"
        reason = str((answer["params_input"] or {}).get(ANSWER_REASON) or "")[:2000]
        return Vote(person=str(person), choice=choice, at=utc_now(), reason=reason)


def _has_base_url() -> bool:
    from airflow.sdk.configuration import conf

    return bool(conf.get("api", "base_url", fallback=None))
