"""What every place promises, in a local folder and in each object store, through the functions that all code uses."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable

import pytest
from upath import UPath

from airlock.errors import Damaged
from airlock.places import objects, streams


class PlacesContract:
    """Inherited by the tests of each store, which give the fixture ``place``: a folder that is not there yet."""

    def test_an_object_is_created_once_replaced_whole_and_withdrawn(self, place: UPath) -> None:
        path = place / "one.json"
        assert objects.read(path) is None
        assert objects.size(path) is None
        assert objects.unchanged_since(path) is None
        assert not objects.exists(path)
        assert objects.create(path, b"first")
        assert not objects.create(path, b"second")
        assert not objects.create(path, b"first"), "the same bytes by another call are another object"
        assert objects.read(path) == b"first"
        objects.replace(path, b"the third")
        assert objects.read(path) == b"the third"
        assert objects.size(path) == 9
        assert objects.exists(path)
        assert objects.exists(place)
        assert not objects.is_folder(path)
        assert objects.is_folder(place)
        objects.withdraw(path)
        assert not objects.exists(path)
        objects.withdraw(path)

    def test_names_of_any_text_are_kept(self, place: UPath) -> None:
        found = ("a b.json", "a#b", "a?b=c", "a%20b", "ä", "a+b", "a'b", "a&b;c")
        for name in found:
            assert objects.create(place / name, name.encode()), name
        assert objects.names(place) == tuple(sorted(found))
        assert [objects.read(place / name) for name in found] == [name.encode() for name in found]

    def test_names_are_sorted_and_hidden_ones_only_if_asked_for(self, place: UPath) -> None:
        for name in ("b", "a", ".hidden", "folder/inner", "folder.json"):
            objects.replace(place / name, b"x")
        assert objects.names(place) == ("a", "b", "folder", "folder.json")
        assert objects.names(place, hidden=True) == (".hidden", "a", "b", "folder", "folder.json")
        assert objects.names(place / "nothing") == ()
        assert objects.names(place / "a") == ()
        assert objects.holding(place, "inner") == ("folder",)
        assert objects.holding(place / "nothing", "inner") == ()

    def test_what_was_written_last_is_the_latest(self, place: UPath) -> None:
        for name in ("b", "a", "c"):
            objects.create(place / name, b"x")
        assert sorted(objects.latest(place)) == ["a", "b", "c"]
        assert objects.latest(place / "nothing") == ()

    def test_what_was_changed_is_seen(self, place: UPath) -> None:
        path = place / "one"
        objects.create(path, b"first")
        before = objects.unchanged_since(path)
        assert before is not None
        assert objects.unchanged_since(path) == before
        objects.replace(path, b"other")
        assert objects.unchanged_since(path) != before

    def test_one_of_many_creates_an_object(self, place: UPath) -> None:
        won = self._raced(lambda number: objects.create(place / "one", f"{number}".encode()))
        assert len(won) == 1
        assert objects.read(place / "one") == f"{won[0]}".encode()

    def test_an_object_is_replaced_only_as_it_was_read(self, place: UPath) -> None:
        path = place / "one"
        assert objects.replace_unchanged(path, b"x", "a version") is None
        assert not objects.exists(path)
        objects.create(path, b"first")
        first = objects.content(path)
        assert first is not None
        second = objects.replace_unchanged(path, b"second", first.version)
        assert second is not None
        assert objects.replace_unchanged(path, b"third", first.version) is None
        found = objects.content(path)
        assert found is not None
        assert (found.data, found.version) == (b"second", second)
        assert objects.replace_unchanged(path, b"third", second)

    def test_of_many_that_read_the_same_one_replaces_it(self, place: UPath) -> None:
        path = place / "counter"
        objects.create(path, b"0 none")

        def count(number: int) -> bool:
            while True:
                found = objects.content(path)
                assert found is not None
                following = int(found.data.split()[0]) + 1
                if objects.replace_unchanged(path, f"{following} {uuid.uuid4().hex}".encode(), found.version):
                    return True

        assert len(self._raced(count)) == 6
        assert (objects.read(path) or b"").split()[0] == b"6"

    def test_all_but_what_is_known_is_removed_folders_too(self, place: UPath) -> None:
        for name in ("kept", "kept.not", "draft.part", "old/inner/most", "old/other"):
            objects.replace(place / name, b"x")
        objects.remove_others(place, {"kept"})
        assert self._held(place) == ["kept"]

    def test_a_folder_is_removed_with_all_that_is_in_it_and_once_more(self, place: UPath) -> None:
        for name in ("folder/inner/one", "folder/two", "folder.json", "folder2/one"):
            objects.replace(place / name, b"x")
        for _ in range(2):
            objects.remove_folder(place / "folder")
            assert not objects.is_folder(place / "folder")
            assert self._held(place) == ["folder.json", "folder2"]

    def test_what_is_larger_than_any_object_is_refused(self, place: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(objects, "MAXIMUM_BYTES", 8)
        objects.replace(place / "large", b"123456789")
        with pytest.raises(Damaged, match="larger than 8 bytes"):
            objects.read(place / "large")

    @pytest.mark.parametrize("size", [0, 7, 3 * streams.CHUNK + 1, 35 * streams.CHUNK])
    def test_a_stream_appears_whole_or_not_at_all(self, place: UPath, size: int) -> None:
        path, data = place / "data", bytes(range(256)) * (size // 256 + 1)
        with pytest.raises(RuntimeError), streams.created(path) as append:
            self._append(append, data[:size])
            raise RuntimeError("the source broke")
        assert objects.names(place, hidden=True) == ()
        with streams.created(path) as append:
            self._append(append, data[:size])
            assert objects.size(path) is None
        assert objects.size(path) == size
        with streams.opened(path) as source:
            assert source.read(5) == data[:min(5, size)]
            assert source.read() == data[min(5, size):size]
            assert source.read(5) == b""
        with streams.created(path) as append:
            append(b"another")
        assert objects.read(path) == b"another"

    def test_a_stream_that_is_not_there_is_missing(self, place: UPath) -> None:
        with pytest.raises(Damaged, match="is missing"), streams.opened(place / "none"):
            pass

    def test_a_copy_is_compared_with_what_was_written(self, place: UPath) -> None:
        with streams.created(place / "first") as append:
            append(b"coffee")
        expected = streams.sha256(place / "first")
        streams.replicate(place / "first", place / "second", expected)
        assert objects.read(place / "second") == b"coffee"
        objects.replace(place / "first", b"tea")
        with pytest.raises(Damaged, match="does not hold what was just written"):
            streams.replicate(place / "first", place / "third", expected)
        assert not objects.exists(place / "third")

    @staticmethod
    def _held(place: UPath) -> list[str]:
        """Return the names in *place* but for folders of which nothing is left: a store may still list their names."""
        return [name for name in objects.names(place) if objects.exists(place / name)]

    @staticmethod
    def _append(append: Callable[[bytes], object], data: bytes) -> None:
        for start in range(0, len(data), streams.CHUNK):
            append(data[start : start + streams.CHUNK])

    @staticmethod
    def _raced(act: Callable[[int], bool]) -> list[int]:
        """Let six at once do *act*, and return the numbers of those who got what they wanted."""
        won, begin = list[int](), threading.Barrier(6)

        def run(number: int) -> None:
            begin.wait(30)
            if act(number):
                won.append(number)

        racing = [threading.Thread(target=run, args=(number,)) for number in range(6)]
        for one in racing:
            one.start()
        for one in racing:
            one.join(60)
        return won
