"""The plan as approvers read it: Markdown in which nothing that a person typed can act as Markdown or HTML.

Pure; must not decide anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from airlock.models import Plan

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|~>:@/=])")
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+")


def escape(text: object, limit: int = 600) -> str:
    """Return *text* on one line, at most *limit* characters of it, so that it shows as typed and does nothing."""
    plain = _NOT_TEXT.sub(" ", str(text)).strip()
    cut = f"{plain[:limit].rstrip()} ... ({len(plain) - limit} more characters)" if len(plain) > limit else plain
    entities = cut.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return _SPECIAL.sub(r"\\\1", entities)


def approval_text(plan: Plan, changed: Sequence[str] = ()) -> str:
    """Return the request for approval of *plan* as Markdown; *changed* says what differs from the plan before."""
    rfc = plan.rfc
    lines = [
        f"### {escape(plan.service)} {escape(rfc.version)} to {escape(plan.environment)}: {escape(rfc.title, 120)}",
        "",
        f"Plan digest `{plan.digest}`. Your answer is bound to it: if anything below changes, you are asked again.",
        "",
        *(("#### What changed since it was approved", "", *(f"- {escape(line)}" for line in changed), "")
          if changed else ()),
        *_table(("", ""), (
            ("Requester", escape(rfc.requester)),
            ("Type of change", escape(rfc.change_type)),
            ("Version now", escape(plan.current_version)),
            ("Artifact", f"`{plan.artifact.digest}`"),
            ("Reason", escape(rfc.reason)),
            ("Impact", escape(rfc.impact)),
            ("Incident", escape(rfc.incident or "none")),
            ("Not before", escape(rfc.start_after or "as soon as the calendar allows")),
        )),
        "",
        f"#### Risk: {plan.risk.score} of 100, {escape(plan.risk.level)}",
        "",
        *_table(("Factor", "Points", "Why"),
                ((escape(factor.name), str(factor.points), escape(factor.reason)) for factor in plan.risk.factors)),
        "",
        "#### Rollout",
        "",
        *(f"{number}. {step.percent} % of the traffic, watched for at least {step.observe_seconds:g} s"
          for number, step in enumerate(plan.rollout.steps, start=1)),
        f"{len(plan.rollout.steps) + 1}. 100 %, then {plan.rollout.bake_seconds:g} s with the version before kept warm",
        "",
        f"The canary must answer at least {plan.analysis.minimum_requests} requests. It is rolled back when it fails "
        f"more often than the stable version beyond chance, above {plan.analysis.max_error_rate * 100:g} % "
        f"errors, or with a p95 latency of more than {plan.analysis.latency_ratio:g} times the stable one.",
        "",
        "#### Backups to be taken and restored as a test before anything is changed",
        "",
        *_table(("Kind", "Resource", "Driver"),
                ((escape(resource.kind.value), escape(resource.name), escape(resource.driver))
                 for resource in plan.resources)),
        *(f"\nNo {escape(kind)}: {escape(why)}"
          for kind, why in sorted(plan.backup_policy.get("without_kinds", {}).items())),
        "",
        "#### Way back",
        "",
        escape(rfc.rollback_plan, 2000),
        "",
        "#### Seats",
        "",
        *(f"- {rule.quorum} of {escape(rule.group)}: {', '.join(escape(person) for person in rule.members)}"
          for rule in plan.approvals),
        "",
        "A rejection needs a reason and ends the request. The requester cannot approve.",
    ]
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
