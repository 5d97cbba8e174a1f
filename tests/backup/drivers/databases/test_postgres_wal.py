"""Positions in the log, the names of its segments, and gaps."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.backup.drivers.databases.postgres_wal import Manifest, Stretch, position, read_manifest, written
from airlock.errors import BackupDamaged

MIB = 1 << 20
SIZES = st.sampled_from([MIB << shift for shift in range(11)])


@given(st.integers(0, (1 << 64) - 1))
def test_a_position_is_read_as_it_is_written(number: int) -> None:
    assert position(written(number)) == number


@pytest.mark.parametrize("text", ["", "0", "0/", "/0", "0/G", "0/123456789", "-1/0", "0/0 ", "0x0/0"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no position"):
        position(text)


@given(st.integers(1, 1 << 31), SIZES, st.integers(1, 1 << 44), st.integers(1, 200))
def test_segments_follow_each_other_without_a_gap(timeline: int, size: int, start: int, segments: int) -> None:
    start = max(start, size)
    needed = Stretch(timeline, start, start + segments * size, size)
    numbers = [int(name[8:16], 16) * ((1 << 32) // size) + int(name[16:], 16) for name in needed.files]
    assert numbers == list(range(start // size, (needed.end - 1) // size + 1))
    assert all(len(name) == 24 and int(name[:8], 16) == timeline for name in needed.files)
    assert needed.file_before < needed.files[0]


def test_the_names_are_those_that_postgresql_gives() -> None:
    # pg_walfile_name of a server with segments of 16 MiB
    assert Stretch(1, position("0/1F000028"), position("0/20000001"), 16 * MIB).files == (
        "00000001000000000000001F",
        "000000010000000000000020",
    )
    assert Stretch(2, position("1/FFFFFFFF"), position("2/00000001"), 16 * MIB).files == (
        "0000000200000001000000FF",
        "000000020000000200000000",
    )
    assert Stretch(1, position("0/1000000"), position("0/2000000"), 16 * MIB).files == ("000000010000000000000001",)


def test_gaps_are_named(tmp_path: Path) -> None:
    needed = Stretch(1, MIB, 5 * MIB, MIB)
    first, second, third, fourth = needed.files
    (tmp_path / first).write_bytes(bytes(MIB))
    (tmp_path / second).write_bytes(bytes(MIB - 1))
    (tmp_path / third).symlink_to(first)
    assert list(needed.gaps(tmp_path)) == [
        f"segment {second} has 1048575 of 1048576 bytes",
        f"segment {third} is missing",
        f"segment {fourth} is missing",
    ]


def test_a_manifest_is_read_without_its_list_of_files(tmp_path: Path) -> None:
    path = tmp_path / "backup_manifest"
    files = "\n".join(f'{{ "Path": "base/1/{number}", "Size": 8192 }},' for number in range(20000))
    path.write_text(
        '{ "PostgreSQL-Backup-Manifest-Version": 2,\n"System-Identifier": 7552,\n"Files": [\n'
        + files
        + '],\n"WAL-Ranges": [\n{ "Timeline": 3, "Start-LSN": "0/1F000028", "End-LSN": "0/1F000120" }\n],\n'
        '"Manifest-Checksum": "ab"}\n'
    )
    assert read_manifest(path, "x") == Manifest("7552", 3, 0x1F000028, 0x1F000120)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"System-Identifier": 1, "WAL-Ranges": []}',
        '{"System-Identifier": 1, "WAL-Ranges": [{"Timeline": 1}]}',
        '{"WAL-Ranges": [{"Timeline": 1, "Start-LSN": "0/1", "End-LSN": "0/2"}]}',
        '{"System-Identifier": 1, "WAL-Ranges": [{"Timeline": 1, "Start-LSN": "x", "End-LSN": "0/2"}]}',
        '{"System-Identifier": 1, "WAL-Ranges": [{"Timeline": 1, "Start-LSN": "0/1", "End-LSN": "0/2"}, '
        '{"Timeline": 2, "Start-LSN": "0/2", "End-LSN": "0/3"}]}',
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "backup_manifest"
    path.write_text(text)
    with pytest.raises(BackupDamaged, match="databases.whole: backup_manifest cannot be used"):
        read_manifest(path, "databases.whole")
