"""What the layers of an image add up to, whatever a stranger put into them."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from airlock.deploy.artifacts.image_files import ImageFiles
from airlock.errors import InvalidInput
from tests.oci_registry import tar_of

Members = Sequence[tuple[tarfile.TarInfo | str, bytes]]


def head(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **more: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    for field, value in more.items():
        setattr(info, field, value)
    return info


def symlink(name: str, to: str) -> tuple[tarfile.TarInfo, bytes]:
    return head(name, tarfile.SYMTYPE, to), b""


def hard(name: str, to: str) -> tuple[tarfile.TarInfo, bytes]:
    return head(name, tarfile.LNKTYPE, to), b""


def folder(name: str) -> tuple[tarfile.TarInfo, bytes]:
    return head(name, tarfile.DIRTYPE), b""


def image(place: Path, *layers: Members | bytes) -> ImageFiles:
    paths = []
    for number, layer in enumerate(layers):
        paths.append(place / str(number))
        paths[-1].write_bytes(layer if isinstance(layer, bytes) else tar_of(layer))
    return ImageFiles(paths, "cafe")


def content(files: ImageFiles, path: str) -> bytes | None:
    entry = files.find(path)
    return None if entry is None else b"".join(files.read(entry))


CASES: list[tuple[str, Sequence[Members], dict[str, bytes | None]]] = [
    ("the upper layer wins", [[("a", b"1")], [("a", b"2")]], {"a": b"2", "/a": b"2", "./a": b"2", "b": None}),
    ("names are written in several ways", [[("./x/a", b"1"), ("/x/b", b"2"), ("x//c", b"3")]],
     {"x/a": b"1", "x/b": b"2", "/x/./c": b"3", "x": None}),
    ("a whiteout takes a file away", [[("x/a", b"1"), ("x/b", b"2")], [("x/.wh.a", b"")]], {"x/a": None, "x/b": b"2"}),
    ("a whiteout takes a folder away", [[("x/y/a", b"1"), ("z", b"2")], [(".wh.x", b"")]], {"x/y/a": None, "z": b"2"}),
    ("a whiteout is of the layers below only", [[("x/a", b"1")], [("x/a", b"2"), ("x/.wh.a", b"")]], {"x/a": b"2"}),
    ("a whiteout is no file, also in the only layer", [[("x/.wh.a", b"1"), ("x/.wh..wh..opq", b""), ("x/b", b"2")]],
     {"x/.wh.a": None, "x/.wh..wh..opq": None, "x/a": None, "x/b": b"2"}),
    ("in any order", [[("x/a", b"1")], [("x/.wh.a", b""), ("x/a", b"2")]], {"x/a": b"2"}),
    ("an opaque folder hides what is below",
     [[("x/a", b"1"), ("x/y/b", b"2")], [("x/c", b"3"), ("x/.wh..wh..opq", b"")]],
     {"x/a": None, "x/y/b": None, "x/c": b"3"}),
    ("what comes back after it is there", [[("a", b"1")], [(".wh.a", b"")], [("a", b"3")]], {"a": b"3"}),
    ("a file in the place of a folder", [[("x/a", b"1")], [("x", b"2")]], {"x/a": None, "x": b"2"}),
    ("a folder in the place of a file", [[("x", b"1")], [folder("x"), ("x/a", b"2")]], {"x/a": b"2", "x": None}),
    ("a folder again keeps its files", [[("x/a", b"1")], [folder("x")]], {"x/a": b"1"}),
    ("a hard link is the file", [[("a", b"1"), hard("b", "a"), hard("x/c", "/a")]], {"b": b"1", "x/c": b"1"}),
    ("a hard link to a layer below", [[("a", b"1")], [hard("b", "a")]], {"b": b"1"}),
    ("a hard link keeps its bytes", [[("a", b"1"), hard("b", "a")], [("a", b"2")]], {"a": b"2", "b": b"1"}),
    ("a hard link outlives its first name", [[("a", b"1"), hard("b", "a")], [(".wh.a", b"")]], {"a": None, "b": b"1"}),
    ("links are followed", [[("v1/a", b"1"), symlink("now", "v1"), symlink("b", "/now/a")]],
     {"now/a": b"1", "b": b"1"}),
    ("and no further than the root", [[("etc/a", b"1"), symlink("x/b", "../../../../etc/a")]], {"x/b": b"1"}),
    ("a link that leads nowhere", [[symlink("a", "b")]], {"a": None}),
    ("a layer writes through a link of one below",
     [[("usr/bin/x", b"1"), symlink("bin", "usr/bin")], [("bin/y", b"2")]],
     {"usr/bin/y": b"2", "bin/x": b"1", "bin/y": b"2"}),
    ("names are not always UTF-8", [[("caf\udce9", b"1")]], {"caf\udce9": b"1"}),
    ("a long name", [[("x/" + "n" * 300, b"1")]], {"x/" + "n" * 300: b"1"}),
    ("a name that only looks like a whiteout", [[("x/.wh", b"1"), ("x/a.wh.b", b"2")]],
     {"x/.wh": b"1", "x/a.wh.b": b"2"}),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "found"), [one[1:] for one in CASES], ids=[one[0] for one in CASES])
def test_the_layers_add_up(tmp_path: Path, layers: Sequence[Members], found: dict[str, bytes | None]) -> None:
    files = image(tmp_path, *layers)
    assert {path: content(files, path) for path in found} == found


def test_layers_may_be_compressed_however_they_are_called(tmp_path: Path) -> None:
    one, two, three = (tar_of([(name, name.encode())]) for name in "abc")
    frames = zstandard.compress(two[:700]) + zstandard.compress(two[700:])
    files = image(tmp_path, gzip.compress(one[:100]) + gzip.compress(one[100:]), frames, three)
    assert [content(files, name) for name in "abc"] == [b"a", b"b", b"c"]


def test_a_folder_is_read_whole_and_through_links(tmp_path: Path) -> None:
    lower = [("m/1", b"one"), ("m/x/2", b"two"), ("o", b"three"), symlink("m/3", "../o")]
    files = image(tmp_path, lower, [("m/4", b"")])
    found = files.below("m")
    assert set(found) == {"1", "x/2", "3", "4"}
    assert files.read_all(found.values(), 3)[found["3"]] == b"thr"
    assert files.below("nothing") == {} == files.below("o")


HOSTILE: list[tuple[str, Members | bytes, str]] = [
    ("dots", [("../etc/passwd", b"x")], "leads out of the image"),
    ("dots inside", [("a/../../x", b"x")], "leads out of the image"),
    ("dots in a whiteout", [("../.wh.x", b"")], "leads out of the image"),
    ("a hard link out", [hard("a", "../../etc/passwd")], "which is no file of the image"),
    ("a hard link to nothing", [hard("a", "b")], "which is no file of the image"),
    ("a hard link to a folder", [folder("x"), hard("a", "x")], "which is no file of the image"),
    ("a circle", [symlink("a", "b"), symlink("b", "a"), ("a/x", b"")], "lead in a circle"),
    ("a circle below itself", [symlink("a", "a/b"), ("a/x", b"")], "lead in a circle"),
    ("too deep", [("/".join("d" * 300), b"x")], "too deep"),
    ("a giant link", [symlink("a", "x" * 5000)], "a link of 5000 characters"),
    ("no archive", b"PK\x03\x04" + b"x" * 600, "cannot be read"),
    ("a broken gzip", gzip.compress(tar_of([("a", b"x" * 5000)]))[:-20], "cannot be read"),
    ("a broken zstd", zstandard.compress(tar_of([("a", b"x" * 5000)]))[:-4] + b"1234", "cannot be read"),
    ("cut off", tar_of([("a", b"x" * 5000)])[:2000], "cannot be read"),
    ("a header of a gigabyte", head("x", tarfile.XHDTYPE, size=1 << 30).tobuf() + b"\0" * 1024, "cannot be read"),
    ("a name of a gigabyte", head("x", tarfile.GNUTYPE_LONGNAME, size=1 << 30).tobuf() + b"\0" * 99, "cannot be read"),
]


@pytest.mark.parametrize(("layer", "said"), [one[1:] for one in HOSTILE], ids=[one[0] for one in HOSTILE])
def test_no_layer_leads_out_of_the_image(tmp_path: Path, layer: Members | bytes, said: str) -> None:
    (tmp_path / "layers").mkdir()
    with pytest.raises(InvalidInput, match=said):
        content(image(tmp_path / "layers", layer), "a")
    assert [one.name for one in tmp_path.iterdir()] == ["layers"]


def test_a_path_that_leads_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="leads out of the image"):
        image(tmp_path, [("a", b"1")]).find("../a")


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    files = image(tmp_path, [(head("dev", tarfile.CHRTYPE), b""), (head("pipe", tarfile.FIFOTYPE), b"")])
    for name in ("dev", "pipe"):
        entry = files.find(name)
        assert entry is not None
        with pytest.raises(InvalidInput, match="is no file"):
            b"".join(files.read(entry))


def test_what_unpacks_beyond_all_measure_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airlock.deploy.artifacts.image_files._LARGEST_UNPACKED", 1 << 20)
    bomb = gzip.compress(tar_of([("a", b"\0" * (8 << 20))]))
    assert len(bomb) < 1 << 16
    with pytest.raises(InvalidInput, match="unpacks to more than"):
        image(tmp_path, bomb)


def test_more_files_than_any_image_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airlock.deploy.artifacts.image_files._MOST_MEMBERS", 10)
    with pytest.raises(InvalidInput, match="has more than 10 files"):
        image(tmp_path, [(str(number), b"") for number in range(6)], [(str(number), b"") for number in range(6)])


def test_a_full_disk_is_not_the_fault_of_the_image(tmp_path: Path) -> None:
    files = image(tmp_path, [("a", b"x" * 3)])
    entry = files.find("a")
    assert entry is not None
    with pytest.raises(OSError, match="full"):
        for _ in files.read(entry):
            raise OSError("full")


NAMES = st.sampled_from(["a", "b", "x/a", "x/y/b", "x", "x/y", ".wh.a", "x/.wh.a", "x/.wh..wh..opq", ".wh.x", "../a"])
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])


@given(st.lists(st.lists(st.tuples(NAMES, KINDS, NAMES), max_size=6), max_size=4))
def test_any_layers_add_up_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, layers: list[list[tuple[str, bytes, str]]]
) -> None:
    built = [[(head(name, kind, link), b"1") for name, kind, link in layer] for layer in layers]
    try:
        files = image(tmp_path_factory.mktemp("any"), *built)
        for name in ("a", "x/a", "x/y/b"):
            assert content(files, name) in (None, b"1")
        files.below("x")
    except InvalidInput as error:
        assert "cafe" in str(error)


@given(data=st.binary(max_size=2000), cut=st.integers(0, 3000))
def test_any_bytes_are_a_layer_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, cut: int) -> None:
    whole = tar_of([("a", b"x" * 600), symlink("b", "a")])
    packed = io.BytesIO(whole[:cut] + data + whole[cut:]).getvalue()
    try:
        image(tmp_path_factory.mktemp("any"), packed, gzip.compress(packed), data)
    except InvalidInput as error:
        assert "cannot be read" in str(error) or "leads out" in str(error) or "no file of" in str(error)
