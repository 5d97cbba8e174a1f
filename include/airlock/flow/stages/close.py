"""Stages ``seal`` and ``outcome``: how the release ended, and the evidence of it. Knows no Airflow."""

from __future__ import annotations

import logging
from pathlib import Path

from airlock.errors import PermanentError
from airlock.evidence.pack import write_pack
from airlock.evidence.seal import seal as sign_seal
from airlock.flow.release import Release
from airlock.flow.stages.deploy import reason_of
from airlock.models import Outcome, utc_now

log = logging.getLogger(__name__)


def outcome_of(release: Release) -> tuple[Outcome, str]:
    """Return how the release ended, by what is on record, and why.

    :raises PermanentError: it has not landed: something was changed, and neither promotion nor rollback is complete
    """
    skipped = release.latest("skipped")
    if skipped is not None:
        return Outcome.SKIPPED, str(skipped["why"])
    if not release.acts():
        return Outcome.REFUSED, reason_of(release)
    rolled_back = release.latest("rolled_back")
    if rolled_back is not None:
        return Outcome.ROLLED_BACK, str(rolled_back["why"])
    if release.latest("baked") is not None:
        return Outcome.PROMOTED, "the canary passed, the release was validated, and the bake passed"
    raise PermanentError(
        f"{release.id} has not landed: the target was changed, but neither promotion nor rollback is "
        "complete; clear the task deploy.rollback.traffic, with downstream"
    )


def seal(release: Release) -> Path:
    """Record the outcome, seal the ledger of the release, and write its evidence pack; idempotent."""
    environment = release.environment
    if not release.ledger.sealed(release.id):
        outcome, why = outcome_of(release)
        release.notify("end", f"Release {release.id}: {outcome}", why)
        release.record("outcome", outcome=outcome, why=why)
        sign_seal(release.ledger, release.id, release.signer, utc_now(), anchor=environment.anchor)
    pack = Path(write_pack(release.ledger, release.id, Path(environment.evidence)))
    log.info("evidence sealed in %s; check it anywhere with: python -m airlock evidence verify %s", pack, pack.name)
    return pack


def outcome(release: Release) -> tuple[Outcome, str]:
    """Return the sealed outcome.

    :raises PermanentError: there is none, so the release has not landed or its evidence is not sealed
    """
    found = release.latest("outcome")
    if found is None:
        raise PermanentError(f"{release.id}: no outcome is on record; read the log of the task close.seal")
    return Outcome(found["outcome"]), str(found["why"])
