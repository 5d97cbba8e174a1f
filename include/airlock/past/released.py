"""What a release was about, by its records: told also of one whose plan another build of Airlock froze.

A plan binds everything that its build knows of, so its form changes; which content was released does not. Whoever looks
back reads it here and not through ``Plan``, which takes no plan of another form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airlock.errors import EvidenceInvalid
from airlock.evidence.ledger import Ledger


@dataclass(frozen=True)
class Released:
    """One content: its version and digest, the version that it replaced, and, of a return, what it took back."""

    version: str
    digest: str
    came_from: str = ""
    undoes: str | None = None
    train: str | None = None


def released(ledger: Ledger, release: str) -> Released | None:
    """Return what *release* was about by its newest plan, or, if it came to none, by its request; ``None``: unknown.

    :raises EvidenceInvalid: a record does not hold what every build writes
    """
    frozen = ledger.latest(release, "plan")
    if frozen is not None:
        plan = frozen.data["plan"]
        return _read(release, plan.get("artifact"), plan.get("current_version", ""), plan.get("rfc") or {})
    asked = ledger.latest(release, "rfc")
    if asked is None or not asked.data.get("artifact"):
        return None
    return _read(release, asked.data["artifact"], "", asked.data["rfc"])


def digest_seen(ledger: Ledger, release: str, version: str) -> str:
    """Return the digest that the target showed of *version* when *release* was staged; empty: it showed none."""
    staged = ledger.latest(release, "staged")
    versions = staged.data["state"]["versions"] if staged is not None else ()
    return next((str(one["digest"]) for one in versions if one["version"] == version), "")


def _read(release: str, artifact: Any, came_from: str, rfc: Mapping[str, Any]) -> Released:
    try:
        return Released(version=str(artifact["version"]), digest=str(artifact["digest"]), came_from=str(came_from),
                        undoes=rfc.get("undoes"), train=rfc.get("train"))
    except (KeyError, TypeError) as error:
        raise EvidenceInvalid(f"{release}: its plan does not say which content it released: {error}") from error
