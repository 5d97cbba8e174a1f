"""Stages ``seal`` and ``outcome``: how the release ended, and the evidence of it. Knows no Airflow."""

from __future__ import annotations

import logging

from upath import UPath

from airlock.deploy.landing import outcome_of
from airlock.errors import PermanentError
from airlock.evidence.pack import pack_path, write_pack
from airlock.evidence.seal import seal as sign_seal
from airlock.flow.stages.notices import notify
from airlock.flow.stages.release import Release
from airlock.models import Outcome, utc_now
from airlock.places import objects
from airlock.signing import public_key_file

log = logging.getLogger(__name__)


def seal(release: Release) -> UPath:
    """Record the outcome, seal the ledger of the release, and write its evidence pack; idempotent.

    :raises PermanentError: the release has not landed: something was changed, and neither way is complete
    """
    environment = release.environment
    if not release.ledger.sealed(release.id):
        landed = outcome_of(release.records())
        if landed is None:
            raise PermanentError(
                f"{release.id} has not landed: the target was changed, but neither promotion nor rollback is "
                "complete; clear the task deploy.rollback.traffic, with downstream"
            )
        outcome, why = landed
        notify(release, "end", f"Release {release.id}: {outcome}", why)
        release.record("outcome", outcome=outcome, why=why)
        sign_seal(release.ledger, release.id, release.signer, utc_now(), anchor=environment.anchor)
    pack = write_pack(release.ledger, release.id, environment.evidence)
    key = public_key_file(environment.signing_connection)
    log.info("evidence sealed; check it anywhere with: ./airlock evidence verify %s --public-key %s", pack, key)
    return pack


def write_missing_pack(release: Release) -> bool:
    """Write the evidence pack of a sealed release if it is not where packs are kept; return whether it was missing."""
    if objects.exists(pack_path(release.environment.evidence, release.id)):
        return False
    seal(release)
    return True


def headline(release: Release, asked: str = "") -> str:
    """Return the version and how its release ended, in a few words.

    :param asked: the version that the form names, for a request that was never accepted
    """
    rfc = release.latest("rfc")
    version = rfc["rfc"]["version"] if rfc else asked or release.id
    back = "back to " if rfc and rfc["rfc"]["change_type"] == "rollback" else ""
    ended = outcome(release)[0]
    rejected = ended is Outcome.REFUSED and any(one.data["vote"]["choice"] == "reject"
                                                for one in release.recorded("vote"))
    return f"{back}{version} → {'rejected' if rejected else ended.replace('_', ' ')}"


def outcome(release: Release) -> tuple[Outcome, str]:
    """Return the sealed outcome.

    :raises PermanentError: there is none, so the release has not landed or its evidence is not sealed
    """
    found = release.latest("outcome")
    if found is None:
        raise PermanentError(f"{release.id}: no outcome is on record; read the log of the task close.seal")
    return Outcome(found["outcome"]), str(found["why"])
