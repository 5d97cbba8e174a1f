"""Asking again: what a run does after its release was refused and sealed goes into a new release of the same run.

Exists because a seal is final, and because the people who approved once need to read just what changed since. The
first release of a run has the run's own id, the second one ``<id>-2``, and so on; only the newest is carried on. Knows
the ledger and the permit, no Airflow.
"""

from __future__ import annotations

import logging

from airlock.change.permit import opened
from airlock.deploy.resolution import resolve_artifact
from airlock.errors import Damaged, GateRefused
from airlock.evidence.ledger import Ledger
from airlock.flow.stages.change import assess
from airlock.flow.stages.release import Release
from airlock.models import Outcome, Plan
from airlock.service.find import ServiceEnvironment

log = logging.getLogger(__name__)


def newest(environment: ServiceEnvironment, first: str) -> str:
    """Return the id of the newest release of the run whose first release is *first*."""
    ledger = Ledger(environment.ledger, environment.service, environment.environment)
    identity, number = first, 2
    while ledger.sealed(identity) and ledger.record_names(f"{first}-{number}"):
        identity, number = f"{first}-{number}", number + 1
    return identity


def next_release(release: Release, first: str) -> Release:
    """Return *release* while it is open, or the one that follows it when it was refused.

    :param first: id of the run's first release
    :raises GateRefused: it ended otherwise: what was changed and sealed is over; or no person cleared the task: a try
        that Airflow took for lost, though it ended, is tried again without being asked
    """
    if not release.ledger.sealed(release.id):
        return release
    ended = release.latest("outcome") or {}
    if ended.get("outcome") != Outcome.REFUSED:
        raise GateRefused(
            f"{release.id} has ended, {str(ended.get('outcome')).replace('_', ' ')}, and is sealed: nothing more is "
            "done in it; trigger a new run"
        )
    if release.attempt and release.attempt.retry:
        raise GateRefused(
            f"{release.id} was refused and is sealed, and Airflow tries this task again by itself: nothing more is "
            "done; clear the task to ask again, or trigger a new run"
        )
    number = 2 if release.id == first else int(release.id.rpartition("-")[2]) + 1
    following = Release(release.environment, f"{first}-{number}", release.actor, release.attempt)
    log.info("%s was refused and is sealed; what is done now belongs to %s", release.id, following.id)
    return following


def ask_again(release: Release, first: str) -> Release:
    """Return the release that people are to be asked about, with its plan frozen: the request of a refused one is
    carried over, its risk and its plan are made anew.

    :raises GateRefused: see ``next_release``, and ``assess``
    :raises PermitInvalid: there is no request yet
    """
    following = next_release(release, first)
    if following.id != release.id:
        rfc = release.rfc
        artifact = resolve_artifact(following.environment, rfc.version, returns=rfc.returns)
        following.record(
            "rfc",
            rfc=rfc.model_dump(mode="json"),
            artifact=artifact.model_dump(mode="json"),
            continues=release.id,
        )
    if "continues" in (following.latest("rfc") or {}) and following.latest("plan") is None:
        assess(following)
    return following


def approved_before(release: Release) -> Plan | None:
    """Return the plan that was approved last, in this release or in the one that it continues, as a trusted permit
    says; ``None`` if there is none."""
    continues = str((release.latest("rfc") or {}).get("continues", ""))
    sources = [release]
    if continues:
        sources.append(Release(release.environment, continues, release.actor))
    for source in sources:
        try:
            permit = opened((source.latest("permit") or {}).get("envelope") or {}, release.keyring)
        except Damaged:
            continue
        plan = source.plan_of(permit.plan_digest)
        if plan is not None and (permit.release, plan.digest) == (source.id, permit.plan_digest):
            return plan
    return None
