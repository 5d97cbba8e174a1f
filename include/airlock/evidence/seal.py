"""Close a release: sign the list of its records and chain it to the seal before it.

A list of records proves nothing about a cut-off end by itself; so a seal counts its records, names the seal before it,
and the newest seal's digest is kept in a second place, the *anchor*. Knows ledger and keys, not Airflow.
"""

from __future__ import annotations

import logging
from datetime import datetime

from airlock.errors import Damaged, EvidenceInvalid, InvalidInput, UnknownName
from airlock.evidence.anchor import Anchor, anchored
from airlock.evidence.ledger import OUTCOME, SEAL, Ledger
from airlock.evidence.statement import (
    PAYLOAD_TYPE,
    OpenSeal,
    Predicate,
    PreviousSeal,
    SealedRecord,
    open_seal,
    payload,
    sha256,
)
from airlock.models import Outcome, canonical_json
from airlock.places import lock, objects
from airlock.places.paths import Location
from airlock.signing import Signer

__all__ = ["anchored", "seal"]
log = logging.getLogger(__name__)

_README = """Evidence pack of the release {release}
Service {service}, environment {environment}. Outcome: {outcome}. Records: {count}.

  records/         what was decided and done, in order, one JSON file for each record
  seal.json        a DSSE envelope (Ed25519) with an in-toto statement: the sha256 of every record and their order
  signing-key.pem  the public key that the seal was signed with; id (sha256 of its DER form):
                   {key_id}

To check the pack, offline, in a checkout of Airlock:
  ./airlock evidence verify PACK --public-key TRUSTED.pem
TRUSTED.pem is the public key as you received it from the people who run Airlock, not the one in this pack: whoever
makes a false pack can put a key of their own into it. Without --public-key only agreement within the pack is checked.

With other tools: the envelope follows https://github.com/secure-systems-lab/dsse, the statement https://in-toto.io.
"""


def seal(ledger: Ledger, release: str, signer: Signer, now: datetime, anchor: Location | None = None) -> str:
    """Seal *release* and return the digest of its seal. A sealed release keeps its seal.

    :param anchor: folder in another place than the ledger, where the digest of the newest seal is kept
    :raises UnknownName: the ledger has no record of *release*
    :raises InvalidInput: the release has no outcome record yet
    :raises EvidenceInvalid: a record was altered
    :raises TemporaryError: the disk is full or the store cannot be reached
    """
    with lock.locked(ledger.folder):
        path = ledger.release_folder(release) / SEAL
        present = objects.read(path)
        if present is None:
            data = canonical_json(signer.sign(PAYLOAD_TYPE, payload(_predicate(ledger, release, signer, now, anchor))))
            if objects.create(path, data):
                log.info("release %s: sealed with key %s, seal %s", release, signer.key_id, sha256(data))
            present = objects.read(path) or data
        else:
            log.info("release %s: is sealed already (%s), nothing is done", release, sha256(present))
        if anchor is not None:
            _move_anchor(anchor, ledger, open_seal(present, f"the seal of {release}", None))
        return sha256(present)


def _predicate(ledger: Ledger, release: str, signer: Signer, now: datetime,
               anchor: Location | None) -> Predicate:
    records = ledger.read(release)
    if not records:
        raise UnknownName(f"the ledger {ledger.folder} has no record of the release {release!r}")
    ends = [record for record in records if record.type == OUTCOME]
    try:
        outcome = Outcome(ends[-1].data["outcome"])
    except (IndexError, KeyError, ValueError) as error:
        raise InvalidInput(f"release {release} has no valid {OUTCOME!r} record: append it before the seal") from error
    previous = _previous(ledger, anchor)
    folder = ledger.release_folder(release)
    sealed = tuple(
        SealedRecord(position=position, name=name, digest=sha256(objects.read(folder / name) or b""))
        for position, name in enumerate(ledger.record_names(release), start=1)
    )
    if len(sealed) != len(records):
        raise EvidenceInvalid(f"release {release}: records appeared or disappeared while it was sealed; seal it again")
    readme = _README.format(release=release, service=ledger.service, environment=ledger.environment,
                            outcome=outcome.value, count=len(sealed), key_id=signer.key_id)
    return Predicate(service=ledger.service, environment=ledger.environment, release=release, outcome=outcome,
                     sealed_at=now, sequence=previous.sequence + 1 if previous else 1, previous=previous,
                     count=len(sealed), records=sealed, public_key=signer.public_pem, how_to_verify=readme)


def _previous(ledger: Ledger, anchor: Location | None) -> PreviousSeal | None:
    """Return the newest seal. The anchor wins over the ledger: a removed seal then stays visible as a gap for ever."""
    newest: PreviousSeal | None = None
    try:
        newest = anchored(anchor, ledger.service, ledger.environment) if anchor is not None else None
    except Damaged as error:
        log.error("%s; the newest seal in the ledger is used instead, and the anchor is left for the auditor", error)
    for release in ledger.releases():
        try:
            data = objects.read(ledger.release_folder(release) / SEAL)
            candidate = _as_previous(open_seal(data, f"the seal of {release}", None)) if data is not None else None
        except Damaged as error:
            # A damaged old seal must not keep this release open; verifying the ledger names it.
            log.error("%s; it is left out of the chain", error)
            continue
        if candidate is not None and (newest is None or candidate.sequence > newest.sequence):
            newest = candidate
    return newest


def _move_anchor(anchor: Location, ledger: Ledger, newest: OpenSeal) -> None:
    try:
        Anchor(anchor, ledger.service, ledger.environment).move(_as_previous(newest))
    except Damaged as error:
        log.error("%s; it is not moved to the seal of %s", error, newest.predicate.release)


def _as_previous(seal_: OpenSeal) -> PreviousSeal:
    return PreviousSeal(release=seal_.predicate.release, sequence=seal_.predicate.sequence, digest=seal_.digest)
