"""Objects in a local folder and in an object store: the same promises, kept by each in its own way."""

from __future__ import annotations

import errno
import multiprocessing
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from upath import UPath

from airlock.errors import Damaged, InvalidInput, PermanentError, TemporaryError
from airlock.places import lock, objects, streams
from airlock.places.paths import fault, local, root_path
from tests.another_user import as_another_user


@pytest.fixture(params=["folder", "object store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UPath]:
    """A place that is not there yet."""
    yield UPath(tmp_path / "place") if request.param == "folder" else UPath(f"memory://{uuid.uuid4().hex}/place")


def test_an_object_is_created_once_replaced_whole_and_withdrawn(place: UPath) -> None:
    path = place / "one.json"
    assert objects.read(path) is None
    assert objects.size(path) is None
    assert objects.create(path, b"first")
    assert not objects.create(path, b"second")
    assert objects.read(path) == b"first"
    objects.replace(path, b"the third")
    assert objects.read(path) == b"the third"
    assert objects.size(path) == 9
    assert objects.names(place) == ("one.json",)
    objects.withdraw(path)
    assert not objects.exists(path)
    objects.withdraw(path)


def test_names_are_sorted_and_hidden_ones_only_if_asked_for(place: UPath) -> None:
    for name in ("b", "a", ".hidden"):
        objects.replace(place / name, b"x")
    assert objects.names(place) == ("a", "b")
    assert objects.names(place, hidden=True) == (".hidden", "a", "b")
    assert objects.names(place / "nothing") == ()


def test_all_but_what_is_known_is_removed_folders_too(place: UPath) -> None:
    for name in ("kept", "draft.part", "old/inner"):
        objects.replace(place / name, b"x")
    objects.remove_others(place, {"kept"})
    assert objects.names(place) == ("kept",)


def test_a_folder_is_removed_with_all_that_is_in_it_and_once_more(place: UPath) -> None:
    objects.replace(place / "folder" / "inner" / "one", b"x")
    objects.replace(place / "other", b"x")
    for _ in range(2):
        objects.remove_folder(place / "folder")
        assert objects.names(place) == ("other",)


def test_a_link_among_the_rest_is_removed_and_what_it_leads_to_is_kept(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "data").write_text("x")
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "link").symlink_to(tmp_path / "elsewhere")
    objects.remove_others(UPath(tmp_path / "place"), ())
    assert objects.names(UPath(tmp_path / "place")) == ()
    assert (tmp_path / "elsewhere" / "data").read_text() == "x"


def test_what_is_larger_than_any_object_is_refused(place: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "MAXIMUM_BYTES", 8)
    objects.replace(place / "large", b"123456789")
    with pytest.raises(Damaged, match="larger than 8 bytes"):
        objects.read(place / "large")


def test_a_stream_appears_whole_or_not_at_all(place: UPath) -> None:
    path = place / "data"
    with pytest.raises(RuntimeError), streams.created(path) as append:
        append(b"half")
        raise RuntimeError
    if local(place):  # fsspec's store in memory has no upload that is not there before its commit
        assert objects.names(place, hidden=True) == ()
    with streams.created(path) as append:
        append(b"wh")
        append(b"ole")
    with streams.opened(path) as source:
        assert source.read() == b"whole"
    with pytest.raises(Damaged, match="is missing"), streams.opened(place / "other"):
        pass


def test_a_copy_is_compared_with_what_was_written(place: UPath) -> None:
    objects.replace(place / "first", b"content")
    right = streams.sha256(place / "first")
    streams.replicate(place / "first", place / "second", right)
    assert objects.read(place / "second") == b"content"
    with pytest.raises(Damaged, match="sha256 differs"):
        streams.replicate(place / "first", place / "third", "0" * 64)
    if local(place):
        assert not objects.exists(place / "third")


def _create(folder: str, number: int, won: multiprocessing.Queue[int]) -> None:
    if objects.create(UPath(folder) / "seal.json", f"{number}".encode() * 100_000):
        won.put(number)


def _without_links(monkeypatch: pytest.MonkeyPatch, number: int = errno.EPERM) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("with_links", [True, False])
def test_of_many_that_create_at_once_exactly_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_links: bool
) -> None:
    if not with_links:
        _without_links(monkeypatch)
        there = os.path.lexists

        def slowly(path: str) -> bool:
            found = there(path)
            time.sleep(0.2)
            return found

        monkeypatch.setattr(os.path, "lexists", slowly)
    context = multiprocessing.get_context("fork")
    won = context.Queue()
    processes = [context.Process(target=_create, args=(str(tmp_path), number, won)) for number in range(8)]
    for one in processes:
        one.start()
    for one in processes:
        one.join()
    assert objects.read(UPath(tmp_path) / "seal.json") == f"{won.get(timeout=10)}".encode() * 100_000
    assert won.empty()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV])
def test_a_disk_without_hard_links_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    _without_links(monkeypatch, number)
    path = UPath(tmp_path) / "one"
    assert objects.create(path, b"first")
    assert not objects.create(path, b"second")
    assert objects.read(path) == b"first"
    assert [one.name for one in tmp_path.iterdir()] == ["one"]


def test_a_link_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"x")
    (tmp_path / "link").symlink_to("there")
    assert objects.is_link(UPath(tmp_path) / "link")
    with pytest.raises(Damaged, match="not a regular file"):
        objects.read(UPath(tmp_path) / "link")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_disk_that_cannot_flush_a_folder_keeps_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    flush = os.fsync

    def refuse(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112 - of a descriptor
            raise OSError(number, os.strerror(number))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    place = UPath(tmp_path)
    assert objects.create(place / "one", b"first")
    objects.replace(place / "two", b"second")
    with streams.created(place / "three") as append:
        append(b"third")
    assert objects.names(place) == ("one", "three", "two")


def test_nothing_is_seen_before_it_is_on_the_disk_and_its_folder_is_flushed_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flushed, flush = UPath(tmp_path) / "one", list[tuple[bool, bytes | None]](), os.fsync

    def noted(descriptor: int) -> None:
        of_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        flushed.append((of_folder, (tmp_path / "one").read_bytes() if path.exists() else None))
        flush(descriptor)

    def stream() -> None:
        with streams.created(path) as append:
            append(b"thi")
            append(b"rd")

    monkeypatch.setattr(os, "fsync", noted)
    acts = ((lambda: objects.create(path, b"first"), b"first"), (lambda: objects.replace(path, b"second"), b"second"),
            (stream, b"third"))  # fmt: skip
    before = None
    for act, after in acts:
        flushed.clear()
        act()
        assert flushed == [(False, before), (True, after)]
        before = after


def test_who_reads_while_an_object_is_replaced_has_the_old_one_whole(tmp_path: Path) -> None:
    objects.create(UPath(tmp_path) / "one", b"first")
    with (tmp_path / "one").open("rb") as reading:
        objects.replace(UPath(tmp_path) / "one", b"2")
        assert reading.read() == b"first"
    assert (tmp_path / "one").read_bytes() == b"2"


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "link", "folder"):
        with pytest.raises(Damaged, match="not a regular file"):
            objects.read(UPath(tmp_path) / name)
        with pytest.raises(Damaged, match="not a regular file"), streams.opened(UPath(tmp_path) / name):
            pass


def test_of_a_folder_that_is_not_there_nothing_is_the_latest(place: UPath) -> None:
    assert objects.latest(place) == ()


@pytest.mark.parametrize("look", [objects.is_link, objects.exists, objects.size, objects.is_folder])
def test_what_may_not_be_looked_at_is_a_refusal(look: Callable[[UPath], object], tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)

    def looked() -> str:
        with pytest.raises(PermanentError, match="Permission denied"):
            look(UPath(tmp_path) / "closed" / "one")
        return "refused"

    assert as_another_user(looked, tmp_path) == "refused"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_ends_what_is_large_and_is_tried_again_for_what_is_small(tmp_path: Path, number: int) -> None:
    error, path = OSError(number, os.strerror(number)), UPath(tmp_path)
    assert isinstance(fault(error, path, "written"), TemporaryError)
    assert isinstance(fault(error, path, "written", PermanentError), PermanentError)
    assert "the disk is full" in str(fault(error, path, "written"))


def test_a_refusal_lasts_and_an_unreachable_place_does_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PermanentError, match="check the path"):
        objects.create(UPath(tmp_path) / "file" / "one", b"x")
    assert isinstance(fault(OSError(errno.EIO, "Input/output error"), UPath(tmp_path), "read"), TemporaryError)


def test_addresses() -> None:
    assert local(root_path("/some/folder")) == Path("/some/folder")
    assert local(root_path("memory://some/folder")) is None
    for wrong in ("", "nonsense://bucket/x"):
        with pytest.raises(InvalidInput):
            root_path(wrong)


def test_a_lock_is_let_go_when_its_holder_dies_and_waits_only_for_a_while(tmp_path: Path) -> None:
    place = UPath(tmp_path)
    refused = pytest.raises(TemporaryError, match="another process has held")
    with lock.locked(place), refused, lock.locked(place, patience=0):
        pass
    child = os.fork()
    if child == 0:
        lock.locked(place).__enter__()
        os._exit(9)
    os.waitpid(child, 0)
    with lock.locked(place, patience=0):
        pass
    with lock.locked(place, shared=True), lock.locked(place, patience=0, shared=True):
        pass
