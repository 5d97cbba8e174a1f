"""The human approval sensor: one parked task that collects votes until a quorum of distinct people agreed.

Airflow accepts one answer for each request, so the request is renewed after every vote. The vote itself goes to the
ledger at once: clearing the task, or cleaning Airflow's database, loses nothing. Who may answer, and what an answer
counts for, is decided by the rules in ``change``; marking this task as successful by hand yields no permit.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import Param
from airflow.sdk.exceptions import TaskAwaitingInput

from airlock.change.answers import answers_text
from airlock.change.asking import ESCALATED
from airlock.change.conflicts import WAITS
from airlock.change.difference import difference
from airlock.change.return_text import return_text
from airlock.change.text import Section, approval_text, changes_text
from airlock.errors import GateRefused
from airlock.flow.operators.human_input import ParkedOperator
from airlock.flow.operators.task import first_release, release_of, task_boundary
from airlock.flow.stages import approval, conflicts
from airlock.flow.stages.approval import Standing
from airlock.flow.stages.change import open_request, refreeze
from airlock.flow.stages.following_release import approved_before, ask_again
from airlock.flow.stages.notices import notify
from airlock.flow.stages.release import Release
from airlock.models import Plan, Vote, digest_of, utc_now
from airlock.same_person import may_be_same
from airlock.service.find import ServiceEnvironment

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)
APPROVE, REJECT = "Approve", "Reject"
ANSWER_REASON = "answer_reason"
"""The approver's reason. Not ``reason``: Airflow would fill it in with the requester's, from the trigger form."""


class ApproveOperator(ParkedOperator):
    """Asks the people whom the policy names, and ends when they agreed, when one rejected, or when time ran out."""

    def __init__(self, *, environment: ServiceEnvironment, **kwargs: Any) -> None:
        kwargs.pop("params", None)  # Airflow hands down those of the DAG: the trigger form, which nobody fills in here
        super().__init__(
            subject=f"Release {environment.service} to {environment.environment}?",
            options=[APPROVE, REJECT],
            params={ANSWER_REASON: reason_param()},
            **kwargs,
        )
        self.environment = environment

    def execute(self, context: Context, event: Any = None) -> None:  # noqa: ARG002 - what the trigger brings
        """Ask, or go on asking after a retry; end at once when the votes on record carry the plan already."""
        ended = release_of(self.environment, context)
        with task_boundary(ended, self.task_id, after_seal=True):
            release = ask_again(ended, first_release(self.environment, context))
        with task_boundary(release, self.task_id):
            _, plan = refreeze(release)
            if not plan.approvals:
                log.info(
                    "no approval is needed: %s change, risk %d, allowed by the written policy: %s",
                    plan.rfc.change_type,
                    plan.risk.score,
                    plan.terms.rule,
                )
                return
            now = utc_now()
            conflicts.register(release, plan, WAITS, now)
            if open_request(release, plan, now) is None:
                approval.opened(release, plan, now, conflicts.note(release, plan, now))
            self._go_on(context, release, plan)

    def _go_on(self, context: Context, release: Release, plan: Plan, shown: str = "") -> None:
        """Return when the plan is approved; else ask whoever is there, or wait until somebody is.

        :param shown: digest of the request that people see, if the task wakes up by itself and nobody has answered
        :raises GateRefused: it is rejected, or time is up
        """
        standing = approval.look(release, plan, utc_now())
        if standing.decided == "approved":
            log.info("approved by the votes on record: %s; next: the permit is signed", standing.sentence)
            return
        seconds = max(1.0, (standing.look_at - utc_now()).total_seconds())
        if not standing.present.people:
            log.warning("nobody can be asked now: %s; next: look again at %s", standing.present.sentence,
                        f"{standing.look_at:%d %b %H:%M} UTC")
            self.defer(trigger=DateTimeTrigger(moment=standing.look_at), method_name="execute")
        self._ask(context, release, plan, standing, shown)
        raise TaskAwaitingInput(
            method_name="execute_complete", kwargs={"shown": self._shown()}, timeout=timedelta(seconds=seconds)
        )

    def _ask(self, context: Context, release: Release, plan: Plan, standing: Standing, shown: str) -> None:
        people = standing.present.people
        self.assigned_users = [{"id": person, "name": person} for person in people]
        escalated = "Escalated: " if standing.asking.stage == ESCALATED else ""
        self.subject = f"{escalated}{question(plan)}"
        sections = approval.sections_of(release, standing.request)
        standing_text = answers_text(standing.asking.rules, plan.rfc.requester,
                                     approval.answers(release, standing.request), people, standing.asking.ends_at)
        self.body = f"{standing_text}\n{request_text(release, replaced(release, plan), plan, sections)}"
        if shown == self._shown():
            # Not asked again: an answer that comes in this moment would be lost.
            return
        log.info("asking %s to approve plan %s until %s: %s", ", ".join(people), plan.digest,
                 f"{standing.asking.ends_at:%d %b %H:%M} UTC", standing.sentence)
        link = self.generate_link_to_ui_from_context(context=context, base_url=None) if _has_base_url() else ""
        # With the plan, because people are told once for each title, and a plan that changed is another question.
        title = f"Approval wanted: {self.subject}, plan {plan.digest[7:19]}"
        text = f"plan {plan.digest}"
        notify(release, "approval_wanted", title, text, link=link, approvers=", ".join(people))
        self.show(context)

    def _shown(self) -> str:
        return digest_of([self.subject, self.body, self.assigned_users])

    def execute_complete(self, context: Context, event: dict[str, Any], shown: str = "") -> None:
        """Count the vote, or remind and escalate when it was time to look; ask again while seats are open.

        :param shown: digest of what people were asked
        """
        release = release_of(self.environment, context)
        with task_boundary(release, self.task_id):
            plan = release.plan
            if event.get("error_type") == "timeout":
                self._go_on(context, release, plan, shown)
                return
            approval.cast(release, plan, vote_of(super().execute_complete(context, event), plan.rfc.requester))
            self._go_on(context, release, plan)


def question(plan: Plan) -> str:
    """Return what people are asked, in one line."""
    if plan.returns:
        return f"Return {plan.service} in {plan.environment} from {plan.current_version} to {plan.artifact.version}?"
    return (f"Release {plan.service} {plan.artifact.version} to {plan.environment}? Risk {plan.risk.score} "
            f"({plan.risk.level})")


def reason_param() -> Param:
    """Return the field for the approver's reason."""
    return Param(
        "",
        type=["null", "string"],
        maxLength=2000,
        format="multiline",
        source="task",
        title="Reason",
        description="Needed when you reject; welcome when you approve.",
    )


def vote_of(answer: Any, requester: str) -> Vote:
    """Return the vote in Airflow's *answer* to a request; who may have the requester's name votes as the requester.

    :raises GateRefused: the answer has no person
    """
    user = answer["responded_by_user"] or {}
    # With some log-ins a person's id is a number; the run, which tells who asked, always has the name.
    name, identity = str(user.get("name") or ""), user.get("id")
    person = requester if may_be_same(name, requester) else identity
    if not person:
        raise GateRefused("an answer without a person is no approval; clear this task to ask again")
    choice = "approve" if answer["chosen_options"] == [APPROVE] else "reject"
    reason = str((answer["params_input"] or {}).get(ANSWER_REASON) or "")[:2000]
    return Vote(person=str(person), choice=choice, at=answer.get("responded_at") or utc_now(), reason=reason)


def replaced(release: Release, plan: Plan) -> Plan:
    """Return the plan that *plan* took the place of when it was frozen anew; *plan* itself if there is none."""
    frozen = release.latest("plan") or {}
    return release.plan_of(str(frozen.get("replaces", ""))) or plan


def request_text(release: Release, before: Plan, plan: Plan, sections: Sequence[Section] = ()) -> str:
    """Return what approvers read: just the difference where a plan was approved before and it can all be shown.

    :param sections: what they read beside the plan, as heading and lines
    """
    approved = approved_before(release)
    former = (approved or before).model_copy(update={"release": plan.release})
    if _points(former) == _points(plan):  # their reasons tell the time of day
        former = former.model_copy(update={"risk": plan.risk})
    changed = difference(former, plan)
    if plan.returns:
        return return_text(plan, changed, sections)
    if approved is not None and not any(line.startswith("... and ") for line in changed):
        return changes_text(approved, plan, changed, sections)
    return approval_text(plan, changed, sections)


def _points(plan: Plan) -> list[tuple[str, int]]:
    return [(factor.name, factor.points) for factor in plan.risk.factors]


def _has_base_url() -> bool:
    from airflow.sdk.configuration import conf

    return bool(conf.get("api", "base_url", fallback=None))
