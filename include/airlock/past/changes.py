"""How the releases of a service environment ended, and when a restore of each of its resources was proved last."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from airlock.change.history import PastChange
from airlock.change.templates import Restoration, Use
from airlock.evidence.ledger import Ledger
from airlock.models import Outcome, Proof, Rfc

_DRILLS_LOOKED_AT = 20
_LOOKED_AT = 200
"""Releases in which a proof is looked for, newest first; what was not proved in so many counts as never proved."""


def past_changes(ledger: Ledger, blamed: Collection[str] = (), newest: int | None = None) -> tuple[PastChange, ...]:
    """Return the releases that have ended, newest first, until *newest* of them were carried out (``None``: all).

    :param blamed: releases that a later review names as the cause of an emergency
    :raises EvidenceInvalid: a record was altered, or is not signed by a trusted key
    """
    found: list[PastChange] = []
    undone: set[str] = set()
    carried_out = 0
    for release in reversed(ledger.releases()):
        if newest is not None and carried_out >= newest:
            break
        ended, request = ledger.latest(release, "outcome"), ledger.latest(release, "rfc")
        if ended is None or request is None:
            continue
        rfc, plan = Rfc.model_validate(request.data["rfc"]), ledger.latest(release, "plan")
        outcome = Outcome(ended.data["outcome"])
        if rfc.undoes is not None and outcome is Outcome.PROMOTED:
            undone.add(rfc.undoes)
        change = PastChange(
            release=release, outcome=outcome, at=ended.at, change_type=rfc.change_type,
            category=rfc.category, score=plan.data["plan"]["risk"]["score"] if plan else None,
            blamed=release in blamed or release in undone,
        )
        carried_out += change.carried_out
        found.append(change)
    return tuple(sorted(found, key=lambda one: one.at, reverse=True))


def newest_proofs(taken: Iterable[Ledger], drills: Ledger, labels: Collection[str]) -> dict[str, datetime]:
    """Return, for each of *labels* (``kind.resource``), when a restore of it was proved last.

    :param taken: ledgers of releases and of scheduled backups, which prove each backup that they take
    :param drills: ledger of scheduled drills, which prove older ones
    :raises EvidenceInvalid: a record was altered, or is not signed by a trusted key
    """
    newest: dict[str, datetime] = {}
    for found in (*(_proofs(ledger, labels) for ledger in taken), _drilled(drills, labels)):
        for label, at in found.items():
            newest[label] = max(at, newest.get(label, at))
    return newest


def _drilled(ledger: Ledger, labels: Collection[str]) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for run in tuple(reversed(ledger.releases()))[:_DRILLS_LOOKED_AT]:
        for record in ledger.read(run):
            proof = Proof.model_validate(record.data["proof"]) if record.type == "drilled" else None
            label = f"{proof.kind}.{proof.resource}" if proof else ""
            if proof and proof.ok and label in labels:
                found[label] = max(record.at, found.get(label, record.at))
        if found.keys() >= set(labels):
            break
    return found


def _proofs(ledger: Ledger, labels: Collection[str]) -> dict[str, datetime]:
    missing = set(labels)
    found: dict[str, datetime] = {}
    for release in tuple(reversed(ledger.releases()))[:_LOOKED_AT]:
        for label in sorted(missing):
            record = ledger.latest(release, "proof", label)
            if record is not None and Proof.model_validate(record.data["proof"]).ok:
                found[label] = record.at
        missing -= found.keys()
        if not missing:
            break
    return found


def uses_of(ledger: Ledger, template: str) -> tuple[Use, ...]:
    """Return the releases that were carried out under the standard-change *template*, oldest name first.

    :raises EvidenceInvalid: a record was altered, or is not signed by a trusted key
    """
    uses = []
    for release in ledger.releases():
        asked = ledger.latest(release, "standard_change", template)
        ended = ledger.latest(release, "outcome") if asked is not None and asked.data["allowed"] else None
        outcome = Outcome(ended.data["outcome"]) if ended else None
        if ended is not None and outcome in (Outcome.PROMOTED, Outcome.ROLLED_BACK):
            uses.append(Use(release=release, outcome=outcome, at=ended.at))
    return tuple(uses)


def restored(ledger: Ledger, template: str) -> Restoration | None:
    """Return who restored *template* last; *ledger* is that of standard changes.

    :raises EvidenceInvalid: a record was altered, removed, or is not signed by a trusted key
    """
    records = ledger.read(template)
    return Restoration.model_validate(records[-1].data["restoration"]) if records else None
