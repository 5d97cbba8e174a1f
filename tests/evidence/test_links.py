"""Every record is named by a later one, whatever the clocks of the writers say, and few records are read for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.errors import EvidenceInvalid
from airlock.evidence.ledger import Ledger
from airlock.evidence.links import links, reached
from airlock.evidence.stored import SEEN, Signature, StoredRecord, record_name, tag_of
from airlock.models import Record
from airlock.signing import Keyring, Signer, generate_pem

NOW = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
SIGNER = Signer.from_pem(generate_pem())
KEYRING = Keyring([SIGNER.public_pem])
RELEASE = "shop-prod-1"


def record(kind: str, seconds: float, subject: str = "") -> Record:
    at = NOW + timedelta(seconds=seconds)
    return Record(release=RELEASE, type=kind, subject=subject, at=at, actor="test", data={})


def ledger_of(root: Path) -> Ledger:
    return Ledger(root, "shop", "prod", signer=lambda: SIGNER, keyring=lambda: KEYRING)


def removed(root: Path, kind: str) -> str:
    (path,) = (root / "shop/prod" / RELEASE).glob(f"*-{kind}-*")
    path.unlink()
    return path.name[-21:]


@pytest.mark.parametrize("slow", [0.0, -1.0, -3600.0])
def test_a_vote_of_a_slow_clock_is_named_by_the_next_record(tmp_path: Path, slow: float) -> None:
    for number in range(SEEN + 10):
        ledger_of(tmp_path).append(record("look", number, str(number)))
    ledger_of(tmp_path).append(record("vote", slow))
    ledger_of(tmp_path).append(record("permit", 200))
    place = removed(tmp_path, "vote")
    with pytest.raises(EvidenceInvalid, match=place):
        ledger_of(tmp_path).read(RELEASE)


def test_a_worker_whose_clock_is_slow_all_the_time_is_followed(tmp_path: Path) -> None:
    ledger_of(tmp_path).append(record("run", 10_000))
    for number in range(SEEN + 10):
        ledger_of(tmp_path).append(record("look", number, str(number)))
    for number in range(3):
        ledger_of(tmp_path).append(record("vote", -number, str(number)))
    ledger_of(tmp_path).append(record("permit", -100))
    names = ledger_of(tmp_path).record_names(RELEASE)
    stored = [ledger_of(tmp_path)._stored(RELEASE, name) for name in names]
    seen = {tag for one in stored for tag in one.seen}
    assert [name for name in names if tag_of(name) not in seen] == [names[0]]


class Store:
    """Records as they lie in a store, without bytes and signatures, and how many were looked at."""

    def __init__(self) -> None:
        self.stored: dict[str, StoredRecord] = {}
        self.written: list[str] = []
        self.looks = 0

    def load(self, name: str) -> StoredRecord | None:
        self.looks += 1
        return self.stored.get(name)

    def write(self, seconds: float, names: tuple[str, ...] | None = None, latest: bool = True) -> str:
        """Write a record as one would who saw *names*."""
        known = tuple(sorted(self.stored if names is None else names))
        seen, digest = links(known, self.load, lambda: self.written if latest else ())
        made = record("look", seconds, str(len(self.stored)))
        stored = StoredRecord(record=made, seen=seen, signature=Signature(keyid="k", sig="s", reached=digest))
        name = record_name(made)
        self.stored[name] = stored
        self.written.append(name)
        return name

    def unreachable(self, ends: set[str]) -> set[str]:
        """Return what *ends* do not reach."""
        by_tag = {tag_of(name): name for name in self.stored}
        todo, found = list(ends), set(ends)
        while todo:
            for tag in self.stored[todo.pop()].seen:
                if by_tag[tag] not in found:
                    found.add(by_tag[tag])
                    todo.append(by_tag[tag])
        return set(self.stored) - found


@pytest.mark.campaign
@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(-500, 500), st.integers(1, 90), st.booleans()), min_size=1, max_size=8))
def test_whatever_the_clocks_and_however_many_write_at_once_two_later_records_reach_all(moves) -> None:
    store = Store()
    for seconds, at_once, latest in moves:
        there = tuple(store.stored)
        for number in range(at_once):
            store.write(seconds + number / 1000, there, latest)
    store.write(0)
    assert store.unreachable({store.write(1)}) == set()


@pytest.mark.parametrize("step", [1.0, -1.0])
def test_few_records_are_looked_at_for_one_more(step: float) -> None:
    store = Store()
    for number in range(400):
        store.write(number * step)
    assert store.looks < 400 * 10
    assert all(len(one.seen) <= SEEN for one in store.stored.values())
    assert reached(["b", "a"]) == reached(["a", "b"])
