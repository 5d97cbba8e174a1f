"""What clients of object stores do that no local folder does: they remember listings, list a folder within itself, and
fail by errors of their own."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from upath import UPath

from airlock.errors import TemporaryError
from airlock.places import objects, streams
from tests.places.remembering_store import PROTOCOL, RememberingStore, written_by_another


@pytest.fixture
def place() -> UPath:
    return UPath(f"{PROTOCOL}:///{uuid.uuid4().hex}")


def test_what_another_process_wrote_after_a_listing_is_seen(place: UPath) -> None:
    objects.create(place / "first", b"1")
    assert objects.names(place) == ("first",)
    written_by_another(f"{place.path}/seal", b"sealed")
    assert objects.read(place / "seal") == b"sealed"
    assert objects.names(place) == ("first", "seal")
    written_by_another(f"{place.path}/other", b"1")
    assert objects.exists(place / "other")
    assert objects.names(place) == ("first", "other", "seal")
    written_by_another(f"{place.path}/folder/inner", b"1")
    assert objects.is_folder(place / "folder")
    assert objects.names(place) == ("first", "folder", "other", "seal")
    written_by_another(f"{place.path}/large", b"1234")
    with streams.opened(place / "large") as source:
        assert source.read() == b"1234"


def test_the_marker_of_a_folder_is_no_name_in_it_and_never_taken_for_a_rest(place: UPath) -> None:
    written_by_another(f"{place.path}/", b"")
    for name in ("known", "rest"):
        objects.replace(place / name, b"x")
    assert objects.names(place) == ("known", "rest")
    objects.remove_others(place, {"known"})
    assert objects.read(place / "known") == b"x"
    assert objects.names(place) == ("known",)
    written_by_another(f"{place.path}/late", b"x")
    objects.remove_folder(place)
    assert objects.names(place) == ()


@pytest.mark.parametrize("act", [
    objects.read, objects.names, objects.exists, objects.is_folder, objects.size, objects.withdraw, streams.sha256,
    lambda path: objects.create(path, b"x"), lambda path: objects.replace(path, b"x"),
    lambda path: objects.remove_others(path, ()),
])  # fmt: skip
def test_a_store_that_is_away_is_worth_another_try_whatever_its_client_raises(
    act: Callable[[UPath], object], place: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RememberingStore, "away", True)
    with pytest.raises(TemporaryError, match=r"StoreIsAway: Could not connect.*is the storage reachable"):
        act(place / "one")


def test_a_stream_to_a_store_that_goes_away_says_so(place: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RememberingStore, "away", True)
    with pytest.raises(TemporaryError, match="StoreIsAway"), streams.created(place / "one") as append:
        append(b"x")


def test_a_mistake_of_our_own_stays_what_it_is(place: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(*_: object, **__: object) -> None:
        raise KeyError("a mistake")

    monkeypatch.setattr(RememberingStore, "info", mistaken)
    with pytest.raises(KeyError):
        objects.size(place / "one")
