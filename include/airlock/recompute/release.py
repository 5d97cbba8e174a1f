"""One release, computed again from its evidence alone: no Airflow, no network, no clock, no service file."""

from __future__ import annotations

from collections.abc import Iterable

from airlock.evidence.pack import open_release
from airlock.models import Frozen
from airlock.places.paths import Location
from airlock.recompute import (
    broken_glass,
    canary,
    change,
    checks,
    conflicts,
    cycles,
    follow_up,
    gates,
    migrations,
    signatures,
    tickets,
    verdicts,
)
from airlock.recompute.history import Entry, History, Recomputed
from airlock.signing import Keyring

_MOST = 500
_FEW = ("decision", "rolled_back", "outcome", "start", "send_back", "vote", "vote_refused", "attendance", "reminder",
        "escalation", "approval_over", "permit", "retro_vote", "retro_tally", "retro_approved", "retro_rejected",
        "broken_glass")
"""Records whose decisions each go through those before them: a release has few of each."""


class Recomputation(Frozen):
    """``ok`` only if the evidence is intact, its signer trusted, and every decision on record is the one that its
    inputs give.

    *problems* are those of ``verify``; *decisions* are in the order of the records.
    """

    ok: bool
    release: str
    outcome: str
    records: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    decisions: tuple[Recomputed, ...]
    trust: str

    @property
    def verdict(self) -> str:
        """Return the result in a few words."""
        if self.problems or self.differing:
            return "NOT the same"
        return "all the same" if self.ok else f"all the same, {self.trust}"

    @property
    def differing(self) -> tuple[Recomputed, ...]:
        """Return the decisions that differ from what is on record."""
        return tuple(one for one in self.decisions if one.differences)


def recompute(path: Location, trusted_public_keys: Iterable[str] = (),
              anchor: Location | None = None, *, any_signer: bool = False) -> Recomputation:
    """Check the evidence of one release, compute every decision in it again, and compare.

    :param path: a pack (zip), an unpacked pack, or the ledger's folder of a release
    :param trusted_public_keys: PEM texts; if none is given, the seal's own key is used, and nothing is ``ok``
    :param anchor: the folder with the digests of the newest seals, which the release's is compared with
    :param any_signer: without keys, be content with evidence that agrees with itself, whoever signed it
    :raises InvalidInput: there is nothing at *path*, not one release, or a key is no Ed25519 public key
    """
    keys = tuple(trusted_public_keys)
    evidence = open_release(path, keys, anchor, any_signer=any_signer)
    keys = keys or ((evidence.seal.predicate.public_key,) if evidence.seal else ())
    entries = tuple(Entry(number, name, record) for number, (name, record) in enumerate(evidence.records, start=1))
    report = evidence.report
    history = History(entries, report.outcome, Keyring(keys) if keys else None)
    position = {entry.name: entry.position for entry in entries}
    parts = (change, signatures, conflicts, migrations, checks, canary, gates, broken_glass, cycles, follow_up, tickets,
             verdicts)
    many = [f"there are {len(history.of(kind))} records {kind!r}, more than any release has ({_MOST}): its decisions "
            "were not computed again" for kind in _FEW if len(history.of(kind)) > _MOST]
    found = [] if many else [decision for part in parts for decision in part.decisions(history)]
    found.sort(key=lambda one: position[one.record])
    problems = (*report.problems, *many)
    if not entries:
        problems += ("there is no readable record to compute from",)
    ok = report.ok and not problems and not any(one.differences for one in found)
    return Recomputation(ok=ok, release=report.release, outcome=report.outcome, records=len(entries), problems=problems,
                         notes=report.notes, decisions=tuple(found), trust=report.trust)
