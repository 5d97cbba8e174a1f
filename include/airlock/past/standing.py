"""Whether a standard change may be made now: what its template, its content and its team did before, and the rules on
that."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from airlock.change.content import comes_from
from airlock.change.content import refusal as content_refuses
from airlock.change.debt import refusal as debts_refuse
from airlock.change.templates import refusal as template_refuses
from airlock.change.templates import template_of
from airlock.models import Rfc
from airlock.past import changes, debts, ledgers
from airlock.past.content import content_past
from airlock.service.find import ServiceEnvironment


def standing(
    environment: ServiceEnvironment, rfc: Rfc, digest: str, current_version: str | None, now: datetime, *,
    signed: bool = True,
) -> dict[str, Any]:
    """Return, as JSON data, whether the standard change *rfc* is ``allowed``, ``why`` not, and everything that was
    looked at.

    :param digest: the content that would be released
    :param signed: whether records without a trusted signature are refused
    :raises GateRefused: there is no such template, or whether the team owes something is not known
    :raises EvidenceInvalid: a record was altered, or is not signed by a trusted key
    """
    name, template = template_of(environment, rfc.template)
    uses = changes.uses_of(ledgers.releases(environment, signed=signed), name)
    restored = changes.restored(ledgers.stream(environment, ledgers.STANDARD_CHANGES, signed=signed), name)
    owed = debts.debts_of_team(Path(environment.source).parent, environment.owner, signed=signed)
    content = content_past(environment, digest, comes_from(environment.after, [template]), signed=signed)
    why = (template_refuses(name, template, rfc, uses, restored, current_version, now)
           or content_refuses(name, rfc.version, content) or debts_refuse(environment.owner, owed, now))
    return {
        "allowed": not why, "why": why, "at": now.isoformat(), "current_version": current_version,
        "template": template.model_dump(mode="json"), "uses": [use.model_dump(mode="json") for use in uses],
        "restored": restored.model_dump(mode="json") if restored else None, "owner": environment.owner,
        "debts": [debt.model_dump(mode="json") for debt in owed], "after": environment.after,
        "content": content.model_dump(mode="json"),
    }
