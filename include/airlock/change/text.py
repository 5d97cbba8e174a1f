"""The plan as approvers read it: Markdown in which nothing that a person typed can act as Markdown or HTML.

Pure; must not decide anything.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from airlock import registry
from airlock.change.content import CONTENT
from airlock.models import ApprovalRule, Artifact, Plan, Reversal
from airlock.plain_text import harmless

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|~>:@/=])")
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|~>:@/=])")
_WORDS = re.compile(r"([\s`|\\<>\"]+)")
_ADDRESS = re.compile(r"://|www\.|@", re.IGNORECASE)
_QUOTED_LIMIT = 5000
_SECTION_LINES = 12
_NAMED = 40
Section = tuple[str, tuple[str, ...]]
"""A heading and lines that approvers read beside the plan: conflicts, the calendar, who is away."""
_VERDICTS = {
    Reversal.REVERSIBLE: "reversible",
    Reversal.FIX_FORWARD: "FIX FORWARD ONLY",
    Reversal.NEEDS_RESTORE: "NEEDS A RESTORE",
}


def escape(text: object, limit: int = 600) -> str:
    """Return *text* on one line, at most *limit* characters of it, so that it shows as typed and does nothing."""
    plain = " ".join(harmless(str(text)).split())
    cut = f"{plain[:limit].rstrip()} ... ({len(plain) - limit} more characters)" if len(plain) > limit else plain
    # Airflow's page makes links of addresses after Markdown was parsed, escaped or not, but never inside code.
    return "".join(f"`{word}`" if _ADDRESS.search(word) else _escape_word(word) for word in _WORDS.split(cut))


def _escape_word(word: str) -> str:
    entities = word.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return _SPECIAL.sub(r"\\\1", entities)


def changes_text(approved: Plan, plan: Plan, changed: Sequence[str], sections: Sequence[Section] = ()) -> str:
    """Return the request to approve *plan* where *approved* was approved before: just what *changed*, as Markdown."""
    rfc = plan.rfc
    lines = [
        f"### {escape(plan.service)} {escape(rfc.version)} to {escape(plan.environment)}",
        "",
        f"Plan `{approved.digest}` was approved. It is replaced by the plan `{plan.digest}`, which your answer is "
        "bound to: if anything changes again, you are asked again.",
        "",
        "#### What changed since it was approved",
        "",
        *(f"- {escape(line)}" for line in changed or ("nothing but the time: the approval has ended",)),
        "",
        f"Everything else is as approved. Requester: {escape(rfc.requester)}. "
        f"Risk: {plan.risk.score} of 100, {escape(plan.risk.level)}.",
        "",
        *_override(plan),
        *_way_back(plan),
        *sections_text(sections),
        *seats_text(plan),
    ]
    return "\n".join(lines) + "\n"


def approval_text(plan: Plan, changed: Sequence[str] = (), sections: Sequence[Section] = ()) -> str:
    """Return the request for approval of *plan* as Markdown; *changed* says what differs from the plan before,
    *sections* what is to be known beside it.

    The requester's words are quoted, and only they are; all but the title stand at the end, so that they cannot push
    away what is approved.
    """
    lines = [
        f"### {escape(plan.service)} {escape(plan.rfc.version)} to {escape(plan.environment)}",
        "",
        f"Plan digest `{plan.digest}`. Your answer is bound to it: if anything of the plan changes, you are asked "
        "again. Quoted lines are the requester's words, which nobody has checked.",
        "",
        *quoted(plan.rfc.title),
        "",
        *(("#### What changed since it was frozen", "", *(f"- {escape(line)}" for line in changed), "")
          if changed else ()),
        *_content(plan),
        *_override(plan),
        *_facts(plan),
        *_way_back(plan),
        *sections_text(sections),
        *_rollout(plan),
        *_backups(plan),
        *seats_text(plan),
        *_words(plan),
    ]
    return "\n".join(lines) + "\n"


def without_marks(markdown: str) -> str:
    """Return *markdown* of this module as plain text, for a place that shows text as typed and renders nothing."""
    lines: list[str] = []
    for line in markdown.splitlines():
        if re.fullmatch(r"\|( --- \|)+", line) or not (line.strip() or (lines and lines[-1])):
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)] if line.startswith("| ") else [line]
        bare = re.sub(r"(?<!\\)(`|\*\*)|\\$|^#+ ", "", " | ".join(filter(None, cells)))
        lines.append(html.unescape(_ESCAPED.sub(r"\1", bare)))
    return "\n".join(lines).strip()


def _afterwards(plan: Plan) -> list[tuple[str, str]]:
    """Return what an emergency change costs later; it stands in the service file, which the plan binds."""
    hours = (plan.settings.get("emergency") or {}).get("retro_approval_hours")
    if plan.rfc.change_type != "emergency" or hours is None:
        return []
    return [("Afterwards", f"whoever would approve it as a normal change does so within {hours:g} h after it landed, "
             "if fewer people decide now; it is reviewed, too")]


def _content(plan: Plan) -> list[str]:
    """What is known of the content; loud where it failed before."""
    known = next((factor for factor in plan.risk.factors if factor.name == CONTENT), None)
    if known is None:
        return []
    if plan.risk.failed_before:
        return ["#### THIS CONTENT FAILED BEFORE, OR NOBODY KNOWS", "", f"**{escape(known.reason, 2000)}**", ""]
    return ["#### What is known of this content", "", f"{escape(known.reason, 2000)}.", ""]


def signatures_text(artifact: Artifact) -> list[str]:
    """Return each signature of *artifact* that was verified, in words."""
    return [f"{one.predicate_type or 'signature'} of {one.subject} by the key {one.key}" for one in artifact.signatures]


def _origin(artifact: Artifact) -> list[tuple[str, str]]:
    rows = [("Commit", escape(artifact.commit))] if artifact.commit else []
    return [*rows, *(("Signed", escape(one, 500)) for one in signatures_text(artifact))]


def _facts(plan: Plan) -> list[str]:
    return [
        *table(("", ""), (
            ("Requester", escape(plan.rfc.requester)),
            ("Type of change", f"{escape(plan.rfc.change_type)}, {escape(plan.rfc.category.replace('_', ' '))}"),
            *_afterwards(plan),
            ("Version now", escape(plan.current_version)),
            ("Artifact", f"`{plan.artifact.digest}`"),
            *_origin(plan.artifact),
            ("Incident", escape(plan.rfc.incident or "none")),
            ("Not before", escape(plan.rfc.start_after or "as soon as the calendar allows")),
        )),
        "",
        f"#### Risk: {plan.risk.score} of 100, {escape(plan.risk.level)}",
        "",
        *table(("Factor", "Points", "Why"),
                ((escape(factor.name), str(factor.points), escape(factor.reason)) for factor in plan.risk.factors)),
        "",
    ]


def _override(plan: Plan) -> list[str]:
    if plan.rfc.calendar_override is None:
        return []
    named = [" ".join((str(one["code"]), repr(one["name"]) if one["name"] else ""))
             for one in plan.calendar.get("overridden", ())]
    said = ("**This release shall act although its calendar is closed. Whoever approves it overrides:**" if named else
            "The request asks to override the calendar, which nothing closes at the time asked for: nothing is "
            "overridden, and a closure that comes later stops the release.")
    return [
        "#### OVERRIDE OF THE CALENDAR",
        "",
        said,
        "",
        *(f"- **{escape(one)}**" for one in named),
        *(["", "Every other closure still stops it. The requester's reason:", ""] if named else []),
        *quoted(plan.rfc.calendar_override),
        "",
    ]


def _way_back(plan: Plan) -> list[str]:
    """The rollback-safety verdict; loud where the way back is not what people are used to."""
    found = plan.way_back
    lines = [f"#### Way back: {_VERDICTS[found.verdict]}", "", f"{escape(found.reason, 1000)}.", ""]
    if found.migrations:
        names = ", ".join(escape(one.name) for one in found.migrations)
        lines += [f"Run before the new version starts: {names}. {_on_rollback(plan)}", ""]
    if found.statements:
        lines += [*table(("Migration", "Statement", "Does", "Way back", "Why"), (
            (escape(one.migration), str(one.statement), escape(one.does), escape(one.verdict.replace("_", " ")),
             escape(one.why)) for one in found.statements)), ""]
    return lines + [f"- Mind: {escape(warning)}" for warning in found.warnings] + [""] * bool(found.warnings)


def _on_rollback(plan: Plan) -> str:
    setting = plan.settings.get("migrations") or {}
    resource = str(setting.get("resource", ""))
    restored = resource in plan.backup_policy.get("restore_on_rollback", ())
    verdict = plan.way_back.verdict
    if verdict is Reversal.NEEDS_RESTORE or (verdict is Reversal.FIX_FORWARD and not restored):
        return ("**The automatic rollback of this data is switched off**: if the release goes back, traffic does, the "
                f"data of {escape(resource)} stays as migrated, the outcome says so, and a human decides.")
    if restored:
        return (f"If the release goes back, {escape(resource)} is restored from the backup, and what was written since "
                "is lost.")
    if setting.get("on_rollback") == "undo" and all(one.undo for one in plan.way_back.migrations):
        return "If the release goes back, they are undone, with what the new version wrote into what they added."
    return "If the release goes back, what they added is kept: the version before can live with it."


def _rollout(plan: Plan) -> list[str]:
    rollout, analysis = plan.rollout, plan.analysis
    strategy = registry.resolve(registry.STRATEGIES, "strategy", rollout.strategy)()
    compares = any(step.percent < 100 for step in rollout.steps)
    limits = [f"{analysis.latency_ratio:g} times the stable one"] if compares else []
    limits += [] if analysis.max_latency_ms is None else [f"{analysis.max_latency_ms:g} ms"]
    return [
        "#### Rollout",
        "",
        f"Strategy {escape(rollout.strategy.replace('_', '-'))}, on target {escape(str(plan.target['name']))} behind "
        f"router {escape(str(plan.router['name']))}:",
        "",
        *(f"{number}. {sentence}" for number, sentence in enumerate(strategy.sentences(rollout), start=1)),
        "",
        f"{'The canary' if compares else 'The new version'} must answer at least {analysis.minimum_requests} requests. "
        f"It goes back {'when it fails more often than the stable version beyond chance, ' if compares else ''}above "
        f"{analysis.max_error_rate * 100:g} % errors, or with a p95 latency of more than {' or '.join(limits)}.",
        "",
    ]


def _backups(plan: Plan) -> list[str]:
    return [
        "#### Backups to be taken and restored as a test before anything is changed",
        "",
        *table(("Kind", "Resource", "Driver"),
                ((escape(resource.kind.value), escape(resource.name), escape(resource.driver))
                 for resource in plan.resources)),
        *(f"\nNo {escape(kind)}: {escape(why, 1000)}"
          for kind, why in sorted(plan.backup_policy.get("without_kinds", {}).items())),
        "",
    ]


def sections_text(sections: Sequence[Section]) -> list[str]:
    """Return each of *sections* under its heading, the long ones cut."""
    lines = []
    for title, said in sections:
        more = [f"- and {len(said) - _SECTION_LINES} more"] if len(said) > _SECTION_LINES else []
        lines += [f"#### {escape(title, 80)}", "", *(f"- {escape(line)}" for line in said[:_SECTION_LINES]), *more, ""]
    return lines


def seats_text(plan: Plan) -> list[str]:
    """Return who must approve *plan*, by when, by which rule, and who cannot."""
    terms = plan.terms
    authors = sorted({author for rule in plan.approvals for author in rule.authors})
    known = (f"It was written by {', '.join(map(escape, authors[:_NAMED]))}, who cannot approve it." if authors
             else "The artifact does not say who wrote it.")
    return [
        "#### Seats",
        "",
        *map(_seat, plan.approvals),
        "",
        f"Time to decide: {terms.timeout_hours:g} h, then "
        + (f"these are asked for {terms.escalation_hours:g} h instead:" if terms.escalation else "it is refused."),
        *(("", *map(_seat, terms.escalation)) if terms.escalation else ()),
        "",
        f"Approval policy: {escape(terms.policy)}, rule {escape(terms.rule)}, `{terms.policy_digest}`. "
        f"An approval is good for {terms.valid_hours:g} h.",
        "",
        f"A rejection needs a reason and ends the request. The requester cannot approve. {known}",
        "",
    ]


def _seat(rule: ApprovalRule) -> str:
    named = ", ".join(escape(person) for person in rule.members[:_NAMED])
    more = f" and {len(rule.members) - _NAMED} more" if len(rule.members) > _NAMED else ""
    return f"- {rule.quorum} of {escape(rule.group)}: {named}{more}"


def _words(plan: Plan) -> list[str]:
    words = (("Reason", plan.rfc.reason), ("Impact", plan.rfc.impact), ("Way back", plan.rfc.rollback_plan))
    lines = ["#### In the requester's words"]
    for name, text in words:
        lines += ["", f"**{name}**", "", *quoted(text)]
    return lines


def quoted(text: str) -> list[str]:
    """Return *text* as a block quote that keeps its line breaks and leaves out empty lines."""
    lines = [line for line in text.splitlines() if line.strip()]
    return [f"> {line}" for line in "\\\n".join(escape(line, _QUOTED_LIMIT) for line in lines).split("\n")]


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return a table of cells that are Markdown already."""
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
