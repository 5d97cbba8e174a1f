"""A pack has one form. Whatever else a zip may carry, or show to another reader, is refused and named."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.evidence.comparison import pack_file
from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import open_release, verify, write_pack
from airlock.evidence.seal import seal
from airlock.evidence.statement import PAYLOAD_TYPE, Predicate, SealedRecord, payload, sha256
from airlock.evidence.stored import record_bytes, record_name
from airlock.evidence.zipped import zip_of
from airlock.models import Outcome, Record, canonical_json
from airlock.signing import Signer, generate_pem
from tests.real_servers import program_of_debian

NOW = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
SIGNER = Signer.from_pem(generate_pem())
KEYS = [SIGNER.public_pem]


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("zipped")
    ledger = Ledger(folder / "ledger", "shop", "prod", signer=lambda: SIGNER)
    for number in range(4):
        at = NOW + timedelta(seconds=number)
        ledger.append(Record(release="r-1", type="step", at=at, actor="t", data={"number": number, "text": "é" * 90}))
    ledger.append(Record(release="r-1", type="outcome", at=NOW + timedelta(minutes=1), actor="t",
                         data={"outcome": "promoted"}))
    seal(ledger, "r-1", SIGNER, NOW)
    return Path(write_pack(ledger, "r-1", folder / "packs"))


def contents(pack: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(pack) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED, extra: bytes = b"", comment: bytes = b"",
           attributes: int = 0o100644 << 16, inner: bytes = b"") -> bytes:
    """As the pack's own writer makes it, but for what is given."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = comment
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr, entry.extra, entry.comment = method, attributes, extra, inner
            archive.writestr(entry, data)
    return buffer.getvalue()


def places(raw: bytes, signature: bytes) -> list[int]:
    found, at = [], raw.find(signature)
    while at >= 0:
        found.append(at)
        at = raw.find(signature, at + 4)
    return found


def local(raw: bytes) -> int:
    return places(raw, b"PK\x03\x04")[2]  # the seal


def central(raw: bytes) -> int:
    return places(raw, b"PK\x01\x02")[2]


def end(raw: bytes) -> int:
    return raw.rindex(b"PK\x05\x06")


def put(raw: bytes, at: int, form: str, value: int) -> bytes:
    size = struct.calcsize(form)
    assert struct.unpack(form, raw[at : at + size]) != (value,)
    return raw[:at] + struct.pack(form, value) + raw[at + size :]


def inserted(raw: bytes, at: int, more: bytes) -> bytes:
    """Insert bytes and move every offset behind them, so that readers which go by the directory still find all."""
    moved = bytearray(raw)
    for place in places(raw, b"PK\x01\x02"):
        (offset,) = struct.unpack("<L", raw[place + 42 : place + 46])
        if offset >= at:
            moved[place + 42 : place + 46] = struct.pack("<L", offset + len(more))
    last = end(raw)
    (offset,) = struct.unpack("<L", raw[last + 16 : last + 20])
    if offset >= at:
        moved[last + 16 : last + 20] = struct.pack("<L", offset + len(more))
    return bytes(moved[:at]) + more + bytes(moved[at:])


def other_archive(raw: bytes) -> bytes:
    return zipped({"README.txt": b"all is well", "records/0001-x.json": b"{}"})


def descriptor(raw: bytes) -> bytes:
    """The seal's sizes told behind its data, as streams have them."""
    start, name = local(raw), struct.unpack("<H", raw[local(raw) + 26 : local(raw) + 28])[0]
    crc, packed, size = struct.unpack("<LLL", raw[start + 14 : start + 26])
    data = start + 30 + name + packed
    moved = inserted(raw, data, b"PK\x07\x08" + struct.pack("<LLL", crc, packed, size))
    moved = put(put(moved, start + 6, "<H", 8), start + 14, "<L", 0)
    return put(put(moved, start + 18, "<L", 0), start + 22, "<L", 0)


def overlapping(raw: bytes) -> bytes:
    first, second = places(raw, b"PK\x01\x02")[3:5]
    return raw[: second + 42] + raw[first + 42 : first + 46] + raw[second + 46 :]


def renamed_in_one_place(raw: bytes) -> bytes:
    return raw[: central(raw) + 46] + b"SEAL.json" + raw[central(raw) + 55 :]


def zip64(raw: bytes) -> bytes:
    last = end(raw)
    size, offset = struct.unpack("<LL", raw[last + 12 : last + 20])
    count = struct.unpack("<H", raw[last + 8 : last + 10])[0]
    record = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    return raw[:last] + record + struct.pack("<4sLQL", b"PK\x06\x07", 0, last, 1) + raw[last:]


def twice_in_the_directory(raw: bytes) -> bytes:
    """Two entries of one name in the directory, one of them for other data."""
    files = contents_of(raw)
    buffer = io.BytesIO(raw)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("seal.json", files["seal.json"].replace(b"a", b"b"))
    return buffer.getvalue()


def contents_of(raw: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def reordered(raw: bytes) -> bytes:
    return zipped(dict(reversed(contents_of(raw).items())))


def longer_deflate(raw: bytes) -> bytes:
    """Deflated, and bytes behind the end of the stream but within the entry."""
    whole = zipped(contents_of(raw), zipfile.ZIP_DEFLATED)
    start = local(whole)
    packed, _, name = struct.unpack("<LLH", whole[start + 18 : start + 28])
    more = inserted(whole, start + 30 + name + packed, b"hidden")
    more = put(more, start + 18, "<L", packed + 6)
    return put(more, central(more) + 20, "<L", packed + 6)


def empty_blocks(raw: bytes) -> bytes:
    """Deflated, and the stream begins with a thousand blocks that hold nothing."""
    whole = zipped(contents_of(raw), zipfile.ZIP_DEFLATED)
    start = local(whole)
    packed, _, name = struct.unpack("<LLH", whole[start + 18 : start + 28])
    more = inserted(whole, start + 30 + name, b"\x00\x00\x00\xff\xff" * 1000)
    more = put(more, start + 18, "<L", packed + 5000)
    return put(more, central(more) + 20, "<L", packed + 5000)


def by_zip(raw: bytes) -> bytes:
    program = program_of_debian("zip")
    with tempfile.TemporaryDirectory() as home:
        for name, data in contents_of(raw).items():
            (Path(home) / name).parent.mkdir(exist_ok=True)
            (Path(home) / name).write_bytes(data)
        subprocess.run([program, "-q", "-r", "p.zip", "."], cwd=home, check=True)
        return (Path(home) / "p.zip").read_bytes()


ATTACKS: dict[str, Callable[[bytes], bytes]] = {
    "an archive before": lambda raw: other_archive(raw) + raw,
    "an archive behind": lambda raw: raw + other_archive(raw),
    "an archive before, offsets moved": lambda raw: inserted(raw, 0, other_archive(raw)),
    "a program before": lambda raw: inserted(raw, 0, b"#!/bin/sh\nexit 0\n"),
    "one byte behind": lambda raw: raw + b"\n",
    "a comment": lambda raw: zipped(contents_of(raw), comment=b"PK\x05\x06 hello"),
    "a comment of a file": lambda raw: zipped(contents_of(raw), inner=b"hello"),
    "extra fields": lambda raw: zipped(contents_of(raw), extra=struct.pack("<HH", 0x7075, 0)),
    "links": lambda raw: zipped(contents_of(raw), attributes=0o120777 << 16),
    "other modes": lambda raw: zipped(contents_of(raw), attributes=0o104755 << 16),
    "other order": reordered,
    "bytes between two files": lambda raw: inserted(raw, places(raw, b"PK\x03\x04")[3], b"hidden"),
    "bytes before the directory": lambda raw: inserted(raw, places(raw, b"PK\x01\x02")[0], b"hidden"),
    "a file between that the directory does not name": lambda raw: inserted(
        raw, places(raw, b"PK\x03\x04")[3], other_archive(raw)[: other_archive(raw).index(b"PK\x01\x02")]),
    "overlapping files": overlapping,
    "other name in the directory": renamed_in_one_place,
    "other name beside the data": lambda raw: raw[: local(raw) + 30] + b"SEAL.json" + raw[local(raw) + 39 :],
    "other size beside the data": lambda raw: put(raw, local(raw) + 22, "<L", 1),
    "other size in the directory": lambda raw: put(raw, central(raw) + 24, "<L", 1),
    "other checksum beside the data": lambda raw: put(raw, local(raw) + 14, "<L", 1),
    "other checksum in the directory": lambda raw: put(raw, central(raw) + 16, "<L", 1),
    "other method beside the data": lambda raw: put(raw, local(raw) + 8, "<H", 8),
    "other method in the directory": lambda raw: put(raw, central(raw) + 10, "<H", 8),
    "encrypted beside the data": lambda raw: put(raw, local(raw) + 6, "<H", 1),
    "encrypted in the directory": lambda raw: put(raw, central(raw) + 8, "<H", 1),
    "names in another alphabet": lambda raw: put(raw, local(raw) + 6, "<H", 0x800),
    "other time": lambda raw: put(raw, local(raw) + 10, "<H", 7),
    "another system": lambda raw: put(raw, central(raw) + 5, "<B", 0),
    "another disk": lambda raw: put(raw, end(raw) + 4, "<H", 1),
    "fewer files than there are": lambda raw: put(put(raw, end(raw) + 8, "<H", 3), end(raw) + 10, "<H", 3),
    "a data descriptor": descriptor,
    "zip64": zip64,
    "one name twice": twice_in_the_directory,
    "bytes behind a deflate stream": longer_deflate,
    "empty deflate blocks": empty_blocks,
    "packed by zip": by_zip,
    "packed by Python": lambda raw: zipped(contents_of(raw), attributes=0o600 << 16),
    "packed with bzip2": lambda raw: zipped(contents_of(raw), zipfile.ZIP_BZIP2),
    "packed with lzma": lambda raw: zipped(contents_of(raw), zipfile.ZIP_LZMA),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_zip_of_another_form_is_refused_although_its_records_are_untouched(pack, tmp_path, attack):
    raw = ATTACKS[attack](pack.read_bytes())
    assert raw != pack.read_bytes()
    (tmp_path / "r-1.zip").write_bytes(raw)
    report = verify(tmp_path / "r-1.zip", KEYS)
    assert not report.ok
    assert report.problems
    assert all(len(problem) < 600 for problem in report.problems)


def test_a_pack_is_what_the_standard_library_would_write_too(pack):
    assert pack.read_bytes() == zipped(contents(pack))


def test_a_pack_of_an_earlier_release_is_deflated_and_is_taken(pack, tmp_path):
    (tmp_path / "r-1.zip").write_bytes(zipped(contents(pack), zipfile.ZIP_DEFLATED))
    assert verify(tmp_path / "r-1.zip", KEYS).problems == ()


def test_a_rewritten_pack_is_told_apart_from_altered_records(pack, tmp_path):
    files = contents(pack)
    (tmp_path / "r-1.zip").write_bytes(zipped(files, attributes=0o600 << 16))
    (problem,) = verify(tmp_path / "r-1.zip", KEYS).problems
    assert problem.startswith("rewritten: ")
    assert "unpack it" in problem
    third = sorted(name for name in files if name.startswith("records/"))[2]
    files[third] += b" "
    (tmp_path / "r-1.zip").write_bytes(zipped(files, attributes=0o600 << 16))
    problems = verify(tmp_path / "r-1.zip", KEYS).problems
    assert any(problem.startswith("altered: record 3 ") for problem in problems)
    assert problems[-1].startswith("rewritten: ")


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_no_byte_of_a_pack_can_be_changed_inserted_or_taken_away(pack, data):
    raw = pack.read_bytes()
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = data.draw(st.sampled_from([
        raw[:at] + bytes([raw[at] ^ data.draw(st.integers(1, 255))]) + raw[at + 1 :],
        raw[:at] + data.draw(st.binary(min_size=1, max_size=40)) + raw[at:],
        raw[:at] + raw[at + data.draw(st.integers(1, 40)) :],
    ]))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "r-1.zip").write_bytes(changed)
        report = verify(Path(folder) / "r-1.zip", KEYS)
    assert report.ok == (changed == raw)


def test_what_a_zip_claims_is_limited_before_it_is_read(pack, tmp_path):
    raw = pack.read_bytes()
    path = tmp_path / "r-1.zip"
    huge = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = huge.compress(bytes(64 << 20)) + huge.flush()
    header = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 33, 1, len(bomb), 5, 1, 0) + b"x"
    path.write_bytes(header + bomb)  # it says that it unpacks to five bytes
    assert any("more than a pack may hold" in problem for problem in verify(path, KEYS).problems)
    path.write_bytes(raw[: end(raw)] + random.Random(1).randbytes(1 << 20) + raw[end(raw) :])
    assert not verify(path, KEYS).ok


@pytest.mark.campaign
def test_records_beyond_9999_keep_their_names_and_their_order(tmp_path):
    records = [Record(release="r-1", type="step", at=NOW + timedelta(seconds=number), actor="t", data={})
               for number in range(10_001)]
    records.append(Record(release="r-1", type="outcome", at=NOW + timedelta(days=1), actor="t",
                          data={"outcome": "promoted"}))
    stored = {record_name(record): record_bytes(record) for record in records}
    sealed = tuple(SealedRecord(position=number, name=name, digest=sha256(data))
                   for number, (name, data) in enumerate(stored.items(), start=1))
    said = Predicate(service="shop", environment="prod", release="r-1", outcome=Outcome.PROMOTED, sealed_at=NOW,
                     sequence=1, previous=None, count=len(sealed), records=sealed, public_key=SIGNER.public_pem,
                     how_to_verify="by hand")
    files = {"README.txt": b"by hand", "signing-key.pem": SIGNER.public_pem.encode(),
             "seal.json": canonical_json(SIGNER.sign(PAYLOAD_TYPE, payload(said)))}
    files |= {pack_file(one): stored[one.name] for one in sealed}
    path = tmp_path / "r-1.zip"
    path.write_bytes(zip_of(files))
    found = open_release(path, KEYS)
    assert found.report.problems == ()
    assert [name for name, _ in found.records] == list(stored)
    assert found.records[-1][1].type == "outcome"
    del files[pack_file(sealed[10_000])]
    path.write_bytes(zip_of(files))
    assert [one[:22] for one in verify(path, KEYS).problems] == ["removed: record 10001 "]
