"""The ledger loses nothing, overwrites nothing, and notices what was altered."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from airlock.errors import EvidenceInvalid, GateRefused, InvalidInput, PermanentError, TemporaryError
from airlock.evidence.ledger import Ledger
from airlock.evidence.seal import seal
from airlock.evidence.stored import parse_record, record_bytes, record_name
from airlock.models import Record
from airlock.signing import Signer, generate_pem

NOW = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
RELEASE = "shop-prod-20261122T210000-ab12cd"
SIGNER = Signer.from_pem(generate_pem())


def record(number: int = 0, type_: str = "verdict", subject: str = "", release: str = RELEASE, **data) -> Record:
    return Record(
        release=release,
        type=type_,
        subject=subject,
        at=NOW + timedelta(seconds=number),
        actor="test",
        data=data or {"number": number},
    )


@pytest.fixture(params=["local", "file-address", "memory"])
def ledger(request, tmp_path):
    root = {
        "local": str(tmp_path / "ledger"),
        "file-address": f"file://{tmp_path}/ledger",
        "memory": f"memory://ledger-{os.urandom(4).hex()}",
    }[request.param]
    return Ledger(root, "shop", "prod")


def test_records_come_back_in_order_of_time_whatever_the_order_of_writing(ledger):
    written = [record(number) for number in (5, 1, 3, 2, 4)]
    for one in written:
        ledger.append(one)
    assert ledger.read(RELEASE) == tuple(sorted(written, key=lambda one: one.at))
    assert ledger.releases() == (RELEASE,)
    assert ledger.read("never-seen") == ()


def test_the_identical_record_again_changes_nothing(ledger):
    first, again = ledger.append(record(1)), ledger.append(record(1))
    elsewhere = record(1).model_copy(update={"at": record(1).at.astimezone(timezone(timedelta(hours=5)))})
    assert first == again == ledger.append(elsewhere)
    assert len(ledger.read(RELEASE)) == 1
    assert first.startswith("20261122T210001.000000Z-verdict-_-")


def test_latest_tells_types_and_subjects_apart(ledger):
    for number, (type_, subject) in enumerate(
        [
            ("proof", "databases.a"),
            ("proof", "databases.b"),
            ("proof", "databases-a"),
            ("proof", ""),
            ("verdict", "databases.a"),
            ("proof", "databases.a"),
        ]
    ):
        ledger.append(record(number, type_, subject))
    newest = ledger.latest(RELEASE, "proof", "databases.a")
    assert newest is not None
    assert newest.data == {"number": 5}
    assert ledger.latest(RELEASE, "proof", "databases-a").data == {"number": 2}
    assert ledger.latest(RELEASE, "proof", "databases/a") is None
    assert ledger.latest(RELEASE, "proof").data == {"number": 3}
    assert ledger.latest("never-seen", "proof") is None


def test_a_sealed_release_takes_no_further_record_but_a_repeated_one_is_fine(ledger):
    ledger.append(record(1))
    ledger.append(record(2, "outcome", outcome="promoted"))
    ledger.append(record(1, release="shop-prod-open"))
    assert ledger.unsettled() == (RELEASE, "shop-prod-open")
    seal(ledger, RELEASE, SIGNER, NOW)
    assert ledger.sealed(RELEASE)
    assert ledger.unsettled() == ("shop-prod-open",)
    assert ledger.append(record(1)) == ledger.record_names(RELEASE)[0]
    with pytest.raises(GateRefused, match=f"{RELEASE} is sealed"):
        ledger.append(record(3))
    assert len(ledger.read(RELEASE)) == 2


@pytest.mark.parametrize(
    "release",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "/etc",
        "a..b",
        ".hidden",
        "manual__2026-11-22T21:00:00+00:00",
        "a b",
        "a\n",
        "x" * 129,
        "é",
        "a\x00",
        "{{ ds }}",
        "-rf",
    ],
)
def test_release_ids_that_could_leave_the_folder_are_refused(tmp_path, release):
    ledger = Ledger(tmp_path / "root", "shop", "prod")
    for act in (
        lambda: ledger.append(record(release=release)),
        lambda: ledger.read(release),
        lambda: ledger.sealed(release),
        lambda: ledger.latest(release, "x"),
    ):
        with pytest.raises(InvalidInput, match="not safe in a path"):
            act()
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("name", ["", "..", "Shop", "a/b", "a.b", "shop\n"])
def test_services_and_environments_are_plain_names(tmp_path, name):
    with pytest.raises(InvalidInput):
        Ledger(tmp_path, name, "prod")
    with pytest.raises(InvalidInput):
        Ledger(tmp_path, "shop", name)


def cyclic() -> dict:
    value: dict = {}
    value["self"] = value
    return value


@pytest.mark.parametrize(
    "data", [{"x": float("nan")}, {"x": object()}, {"x": "\ud800"}, {"x": cyclic()}, {"x": "y" * (17 * 1024 * 1024)}]
)
def test_data_that_is_not_json_or_too_large_is_refused_before_anything_is_written(tmp_path, data):
    ledger = Ledger(tmp_path, "shop", "prod")
    with pytest.raises(InvalidInput, match="record 'verdict'"):
        ledger.append(record().model_copy(update={"data": data}))
    assert ledger.releases() == ()


def test_subjects_cannot_leave_the_folder(ledger):
    name = ledger.append(record(subject="../../../etc/passwd", type_="a/b"))
    assert "/" not in name
    assert ledger.read(RELEASE)[0].subject == "../../../etc/passwd"


def test_an_altered_renamed_or_foreign_record_is_named(tmp_path):
    ledger = Ledger(tmp_path, "shop", "prod")
    name = ledger.append(record(1))
    path = Path(str(ledger.folder)) / RELEASE / name
    original = path.read_bytes()
    path.write_bytes(original.replace(b'"number":1', b'"number":2'))
    with pytest.raises(EvidenceInvalid, match=f"{name} was altered"):
        ledger.read(RELEASE)
    with pytest.raises(EvidenceInvalid, match="altered"):
        ledger.append(record(1))
    path.write_bytes(original)
    path.rename(path.with_name("2" + name[1:-6] + "0.json"))
    with pytest.raises(EvidenceInvalid, match="does not fit its name"):
        ledger.read(RELEASE)
    other = Path(str(ledger.folder)) / "other"
    other.mkdir()
    (other / name).write_bytes(original)
    with pytest.raises(EvidenceInvalid, match=f"belongs to the release '{RELEASE}'"):
        ledger.read("other")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
)
RECORDS = st.builds(
    Record,
    release=st.just(RELEASE),
    type=st.text(st.characters(exclude_categories=["Cs"]), max_size=70),
    subject=st.text(st.characters(exclude_categories=["Cs"]), max_size=70),
    actor=st.text(st.characters(exclude_categories=["Cs"])),
    at=st.datetimes(
        min_value=datetime(2, 1, 1),
        max_value=datetime(9998, 1, 1),
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=-11)), timezone(timedelta(hours=14))]),
    ),
    data=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=3),
)


@pytest.mark.campaign
@settings(deadline=None, max_examples=60)
@given(st.lists(RECORDS, max_size=5))
def test_any_records_survive_the_ledger(records):
    with tempfile.TemporaryDirectory() as root:
        ledger = Ledger(root, "shop", "prod")
        for one in records:
            ledger.append(one)
        read = ledger.read(RELEASE)
        assert {record_bytes(one) for one in read} == {record_bytes(one) for one in records}
        assert [one.at for one in read] == sorted(one.at for one in read)
        for one in records:
            found = ledger.latest(RELEASE, one.type, one.subject)
            assert found is not None
            assert found.at == max(
                other.at for other in records if (other.type, other.subject) == (one.type, one.subject)
            )


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_readers_meet_rubbish_with_a_named_error(data):
    good = record_bytes(record(1))
    name = record_name(record(1))
    position = data.draw(st.integers(0, len(good)))
    rubbish = data.draw(
        st.one_of(
            st.binary(max_size=200),
            st.just(b"[" * 100_000),
            st.just(b'{"a":' * 50_000),
            st.just(b"9" * 10_000),
            st.just(b"\xff\xfe"),
            st.just(b'{"at":NaN}'),
            st.just(good + b" "),
            st.just(good[:position]),
            st.binary(min_size=1, max_size=3).map(lambda extra: good[:position] + extra + good[position:]),
        )
    )
    if rubbish == good:
        return
    with pytest.raises(EvidenceInvalid, match="record "):
        parse_record(rubbish, name)


def _append_many(root: str, worker: int, ready) -> None:
    ledger = Ledger(root, "shop", "prod")
    ready.wait()
    for number in range(10):
        # The same moment for all: only their content tells these records apart.
        ledger.append(record(number, "proof", f"worker{worker}", worker=worker, count=number))
        ledger.append(record(number, "same", "for-all", count=number))


def test_forty_parallel_appenders_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(40)
    workers = [context.Process(target=_append_many, args=(str(tmp_path), worker, ready)) for worker in range(40)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 40
    records = Ledger(tmp_path, "shop", "prod").read(RELEASE)
    own = {(one.data["worker"], one.data["count"]) for one in records if one.type == "proof"}
    assert own == {(worker, number) for worker in range(40) for number in range(10)}
    assert len(records) == 400 + 10
    assert not list(tmp_path.rglob(".*.part"))


def test_an_appender_that_is_killed_leaves_no_half_record(tmp_path):
    code = (
        "import sys; from datetime import UTC, datetime; from airlock.evidence.ledger import Ledger; "
        "from airlock.models import Record\n"
        "ledger = Ledger(sys.argv[1], 'shop', 'prod'); print('on', flush=True)\n"
        "for number in range(10**6):\n"
        f"    ledger.append(Record(release={RELEASE!r}, type='proof', at=datetime.now(UTC), actor='t', "
        "data={'number': number, 'text': 'x' * 200_000}))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        ledger = Ledger(tmp_path, "shop", "prod")
        while len(ledger.record_names(RELEASE)) < 5:
            pass
        process.kill()
    numbers = [one.data["number"] for one in ledger.read(RELEASE)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 5


def test_a_full_disk_is_said_in_one_sentence_and_leaves_nothing_half_written(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        ledger = Ledger(tmp_path, "shop", "prod")
        ledger.append(record(1))
        with pytest.raises(TemporaryError, match="the disk is full .*; free space"):
            ledger.append(record(2, text="x" * 400_000))
        assert [one.data for one in ledger.read(RELEASE)] == [{"number": 1}]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_file_where_the_folder_should_be_is_a_lasting_error(tmp_path):
    (tmp_path / "shop").write_text("in the way")
    with pytest.raises(PermanentError, match="cannot be"):
        Ledger(tmp_path, "shop", "prod").append(record(1))


def test_an_unknown_kind_of_store_is_refused():
    with pytest.raises(InvalidInput, match="cannot be opened"):
        Ledger("nonsense://bucket/x", "shop", "prod")
    with pytest.raises(InvalidInput, match="empty"):
        Ledger("", "shop", "prod")


def test_a_path_object_is_a_root_too(tmp_path):
    assert Ledger(UPath(tmp_path), "shop", "prod").append(record(1))
