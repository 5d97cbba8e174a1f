"""Standard changes: which template a request uses, what it may vary, and why a template does not hold now.

Pure. A template that failed too often is suspended, which follows from its uses alone: no time that passes lifts it,
only a human who restores it with a reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import Any

from pydantic import AwareDatetime

from airlock.change.basis import Ground
from airlock.errors import GateRefused, UnknownName
from airlock.models import Frozen, Outcome, Rfc
from airlock.service.standard_changes import StandardChange, Variation
from airlock.spelling import did_you_mean

STEPS = ("patch", "minor", "major")


class Use(Frozen):
    """One release that was carried out under a template."""

    release: str
    outcome: Outcome
    at: AwareDatetime


class Restoration(Frozen):
    """Leave to use a suspended template again: by whom, when, and why."""

    person: str
    at: AwareDatetime
    reason: str


class Suspension(Frozen):
    """Since when a template is suspended, and the sentence that says why."""

    since: AwareDatetime
    sentence: str


def template_of(ground: Ground, name: str | None) -> tuple[str, StandardChange]:
    """Return the template *name* of the environment, with its name; without a *name*, its only one.

    :raises GateRefused: the environment has none, or several and none is named
    :raises UnknownName: it has no such template
    """
    templates = ground.standard_changes
    known = ", ".join(sorted(templates))
    if not templates:
        raise GateRefused(f"environment {ground.environment!r} has no template of standard changes (standard_changes "
                          f"in {ground.source}); ask for a normal change")
    if name is None:
        if len(templates) > 1:
            raise GateRefused(f"environment {ground.environment!r} has several templates of standard changes; name "
                              f"one of {known}")
        return next(iter(templates.items()))
    if name not in templates:
        hint = did_you_mean(name, templates)
        raise UnknownName(f"environment {ground.environment!r} has no template {name!r} of standard changes: {hint}"
                          f"known are {known}")
    return name, templates[name]


def variations(template: StandardChange, given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what is wrong with the fields *given* to a request under *template*, as ``field: what; what to do``.

    :param given: version, title, reason and start_after, ``None`` where the template's own words are taken
    """
    faults = []
    for name, value in given.items():
        variation: Variation | None = template.may_vary.get(name)  # type: ignore[call-overload]
        if value is None or (variation is not None and not variation.like):
            continue
        if variation is None:
            if value != getattr(template, name, None):
                faults.append(f"{name}: may not vary under this template; empty it, or ask for a normal change")
        elif not any(fnmatchcase(str(value), pattern) for pattern in variation.like):
            faults.append(f"{name}: {str(value)[:40]!a} fits none of {', '.join(variation.like)}, as the template "
                          "wants it; correct it, or ask for a normal change")
    return tuple(faults)


def suspension(template: StandardChange, uses: Sequence[Use], restored: Restoration | None) -> Suspension | None:
    """Return why *template* is suspended, or ``None``: its *uses* since it was restored last are looked at in order,
    and the first that was one failure too many suspends it."""
    policy = template.suspend_after
    since = sorted((use for use in uses if restored is None or use.at > restored.at), key=lambda use: use.at)
    in_a_row: list[Use] = []
    failures: list[Use] = []
    for use in since:
        if use.outcome is not Outcome.ROLLED_BACK:
            in_a_row = []
            continue
        in_a_row.append(use)
        recent = use.at - timedelta(days=policy.within_days)
        failures = [one for one in (*failures, use) if one.at > recent]
        for found, limit, how in ((in_a_row, policy.in_a_row, "in a row"),
                                  (failures, policy.failures, f"within {policy.within_days:g} days")):
            if len(found) >= limit:
                shown = ", ".join(one.release for one in found[-5:])
                return Suspension(since=use.at, sentence=(
                    f"{len(found)} release(s) under it did not stay, {how}: {shown}"))
    return None


def refusal(  # noqa: PLR0913 - each argument is a fact of its own
    name: str,
    template: StandardChange,
    rfc: Rfc,
    uses: Sequence[Use],
    restored: Restoration | None,
    current_version: str | None,
    now: datetime,
) -> str:
    """Return why the template *name* does not carry *rfc* at the moment *now*; empty if it does.

    :param uses: every release that was carried out under the template, in any order
    :param current_version: the version now; without one a step cannot be told, so a template that limits it refuses
    """
    if rfc.category not in template.categories:
        return (f"the template {name!r} is for {', '.join(template.categories)}, not for a change of category "
                f"{rfc.category}; ask for a normal change")
    if template.valid_until is not None:
        ends = datetime.combine(template.valid_until, time(), UTC) + timedelta(days=1)
        if now >= ends:
            return (f"the template {name!r} was valid until {template.valid_until:%d %b %Y}; have it reviewed and "
                    "prolonged in the service file, or ask for a normal change")
    suspended = suspension(template, uses, restored)
    if suspended is not None:
        return (f"the template {name!r} suspended itself on {suspended.since.astimezone(UTC):%d %b %Y %H:%M} UTC: "
                f"{suspended.sentence}; ask for a normal change, or, when the cause is mended, restore it: "
                f"./airlock standard-change restore {rfc.service} {rfc.environment} {name} --reason WHY")
    limit = template.may_vary["version"].step if "version" in template.may_vary else None
    if limit is not None:
        step = version_step(current_version, rfc.version)
        if step is None or step not in STEPS or STEPS.index(step) > STEPS.index(limit):
            found = {None: "cannot be told", "older": "leads to an older version"}.get(step, f"is a {step} one")
            return (f"the template {name!r} allows a {limit} step at most, and the step from "
                    f"{current_version or 'an unknown version'} to {rfc.version} {found}; ask for a normal change")
    return ""


def version_step(current: str | None, wanted: str) -> str | None:
    """Return ``patch``, ``minor`` or ``major`` for the step up from *current*, ``older`` for one down; ``None`` when
    one of both has no numbers to compare."""
    before, after = _numbers(current), _numbers(wanted)
    if before is None or after is None:
        return None
    if after < before:
        return "older"
    return "major" if after[0] != before[0] else "minor" if after[1] != before[1] else "patch"


def _numbers(version: Any) -> tuple[int, int, int] | None:
    match = re.match(r"v?(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?", version) if isinstance(version, str) else None
    return (int(match[1]), int(match[2] or 0), int(match[3] or 0)) if match else None
