"""How risky a release is, with every factor that counted and why. Pure; must not know who approves what.

The score is the sum of the factors' points, at most 100. How many points a factor gives stands in the risk policy. Of
rules and questionnaire only the higher one counts: they rate the same thing, from two sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airlock.change.basis import Ground
from airlock.change.content import CONTENT, ContentPast
from airlock.change.form import IMPACTS, QUESTIONS
from airlock.change.history import PastChange, fail_rate
from airlock.change.policy import suits
from airlock.change.risk_policy import RiskCondition, RiskPolicy, Rule
from airlock.change.templates import version_step
from airlock.models import Rfc, Risk, RiskFactor, digest_of
from airlock.service.values import DAYS

_IMPACT = re.compile(r"(low|medium|high)\b")
_LIMIT = 300


def assess(rfc: Rfc, ground: Ground, facts: Mapping[str, Any], policy: RiskPolicy) -> Risk:
    """Return the risk of carrying out *rfc* by *policy*.

    :param facts: what is known besides; a missing fact never lowers the score:
        ``now`` (aware datetime; ``start_after`` of the RFC wins when it is later),
        ``current_version`` (text),
        ``artifact_bytes`` (``{"now": bytes, "wanted": bytes}``),
        ``way_back`` (``{"verdict": "reversible|fix_forward|needs_restore", "reason": text}``),
        ``restore_drills`` (``kind.resource`` -> moment of the newest successful proof),
        ``history`` (past changes of the service environment, newest first),
        ``content`` (a ``ContentPast``: how this very content fared before).
    """
    past = _content_past(facts.get("content"))
    factors = (
        _content(past, rfc, policy),
        _rules_or_questionnaire(rfc, ground, policy),
        RiskFactor(name="tier", points=policy.tier[ground.tier],
                   reason=f"the service is of tier {ground.tier} (1 matters most, 4 least)"),
        RiskFactor(name="environment", points=policy.production if ground.production else 0,
                   reason=f"{ground.environment} {'is' if ground.production else 'is not'} production"),
        RiskFactor(name="change type", points=policy.change_type[rfc.change_type],  # type: ignore[index]
                   reason=f"it is {'an' if rfc.change_type == 'emergency' else 'a'} {rfc.change_type} change"),
        RiskFactor(name="category", points=policy.category[rfc.category],
                   reason=f"it touches {rfc.category.replace('_', ' ')}"),
        _hours(rfc, ground, facts.get("now"), policy),
        _resources(ground, policy),
        _version(facts.get("current_version"), rfc.version, policy),
        _artifact(facts.get("artifact_bytes"), policy),
        _way_back(facts.get("way_back"), policy),
        _restore_drills(ground, facts, policy),
        _history(facts.get("history"), policy),
    )
    score = max(0, min(100, sum(factor.points for factor in factors)))
    return Risk(score=score, level=policy.level_of(score), factors=factors, policy=digest_of(policy),
                failed_before=rfc.change_type != "rollback" and (past is None or past.failed))


def _content_past(known: Any) -> ContentPast | None:
    return None if known is None else ContentPast.model_validate(known)


def _content(past: ContentPast | None, rfc: Rfc, policy: RiskPolicy) -> RiskFactor:
    weights = policy.content
    if past is None:
        points, said = weights.unknown, "how this very content fared before is unknown"
    else:
        points = max(weights.failed_here if past.failed_here else 0, weights.failed_before if past.failed_before else 0,
                     weights.not_promoted if past.missing else 0)
        said = "; ".join(past.sentences())
    if rfc.change_type == "rollback":
        points, said = 0, f"it had all traffic here before; {said}"
    return RiskFactor(name=CONTENT, points=points, reason=said)


def _rules_or_questionnaire(rfc: Rfc, ground: Ground, policy: RiskPolicy) -> RiskFactor:
    match = _IMPACT.match(rfc.impact)
    impact = match[1] if match else None
    fitting = _first_rule(rfc, ground, impact, policy)
    by_rule = fitting.points if fitting else 0
    rule_said = f"rule {fitting.name!r} gives {by_rule}" if fitting else "no rule fits"
    by_answers, answers_said = _questionnaire(rfc, impact, policy)
    higher = "the rule" if by_rule > by_answers else "the questionnaire"
    return RiskFactor(name="rules or questionnaire", points=max(by_rule, by_answers),
                      reason=f"{rule_said}; {answers_said}; the higher counts, {higher}")


def _first_rule(rfc: Rfc, ground: Ground, impact: str | None, policy: RiskPolicy) -> Rule | None:
    """Return the first rule that fits; where the impact is not rated, the one of most points among those that any
    impact would give."""
    first = [next((rule for rule in policy.rules if _fits(rule.when, rfc, ground, one)), None)
             for one in ((impact,) if impact else IMPACTS)]
    return max((rule for rule in first if rule), key=lambda rule: rule.points, default=None)


def _fits(when: RiskCondition, rfc: Rfc, ground: Ground, impact: str) -> bool:
    return suits(when, rfc, ground) and (not when.impacts or impact in when.impacts)


def _questionnaire(rfc: Rfc, impact: str | None, policy: RiskPolicy) -> tuple[int, str]:
    """Return the points of the answers, and what was answered. No answer counts as the worst one."""
    if rfc.change_type == "standard":
        return 0, "the questions were answered when the template was approved"
    if rfc.change_type == "rollback":
        return 0, "it leads back to a version that had all traffic here"
    total, said = 0, []
    for question, answer in {"impact": impact, **{name: rfc.answers.get(name) for name in QUESTIONS}}.items():
        weights = policy.questionnaire[question]
        points = weights.get(answer or "", max(weights.values()))
        total += points
        shown = answer.replace("_", " ") if answer in weights and answer else "not answered, counts as the worst"
        said.append(f"{question.replace('_', ' ')} {shown} {points}")
    return total, f"the questionnaire gives {total} ({', '.join(said)})"


def _hours(rfc: Rfc, ground: Ground, now: datetime | None, policy: RiskPolicy) -> RiskFactor:
    hours = policy.hours
    moments = [moment for moment in (now, rfc.start_after) if moment is not None]
    if not moments:
        return RiskFactor(name="hours", points=hours.outside, reason="the time is unknown: it counts as out of hours")
    local = max(moments).astimezone(ZoneInfo(ground.calendar.timezone))
    inside = DAYS[local.weekday()] in hours.days and hours.start <= f"{local:%H:%M}" < hours.end
    where = f"{local:%A %H:%M} in {ground.calendar.timezone}"
    return RiskFactor(name="hours", points=0 if inside else hours.outside,
                      reason=f"{where} is {'within' if inside else 'outside'} office hours "
                      f"({', '.join(hours.days)} {hours.start} to {hours.end})")


def _resources(ground: Ground, policy: RiskPolicy) -> RiskFactor:
    count = len(ground.resources)
    return RiskFactor(name="resources", points=min(policy.size.resources_at_most, policy.size.per_resource * count),
                      reason=f"{count} resource(s) could be damaged")


def _version(current: str | None, wanted: str, policy: RiskPolicy) -> RiskFactor:
    step = version_step(current, wanted)
    if step is None:
        return RiskFactor(name="version step", points=policy.size.version_unknown,
                          reason="how far the version jumps is unknown: one of both has no numbers to compare")
    said = {"older": f"{wanted} is older than {current}", "patch": f"{wanted} is a small step from {current}"}
    return RiskFactor(name="version step", points=policy.size.version[step],  # type: ignore[index]
                      reason=said.get(step, f"{wanted} is another {step} version than {current}"))


def _artifact(sizes: Mapping[str, int] | None, policy: RiskPolicy) -> RiskFactor:
    if not sizes or not isinstance(sizes.get("now"), int) or not isinstance(sizes.get("wanted"), int):
        return RiskFactor(name="artifact size", points=policy.size.artifact_unknown,
                          reason="how much the artifact differs from that of the version now is unknown")
    now, wanted = sizes["now"], sizes["wanted"]
    percent = 100 * abs(wanted - now) / max(now, 1)
    points = max((band.points for band in policy.size.artifact if percent >= band.from_percent), default=0)
    return RiskFactor(name="artifact size", points=points,
                      reason=f"the artifact has {wanted} bytes, that of the version now {now}: {percent:.1f} % differ")


def _way_back(verdict: Mapping[str, str] | None, policy: RiskPolicy) -> RiskFactor:
    known = {"reversible": policy.way_back.reversible, "fix_forward": policy.way_back.fix_forward,
             "needs_restore": policy.way_back.needs_restore}
    found = verdict.get("verdict", "") if isinstance(verdict, Mapping) else ""
    if verdict is None or found not in known:
        return RiskFactor(name="way back", points=policy.way_back.unknown,
                          reason="whether the release can be taken back is unknown, so it counts as irreversible")
    return RiskFactor(name="way back", points=known[found],
                      reason=f"{found.replace('_', ' ')}: {str(verdict.get('reason', ''))[:_LIMIT]}")


def _restore_drills(ground: Ground, facts: Mapping[str, Any], policy: RiskPolicy) -> RiskFactor:
    """Return the points of the resource whose restore was not proved for the longest time."""
    now, drills = facts.get("now"), facts.get("restore_drills") or {}
    labels = [f"{resource.kind}.{resource.name}" for resource in ground.resources]
    unproved = [label for label in labels if not drills.get(label)]
    if unproved or now is None:
        shown = ", ".join(unproved[:5]) + (" ..." if len(unproved) > 5 else "")
        return RiskFactor(name="restore drills", points=policy.restore_drills.none,
                          reason=f"no restore is proved yet of {shown or 'a resource at a known time'}")
    oldest, label = min(((_moment(drills[label]), label) for label in labels), default=(now, "no resource"))
    age = max(now - oldest, timedelta(0))
    points = max((band.points for band in policy.restore_drills.ages
                  if age > timedelta(days=band.older_than_days)), default=0)
    return RiskFactor(name="restore drills", points=points,
                      reason=f"the restore of {label} was proved last on {oldest.astimezone(UTC):%d %b %Y %H:%M} UTC; "
                      "those of all others since")


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _history(history: Iterable[Any] | None, policy: RiskPolicy) -> RiskFactor:
    weight = policy.history
    if history is None:
        return RiskFactor(name="history", points=weight.points,
                          reason="how earlier changes of this service ended is unknown")
    changes = [PastChange.model_validate(one) for one in history]
    counted = sorted((one for one in changes if one.carried_out), key=lambda one: one.at, reverse=True)[: weight.newest]
    rate = fail_rate(counted, weight.confidence)
    if rate.changes < weight.minimum_changes:
        return RiskFactor(name="history", points=min(weight.points, weight.few + weight.each_failure * rate.failed),
                          reason=f"{rate.failed} of {rate.changes} earlier change(s) here failed, too few for a rate "
                          f"(from {weight.minimum_changes} on): {weight.few} points and {weight.each_failure} for each")
    return RiskFactor(name="history", points=round(weight.points * rate.high),
                      reason=f"{rate.failed} of the last {rate.changes} changes here failed; the true rate is between "
                      f"{rate.low:.1%} and {rate.high:.1%} (Wilson, {weight.confidence:.0%}), the upper end counts")
