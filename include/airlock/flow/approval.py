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

from airlock.change.approval import Tally, check_vote, eligible, tally
from airlock.change.difference import difference
from airlock.change.text import approval_text, changes_text
from airlock.errors import GateRefused, PermanentError
from airlock.flow.again import approved_before, ask_again
from airlock.flow.release import Release
from airlock.flow.stages.change import open_request, refreeze, votes_of
from airlock.flow.task import first_release, release_of, task_boundary
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

    template_fields = ()
    """Nothing here is a template: subject and body hold what strangers wrote."""

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
        """Ask, or go on asking after a retry; end at once when the votes on record carry the plan already."""
        ended = release_of(self.environment, context)
        with task_boundary(ended, self.task_id, after_seal=True):
            release = ask_again(ended, first_release(self.environment, context))
        with task_boundary(release, self.task_id):
            before, plan = refreeze(release)
            if not plan.approvals:
                log.info(
                    "no approval is needed: %s change, risk %d, allowed by the written policy",
                    plan.rfc.change_type,
                    plan.risk.score,
                )
                return
            request = open_request(release, plan, utc_now())
            if request is None:
                request = uuid.uuid4().hex
                people = list(eligible(plan.approvals, plan.rfc.requester))
                release.record("approval_request", request=request, plan_digest=plan.digest, eligible=people)
            if _waiting(tally(plan.approvals, votes_of(release, request), plan.rfc.requester)):
                self._ask(context, release, before, plan)

    def _ask(self, context: Context, release: Release, before: Plan, plan: Plan) -> None:
        people = eligible(plan.approvals, plan.rfc.requester)
        self.assigned_users = [{"id": person, "name": person} for person in people]
        what = f"{plan.service} {plan.artifact.version} to {plan.environment}"
        self.subject = f"Release {what}? Risk {plan.risk.score} ({plan.risk.level})"
        self.body = request_text(release, before, plan)
        log.info("asking %s to approve plan %s", ", ".join(people), plan.digest)
        link = self.generate_link_to_ui_from_context(context=context, base_url=None) if _has_base_url() else ""
        title = f"Approval wanted: {self.subject}"
        text = f"plan {plan.digest}"
        release.notify("approval_wanted", title, text, link=link, approvers=", ".join(people))
        self._park(context)

    def _park(self, context: Context) -> None:
        """Open the request in Airflow and wait, without a worker, for an answer.

        :raises GateRefused: Airflow shows another request than this one, so the answer would be to something else
        """
        from airflow.sdk.api.datamodels._generated import HITLUser
        from airflow.sdk.exceptions import TaskAwaitingInput
        from airflow.sdk.execution_time.comms import CreateHITLDetailPayload
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        asked = self.assigned_users or []
        wanted = CreateHITLDetailPayload(
            ti_id=context["ti"].id,
            options=self.options,
            subject=self.subject,
            body=self.body,
            multiple=False,
            params=self.serialized_params,
            assigned_users=[HITLUser.model_validate(one) for one in asked],
        )
        shown = SUPERVISOR_COMMS.send(msg=wanted)
        people = {user.id for user in getattr(shown, "assigned_users", None) or ()}
        if getattr(shown, "body", None) != self.body or people != {user["id"] for user in asked}:
            raise GateRefused(
                "Airflow still shows an earlier request for approval, so an answer would be to something else than "
                "this plan: see that the plugin airlock is loaded by the api-server, then clear this task again"
            )
        raise TaskAwaitingInput(method_name="execute_complete", timeout=self.response_timeout)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """Count the vote; ask again while seats are open."""
        release = release_of(self.environment, context)
        with task_boundary(release, self.task_id):
            plan = release.plan
            if event.get("error_type") == "timeout":
                hours = self.environment.approvals.timeout_hours
                raise GateRefused(
                    f"nobody decided within {hours:g} h; silence is not consent: clear this task to ask again"
                )
            vote = vote_of(super().execute_complete(context, event), plan.rfc.requester)
            request = open_request(release, plan, utc_now())
            if request is None:
                raise GateRefused(
                    f"the answer of {vote.person} belongs to no open request; clear this task to ask again"
                )
            try:
                check_vote(plan.approvals, vote, plan.rfc.requester)
            except PermanentError as error:
                log.warning("the answer of %s does not count: %s; next: ask again", vote.person, error)
                refused = vote.model_dump(mode="json")
                release.record("vote_refused", vote.person, request=request, vote=refused, why=str(error))
                self._ask(context, release, plan, plan)
            data = vote.model_dump(mode="json")
            release.record("vote", vote.person, request=request, plan_digest=plan.digest, vote=data)
            result = tally(plan.approvals, votes_of(release, request), plan.rfc.requester)
            log.info("%s answered %s; %s", vote.person, vote.choice, result.sentence)
            if _waiting(result):
                self._ask(context, release, plan, plan)


def _waiting(result: Tally) -> bool:
    """Whether seats are still open, by the votes on record.

    :raises GateRefused: somebody rejected, and that stands, also when the task is tried again
    """
    if result.decided == "rejected":
        raise GateRefused(f"rejected: {result.sentence}; nothing was changed")
    if result.decided == "approved":
        log.info("approved by the votes on record: %s; next: the permit is signed", result.sentence)
    return result.decided == "waiting"


def vote_of(answer: Any, requester: str) -> Vote:
    """Return the vote in Airflow's *answer* to a request; who has the requester's name votes as the requester.

    :raises GateRefused: the answer has no person
    """
    user = answer["responded_by_user"] or {}
    # With some log-ins a person's id is a number; the run, which tells who asked, always has the name.
    person = requester if user.get("name") == requester else user.get("id")
    if not person:
        raise GateRefused("an answer without a person is no approval; clear this task to ask again")
    choice = "approve" if answer["chosen_options"] == [APPROVE] else "reject"
    reason = str((answer["params_input"] or {}).get(ANSWER_REASON) or "")[:2000]
    return Vote(person=str(person), choice=choice, at=utc_now(), reason=reason)


def request_text(release: Release, before: Plan, plan: Plan) -> str:
    """Return what approvers read: just the difference where a plan was approved before and it can all be shown."""
    approved = approved_before(release)
    former = (approved or before).model_copy(update={"release": plan.release})
    if _points(former) == _points(plan):  # their reasons tell the time of day
        former = former.model_copy(update={"risk": plan.risk})
    changed = difference(former, plan)
    if approved is not None and not any(line.startswith("... and ") for line in changed):
        return changes_text(approved, plan, changed)
    return approval_text(plan, changed)


def _points(plan: Plan) -> list[tuple[str, int]]:
    return [(factor.name, factor.points) for factor in plan.risk.factors]


def _has_base_url() -> bool:
    from airflow.sdk.configuration import conf

    return bool(conf.get("api", "base_url", fallback=None))
