"""Archives as an attacker would make them: nothing leaves the folder that they are unpacked into."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.backup import archive
from airlock.errors import BackupDamaged


def member(name: str, sort: bytes = tarfile.REGTYPE, **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    content = b"owned" if sort == tarfile.REGTYPE else b""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.uid, info.gid = sort, len(content), os.geteuid(), os.getegid()
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as whole:
        for info, content in members:
            whole.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim").write_text("untouched")
    inside = tmp_path / "scratch" / "files"
    inside.mkdir(parents=True)
    return inside


def outside(folder: Path) -> list[tuple[str, str, int]]:
    """Return all that is beside the folder."""
    root = folder.parents[1]
    found = [path for path in root.rglob("*") if not path.is_relative_to(folder) and path != folder]
    return [
        (str(path.relative_to(root)), path.read_text() if path.is_file() else "", path.lstat().st_mode)
        for path in sorted(found)
    ]


LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE
ESCAPES: dict[str, Callable[[Path], bytes]] = {
    "parent": lambda out: packed(member("../outside/new")),
    "parent in the middle": lambda out: packed(member("a/../../outside/new")),
    "absolute": lambda out: packed(member(str(out / "new"))),
    "folder": lambda out: packed(member("../../outside/new", tarfile.DIRTYPE)),
    "link above": lambda out: packed(member("../link", LINK, linkname="victim")),
    "file through a link": lambda out: packed(member("a", LINK, linkname=str(out)), member("a/new")),
    "file over a link": lambda out: packed(member("a", LINK, linkname=str(out / "victim")), member("a")),
    "link through a link": lambda out: packed(
        member("a", LINK, linkname=str(out)), member("a/new", LINK, linkname="victim")
    ),
    "folder through a link": lambda out: packed(
        member("a", LINK, linkname=str(out)), member("a/new", tarfile.DIRTYPE, mode=0o777)
    ),
    "deep link through a link": lambda out: packed(
        member("a", LINK, linkname=str(out)), member("a/b/c", LINK, linkname="victim")
    ),
    "hard link": lambda out: packed(member("a", HARD, linkname=str(out / "victim"))),
    "hard link to a link": lambda out: packed(
        member("a", LINK, linkname=str(out / "victim")), member("b", HARD, linkname="a")
    ),
    "device": lambda out: packed(member("a", tarfile.CHRTYPE, devmajor=1, devminor=3)),
    "pipe": lambda out: packed(member("a", tarfile.FIFOTYPE)),
    "twice": lambda out: packed(member("a"), member("a")),
    "the folder itself as a file": lambda out: packed(member(".")),
    "no name": lambda out: packed(member("", tarfile.DIRTYPE)),
    "no time": lambda out: packed(member("a", pax_headers={"mtime": "never"})),
    "no owner": lambda out: packed(member("a", pax_headers={"uid": str(1 << 40)})),
}


@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_leaves_the_folder(name: str, folder: Path) -> None:
    out = folder.parents[1] / "outside"
    before = outside(folder)
    with pytest.raises(BackupDamaged):
        archive.unpack([ESCAPES[name](out)], folder)
    assert outside(folder) == before
    assert not [path for path in folder.rglob("*") if stat.S_ISCHR(path.lstat().st_mode) or path.is_fifo()]


def test_a_link_may_lead_anywhere_for_it_is_never_followed(folder: Path) -> None:
    content = packed(member("a", LINK, linkname="/no/such/place"), member("b/c"), member("b/d", LINK, linkname="c"))
    assert archive.unpack([content], folder) == 3
    assert (folder / "a").readlink() == Path("/no/such/place")
    assert (folder / "b" / "d").read_text() == "owned"


NAMES = st.text(st.sampled_from("ab/."), min_size=1, max_size=6)
MEMBERS = st.tuples(
    NAMES,
    st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, LINK, HARD]),
    st.sampled_from(["a", "b", "..", "../outside", "../../outside/victim", "a/b"]),
)


@given(st.lists(MEMBERS, min_size=1, max_size=6))
def test_any_archive_is_unpacked_inside_or_refused(members: list[tuple[str, bytes, str]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "outside").mkdir()
        (Path(root) / "outside" / "victim").write_text("untouched")
        folder = Path(root) / "scratch" / "files"
        folder.mkdir(parents=True)
        before = outside(folder)
        content = packed(*(member(name, sort, linkname=target, mode=0o755) for name, sort, target in members))
        with contextlib.suppress(BackupDamaged):
            archive.unpack([content], folder)
        assert outside(folder) == before


@given(st.binary(max_size=2000))
def test_any_bytes_are_an_archive_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as root:
        try:
            count = archive.unpack([content], Path(root))
        except BackupDamaged:
            return
        assert count >= len(list(Path(root).iterdir()))
