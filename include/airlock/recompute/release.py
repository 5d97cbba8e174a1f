"""One release, computed again from its evidence alone: no Airflow, no network, no clock, no service file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from upath import UPath

from airlock.evidence.pack import open_release
from airlock.models import Frozen
from airlock.recompute import canary, change, conflicts, cycles, follow_up, gates, migrations, tickets
from airlock.recompute.history import Entry, History, Recomputed
from airlock.signing import Keyring


class Recomputation(Frozen):
    """``ok`` only if the evidence is intact and every decision on record is the one that its inputs give.

    *problems* are those of ``verify``; *decisions* are in the order of the records.
    """

    ok: bool
    release: str
    outcome: str
    records: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    decisions: tuple[Recomputed, ...]

    @property
    def differing(self) -> tuple[Recomputed, ...]:
        """Return the decisions that differ from what is on record."""
        return tuple(one for one in self.decisions if one.differences)


def recompute(path: str | Path | UPath, trusted_public_keys: Iterable[str] = ()) -> Recomputation:
    """Check the evidence of one release, compute every decision in it again, and compare.

    :param path: a pack (zip), an unpacked pack, or the ledger's folder of a release
    :param trusted_public_keys: PEM texts; if none is given, the seal's own key is used
    :raises InvalidInput: there is nothing at *path*, not one release, or a key is no Ed25519 public key
    """
    keys = tuple(trusted_public_keys)
    evidence = open_release(path, keys)
    keys = keys or ((evidence.public_key,) if evidence.public_key else ())
    entries = tuple(Entry(number, name, record) for number, (name, record) in enumerate(evidence.records, start=1))
    report = evidence.report
    history = History(entries, report.outcome, Keyring(keys) if keys else None)
    position = {entry.name: entry.position for entry in entries}
    parts = (change, conflicts, migrations, canary, gates, cycles, follow_up, tickets)
    found = [decision for part in parts for decision in part.decisions(history)]
    found.sort(key=lambda one: position[one.record])
    problems = report.problems if entries else (*report.problems, "there is no readable record to compute from")
    return Recomputation(
        ok=not problems and not any(one.differences for one in found), release=report.release, outcome=report.outcome,
        records=len(entries), problems=problems, notes=report.notes, decisions=tuple(found),
    )
