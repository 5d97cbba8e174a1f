"""Any single change to evidence is found and named, offline, and hostile input gives sentences, not stack traces."""

import json
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.errors import EvidenceInvalid, InvalidInput, UnknownName
from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import verify, write_pack
from airlock.evidence.seal import anchored, seal
from airlock.evidence.zipped import zip_of
from airlock.models import Record, canonical_json
from airlock.signing import Signer, generate_pem

NOW = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
SIGNER = Signer.from_pem(generate_pem())
COUNT = 7


def fill(ledger: Ledger, release: str, outcome: str = "promoted", begin: datetime = NOW) -> None:
    for number in range(COUNT - 1):
        ledger.append(
            Record(
                release=release,
                type="step",
                subject=f"s{number}",
                at=begin + timedelta(seconds=number),
                actor="test",
                data={"number": number},
            )
        )
    ledger.append(
        Record(
            release=release, type="outcome", at=begin + timedelta(minutes=1), actor="test", data={"outcome": outcome}
        )
    )


def sealed_release(
    root: Path, release: str = "shop-prod-1", signer: Signer = SIGNER, anchor: Path | None = None
) -> Ledger:
    ledger = Ledger(root, "shop", "prod")
    fill(ledger, release)
    seal(ledger, release, signer, NOW, anchor)
    return ledger


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pack")
    return Path(write_pack(sealed_release(folder / "ledger"), "shop-prod-1", folder / "packs"))


def contents(pack: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(pack) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(files: dict[str, bytes], path: Path) -> Path:
    path.write_bytes(zip_of(files))
    return path


def unpacked(files: dict[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def record_files(files: dict[str, bytes]) -> list[str]:
    return sorted(name for name in files if name.startswith("records/"))


def test_an_untouched_pack_is_intact_in_every_form(pack, tmp_path):
    folder = unpacked(contents(pack), tmp_path / "shop-prod-1")
    for path in (pack, folder, write(contents(pack), tmp_path / "shop-prod-1.zip")):
        report = verify(path, [SIGNER.public_pem])
        assert (report.ok, report.problems) == (True, ())
        assert ["the end of the history was not checked" in note for note in report.notes] == [True]
        assert (report.release, report.outcome, report.records) == ("shop-prod-1", "promoted", COUNT)
        assert report.signed_by == SIGNER.key_id
    assert sorted(contents(pack)) == sorted(
        [*record_files(contents(pack)), "README.txt", "seal.json", "signing-key.pem"]
    )
    assert record_files(contents(pack))[0].startswith("records/0001-20261122T210000")


def test_without_a_trusted_key_the_report_says_what_that_proves(pack):
    report = verify(pack)
    assert (report.ok, report.problems, report.verdict) == (False, (), "unverified signer")
    assert SIGNER.key_id in report.notes[0]
    accepted = verify(pack, any_signer=True)
    assert (accepted.ok, accepted.trust, accepted.verdict) == (True, "any signer", "intact")
    known = verify(pack, [SIGNER.public_pem], any_signer=True)
    assert (known.ok, known.trust) == (True, "trusted key")


def test_a_wrong_key_is_named_and_a_former_key_is_accepted(pack):
    other = Signer.from_pem(generate_pem())
    report = verify(pack, [other.public_pem])
    assert not report.ok
    assert f"unknown key {SIGNER.key_id}" in report.problems[0]
    assert verify(pack, [other.public_pem, SIGNER.public_pem]).ok
    with pytest.raises(InvalidInput, match="public key"):
        verify(pack, ["rubbish"])


def test_the_same_release_gives_the_same_pack_and_an_unsealed_or_differing_one_none(tmp_path):
    ledger = sealed_release(tmp_path / "ledger")
    first = Path(write_pack(ledger, "shop-prod-1", tmp_path / "a")).read_bytes()
    assert first == Path(write_pack(ledger, "shop-prod-1", tmp_path / "b")).read_bytes()
    fill(ledger, "shop-prod-2")
    with pytest.raises(EvidenceInvalid, match="not sealed"):
        write_pack(ledger, "shop-prod-2", tmp_path / "a")
    next((tmp_path / "ledger/shop/prod/shop-prod-1").glob("*s3*")).unlink()
    with pytest.raises(EvidenceInvalid, match=r"removed: record 4 "):
        write_pack(ledger, "shop-prod-1", tmp_path / "c")
    assert not (tmp_path / "c").exists()


MUTATIONS = ("alter", "truncate", "empty", "remove", "rename", "swap", "duplicate", "replace", "add")


@settings(deadline=None, max_examples=250)
@given(data=st.data())
def test_any_single_change_of_a_pack_is_found_and_named(pack, data):
    files = contents(pack)
    name = data.draw(st.sampled_from(sorted(files)))
    other = data.draw(st.sampled_from([one for one in record_files(files) if one != name]))
    mutation = data.draw(st.sampled_from(MUTATIONS))
    before = dict(files)
    if mutation == "alter":
        position = data.draw(st.integers(0, len(files[name]) - 1))
        flip = data.draw(st.integers(1, 255))
        files[name] = files[name][:position] + bytes([files[name][position] ^ flip]) + files[name][position + 1 :]
    elif mutation == "truncate":
        files[name] = files[name][: data.draw(st.integers(0, len(files[name]) - 1))]
    elif mutation == "empty":
        files[name] = b""
    elif mutation == "remove":
        del files[name]
    elif mutation == "rename":
        files[f"{name}.old"] = files.pop(name)
    elif mutation == "swap":
        files[name], files[other] = files[other], files[name]
    elif mutation == "duplicate":
        files[f"records/{COUNT + 1:04d}-{other[13:]}"] = files[other]
        name = f"records/{COUNT + 1:04d}-{other[13:]}"
    elif mutation == "replace":
        files[name] = files[other]
    else:
        name = data.draw(st.sampled_from(["records/0008-x.json", "notes.txt", "records/../seal.json", "/etc/passwd"]))
        files[name] = b"{}"
    assert files != before
    with tempfile.TemporaryDirectory() as folder:
        report = verify(write(files, Path(folder) / "p.zip"), [SIGNER.public_pem])
    assert not report.ok
    label = name.removeprefix("records/")
    if label != name and label[5:] in "".join(record_files(before)):
        label = label[5:] if mutation != "duplicate" else label
    assert any(label in problem for problem in report.problems), report.problems


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        ("alter", "altered: record 3 "),
        ("remove", "removed: record 3 "),
        ("cut", "cut off: record 7 "),
        ("swap", "reordered: record 3 "),
        ("duplicate", "duplicated: 0008"),
        ("add", "added: "),
        ("replace", "replaced by a duplicate of record 4"),
        ("rename", "reordered: record 3 "),
    ],
)
def test_each_change_is_called_by_its_name(pack, tmp_path, act, expected):
    files = contents(pack)
    names = record_files(files)
    third, fourth = names[2], names[3]
    if act == "alter":
        files[third] = files[third].replace(b'"number":2', b'"number":9')
    elif act == "remove":
        del files[third]
    elif act == "cut":
        del files[names[-1]], files[names[-2]]
    elif act == "swap":
        files[third], files[fourth] = files[fourth], files[third]
    elif act == "duplicate":
        files["records/0008-again.json"] = files[third]
        expected = "duplicated: records/0008"
    elif act == "add":
        files["records/0008-new.json"] = b"{}"
    elif act == "replace":
        files[third] = files[fourth]
    else:
        files["records/0009-x.json"] = files.pop(third)
    for path in (write(files, tmp_path / "p.zip"), unpacked(files, tmp_path / "u")):
        report = verify(path, [SIGNER.public_pem])
        assert any(expected in problem for problem in report.problems), report.problems
    if act == "cut":
        assert sum(problem.startswith("cut off") for problem in report.problems) == 2


def test_a_pack_that_a_stranger_made_and_signed_is_refused_by_the_trusted_key(pack, tmp_path):
    stranger = Signer.from_pem(generate_pem())
    forged = Path(write_pack(sealed_release(tmp_path / "forged", signer=stranger), "shop-prod-1", tmp_path))
    assert verify(forged).verdict == "unverified signer" and not verify(forged).ok
    assert not verify(forged, [SIGNER.public_pem]).ok
    files = contents(forged) | {"signing-key.pem": SIGNER.public_pem.encode()}
    assert "altered: signing-key.pem is not what was sealed" in verify(write(files, tmp_path / "x.zip")).problems


def test_a_seal_that_drops_a_record_and_keeps_the_signature_is_altered(pack, tmp_path):
    files = contents(pack)
    envelope = json.loads(files["seal.json"])
    statement = json.loads(b64decode(envelope["payload"]))
    statement["predicate"]["records"].pop()
    statement["predicate"]["count"] -= 1
    statement["subject"].pop()
    envelope["payload"] = b64encode(canonical_json(statement)).decode()
    files["seal.json"] = canonical_json(envelope)
    for keys in ([], [SIGNER.public_pem]):
        (problem, *_) = verify(write(files, tmp_path / "x.zip"), keys).problems
        assert "seal.json" in problem
        assert "does not fit the content" in problem


# --- hostile input ----------------------------------------------------------------------------------------------------


@pytest.mark.campaign
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_flipped_bytes_anywhere_in_the_zip_never_raise_and_never_pass_with_other_content(pack, data):
    raw = bytearray(pack.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.zip"
        path.write_bytes(raw[: data.draw(st.integers(len(raw) // 2, len(raw)))])
        report = verify(path, [SIGNER.public_pem])
        assert report.ok or report.problems
        if report.ok:
            assert contents(path) == contents(pack)


@pytest.mark.parametrize(
    "seal_bytes",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b"\xff\xfe\x00",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"9" * 100_000,
        b'{"payload":NaN}',
        b'{"payload":"","payloadType":"","signatures":[]}',
        b'{"payload":5,"payloadType":"x","signatures":[{"keyid":1,"sig":2}]}',
        b'{"payload":"e30=","payloadType":"x","signatures":[{"keyid":"a","sig":"b"}]}',
        b'{"payload":"!!","payloadType":"x","signatures":[{"keyid":"a","sig":"YQ=="}]}',
        b'{"payload":"\\ud800","payloadType":"x","signatures":[{"keyid":"a","sig":"YQ=="}]}',
    ],
)
def test_hostile_seals_give_a_sentence(pack, tmp_path, seal_bytes):
    path = write(contents(pack) | {"seal.json": seal_bytes}, tmp_path / "x.zip")
    for keys in ([], [SIGNER.public_pem]):
        report = verify(path, keys)
        assert not report.ok
        assert "seal.json" in report.problems[0]


@pytest.mark.parametrize("record", [b"\xff", b"[" * 200_000, b"null", b'{"a":NaN}', b"9" * 100_000])
def test_hostile_records_are_named_with_and_without_a_seal(pack, tmp_path, record):
    files = contents(pack)
    third = record_files(files)[2]
    files[third] = record
    assert any("altered: record 3 " in problem for problem in verify(write(files, tmp_path / "a.zip")).problems)
    del files["seal.json"]
    problems = verify(write(files, tmp_path / "b.zip")).problems
    assert "removed: seal.json" in problems[0]
    assert third[13:] in problems[1]


def test_hostile_zips_are_not_unpacked(pack, tmp_path):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents(pack).items():
            archive.writestr(name, data)
        archive.writestr("records/0008-bomb.json", b"0" * (40 * 1024 * 1024))
    assert any("0008-bomb" in problem and "more than a pack may hold" in problem for problem in verify(bomb).problems)
    many = tmp_path / "many.zip"
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(20_001):
            archive.writestr(f"{number}", b"")
    assert "more than any pack" in verify(many).problems[0]
    lying = tmp_path / "lying.zip"
    raw = bytearray(pack.read_bytes())
    central = raw.index(b"PK\x01\x02")
    raw[central + 24 : central + 28] = struct.pack("<I", 1)
    lying.write_bytes(raw)
    assert not verify(lying).ok
    for number, text in enumerate((b"", b"not a zip", pack.read_bytes()[:100])):
        (tmp_path / f"{number}.zip").write_bytes(text)
        assert "cannot be read" in verify(tmp_path / f"{number}.zip").problems[0]
    twice = tmp_path / "twice.zip"
    shutil.copy(pack, twice)
    with zipfile.ZipFile(twice, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("seal.json", b"{}")
    assert any("duplicated: the zip holds seal.json twice" in problem for problem in verify(twice).problems)
    assert not list(tmp_path.parent.glob("passwd*"))


def test_links_and_folders_in_an_unpacked_pack_are_named(pack, tmp_path):
    folder = unpacked(contents(pack), tmp_path / "u")
    first = sorted((folder / "records").iterdir())[0]
    (tmp_path / "outside").write_bytes(first.read_bytes())
    first.unlink()
    first.symlink_to(tmp_path / "outside")
    (folder / "records" / "more").mkdir()
    problems = verify(folder).problems
    assert any("not a regular file" in problem for problem in problems)
    assert any("added: the folder records/more" in problem for problem in problems)


def test_nothing_to_check_is_an_error_and_not_a_pass(tmp_path):
    with pytest.raises(InvalidInput, match="does not exist"):
        verify(tmp_path / "absent.zip")
    assert "holds no evidence" in verify(tmp_path).problems[0]
    unpacked({"records/x": b""}, tmp_path)
    assert not verify(tmp_path).ok


# --- the ledger and the chain of seals --------------------------------------------------------------------------------


@pytest.fixture
def chain(tmp_path) -> Path:
    for number in (1, 2, 3):
        sealed_release(tmp_path / "ledger", f"shop-prod-{number}", anchor=tmp_path / "anchor")
    return tmp_path


def check(chain: Path, anchor: bool = True) -> tuple[str, ...]:
    return verify(chain / "ledger/shop/prod", [SIGNER.public_pem], chain / "anchor" if anchor else None).problems


def test_an_untouched_ledger_is_intact_from_every_level(chain):
    for below in ("", "shop", "shop/prod", "shop/prod/shop-prod-2"):
        report = verify(chain / "ledger" / below, [SIGNER.public_pem], chain / "anchor")
        assert report.ok, report.problems
        assert report.records == (COUNT if below.endswith("2") else 3 * COUNT)
    newest = anchored(chain / "anchor", "shop", "prod")
    assert newest is not None
    assert (newest.sequence, newest.release) == (3, "shop-prod-3")


def test_a_release_that_is_cut_out_of_the_chain_is_named(chain):
    shutil.rmtree(chain / "ledger/shop/prod/shop-prod-2")
    assert list(check(chain)) == [
        "shop/prod: removed: 1 seal(s) are missing before number 3, that of the release shop-prod-3; "
        "the one before it was that of shop-prod-2"
    ]


def test_the_first_and_the_last_release_cannot_be_cut_off_either(chain):
    shutil.rmtree(chain / "ledger/shop/prod/shop-prod-1")
    assert "missing before number 2" in check(chain)[0]
    shutil.rmtree(chain / "ledger/shop/prod/shop-prod-3")
    assert any(
        "cut off: the anchor knows seal number 3, that of the release shop-prod-3" in one for one in check(chain)
    )


def test_a_cut_off_end_stays_visible_after_the_next_release(chain):
    shutil.rmtree(chain / "ledger/shop/prod/shop-prod-3")
    sealed_release(chain / "ledger", "shop-prod-4", anchor=chain / "anchor")
    assert "the one before it was that of shop-prod-3" in check(chain)[0]


def test_a_replaced_seal_breaks_the_chain(chain):
    folder = chain / "ledger/shop/prod/shop-prod-2"
    (folder / "seal.json").unlink()
    ledger = Ledger(chain / "elsewhere", "shop", "prod")
    sealed_release(chain / "elsewhere", "shop-prod-0")
    fill(ledger, "shop-prod-2")
    seal(ledger, "shop-prod-2", SIGNER, NOW + timedelta(days=1))
    shutil.copy(chain / "elsewhere/shop/prod/shop-prod-2/seal.json", folder)
    problems = check(chain)
    assert any("is not the one that it names" in problem for problem in problems)


def test_a_renamed_or_copied_release_is_named(chain):
    prod = chain / "ledger/shop/prod"
    shutil.copytree(prod / "shop-prod-2", prod / "shop-prod-copy")
    problems = check(chain)
    assert any("shop-prod-copy: moved: " in problem for problem in problems)
    assert any("duplicated: the seals of" in problem for problem in problems)
    shutil.copytree(prod, chain / "ledger/shop/staging")
    assert any("was made for shop/prod" in problem for problem in verify(chain / "ledger").problems)


def test_an_altered_record_and_an_altered_seal_are_named_with_their_release(chain):
    prod = chain / "ledger/shop/prod"
    path = next((prod / "shop-prod-1").glob("*s3*"))
    path.write_bytes(path.read_bytes() + b" ")
    (prod / "shop-prod-3/seal.json").write_bytes((prod / "shop-prod-3/seal.json").read_bytes()[:-9])
    problems = check(chain)
    assert any(problem.startswith("shop/prod/shop-prod-1: altered: record 4 ") for problem in problems)
    assert any(problem.startswith("shop/prod/shop-prod-3: seal.json") for problem in problems)


def test_an_unsealed_release_is_a_note_but_its_altered_record_is_a_problem(chain):
    fill(Ledger(chain / "ledger", "shop", "prod", signer=lambda: SIGNER), "shop-prod-open")
    report = verify(chain / "ledger", [SIGNER.public_pem])
    assert report.ok
    assert "shop-prod-open is not sealed" in report.notes[0]
    path = next((chain / "ledger/shop/prod/shop-prod-open").glob("*s3*"))
    path.write_bytes(path.read_bytes().replace(b'"number":3', b'"number":4'))
    assert any("shop-prod-open: altered: record" in problem for problem in check(chain))
    assert not verify(chain / "ledger/shop/prod/shop-prod-open").ok


def test_an_unreadable_or_missing_anchor_is_a_problem(chain):
    assert check(chain) == ()
    anchor = chain / "anchor/shop/prod.json"
    anchor.write_text("{}")
    assert "anchor" in check(chain)[0]
    anchor.unlink()
    assert "knows no seal" in check(chain)[0]


def test_keys_may_change_between_releases(chain):
    successor = Signer.from_pem(generate_pem())
    sealed_release(chain / "ledger", "shop-prod-4", successor, chain / "anchor")
    assert verify(chain / "ledger", [successor.public_pem, SIGNER.public_pem], chain / "anchor").ok
    problems = verify(chain / "ledger", [successor.public_pem]).problems
    assert sum("unknown key" in problem for problem in problems) == 3


# --- sealing ----------------------------------------------------------------------------------------------------------


def test_sealing_again_keeps_the_seal(tmp_path):
    ledger = sealed_release(tmp_path)
    first = (tmp_path / "shop/prod/shop-prod-1/seal.json").read_bytes()
    seal(ledger, "shop-prod-1", Signer.from_pem(generate_pem()), NOW + timedelta(days=1), tmp_path / "anchor")
    assert (tmp_path / "shop/prod/shop-prod-1/seal.json").read_bytes() == first
    assert anchored(tmp_path / "anchor", "shop", "prod").release == "shop-prod-1"


def test_a_release_without_records_or_outcome_is_not_sealed(tmp_path):
    ledger = Ledger(tmp_path, "shop", "prod")
    with pytest.raises(UnknownName, match="no record of the release 'nothing'"):
        seal(ledger, "nothing", SIGNER, NOW)
    ledger.append(Record(release="r", type="step", at=NOW, actor="t", data={}))
    with pytest.raises(InvalidInput, match="no valid 'outcome' record"):
        seal(ledger, "r", SIGNER, NOW)
    assert ledger.unsettled() == ("r",)


def test_a_damaged_older_seal_does_not_keep_a_release_open_but_stays_visible(tmp_path):
    ledger = sealed_release(tmp_path)
    (tmp_path / "shop/prod/shop-prod-1/seal.json").write_text("rubbish")
    fill(ledger, "shop-prod-2")
    seal(ledger, "shop-prod-2", SIGNER, NOW)
    assert any("shop-prod-1: seal.json" in problem for problem in verify(tmp_path / "shop").problems)


@pytest.mark.campaign
def test_two_releases_sealed_at_once_get_two_numbers(tmp_path):
    ledger = Ledger(tmp_path, "shop", "prod")
    pem = generate_pem()
    code = (
        "import sys; from datetime import UTC, datetime; from airlock.evidence.ledger import Ledger; "
        "from airlock.evidence.seal import seal; from airlock.signing import Signer\n"
        "seal(Ledger(sys.argv[1], 'shop', 'prod'), sys.argv[2], Signer.from_pem(sys.argv[3]), datetime.now(UTC))"
    )
    for number in range(4):
        fill(ledger, f"r{number}")
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), f"r{number}", pem]) for number in range(4)]
    assert [process.wait(120) for process in running] == [0] * 4
    report = verify(tmp_path, [Signer.from_pem(pem).public_pem])
    assert report.ok, report.problems
