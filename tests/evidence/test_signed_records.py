"""Who can write to the ledger's folder, but has no key, can neither invent nor alter nor remove a record unnoticed,
while the release is still under way: no seal protects its records yet."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airlock.deploy.landing import way_back_needed
from airlock.errors import EvidenceInvalid
from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import verify
from airlock.evidence.seal import seal
from airlock.evidence.stored import SEEN, parse_stored, record_name, stored_bytes
from airlock.flow.stages import change
from airlock.flow.stages.release import Release
from airlock.models import Record, Vote, canonical_json
from airlock.signing import Keyring, Signer, generate_pem
from tests import service_data

NOW = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
SIGNER, STRANGER = Signer.from_pem(generate_pem()), Signer.from_pem(generate_pem())
RELEASE = "shop-prod-1"
KINDS = ("rfc", "plan", "vote", "permit", "act", "fault", "decision", "notification")


def signed(root: Path, signer: Signer = SIGNER, *trusted: Signer) -> Ledger:
    keyring = Keyring([one.public_pem for one in (trusted or (SIGNER,))])
    return Ledger(root, "shop", "prod", signer=lambda: signer, keyring=lambda: keyring)


def record(kind: str, number: int, release: str = RELEASE, **data: object) -> Record:
    at = NOW + timedelta(seconds=number)
    return Record(release=release, type=kind, at=at, actor="task", data=data or {"number": number})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = signed(tmp_path)
    for number, kind in enumerate(KINDS):
        made.append(record(kind, number))
    return made


def folder_of(ledger: Ledger) -> Path:
    return Path(str(ledger.release_folder(RELEASE)))


def path_of(ledger: Ledger, kind: str) -> Path:
    (found,) = folder_of(ledger).glob(f"*-{kind}-*")
    return found


def rewritten(path: Path, **changes: object) -> Path:
    """Change a record as someone would who knows all of the format, and give it the name that fits."""
    stored = json.loads(path.read_bytes()) | changes
    plain = Record.model_validate({name: stored[name] for name in stored if name not in ("seen", "signature")})
    path.unlink()
    new = path.with_name(record_name(plain))
    new.write_bytes(canonical_json(stored))
    return new


def altered(ledger: Ledger) -> str:
    return rewritten(path_of(ledger, "vote"), data={"number": 99}).name


def claims_another_key(ledger: Ledger) -> str:
    path = path_of(ledger, "act")
    signature = json.loads(path.read_bytes())["signature"] | {"keyid": STRANGER.key_id}
    return rewritten(path, signature=signature).name


def forgets_what_it_saw(ledger: Ledger) -> str:
    return rewritten(path_of(ledger, "decision"), seen=[]).name


def unsigned(ledger: Ledger) -> str:
    path = path_of(ledger, "permit")
    path.write_bytes(stored_bytes(parse_stored(path.read_bytes(), path.name).record, (), None))
    return path.name


def invented(ledger: Ledger) -> str:
    forged = record("vote", 100, person="mallory")
    (folder_of(ledger) / record_name(forged)).write_bytes(stored_bytes(forged, (), None))
    return record_name(forged)


def signed_by_a_stranger(ledger: Ledger) -> str:
    forged = record("restore_set", 100)
    (folder_of(ledger) / record_name(forged)).write_bytes(stored_bytes(forged, (), STRANGER))
    return record_name(forged)


def of_another_release(ledger: Ledger) -> str:
    foreign = record("validated", 100, release="shop-prod-0")
    (folder_of(ledger) / record_name(foreign)).write_bytes(stored_bytes(foreign, (), SIGNER))
    return record_name(foreign)


def renamed(ledger: Ledger) -> str:
    path = path_of(ledger, "act")
    return path.rename(path.with_name(path.name.replace("20261122T210004", "20261122T210009"))).name


def removed(kind: str):
    def attack(ledger: Ledger) -> str:
        path = path_of(ledger, kind)
        path.unlink()
        return path.name[-21:]

    attack.__name__ = f"removed {kind}"
    return attack


ATTACKS = (
    altered,
    claims_another_key,
    forgets_what_it_saw,
    unsigned,
    invented,
    signed_by_a_stranger,
    of_another_release,
    renamed,
    *(removed(kind) for kind in KINDS[:-1]),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.__name__ for attack in ATTACKS])
def test_a_release_under_way_refuses_what_was_done_without_the_key(ledger: Ledger, attack, tmp_path: Path) -> None:
    assert len(ledger.read(RELEASE)) == len(KINDS)
    assert verify(tmp_path, [SIGNER.public_pem]).ok
    place = attack(ledger)
    with pytest.raises(EvidenceInvalid) as caught:
        ledger.read(RELEASE)
    assert place in str(caught.value)
    problems = verify(tmp_path, [SIGNER.public_pem]).problems
    if attack is not of_another_release:  # a folder does not say by itself whose it is; the seal will
        assert any(place in problem for problem in problems), problems
    ledger_without_key = Ledger(tmp_path, "shop", "prod", signer=lambda: STRANGER)
    if place not in "".join(ledger_without_key.record_names(RELEASE)):
        assert any("removed: the record ..." in problem for problem in verify(tmp_path).problems)


def test_a_removed_record_stops_the_release_but_not_its_way_back(ledger: Ledger) -> None:
    assert ledger.read_undamaged(RELEASE) == (ledger.read(RELEASE), ())
    path_of(ledger, "act").unlink()
    invented(ledger)
    records, damaged = ledger.read_undamaged(RELEASE)
    assert [one.type for one in records] == [kind for kind in KINDS if kind != "act"]
    assert "is not signed" in damaged[0]
    assert "removed: the record ..." in damaged[1]
    assert way_back_needed(records, damaged)


def test_the_seal_is_not_set_over_an_invented_record(ledger: Ledger) -> None:
    ledger.append(record("outcome", 30, outcome="promoted"))
    name = invented(ledger)
    with pytest.raises(EvidenceInvalid, match=name):
        seal(ledger, RELEASE, SIGNER, NOW)
    (folder_of(ledger) / name).unlink()
    seal(ledger, RELEASE, SIGNER, NOW)
    assert ledger.sealed(RELEASE)


def test_a_changed_key_keeps_earlier_records_valid(ledger: Ledger, tmp_path: Path) -> None:
    later = signed(tmp_path, STRANGER, STRANGER, SIGNER)
    later.append(record("note", 40))
    assert len(later.read(RELEASE)) == len(KINDS) + 1
    with pytest.raises(EvidenceInvalid, match=f"unknown key {STRANGER.key_id}"):
        ledger.read(RELEASE)
    assert verify(tmp_path, [STRANGER.public_pem, SIGNER.public_pem]).ok
    assert any("unknown key" in text for text in verify(tmp_path, [SIGNER.public_pem]).problems)


def test_the_identical_record_again_changes_nothing_though_more_was_seen_since(ledger: Ledger) -> None:
    before = path_of(ledger, "rfc").read_bytes()
    ledger.append(record("rfc", 0))
    assert path_of(ledger, "rfc").read_bytes() == before
    assert len(ledger.read(RELEASE)) == len(KINDS)


def test_a_forged_vote_gives_no_permit(tmp_path: Path) -> None:
    cafe = service_data.environment(tmp_path)
    release = Release(cafe, "cafe-live-1", "task change.permit")
    release.record("note", text="a release is under way")
    vote = Vote(person="olga", choice="approve", at=NOW).model_dump(mode="json")
    forged = record("vote", 0, release="cafe-live-1", request="one", vote=vote)
    folder = Path(str(release.ledger.release_folder("cafe-live-1")))
    (folder / record_name(forged)).write_bytes(stored_bytes(forged, (), None))
    with pytest.raises(EvidenceInvalid, match=r"-vote-.* is not signed"):
        change.votes_of(release, "one")


WRITER = """
import sys
from datetime import UTC, datetime
from airlock.evidence.ledger import Ledger
from airlock.models import Record
from airlock.signing import Signer
root, pem, writer = sys.argv[1:]
signer = Signer.from_pem(pem)
ledger = Ledger(root, "shop", "prod", signer=lambda: signer)
sys.stdin.read()
for number in range(3):
    ledger.append(Record(release="shop-prod-1", type="step", subject=writer, at=datetime.now(UTC), actor=writer,
                         data={"number": number}))
"""


@pytest.mark.campaign
def test_forty_processes_at_once_lose_nothing_and_every_record_is_named_by_later_ones(tmp_path: Path) -> None:
    pem = generate_pem()
    signer = Signer.from_pem(pem)
    command = [sys.executable, "-c", WRITER, str(tmp_path), pem]
    running = [subprocess.Popen([*command, f"w{number}"], stdin=subprocess.PIPE) for number in range(40)]
    for process in running:
        process.stdin.close()  # all begin together
    assert [process.wait(240) for process in running] == [0] * 40
    ledger = signed(tmp_path, signer, signer)
    records = ledger.read(RELEASE)
    assert sorted((one.subject, one.data["number"]) for one in records) == sorted(
        (f"w{writer}", number) for writer in range(40) for number in range(3)
    )
    folder = folder_of(ledger)
    names = ledger.record_names(RELEASE)
    stored = [parse_stored((folder / name).read_bytes(), name) for name in names]
    seen = {tag for one in stored for tag in one.seen}
    assert max(len(one.seen) for one in stored) == SEEN
    unnamed = [name for name in names if name[-21:-5] not in seen]
    assert 1 <= len(unnamed) <= 40, "only what was written last is named by nobody yet"
    victim = folder / names[len(names) // 3]
    victim.unlink()
    with pytest.raises(EvidenceInvalid, match=victim.name[-21:]):
        ledger.read(RELEASE)
