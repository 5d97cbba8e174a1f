"""Stages ``validate``, ``assess`` and ``permit``: from the request for change to the signed leave.

Knows no Airflow: what the DAG run brought (the form, the requester) arrives as data.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from airlock.change.approval import rejection, retro_rules_for, tally
from airlock.change.basis import Basis, basis_of
from airlock.change.conflicts import WAITS
from airlock.change.permit import issue
from airlock.change.planning import check_content
from airlock.change.policy import without_authors
from airlock.change.rfc import rfc_from_form
from airlock.change.risk_policy import RiskPolicy, load_risk_policy
from airlock.deploy.landing import acted
from airlock.deploy.resolution import resolve, resolve_artifact
from airlock.errors import GateRefused, InvalidInput
from airlock.flow.stages import conflicts, migrate
from airlock.flow.stages.assessment import Question
from airlock.flow.stages.assessment import assess as assess_request
from airlock.flow.stages.content import replaced_artifact, stood
from airlock.flow.stages.cycle import way_back
from airlock.flow.stages.notices import notify
from airlock.flow.stages.permitted_act import await_earlier
from airlock.flow.stages.release import Release
from airlock.models import Artifact, Plan, Record, Rfc, Vote, utc_now
from airlock.service.deep_check import check_deep
from airlock.service.stand_ins import require_declared

log = logging.getLogger(__name__)


def validate(
    release: Release,
    form: Mapping[str, Any],
    requester: str,
    digest: str | None = None,
    train: str | None = None,
    asked_at: datetime | None = None,
) -> Rfc:
    """Accept the request for change, or refuse it with every fault at once.

    :param digest: the content that is meant, where a cycle or a train chose it
    :param train: the departure of the release train that asks
    :param asked_at: when a person asked
    :raises InvalidInput: the form, the service file or the artifact is wrong
    """
    require_declared(release.environment)
    check_deep(release.environment)
    rfc = rfc_from_form(form, requester, release.environment, asked_at)
    return accept(release, Rfc.model_validate({**rfc.model_dump(), "digest": digest, "train": train}))


def accept(release: Release, rfc: Rfc) -> Rfc:
    """Record *rfc* with its artifact.

    :raises InvalidInput: there is no such artifact, or its content is not the one asked for
    """
    artifact = resolve_artifact(release.environment, rfc.version, returns=rfc.returns)
    check_content(rfc, artifact)
    release.record("rfc", rfc=rfc.model_dump(mode="json"), artifact=artifact.model_dump(mode="json"))
    log.info(
        "RFC accepted: %s %s %s, %s change asked for by %s: %s",
        rfc.service,
        rfc.environment,
        rfc.version,
        rfc.change_type,
        rfc.requester,
        rfc.title,
    )
    log.info("artifact %s has digest %s; next: assess the risk and freeze the plan", artifact.path, artifact.digest)
    notify(
        release, "start",
        (f"Return of {rfc.service} in {rfc.environment} to {rfc.version}" if rfc.change_type == "rollback" else
         f"Release of {rfc.service} {rfc.version} to {rfc.environment}"),
        rfc.title,
        requester=rfc.requester,
        change_type=rfc.change_type,
    )
    return rfc


def assess(release: Release) -> Plan:
    """Score the risk and freeze the plan. In mid-release the plan stands: a canary that was begun is not begun again.

    :raises GateRefused: the version is already stable, or no quorum of approvers can be met
    :raises TemporaryError: an earlier release has not landed
    """
    if acted(release.records()):
        log.info("the release has begun under plan %s, which stands", release.plan.digest)
        return release.plan
    rfc = release.rfc
    await_earlier(release)
    state = release.delivery.inspect()
    if len(state.versions) > 1:
        log.info("versions on the target now: %s", ", ".join(f"{v.version} {v.weight} %" for v in state.versions))
    if rfc.undoes is not None and (back := way_back(release, state.stable)).undoes != rfc.undoes:
        raise GateRefused(
            f"{release.id}: the request takes back {rfc.undoes}, but the newest release here is {back.undoes} now; "
            "trigger a new run"
        )
    artifact, now = _signed_artifact(release, rfc), utc_now()
    question = Question(release.environment, release.id, rfc, artifact, state.stable, now, _risk_policy(release, rfc))
    found = assess_request(question, lambda: migrate.examine(release, artifact), stood=partial(stood, release, rfc))
    plan, rules, risk = found.plan, found.plan.approvals, found.plan.risk
    release.record("plan", plan=plan.model_dump(mode="json"), digest=plan.digest, facts=found.facts,
                   basis=_basis(release, question.policy), at=now.isoformat())
    if rfc.calendar_override is not None:
        named = ", ".join(f"{one['code']} {one['name']}".strip() for one in plan.calendar["overridden"])
        log.warning("the request asks to override the calendar: %s", named or "nothing closes it at that time")
    release.record("calendar", "assess", **found.calendar.as_record())
    _owe(release, plan)
    log.info("calendar: %s", found.calendar.decision.sentence)
    for factor in risk.factors:
        log.info("risk factor %-24s %3d  %s", factor.name, factor.points, factor.reason)
    seats = (
        "; ".join(f"{rule.quorum} of {rule.group}" for rule in rules) or f"none, by the policy: {plan.terms.rule}"
    )
    log.info("risk %d (%s) by policy %s; approvals needed: %s", risk.score, risk.level, str(risk.policy)[:19], seats)
    conflicts.register(release, plan, WAITS, now)
    conflicts.note(release, plan, now)
    log.info("plan frozen, digest %s; next: %s", plan.digest,
             "people approve it in the task change.approve" if rules else "the permit; nobody is asked")
    return plan


def _signed_artifact(release: Release, rfc: Rfc) -> Artifact:
    """Return the artifact that *rfc* asks for; put on record what its signatures were verified with.

    :raises GateRefused: a signature that is demanded is missing
    """
    found = resolve(release.environment, rfc.version, returns=rfc.returns)
    for one in found.evidence:
        release.record("signature", one.verified.content.removeprefix("sha256:")[:16], **one.model_dump(mode="json"))
        log.info("%s is signed: %s of %s by key %s", found.artifact.path, one.verified.predicate_type or "signature",
                 one.verified.subject, one.verified.key[:16])
    return found.artifact


def _risk_policy(release: Release, rfc: Rfc) -> RiskPolicy:
    """Return the risk policy; for the way back, while its file is wrong, the one that what is taken back had."""
    try:
        return load_risk_policy()
    except InvalidInput as error:
        taken_back = None if rfc.undoes is None else release.ledger.latest(rfc.undoes, "plan")
        if taken_back is None:
            raise
        log.warning("the risk policy is wrong, so that of %s is used for the way back: %s", rfc.undoes, error)
        return Basis.model_validate(taken_back.data["basis"]).risk_policy


def _basis(release: Release, policy: RiskPolicy) -> dict[str, Any]:
    return basis_of(release.environment, policy).model_dump(mode="json")


def _owe(release: Release, plan: Plan) -> None:
    """Put on record what an emergency change owes once it has landed."""
    if plan.rfc.change_type != "emergency":
        return
    environment, hours = release.environment, release.environment.emergency
    rules = without_authors(retro_rules_for(plan.risk, plan.rfc, environment), plan.artifact.authors,
                            environment.authors, plan.rfc.requester)
    release.record("emergency", incident=plan.rfc.incident, hours=hours.retro_approval_hours, plan_digest=plan.digest,
                   retro_approvals=[rule.model_dump(mode="json") for rule in rules])
    if rules:
        log.info("an emergency change: once it has landed, it is to be approved within %g h by %s",
                 hours.retro_approval_hours, "; ".join(f"{rule.quorum} of {rule.group}" for rule in rules))


def refreeze(release: Release) -> tuple[Plan, Plan]:
    """Freeze the plan anew where service file, artifact or policy changed; return the plan before and the one now.

    :raises GateRefused: the way back, or what is known of the content, became worse than what the risk was scored with
    """
    before = release.plan
    now = release.present_plan(before)
    if now.artifact.signatures != before.artifact.signatures:
        now = now.model_copy(update={"artifact": _signed_artifact(release, before.rfc)})
    if now.settings.get("migrations") != before.settings.get("migrations"):
        raise GateRefused(
            f"{release.id}: what the service file says about migrations has changed since the plan was made, so the "
            "way back must be judged and scored anew; trigger a new run"
        )
    content = None
    if now.artifact.digest != before.artifact.digest:
        content = replaced_artifact(release, before, now.artifact)
        now = now.model_copy(update={"way_back": migrate.examine_again(release, now.artifact)})
    if now.digest != before.digest:
        policy = Basis.model_validate((release.latest("plan") or {})["basis"]).risk_policy  # that of the risk it had
        release.record("plan", plan=now.model_dump(mode="json"), digest=now.digest, basis=_basis(release, policy),
                       replaces=before.digest, content=content)
        _owe(release, now)
        log.info("the plan changed since it was frozen: %s is replaced by %s", before.digest[:19], now.digest[:19])
    return before, now


def votes_of(release: Release, request: str) -> tuple[Vote, ...]:
    """Return the votes that answered one approval *request*, oldest first. A vote that says another plan than the one
    that its request asked about is not counted."""
    return tuple(vote for of, vote in _votes(release) if of == request)


def _votes(release: Release) -> tuple[tuple[str, Vote], ...]:
    """Return every vote that counts, oldest first, with its request."""
    records = release.records()
    asked = {one.data["request"]: one.data["plan_digest"] for one in records if one.type == "approval_request"}
    return tuple((one.data["request"], Vote.model_validate(one.data["vote"])) for one in records
                 if one.type == "vote" and one.data.get("plan_digest") == asked.get(one.data["request"]))


def open_request(release: Release, plan: Plan, now: datetime) -> str | None:
    """Return the approval request that votes on *plan* belong to, or ``None`` when people must be asked anew.

    They are asked anew when the plan changed, when nobody decided in time, and when the votes are older than a permit
    may be. A retry goes on with the request it had, so that nobody is asked twice for the same.

    :raises GateRefused: somebody rejected it: that stays so in this release, whatever its plan became
    """
    _refuse_rejected(release)
    asked = release.latest("approval_request")
    if asked is None or asked["plan_digest"] != plan.digest:
        return None
    request = str(asked["request"])
    if any(over.data["request"] == request for over in release.recorded("approval_over")):
        return None
    oldest = now - timedelta(hours=plan.terms.valid_hours)
    return None if any(vote.at < oldest for vote in votes_of(release, request)) else request


def _refuse_rejected(release: Release) -> None:
    if no := rejection(vote for _, vote in _votes(release)):
        raise GateRefused(f"{no}; nothing was changed")


def request_record(release: Release, request: str | None = None) -> Record | None:
    """Return the record of the approval *request*, or of the newest one; ``None`` if there is none."""
    found = [one for one in release.recorded("approval_request") if request in (None, one.data["request"])]
    return found[-1] if found else None


def escalated_at(release: Release, request: str) -> datetime | None:
    """Return when *request* was escalated, or ``None`` if it was not."""
    found = [one for one in release.recorded("escalation") if one.data["request"] == request]
    return datetime.fromisoformat(found[0].data["at"]) if found else None


def permit(release: Release) -> None:
    """Issue the permit, from the recorded votes alone: what state the task ``approve`` shows does not matter.

    :raises GateRefused: the votes on record do not carry the plan, or reject it
    """
    _refuse_rejected(release)
    plan = release.plan
    asked = release.latest("approval_request")
    votes: tuple[Vote, ...] = ()
    if plan.approvals:
        if asked is None or asked["plan_digest"] != plan.digest:
            raise GateRefused(
                f"{release.id}: nobody was asked to approve plan {plan.digest}; clear the task change.approve"
            )
        votes = votes_of(release, asked["request"])
        escalated = escalated_at(release, asked["request"]) is not None
        result = tally(plan.terms.escalation if escalated else plan.approvals, votes, plan.rfc.requester)
        if result.decided != "approved":
            raise GateRefused(
                f"{release.id}: no permit, the votes on record do not carry the plan: {result.sentence}; "
                "clear the task change.approve to ask again"
            )
    envelope = issue(plan, votes, utc_now(), plan.terms.valid_hours, release.signer)
    release.record("permit", envelope=envelope, plan_digest=plan.digest)
    log.info(
        "permit signed for plan %s, valid for %g h, on the word of %s; next: wait for an open window",
        plan.digest,
        plan.terms.valid_hours,
        ", ".join(dict.fromkeys(vote.person for vote in votes)) or f"the written policy: {plan.terms.rule}",
    )
    notify(release, "permitted", "Permit signed", f"plan {plan.digest}, valid for {plan.terms.valid_hours:g} h")
