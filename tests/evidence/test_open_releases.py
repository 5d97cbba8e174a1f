"""The index of open releases and what they hold: one winner at most, whoever is quick, slow, killed or archived."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from airlock.errors import EvidenceInvalid
from airlock.evidence.ledger import SEAL, Ledger
from airlock.evidence.open_releases import Holder, OpenReleases
from airlock.models import Record, utc_now


def begun(root: Path, service: str, number: int = 1) -> Holder:
    """A release with a record, so that it is under way."""
    release = f"{service}-{number}"
    record = Record(release=release, type="plan", at=utc_now(), actor="test", data={})
    Ledger(root, service, "prod").append(record)
    return Holder(service, "prod", release)


def end(root: Path, holder: Holder) -> None:
    (root / holder.service / "prod" / holder.release / SEAL).write_text("{}")


def test_only_what_is_open_is_listed_and_what_ended_is_dropped(tmp_path):
    index = OpenReleases(tmp_path)
    assert index.all() == ()
    shop, till = begun(tmp_path, "shop"), begun(tmp_path, "till")
    index.put(shop, {"state": "waits"})
    index.put(till, {"state": "waits"})
    index.put(shop, {"state": "under way"})
    assert [(one["service"], one["state"]) for one in index.all()] == [("shop", "under way"), ("till", "waits")]
    end(tmp_path, shop)
    assert [one["service"] for one in index.all()] == ["till"]
    assert len(list((tmp_path / ".open").iterdir())) == 1
    assert Ledger(tmp_path, "till", "prod").releases() == ("till-1",), "the index is no service"


def test_everything_is_held_or_nothing_until_the_seal(tmp_path):
    index = OpenReleases(tmp_path)
    shop, till = begun(tmp_path, "shop"), begun(tmp_path, "till")
    assert index.hold(shop, ["db", "files"]) == {}
    assert index.hold(shop, ["db", "files"]) == {}, "what is held stays held"
    assert index.hold(till, ["cache", "db"]) == {"db": shop}
    assert index.holders(["cache", "db", "files"]) == {"db": shop, "files": shop}, "the cache was given back"
    end(tmp_path, shop)
    assert index.hold(till, ["cache", "db"]) == {}
    assert index.holders(["cache", "db", "files"]) == {"cache": till, "db": till}


def test_many_releases_leave_few_objects(tmp_path):
    index = OpenReleases(tmp_path)
    for number in range(1, 30):
        holder = begun(tmp_path, "shop", number)
        assert index.hold(holder, ["db"]) == {}
        end(tmp_path, holder)
    (folder,) = (tmp_path / ".held").iterdir()
    assert len(list(folder.iterdir())) <= 2


def test_a_release_whose_records_are_archived_holds_nothing(tmp_path):
    index = OpenReleases(tmp_path)
    shop = begun(tmp_path, "shop")
    index.hold(shop, ["db"])
    shutil.rmtree(tmp_path / "shop")
    assert index.holders(["db"]) == {}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"service": "../x", "environment": "prod", "release": "r"}',
                                  '{"service": "shop"}', '{"service": 1, "environment": 2, "release": 3}'])
def test_a_damaged_entry_stops_instead_of_hiding_somebody(tmp_path, text):
    index = OpenReleases(tmp_path)
    index.put(begun(tmp_path, "shop"), {})
    next((tmp_path / ".open").iterdir()).write_text(text)
    with pytest.raises(EvidenceInvalid):
        index.all()


def test_of_many_that_want_overlapping_things_at_once_at_most_one_gets_each(tmp_path):
    holders = [begun(tmp_path, f"service{number}") for number in range(8)]
    wanted = [[f"thing{number % 3}", f"thing{(number + 1) % 3}", "own" + str(number)] for number in range(8)]
    barrier = threading.Barrier(8)

    def attempt(number: int) -> bool:
        index = OpenReleases(tmp_path)
        barrier.wait()
        return any(not index.hold(holders[number], wanted[number]) for _ in range(6))

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, got in enumerate(pool.map(attempt, range(8))) if got]
    assert won, "somebody gets what is wanted when it is tried again"
    taken = [thing for number in won for thing in wanted[number]]
    assert len(taken) == len(set(taken)), "two hold the same"
    held = OpenReleases(tmp_path).holders({thing for one in wanted for thing in one})
    assert held == {thing: holders[number] for number in won for thing in wanted[number]}
