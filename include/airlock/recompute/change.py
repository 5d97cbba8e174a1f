"""Risk, approval rules, permits, and whether each act lay within its permit: computed again from the records."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from airlock.change.approval import retro_rules_for, rules_for, tally
from airlock.change.basis import Basis, RecordedGround, ground_of
from airlock.change.content import ContentPast, comes_from, worse
from airlock.change.content import refusal as content_refuses
from airlock.change.debt import Debt
from airlock.change.debt import refusal as debts_refuse
from airlock.change.permit import check, expiry, opened
from airlock.change.policy import terms_for, without_authors
from airlock.change.risk import assess
from airlock.change.templates import Restoration, Use
from airlock.change.templates import refusal as template_refuses
from airlock.errors import InvalidInput, PermitInvalid
from airlock.models import Permit, Plan, Rfc, Vote
from airlock.recompute import approval
from airlock.recompute.history import Entry, History, Recomputed, again, compared
from airlock.service.standard_changes import StandardChange
from airlock.signing import Keyring

# An act is announced a moment after its permit was checked; a slow server may lie between.
ACT_LEEWAY = timedelta(minutes=2)
WAY_BACK = ("roll_back", "restore", "migrate_back")
"""Acts that need no permit that is still valid: the way back is part of the approved plan."""


def decisions(history: History) -> Iterator[Recomputed]:
    """Yield every decision of change management."""
    for entry in history.of("standard_change"):
        yield again(history, entry, "standard change", f"allowed: {entry.data.get('allowed')}", _standard)
    for entry in history.of("plan"):
        yield from _plan(history, entry)
    for entry in history.of("emergency"):
        yield again(history, entry, "approval afterwards", str(entry.data.get("hours")), _emergency)
    yield from approval.decisions(history)
    for entry in history.of("permit"):
        yield again(history, entry, "permit", str(entry.data.get("plan_digest"))[:19], _permit)
    for entry in history.of("act"):
        yield again(history, entry, "permitted", entry.record.subject, permitted)


def _plan(history: History, entry: Entry) -> Iterator[Recomputed]:
    plan_data = entry.data.get("plan") or {}
    risk = plan_data.get("risk") or {} if isinstance(plan_data, dict) else {}
    yield again(history, entry, "plan digest", str(entry.data.get("digest"))[:19], _digest)
    answer = f"{risk.get('score')} ({risk.get('level')})" if isinstance(risk, dict) else ""
    yield again(history, entry, "risk", answer, _risk)
    yield again(history, entry, "approval rules", "", _rules)


def _digest(history: History, entry: Entry) -> tuple[str, ...]:
    plan = Plan.model_validate(entry.data["plan"])
    request = history.needed("rfc", entry).data
    asked = {"rfc": request["rfc"], "digest": plan.digest}
    return compared({"rfc": plan.rfc.model_dump(mode="json"), "digest": entry.data["digest"]}, asked)


def _risk(history: History, entry: Entry) -> tuple[str, ...]:
    plan = Plan.model_validate(entry.data["plan"])
    if "replaces" in entry.data:  # the plan was frozen anew with the risk that it had
        earlier = history.needed("plan", entry)
        expected = Plan.model_validate(earlier.data["plan"]).risk
        kept = compared({"replaces": entry.data["replaces"]}, {"replaces": earlier.data["digest"]})
        found = kept + compared(plan.risk.model_dump(mode="json"), expected.model_dump(mode="json"))
        return found + _content_kept(plan, Plan.model_validate(earlier.data["plan"]), entry)
    facts = {**entry.data["facts"], "now": entry.moment(), "current_version": plan.current_version,
             "way_back": plan.way_back.in_short}
    risk = assess(plan.rfc, _ground(plan, entry), facts, Basis.model_validate(entry.data["basis"]).risk_policy)
    found = compared(plan.risk.model_dump(mode="json"), risk.model_dump(mode="json"))
    if facts.get("content") is None:
        return found
    return found + _content(ContentPast.model_validate(facts["content"]), plan.artifact.digest, plan.environment,
                            comes_from(plan.settings.get("after")))


def _content_kept(plan: Plan, before: Plan, entry: Entry) -> tuple[str, ...]:
    """Return why a plan that was frozen anew may not keep the risk of the content *before*."""
    if plan.artifact.digest == before.artifact.digest:
        return ()
    past = ContentPast.model_validate(entry.data["content"])
    why = worse(past, before.risk)
    return _content(past, plan.artifact.digest, plan.environment, comes_from(plan.settings.get("after"))) + (
        (f"content: carried on -> refused, {why}",) if why else ())


def _rules(_: History, entry: Entry) -> tuple[str, ...]:
    plan = Plan.model_validate(entry.data["plan"])
    ground, authors = _ground(plan, entry), None if plan.rfc.change_type == "rollback" else plan.artifact.authors
    rules = without_authors(rules_for(plan.risk, plan.rfc, ground), authors, ground.authors, plan.rfc.requester)
    terms = terms_for(plan.risk, plan.rfc, ground, authors)
    return compared({name: plan.model_dump(mode="json")[name] for name in ("approvals", "terms")},
                    {"approvals": [rule.model_dump(mode="json") for rule in rules],
                     "terms": terms.model_dump(mode="json")})


def _standard(history: History, entry: Entry) -> tuple[str, ...]:
    data, now = entry.data, entry.moment()
    rfc = Rfc.model_validate(history.needed("rfc", entry).data["rfc"])
    template = StandardChange.model_validate(data["template"])
    uses = [Use.model_validate(one) for one in data["uses"]]
    restored = Restoration.model_validate(data["restored"]) if data["restored"] else None
    content = ContentPast.model_validate(data["content"])
    why = (template_refuses(entry.record.subject, template, rfc, uses, restored, data["current_version"], now)
           or content_refuses(entry.record.subject, rfc.version, content)
           or debts_refuse(data["owner"], [Debt.model_validate(one) for one in data["debts"]], now))
    found = compared({**data, "template": rfc.template}, {"allowed": not why, "why": why,
                                                          "template": entry.record.subject})
    return found + _by_plan(history, entry, template) + _content(
        content, _digest_meant(history, entry), rfc.environment, comes_from(data["after"], [template]))


def _by_plan(history: History, entry: Entry, template: StandardChange) -> tuple[str, ...]:
    """Return where what was decided on differs from the plan that was made of it."""
    following = next((one for one in history.of("plan") if one.position > entry.position), None)
    again_decided = history.newest("standard_change", following, None) is not entry if following else True
    if following is None or again_decided:
        return ()
    plan = Plan.model_validate(following.data["plan"])
    declared = StandardChange.model_validate(plan.settings["standard_changes"][entry.record.subject])
    return compared(
        {**entry.data, "declared": template.model_dump(mode="json")},
        {"declared": declared.model_dump(mode="json"), "owner": plan.settings["owner"],
         "current_version": plan.current_version},
    )  # fmt: skip


def _digest_meant(history: History, entry: Entry) -> str:
    """Return the content that was looked at: that of the plan that followed, else of the request."""
    following = next((one for one in history.of("plan") if one.position > entry.position), None)
    found = following.data["plan"] if following else history.needed("rfc", entry).data
    return str(found["artifact"]["digest"])


def _content(past: ContentPast, digest: str, here: str, sources: tuple[str, ...]) -> tuple[str, ...]:
    """Return where what is on record of a content is not about the one that is meant."""
    return compared(past.model_dump(mode="json"), {"digest": digest, "here": here, "comes_from": list(sources)})


def _emergency(history: History, entry: Entry) -> tuple[str, ...]:
    plan, frozen = history.plan(entry), history.needed("plan", entry)
    ground = _ground(plan, frozen)
    rules = without_authors(retro_rules_for(plan.risk, plan.rfc, ground), plan.artifact.authors, ground.authors,
                            plan.rfc.requester)
    return compared(entry.data, {
        "incident": plan.rfc.incident, "plan_digest": plan.digest,
        "hours": plan.settings["emergency"]["retro_approval_hours"],
        "retro_approvals": [rule.model_dump(mode="json") for rule in rules],
    })


def _ground(plan: Plan, entry: Entry) -> RecordedGround:
    return ground_of(plan, Basis.model_validate(entry.data["basis"]))


def _permit(history: History, entry: Entry) -> tuple[str, ...]:
    permit, plan = opened(entry.data["envelope"], _keyring(history)), history.plan(entry)
    if no := approval.rejected(history, entry):
        return (f"votes: a rejection stays one in its release: {no}",)
    votes: list[Vote] = []
    if plan.approvals:
        votes = approval.cast(history, entry)
        result = tally(approval.seats_in_force(history, entry, plan), votes, plan.rfc.requester)
        if result.decided != "approved":
            return (f"votes: the votes on record do not carry the plan: {result.sentence}",)
    found = compared(permit.model_dump(mode="json"), {
        "release": entry.record.release, "plan_digest": plan.digest,
        "votes": [vote.model_dump(mode="json") for vote in votes],
    })
    return (*found, *compared(entry.data, {"plan_digest": plan.digest}), *_time(history, entry, permit))


def _time(history: History, entry: Entry, permit: Permit) -> Iterator[str]:
    hours = history.plan(entry).terms.valid_hours
    ends = expiry(history.plan(entry), permit.votes, permit.not_before, hours)
    if permit.expires_at != ends:
        yield f"expires_at: {permit.expires_at.isoformat()} -> {ends.isoformat()}"
    start = history.plan(entry).rfc.start_after
    begins = max(entry.at - ACT_LEEWAY, start or entry.at - ACT_LEEWAY)
    if not begins <= permit.not_before <= max(entry.at, start or entry.at):
        yield f"not_before: {permit.not_before.isoformat()} -> {max(entry.at, start or entry.at).isoformat()}"


def permitted(history: History, entry: Entry) -> tuple[str, ...]:
    """Return what is wrong with the permit of the act *entry*."""
    if entry.record.subject in WAY_BACK:
        return ()
    plan, permit = history.plan(entry), history.newest("permit", entry)
    envelope = permit.data["envelope"] if permit else None
    try:
        check(envelope, plan, entry.at - ACT_LEEWAY, _keyring(history), approved_plan=plan)
    except PermitInvalid:
        # The permit may have been signed within that time: then the act's own moment must fit.
        try:
            check(envelope, plan, entry.at, _keyring(history), approved_plan=plan)
        except PermitInvalid as error:
            return (f"permit: {error}",)
    return ()


def _keyring(history: History) -> Keyring:
    if history.keyring is None:
        raise InvalidInput("no key is known to check the permit's signature with; give --public-key")
    return history.keyring
