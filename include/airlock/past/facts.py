"""The facts that risk is computed from, gathered for one release. What cannot be read is left out, which raises the
risk, and is logged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from airlock.change.content import comes_from
from airlock.change.risk_policy import RiskPolicy
from airlock.deploy.resolution import source_of
from airlock.errors import AirlockError
from airlock.models import Artifact
from airlock.past import changes, debts, ledgers
from airlock.past.content import content_past
from airlock.service.find import ServiceEnvironment

log = logging.getLogger(__name__)


def risk_facts(
    environment: ServiceEnvironment, policy: RiskPolicy, artifact: Artifact, current_version: str | None, *,
    signed: bool = True,
) -> dict[str, Any]:
    """Return facts for ``change.risk.assess``, as JSON data, without those of the present moment.

    :param signed: whether records without a trusted signature are refused
    """
    ledger = ledgers.releases(environment, signed=signed)
    labels = [f"{resource.kind}.{resource.name}" for resource in environment.resources]

    def history() -> list[dict[str, Any]]:
        blamed = debts.blamed(ledgers.stream(environment, ledgers.FOLLOW_UP, signed=signed))
        return [one.model_dump(mode="json")
                for one in changes.past_changes(ledger, blamed, policy.history.newest)]

    def drills() -> dict[str, str]:
        drills = ledgers.stream(environment, ledgers.DRILLS, signed=signed)
        taken = (ledger, ledgers.stream(environment, ledgers.BACKUPS, signed=signed))
        return {label: at.isoformat() for label, at in changes.newest_proofs(taken, drills, labels).items()}

    def sizes() -> dict[str, int] | None:
        return _sizes(environment, artifact, current_version) if current_version else None

    def content() -> dict[str, Any]:
        sources = comes_from(environment.after)
        return content_past(environment, artifact.digest, sources, signed=signed).model_dump(mode="json")

    gathered = {"history": _known("history", history), "restore_drills": _known("restore_drills", drills),
                "artifact_bytes": _known("artifact_bytes", sizes), "content": _known("content", content)}
    return {name: value for name, value in gathered.items() if value is not None}


def _sizes(environment: ServiceEnvironment, artifact: Artifact, current_version: str) -> dict[str, int] | None:
    if artifact.size is None:
        return None
    return {"now": source_of(environment.artifact).size(current_version), "wanted": artifact.size}


def _known(name: str, gather: Callable[[], Any]) -> Any:
    try:
        return gather()
    except (AirlockError, OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is unknown, which raises the risk: %s", name, error)
        return None
