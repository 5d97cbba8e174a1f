"""The plan of a return to the version before, as approvers read it: what moves, why, and what stays as it is.

Pure; must not decide anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from airlock.change.text import Section, escape, quoted, seats_text, sections_text, table
from airlock.models import Plan


def return_text(plan: Plan, changed: Sequence[str] = (), sections: Sequence[Section] = ()) -> str:
    """Return the request to return to the version before, as Markdown: what moves, why, and what stays."""
    before, after = escape(plan.current_version), escape(plan.artifact.version)
    step, bake = plan.rollout.steps[0], plan.rollout.bake_seconds
    lines = [
        f"### Return of {escape(plan.service)} in {escape(plan.environment)} from {before} to {after}",
        "",
        f"Plan digest `{plan.digest}`. Your answer is bound to it: if anything of the plan changes, you are asked "
        "again. Quoted lines are the requester's words, which nobody has checked.",
        "",
        *quoted(plan.rfc.reason),
        "",
        f"**Once it is approved, all traffic goes from {before} to {after} in one step.** It is watched for at least "
        f"{step.observe_seconds:g} s and for {bake:g} s more with {before} kept warm; if {after} fails, all traffic "
        f"goes back to {before}.",
        "",
        "No data is restored, migrated or undone: what was written since stays. Every resource is backed up, and the "
        "backup restored as a test, "
        + ("when the traffic is back." if plan.traffic_first else "before the traffic moves."),
        "",
        *table(("", ""), (
            ("Requester", escape(plan.rfc.requester)),
            ("Takes back", escape(plan.rfc.undoes or "nothing")),
            ("Artifact", f"`{plan.artifact.digest}`"),
            ("Incident", escape(plan.rfc.incident or "none")),
        )),
        "",
        *(("#### What changed since it was frozen", "", *(f"- {escape(line)}" for line in changed), "")
          if changed else ()),
        *sections_text(sections),
        *seats_text(plan),
    ]
    return "\n".join(lines) + "\n"
