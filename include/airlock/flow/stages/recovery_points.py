"""The recovery points of a service environment as its signed ledgers know them: releases, scheduled backups, drills.

Exists because a store may hold what was never on record (a crash, a stranger) and lack what is: the record decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from airlock.evidence.ledger import Ledger
from airlock.flow.stages.outside_releases import BACKUPS, DRILLS, RETENTION, StreamRun
from airlock.flow.stages.release import Release
from airlock.models import Proof, RecoveryPoint

_INFIX = "-recovery_point-"


@dataclass(frozen=True)
class PointOnRecord:
    """One recovery point, and what is known of it."""

    point: RecoveryPoint
    proved: bool
    open_change: bool

    @property
    def resource(self) -> str:
        """Return ``kind.name``."""
        return f"{self.point.resource.kind}.{self.point.resource.name}"


def points_on_record(run: Release) -> tuple[PointOnRecord, ...]:
    """Return every recovery point of the service environment of *run* that was taken and has not expired."""
    where = run.environment
    expired = set(_subjects(_stream(run, RETENTION), "expired"))
    drilled = dict(_proofs(_stream(run, DRILLS)))
    found = []
    for ledger in (Release(where, run.id, run.actor).ledger, _stream(run, BACKUPS)):
        for identity in ledger.releases():
            proofs: dict[str, bool] = {}
            points: list[RecoveryPoint] = []
            if not any(_INFIX in name for name in ledger.record_names(identity)):
                continue
            for record in ledger.read(identity):
                if record.type == "recovery_point":
                    points.append(RecoveryPoint.model_validate(record.data["point"]))
                elif record.type == "proof":
                    proof = Proof.model_validate(record.data["proof"])
                    proofs[proof.recovery_point] = proof.ok
            open_change = not ledger.sealed(identity)
            found += [
                PointOnRecord(point, drilled.get(point.id, proofs.get(point.id, False)), open_change)
                for point in points if point.id not in expired
            ]
    return tuple(found)


def _stream(run: Release, stream: str) -> Ledger:
    return StreamRun(run.environment, stream, run.id, run.actor).ledger


def _subjects(ledger: Ledger, kind: str) -> Iterator[str]:
    for identity in ledger.releases():
        if any(f"-{kind}-" in name for name in ledger.record_names(identity)):
            yield from (record.subject for record in ledger.read(identity) if record.type == kind)


def _proofs(ledger: Ledger) -> Iterator[tuple[str, bool]]:
    """Yield what drills found, oldest first: the newest word counts."""
    for identity in ledger.releases():
        for record in ledger.read(identity):
            if record.type == "drilled":
                proof = Proof.model_validate(record.data["proof"])
                yield proof.recovery_point, proof.ok
