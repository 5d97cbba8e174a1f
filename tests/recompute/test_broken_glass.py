"""What a person did by hand is on record whole, and computed again; a forged record of it is named."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from airlock.deploy.broken_glass import BrokenGlass
from airlock.deploy.landing import BROKEN_GLASS
from airlock.deploy.progress import CanaryProgress
from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import write_pack
from airlock.evidence.seal import seal
from airlock.flow.stages import broken_glass, deploy
from airlock.flow.stages.release import Release
from airlock.models import Record
from airlock.recompute.release import Recomputation, recompute
from tests.recompute import flown
from tests.recompute.test_release import SIGNER, explained

GLASS = BrokenGlass(reason="The scheduler's disk is gone, guests see errors.", person="olga", user="root", host="h7")
STANDARD = {"version": "1.1", "change_type": "standard"}


@pytest.fixture(scope="module", autouse=True)
def keys() -> Iterator[None]:
    with flown.keys():
        yield


def in_mid_air(folder: Path) -> Release:
    """Return a release whose new version has a share of the traffic."""
    flight = flown.prepared(folder, "{}", (), ())
    flight.until_staged(STANDARD)
    deploy.shift(flight.release, CanaryProgress())
    return flight.release


def by_hand(release: Release) -> Release:
    """Return *release* as the command line sees it: on the same hosts."""
    other = Release(release.environment, release.id, GLASS.actor)
    other.delivery = release.delivery
    return other


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landed")
    release = in_mid_air(folder)
    assert broken_glass.land(by_hand(release), GLASS).endswith("settled as rolled_back")
    return folder


def test_it_is_decided_the_same_again(landed: Path) -> None:
    found = recompute(landed / "evidence/cafe-live-1.zip", [SIGNER.public_pem])
    assert (found.ok, found.outcome) == (True, "rolled_back"), explained(found)
    said = [(one.decision, one.answer) for one in found.decisions if "hand" in one.decision]
    assert said == [
        ("brought back by hand", GLASS.message),
        ("by hand", "act roll_back"),
        ("by hand", "rolled_back"),
        ("by hand", "outcome"),
    ]
    (outcome,) = [one for one in Ledger(landed / "ledger", "cafe", "live").read("cafe-live-1") if one.type == "outcome"]
    assert GLASS.message in outcome.data["why"]


def forged(folder: Path, change: Callable[[list[Record]], list[Record]]) -> Recomputation:
    """Seal changed records with the right key, and compute them again."""
    records = list(Ledger(folder / "ledger", "cafe", "live").read("cafe-live-1"))
    changed = change(records)
    assert changed != records
    with tempfile.TemporaryDirectory() as home:
        copy = Ledger(Path(home) / "ledger", "cafe", "live")
        for record in changed:
            copy.append(record)
        seal(copy, "cafe-live-1", SIGNER, records[-1].at + timedelta(seconds=1))
        return recompute(write_pack(copy, "cafe-live-1", home), [SIGNER.public_pem])


def with_data(**data: object) -> Callable[[list[Record]], list[Record]]:
    def change(records: list[Record]) -> list[Record]:
        return [one.model_copy(update={"data": {**one.data, **data}}) if one.type == BROKEN_GLASS else one
                for one in records]

    return change


def by(actor: str) -> Callable[[list[Record]], list[Record]]:
    return lambda records: [one.model_copy(update={"actor": actor}) if one.type == BROKEN_GLASS else one
                            for one in records]


def without(records: list[Record]) -> list[Record]:
    return [one for one in records if one.type != BROKEN_GLASS]


def moved_first(records: list[Record]) -> list[Record]:
    """Let it be said before anything was changed."""
    glass = next(one for one in records if one.type == BROKEN_GLASS)
    early = glass.model_copy(update={"at": records[0].at - timedelta(seconds=1)})
    return [early, *without(records)]


def forward_after(records: list[Record]) -> list[Record]:
    """Let a task have acted although the release was taken out of its hands."""
    at = next(one.at for one in records if one.type == BROKEN_GLASS) + timedelta(microseconds=1)
    shift = next(one for one in records if (one.type, one.subject) == ("act", "shift"))
    return sorted([*records, shift.model_copy(update={"at": at})], key=lambda one: one.at)


@pytest.mark.parametrize(
    ("change", "decision", "said"),
    [
        (with_data(reason="Nothing was wrong at all."), "brought back by hand", "message: "),
        (with_data(reason=""), "brought back by hand", "reason"),
        (with_data(person="bert"), "brought back by hand", "actor: "),
        (with_data(user="nobody"), "brought back by hand", "message: "),
        (with_data(host="elsewhere"), "brought back by hand", "message: "),
        (with_data(message="It was nobody."), "brought back by hand", "message: "),
        (with_data(more="words"), "brought back by hand", "more"),
        (by("task settle"), "brought back by hand", 'actor: "task settle" -> "land by olga@h7"'),
        (by("task settle"), "by hand", "no record 'broken_glass' by 'land by olga@h7' is before it"),
        (without, "by hand", "no record 'broken_glass' by 'land by olga@h7' is before it"),
        (without, "rolled back", "why: "),
        (moved_first, "brought back by hand", "there was nothing to bring back"),
        (forward_after, "brought back by hand", "the act 'shift' came after it, and goes forward"),
    ],
)
def test_a_forged_one_is_named(landed: Path, change, decision: str, said: str) -> None:
    found = forged(landed, change)
    assert not found.ok
    differing = [text for one in found.differing if one.decision == decision for text in one.differences]
    assert any(said in text for text in differing), explained(found)
