"""What is known of a release's content, looked at again: when the artifact was replaced, and before the first act.

Exists because a release may wait for days, and what it carries may fail elsewhere meanwhile. Knows no Airflow.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airlock.change.content import comes_from, unseen, worse
from airlock.errors import GateRefused
from airlock.flow.stages.release import Release
from airlock.models import Artifact, Plan, Rfc, utc_now
from airlock.past.content import content_past
from airlock.past.standing import standing

log = logging.getLogger(__name__)


def stood(release: Release, rfc: Rfc, found: Mapping[str, Any]) -> None:
    """Put on record whether template, content and team carry the standard change *rfc*."""
    release.record("standard_change", str(rfc.template), **found)
    if found["allowed"]:
        log.info("standard change %s: its template holds after %d use(s), nothing speaks against its content, and %s "
                 "owes no overdue approval", rfc.template, len(found["uses"]), release.environment.owner)


def replaced_artifact(release: Release, before: Plan, artifact: Artifact) -> dict[str, Any]:
    """Return what is known of the *artifact* that took the place of the one that the risk was scored with.

    :raises GateRefused: it is not as good, or nobody would look at it
    """
    known = content_past(release.environment, artifact.digest, comes_from(release.environment.after))
    if why := worse(known, before.risk):
        raise GateRefused(f"{release.id}: the artifact was replaced, and {why}; trigger a new run")
    if before.rfc.change_type == "standard":
        _stand(release, before, artifact.digest, utc_now())
    return known.model_dump(mode="json")


def look_again(release: Release, now: datetime) -> None:
    """Look, before the first act, whether what became known since the plan was frozen speaks against it. An emergency
    goes on, with a warning; what leads back is not held up.

    :raises GateRefused: it does, and whoever approved did not read it
    """
    plan = release.plan
    if plan.returns:
        return
    if plan.rfc.change_type == "standard":
        _stand(release, plan, plan.artifact.digest, now)
        return
    known = content_past(release.environment, plan.artifact.digest, comes_from(release.environment.after))
    why = unseen(known, plan.risk)
    if why and plan.rfc.change_type == "emergency":
        log.warning("since the plan was approved, this became known: %s; next: the emergency goes on", why)
    elif why:
        raise GateRefused(f"{release.id}: since the plan was made, this became known of its content, which nobody who "
                          f"approved has read: {why}; nothing was changed: trigger a new run, whose approvers read it")


def _stand(release: Release, plan: Plan, digest: str, now: datetime) -> None:
    found = standing(release.environment, plan.rfc, digest, plan.current_version, now)
    stood(release, plan.rfc, found)
    if not found["allowed"]:
        raise GateRefused(found["why"])
