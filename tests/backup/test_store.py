from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from pathlib import Path

import pyrage
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from airlock.backup.store import BackupStore
from airlock.errors import BackupDamaged, InvalidInput, PermanentError
from airlock.models import Kind, RecoveryPoint, Resource, StoredObject, utc_now
from tests.contracts.backup_attacks import flip_byte
from tests.contracts.driver_contract import make_store

RESOURCE = Resource(name="db", kind=Kind.DATABASES, driver="postgres")


@pytest.fixture
def store(tmp_path: Path) -> BackupStore:
    return make_store(tmp_path)


def read(store: BackupStore, stored: StoredObject, **options: bool) -> bytes:
    return b"".join(store.read(stored, **options))


def point_of(store: BackupStore, point_id: str = "r1.databases.db") -> RecoveryPoint:
    stored = store.write(point_id, "dump", [b"a" * 100_000, b"b"])
    point = RecoveryPoint(
        id=point_id,
        resource=RESOURCE,
        taken_at=utc_now(),
        seconds=1.5,
        objects=(stored,),
        facts={"rows": 3, "name": "Größe"},
    )
    store.save_point(point)
    return point


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=300),
            st.builds(lambda n, b: bytes([b]) * n, st.integers(0, 3_000_000), st.integers(0, 255)),
        ),
        max_size=8,
    )
)
def test_any_chunks_come_back(chunks: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder))
        whole = b"".join(chunks)
        stored = store.write("p.1", "data", iter(chunks))
        assert read(store, stored) == read(store, stored, replica=True) == whole
        assert (stored.plain_bytes, stored.plain_sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
        cipher = Path(stored.path).read_bytes()
        assert (stored.cipher_bytes, stored.cipher_sha256) == (len(cipher), hashlib.sha256(cipher).hexdigest())


def test_age_and_zstd_alone_can_restore(tmp_path: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    store = BackupStore(UPath(tmp_path), (str(identity.to_public()),))
    stored = store.write("p.1", "data", [b"hello " * 100_000])
    compressed = pyrage.decrypt(Path(stored.path).read_bytes(), [identity])
    done = subprocess.run(["zstd", "-d"], input=compressed, capture_output=True, check=True) if _has_zstd() else None
    plain = done.stdout if done else zstandard.ZstdDecompressor().decompressobj().decompress(compressed)
    assert plain == b"hello " * 100_000


def _has_zstd() -> bool:
    return any((Path(folder) / "zstd").exists() for folder in os.environ["PATH"].split(":"))


def test_the_readme_says_how(store: BackupStore, tmp_path: Path) -> None:
    point = point_of(store)
    for root in ("backups", "replica"):
        text = (tmp_path / root / point.id / "README.txt").read_text()
        assert "age -d -i KEY_FILE dump.zst.age | zstd -d > dump" in text
        assert point.objects[0].plain_sha256 in text


def test_the_readme_says_what_is_not_in_the_recovery_point(store: BackupStore, tmp_path: Path) -> None:
    point = point_of(store)
    assert "Not in this" not in (tmp_path / "backups" / point.id / "README.txt").read_text()
    left_out = {"leaves_out": ["times of creation"], "left_out": ["2 file(s) have further names outside"]}
    store.save_point(point.model_copy(update={"id": "r2.databases.db", "facts": left_out}))
    assert (tmp_path / "backups" / "r2.databases.db" / "README.txt").read_text().endswith(
        "\nNot in this recovery point:\n\n    - times of creation\n    - 2 file(s) have further names outside\n"
    )


def test_other_storages_than_disks() -> None:
    identity = pyrage.x25519.Identity.generate()
    store = BackupStore(
        UPath("memory://first/x"), (str(identity.to_public()),), (str(identity),), UPath("memory://second")
    )
    point = point_of(store)
    assert store.load_point(point.id) == point
    assert read(store, point.objects[0]) == read(store, point.objects[0], replica=True) == b"a" * 100_000 + b"b"
    assert store.list_points() == (point.id,)
    store.delete_point(point.id)
    assert store.list_points() == ()


# --- damage -----------------------------------------------------------------------------------------------------------


def test_every_flipped_byte_is_noticed_and_named(store: BackupStore) -> None:
    stored = store.write("p.1", "data", [b"some content"])
    for at in range(stored.cipher_bytes):
        flip_byte(stored.path, at)
        with pytest.raises(BackupDamaged, match="is altered") as caught:
            read(store, stored)
        assert stored.path in str(caught.value)
        flip_byte(stored.path, at)
    assert read(store, stored) == b"some content"


@pytest.mark.parametrize("kept", [0, 1, 100, 65_000, 700_000])
def test_cut_off(store: BackupStore, kept: int) -> None:
    stored = store.write("p.1", "data", [os.urandom(1_000_000)])
    os.truncate(stored.path, kept)
    with pytest.raises(BackupDamaged, match=f"cut off: {kept} of {stored.cipher_bytes} bytes"):
        read(store, stored)
    assert len(read(store, stored, replica=True)) == 1_000_000


def test_more_bytes_than_written(store: BackupStore) -> None:
    stored = store.write("p.1", "data", [b"x"])
    with Path(stored.path).open("ab") as file:
        file.write(b"!")
    with pytest.raises(BackupDamaged, match="altered"):
        read(store, stored)


def test_missing_names_the_replica(store: BackupStore) -> None:
    stored = store.write("p.1", "data", [b"x"])
    Path(stored.path).unlink()
    with pytest.raises(BackupDamaged, match="missing") as caught:
        read(store, stored)
    assert stored.replicas[0] in str(caught.value)


def test_another_object_of_the_same_size(store: BackupStore) -> None:
    first = store.write("p.1", "data", [b"one"])
    # age pads its header by a random length
    others = (store.write(f"p.{number}", "data", [b"two"]) for number in range(2, 2000))
    second = next(other for other in others if other.cipher_bytes == first.cipher_bytes)
    Path(first.path).write_bytes(Path(second.path).read_bytes())
    shown: list[bytes] = []
    with pytest.raises(BackupDamaged, match="header is another one"):
        shown.extend(store.read(first))
    assert shown == [], "not one byte of it was given out"


def test_a_wrong_key_is_not_called_damage_of_the_bytes(store: BackupStore) -> None:
    stored = store.write("p.1", "data", [b"x"])
    stranger = pyrage.x25519.Identity.generate()
    for identities in ((), (str(stranger),)):
        other = BackupStore(store.root, (str(stranger.to_public()),), identities)
        with pytest.raises(BackupDamaged, match="wrong key"):
            read(other, stored)


def test_a_record_cannot_lead_out_of_the_store(store: BackupStore, tmp_path: Path) -> None:
    stored = store.write("p.1", "data", [b"x"])
    for path in ("/etc/passwd", str(tmp_path / ".." / "data.zst.age"), "../data.zst.age", "data.zst.age"):
        with pytest.raises((BackupDamaged, InvalidInput)):
            read(store, stored.model_copy(update={"path": path}))


def test_a_store_may_be_moved(store: BackupStore, tmp_path: Path) -> None:
    point = point_of(store)
    (tmp_path / "backups").rename(tmp_path / "moved")
    moved = make_store(tmp_path)
    moved.root, moved._identities = UPath(tmp_path / "moved"), store._identities
    assert read(moved, point.objects[0]) == b"a" * 100_000 + b"b"


# --- recovery points --------------------------------------------------------------------------------------------------


def test_points_come_and_go(store: BackupStore, tmp_path: Path) -> None:
    assert store.list_points() == ()
    assert store.load_point("nothing") is None
    point = point_of(store)
    store.write("unfinished", "dump", [b"x"])
    assert store.load_point("unfinished") is None
    assert store.list_points() == (point.id,)
    assert store.load_point(point.id) == store.load_point(point.id, replica=True) == point
    store.delete_point(point.id)
    store.delete_point(point.id)
    store.delete_point("unfinished")
    assert [path for root in ("backups", "replica") for path in (tmp_path / root).rglob("*")] == []


def test_the_first_place_is_finished_last(store: BackupStore, tmp_path: Path) -> None:
    point = point_of(store)
    store.delete_point(point.id)
    (tmp_path / "backups" / point.id / "point.json" / "in the way").mkdir(parents=True)
    with pytest.raises(PermanentError, match=r"point\.json"):
        store.save_point(point)
    assert store.load_point(point.id, replica=True) == point


def test_the_first_of_two_attempts_stays(store: BackupStore, tmp_path: Path) -> None:
    first = point_of(store)
    stored = store.write(first.id, "dump", [b"the other attempt"], attempt="0123abcd")
    second = first.model_copy(update={"objects": (stored,)})
    assert store.save_point(second) == store.save_point(first) == store.load_point(first.id) == first
    for root in ("backups", "replica"):
        names = {path.name for path in (tmp_path / root / first.id).iterdir()}
        assert names == {"point.json", "README.txt", "dump.zst.age"}
        assert "dump.0123abcd" not in (tmp_path / root / first.id / "README.txt").read_text()
    assert read(store, first.objects[0]) == b"a" * 100_000 + b"b"


def test_an_attempt_that_reached_only_the_second_place_is_finished_whole(store: BackupStore, tmp_path: Path) -> None:
    """Its process was killed in between, and the disk of the first place was replaced since."""
    first = point_of(store)
    for path in (tmp_path / "backups" / first.id).iterdir():
        path.unlink()
    stored = store.write(first.id, "dump", [b"the other attempt"], attempt="0123abcd")
    assert store.save_point(first.model_copy(update={"objects": (stored,)})) == first
    assert read(store, first.objects[0]) == b"a" * 100_000 + b"b"
    store.confirm_replica(first)


@pytest.mark.parametrize("links", [True, False])
def test_a_point_is_written_once_also_on_disks_without_links(
    store: BackupStore, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:

        def link(*_: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
    first = point_of(store)
    later = first.model_copy(update={"seconds": 2.5})
    assert store.save_point(later) == first == store.load_point(first.id)


@pytest.mark.parametrize("change", [
    lambda text: text[:-20], lambda text: "", lambda text: "[]", lambda text: "null",
    lambda text: text.replace('"rows":3', '"rows":4'), lambda text: json.dumps({"point": json.loads(text)["point"]}),
])  # fmt: skip
def test_a_damaged_point_is_noticed(store: BackupStore, tmp_path: Path, change) -> None:
    point = point_of(store)
    path = tmp_path / "backups" / point.id / "point.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(BackupDamaged, match=r"point\.json"):
        store.load_point(point.id)


def test_a_point_of_another_backup_is_noticed(store: BackupStore, tmp_path: Path) -> None:
    first, second = point_of(store, "r1"), point_of(store, "r2")
    (tmp_path / "backups" / first.id / "point.json").write_bytes(
        (tmp_path / "backups" / second.id / "point.json").read_bytes()
    )
    with pytest.raises(BackupDamaged):
        store.load_point(first.id)


@pytest.mark.parametrize(
    "bad", ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "a\0b", ".hidden", "a b", "x" * 129, "{{ x }}", "é", "a\n"]
)
def test_path_tricks_are_refused(store: BackupStore, tmp_path: Path, bad: str) -> None:
    for act in (
        lambda: store.write(bad, "data", [b"x"]),
        lambda: store.write("p.1", bad, [b"x"]),
        lambda: store.load_point(bad),
        lambda: store.delete_point(bad),
    ):
        with pytest.raises(InvalidInput):
            act()
    assert not (tmp_path / "backups").exists()


# --- failures while writing -------------------------------------------------------------------------------------------


def test_a_failing_source_passes_through_and_leaves_nothing(store: BackupStore, tmp_path: Path) -> None:
    stored = store.write("p.1", "data", [b"the earlier one"])
    for failure in (KeyError("mine"), OSError(errno.EIO, "my disk"), KeyboardInterrupt(), PermanentError("mine")):

        def chunks(failure: BaseException = failure):
            yield os.urandom(3_000_000)
            raise failure

        with pytest.raises(type(failure)) as caught:
            store.write("p.1", "data", chunks())
        assert caught.value is failure
    assert read(store, stored) == b"the earlier one"
    assert [path.name for path in (tmp_path / "backups" / "p.1").iterdir()] == ["data.zst.age"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_clear_sentence(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: it fails in the same call, with EFBIG."""
    code = f"""
import resource, signal, sys, os
sys.path[:0] = {sys.path!r}
from pathlib import Path
from tests.contracts.driver_contract import make_store
from airlock.errors import PermanentError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
store = make_store(Path({str(tmp_path)!r}))
try:
    store.write("p.1", "data", (os.urandom(1 << 20) for _ in range(8)))
except PermanentError as error:
    print(error)
print(list(Path({str(tmp_path)!r}, "backups", "p.1").iterdir()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "the disk is full" in done.stdout
    assert "data.zst.age" in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[1] == "[]"


def test_a_place_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "backups").write_text("not a folder")
    with pytest.raises(PermanentError, match="cannot be written"):
        make_store(tmp_path).write("p.1", "data", [b"x"])


def test_a_replica_that_cannot_be_written_fails_the_backup(tmp_path: Path) -> None:
    (tmp_path / "replica").write_text("not a folder")
    with pytest.raises(PermanentError, match="replica"):
        make_store(tmp_path).write("p.1", "data", [b"x"])


@pytest.mark.parametrize(
    ("recipients", "identities"), [((), ()), (("age1nonsense",), ()), (None, ("AGE-SECRET-KEY-1BAD",))]
)
def test_bad_keys(tmp_path: Path, recipients, identities) -> None:
    good = (str(pyrage.x25519.Identity.generate().to_public()),)
    with pytest.raises(InvalidInput) as caught:
        BackupStore(UPath(tmp_path), good if recipients is None else recipients, identities)
    assert "AGE-SECRET-KEY-1BAD" not in str(caught.value)


# --- streaming --------------------------------------------------------------------------------------------------------


def test_memory_is_constant_also_for_what_compresses_to_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    tracemalloc.start()
    stored = store.write("p.1", "zeros", (bytes(1 << 20) for _ in range(300)))
    assert sum(len(chunk) for chunk in store.read(stored)) == 300 << 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 << 20


def test_a_reader_that_stops_early_leaves_no_thread(store: BackupStore) -> None:
    stored = store.write("p.1", "data", (os.urandom(1 << 20) for _ in range(30)))
    before = threading.active_count()
    for _ in range(5):
        reading = store.read(stored)
        assert next(reading)
        reading.close()
    assert threading.active_count() == before


def test_nothing_is_visible_before_the_end(store: BackupStore, tmp_path: Path) -> None:
    seen: list[bool] = []

    def chunks():
        for _ in range(5):
            yield os.urandom(1 << 20)
            seen.append((tmp_path / "backups" / "p.1" / "data.zst.age").exists())

    store.write("p.1", "data", chunks())
    assert seen == [False] * 5
