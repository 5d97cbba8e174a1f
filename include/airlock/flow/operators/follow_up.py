"""The tasks of the DAG ``follow_up_release``: people are asked after a release was sealed. No rules here."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Param
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput

from airlock.change.answers import answers_text
from airlock.change.review import QUESTIONS, Question
from airlock.change.text import approval_text, escape
from airlock.errors import AirlockError, InvalidInput
from airlock.flow.operators.approval import ANSWER_REASON, APPROVE, REJECT, reason_param, vote_of
from airlock.flow.operators.human_input import ParkedOperator
from airlock.flow.operators.stopping import Stopped
from airlock.flow.stages import follow_up
from airlock.flow.stages.follow_up import Owed
from airlock.flow.stages.notices import notify
from airlock.flow.stages.outside_releases import StreamRun
from airlock.models import utc_now
from airlock.past.ledgers import FOLLOW_UP
from airlock.service.find import services_folder
from airlock.service.stand_ins import find_standing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context

log = logging.getLogger(__name__)
SUBMIT = "Submit"


@contextmanager
def following(context: Context, task_id: str) -> Iterator[tuple[StreamRun, Owed]]:
    """Yield the follow-up of the DAG run, and what is owed; end with one sentence when something is wrong."""
    asked = context["params"]
    try:
        environment = find_standing(services_folder(), str(asked["service"]), str(asked["environment"]))
        run = StreamRun(environment, FOLLOW_UP, str(asked["release"]), f"task {task_id}")
        yield run, follow_up.owed_after(environment, run.id)
    except AirlockError as error:
        raise Stopped(f"{task_id}: stopped: {error}") from error


class RetroApproveOperator(ParkedOperator):
    """Asks the normal seats to approve an emergency change that has landed."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.pop("params", None)
        super().__init__(subject="Approve an emergency change afterwards?", options=[APPROVE, REJECT],
                         params={ANSWER_REASON: reason_param()}, **kwargs)

    def execute(self, context: Context) -> None:
        """Ask, or end at once when nothing is owed."""
        with following(context, self.task_id) as (run, owed):
            if owed.debt is None:
                raise AirflowSkipException(f"{run.id}: no approval is owed")
            follow_up.begin(run, owed)
            if follow_up.standing(run, owed.debt) != "approved":
                self._ask(context, run, owed)

    def _ask(self, context: Context, run: StreamRun, owed: Owed) -> None:
        debt = owed.debt
        if debt is None:
            return
        people, plan = follow_up.asked(run, debt, utc_now()), follow_up.plan_of(run)
        self.assigned_users = [{"id": person, "name": person} for person in people]
        self.subject = (f"Approve afterwards: emergency change {plan.service} {plan.artifact.version} to "
                        f"{plan.environment}, until {debt.due_at:%d %b %H:%M} UTC")
        seats = tuple(f"- {rule.quorum} of {escape(rule.group)}" for rule in debt.approvals)
        said = ("It landed on the word of fewer people, because of the incident "
                f"{escape(debt.incident)}. These seats approve or reject it now; while that is overdue, the team makes "
                "no standard change.", "", *seats)
        stands = answers_text(debt.approvals, plan.rfc.requester, follow_up.answers(run), people, debt.due_at)
        self.body = f"{stands}\n{approval_text(plan, (), [('This change has been made already', said)])}"
        log.info("asking %s to approve %s afterwards, until %s", ", ".join(people), run.id, debt.due_at.isoformat())
        notify(run, "approval_wanted", self.subject, f"plan {plan.digest}", approvers=", ".join(people))
        self.show(context)
        raise TaskAwaitingInput(method_name="execute_complete", timeout=None)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """Count the vote; ask again while seats are open."""
        with following(context, self.task_id) as (run, owed):
            if owed.debt is None:
                log.info("%s: nothing is owed any more", run.id)
                return
            answer = super().execute_complete(context, event)
            stands = follow_up.cast(run, owed.debt, vote_of(answer, follow_up.plan_of(run).rfc.requester))
            if stands == "rejected":
                raise Stopped(f"{self.task_id}: stopped: {run.id} was rejected afterwards; the debt stays, and people "
                              "are asked again: undo the change by a normal one first")
            if stands == "waiting":
                self._ask(context, run, owed)


class ReviewOperator(ParkedOperator):
    """Asks the questions of the post-implementation review."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.pop("params", None)
        super().__init__(
            subject="Review a release", options=[SUBMIT],
            params={question.name: _param(question) for question in QUESTIONS}, **kwargs,
        )

    def execute(self, context: Context) -> None:
        """Ask, or end at once when no review is owed."""
        with following(context, self.task_id) as (run, owed):
            if not owed.review:
                raise AirflowSkipException(f"{run.id}: no review is owed")
            follow_up.begin(run, owed)
            self._ask(context, run, owed, "")

    def _ask(self, context: Context, run: StreamRun, owed: Owed, fault: str) -> None:
        """Ask for the review; *fault*: whose answer before was not complete, and what it lacked."""
        people, plan = follow_up.reviewers(run), follow_up.plan_of(run)
        self.assigned_users = [{"id": person, "name": person} for person in people]
        self.subject = f"Review {plan.service} {plan.artifact.version} to {plan.environment}: {owed.review}"
        lines = [f"### Review of {escape(run.id)}", "", f"Why: {escape(owed.review)}.", "",
                 f"How it ended: {escape(follow_up.ended(run), 2000)}", "",
                 "Title of the change, in the requester's words:", "", f"> {escape(plan.rfc.title)}", ""]
        if by_hand := follow_up.brought_back_by(run):
            lines += [f"**Brought back by hand:** {escape(by_hand, 2000)}", ""]
        if fault:
            lines += [f"**Not complete yet:** {escape(fault, 2000)}", ""]
        self.body = "\n".join(lines)
        log.info("asking for the review of %s: %s", run.id, ", ".join(people))
        self.show(context)
        raise TaskAwaitingInput(method_name="execute_complete", timeout=None)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """Keep the answers, or say what is missing and ask again."""
        with following(context, self.task_id) as (run, owed):
            if not owed.review:
                log.info("%s: it was reviewed already", run.id)
                return
            answer = super().execute_complete(context, event)
            user = answer["responded_by_user"] or {}
            try:
                follow_up.take_review(run, answer["params_input"] or {}, str(user.get("id") or "unknown"))
            except InvalidInput as error:
                log.warning("%s; next: ask again", error)
                # With whose and when: an answer to a text that did not change would be taken for one that was lost.
                at = answer.get("responded_at") or utc_now()
                self._ask(context, run, owed, f"answer of {user.get('id')} at {at:%H:%M:%S} UTC: {error}")


class CloseOperator(BaseOperator):
    """Seals the follow-up when nothing is owed any more."""

    def execute(self, context: Context) -> None:
        with following(context, self.task_id) as (run, _):
            missing = follow_up.close(run)
        if missing:
            raise Stopped(f"{self.task_id}: stopped: {missing}; people are asked again by the DAG follow_up")


def _param(question: Question) -> Param:
    more: dict[str, Any] = {"format": "multiline"} if question.longest > 200 else {}
    if question.options:
        more = {"enum": [None, *question.options]}
    return Param(None, type=["null", "string"], maxLength=question.longest, title=question.title,
                 description=question.description, source="task", **more)
