"""What someone can do to sealed evidence without the key, as a table: each attack, and the place that must be named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import verify, write_pack
from airlock.evidence.seal import anchored, seal
from airlock.evidence.stored import record_bytes, record_name
from airlock.models import Record, canonical_json
from airlock.signing import Signer, generate_pem

NOW = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
SIGNER, STRANGER = Signer.from_pem(generate_pem()), Signer.from_pem(generate_pem())
KINDS = ("rfc", "plan", "vote", "act", "outcome")


def fill(ledger: Ledger, release: str) -> None:
    for number, kind in enumerate(KINDS):
        at = NOW + timedelta(minutes=number)
        data = {"outcome": "promoted"} if kind == "outcome" else {"number": number}
        ledger.append(Record(release=release, type=kind, at=at, actor="test", data=data))


def sealed(root: Path, environment: str, release: str, signer: Signer = SIGNER, anchor: Path | None = None) -> Ledger:
    ledger = Ledger(root, "shop", environment)
    fill(ledger, release)
    seal(ledger, release, signer, NOW, anchor)
    return ledger


@dataclass(frozen=True)
class History:
    """Four sealed releases of prod, two of staging, with their anchor and packs."""

    home: Path

    @property
    def prod(self) -> Path:
        return self.home / "ledger/shop/prod"

    @property
    def anchor(self) -> Path:
        return self.home / "anchor/shop/prod.json"

    def folder(self, number: int) -> Path:
        return self.prod / f"prod-{number}"

    def record(self, number: int, kind: str) -> Path:
        (found,) = self.folder(number).glob(f"*-{kind}-*")
        return found

    def seal(self, number: int) -> Path:
        return self.folder(number) / "seal.json"

    def problems(self) -> tuple[str, ...]:
        return verify(self.home / "ledger", [SIGNER.public_pem], self.home / "anchor").problems


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("history")
    for environment, count in (("prod", 4), ("staging", 2)):
        for number in range(1, count + 1):
            release = f"{environment}-{number}"
            ledger = sealed(home / "ledger", environment, release, anchor=home / "anchor")
            write_pack(ledger, release, home / "packs")
            if release == "prod-2":
                shutil.copytree(home / "anchor", home / "anchor of prod-2")
    sealed(home / "strange", "prod", "prod-2", STRANGER)
    return home


@pytest.fixture
def history(original: Path, tmp_path: Path) -> History:
    shutil.copytree(original, tmp_path / "home")
    found = History(tmp_path / "home")
    assert found.problems() == ()
    return found


def rewrite(path: Path, **changes: object) -> Path:
    """Change a record and give it the name and digest that fit its new content."""
    record = Record.model_validate_json(path.read_bytes()).model_copy(update=changes)
    path.unlink()
    new = path.with_name(record_name(record))
    new.write_bytes(record_bytes(record))
    return new


def restated(path: Path, change: Callable[[dict], None]) -> None:
    """Change what a seal says and keep its signature."""
    envelope = json.loads(path.read_bytes())
    statement = json.loads(b64decode(envelope["payload"]))
    change(statement["predicate"])
    path.write_bytes(canonical_json(envelope | {"payload": b64encode(canonical_json(statement)).decode()}))


def renumbered(statement: dict) -> None:
    statement["sequence"] = 9


def swap(one: Path, other: Path) -> None:
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def swap_folders(history: History) -> None:
    history.folder(2).rename(history.prod / "kept")
    history.folder(3).rename(history.folder(2))
    (history.prod / "kept").rename(history.folder(3))


def drop(history: History, *numbers: int) -> None:
    for number in numbers:
        shutil.rmtree(history.folder(number))


def drop_all(history: History) -> None:
    drop(history, 1, 2, 3)
    for path in history.folder(4).iterdir():
        path.unlink()
    (history.folder(4) / "note.json").write_text("{}")


# name: (what is done, what must be said)
ATTACKS: dict[str, tuple[Callable[[History], object], tuple[str, ...]]] = {
    "a record rewritten, renamed and digested anew": (
        lambda h: rewrite(h.record(2, "vote"), data={"number": 7}),
        ("prod-2: removed: record 3 (20261122T210200.000000Z-vote", "prod-2: added: 20261122T210200.000000Z-vote"),
    ),
    "a record dated back": (
        lambda h: rewrite(h.record(2, "act"), at=NOW - timedelta(days=1)),
        ("prod-2: removed: record 4 ", "prod-2: added: 20261121T210000"),
    ),
    "a record of another release added": (
        lambda h: shutil.copy(h.record(3, "act"), h.folder(2)), ("prod-2: added: 20261122T210300.000000Z-act",)),
    "a record removed": (lambda h: h.record(2, "plan").unlink(), ("prod-2: removed: record 2 ",)),
    "the last record cut off": (lambda h: h.record(2, "outcome").unlink(), ("prod-2: cut off: record 5 ",)),
    "two records exchanged": (
        lambda h: swap(h.record(2, "plan"), h.record(2, "vote")),
        ("prod-2: reordered: record 2 ", "prod-2: reordered: record 3 "),
    ),
    "a record twice": (
        lambda h: shutil.copy(h.record(2, "vote"), h.folder(2) / "20261122T22-vote-_-0123456789abcdef.json"),
        ("prod-2: duplicated: 20261122T22-vote",),
    ),
    "a seal removed": (lambda h: h.seal(2).unlink(), ("removed: 1 seal(s) are missing before number 3, that of the "
                                                      "release prod-3; the one before it was that of prod-2",)),
    "a seal of another release": (
        lambda h: shutil.copy(h.seal(3), h.seal(2)),
        ("prod-2: moved: the folder prod-2 holds the seal of the release prod-3",
         "duplicated: the seals of prod-3 and prod-3 both have the number 3"),
    ),
    "a seal of another environment": (
        lambda h: shutil.copy(h.home / "ledger/shop/staging/staging-2/seal.json", h.seal(2)),
        ("prod-2: moved: ", "moved: the seal of staging-2 was made for shop/staging"),
    ),
    "a release of another environment": (
        lambda h: shutil.copytree(h.home / "ledger/shop/staging/staging-2", h.prod / "staging-2"),
        ("moved: the seal of staging-2 was made for shop/staging",),
    ),
    "a release sealed anew by a stranger": (
        lambda h: shutil.copytree(h.home / "strange/shop/prod/prod-2", h.folder(2), dirs_exist_ok=True),
        (f"prod-2: seal.json: signed by the unknown key {STRANGER.key_id}",),
    ),
    "a seal that claims another number": (
        lambda h: restated(h.seal(2), renumbered), ("prod-2: seal.json", "does not fit the content")),
    "a seal whose key id is exchanged": (
        lambda h: h.seal(2).write_bytes(h.seal(2).read_bytes().replace(
            SIGNER.key_id.encode() + b'","sig"', STRANGER.key_id.encode() + b'","sig"')),
        ("prod-2: seal.json", f"unknown key {STRANGER.key_id}"),
    ),
    "two releases exchanged": (
        swap_folders, ("prod-2: moved: the folder prod-2 holds", "prod-3: moved: the folder prod-3 holds")),
    "a release under a second name": (
        lambda h: shutil.copytree(h.folder(2), h.prod / "prod-5"),
        ("prod-5: moved: the folder prod-5 holds the seal of the release prod-2", "both have the number 2"),
    ),
    "the first release cut off": (lambda h: drop(h, 1), ("missing before number 2",)),
    "a release in the middle cut out": (lambda h: drop(h, 2), ("missing before number 3",)),
    "two releases in the middle cut out": (lambda h: drop(h, 2, 3), ("2 seal(s) are missing before number 4",)),
    "the last release cut off": (
        lambda h: drop(h, 4), ("cut off: the anchor knows seal number 4, that of the release prod-4",)),
    "the last two releases cut off": (lambda h: drop(h, 3, 4), ("cut off: the anchor knows seal number 4",)),
    "every release replaced by rubbish": (drop_all, ("cut off: the anchor knows seal number 4",)),
    "the anchor lost": (lambda h: h.anchor.unlink(), ("knows no seal of shop/prod",)),
    "the anchor moved back": (
        lambda h: shutil.copy(h.home / "anchor of prod-2/shop/prod.json", h.anchor),
        ("the anchor is behind: it knows seal number 2, that of the release prod-2, and the ledger holds number 4",),
    ),
    "the anchor of another environment": (
        lambda h: shutil.copy(h.home / "anchor/shop/staging.json", h.anchor),
        ("cut off: the anchor knows seal number 2, that of the release staging-2",),
    ),
    "the anchor overwritten with rubbish": (lambda h: h.anchor.write_text("{}"), ("the anchor", "was altered")),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_is_told_with_its_place(history: History, name: str) -> None:
    attack, expected = ATTACKS[name]
    attack(history)
    problems = history.problems()
    for sentence in expected:
        assert any(sentence in problem for problem in problems), problems


def test_two_seals_with_one_number_are_both_named(history: History, original: Path) -> None:
    shutil.rmtree(history.folder(4))
    sealed(history.home / "ledger", "prod", "prod-9")  # without the anchor, the number is given a second time
    problems = history.problems()
    assert any("cut off: the anchor knows seal number 4, that of the release prod-4" in one for one in problems)
    shutil.copytree(original / "ledger/shop/prod/prod-4", history.folder(4))
    assert any("duplicated: the seals of prod-4 and prod-9 both have the number 4" in one for one in history.problems())


def test_an_older_pack_under_a_newer_name_and_a_foreign_key_in_a_pack_are_told(history: History) -> None:
    packs = history.home / "packs"
    shutil.copy(packs / "prod-2.zip", packs / "prod-4.zip")
    report = verify(packs / "prod-4.zip", [SIGNER.public_pem])
    assert report.release == "prod-2"
    assert report.notes[0] == "prod-4.zip holds the evidence of the release prod-2: is this the one you asked for?"
    with zipfile.ZipFile(packs / "prod-3.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(packs / "prod-3.zip", "w") as archive:
        for name, data in (files | {"signing-key.pem": STRANGER.public_pem.encode()}).items():
            archive.writestr(name, data)
    for keys in ([], [SIGNER.public_pem], [STRANGER.public_pem]):
        assert not verify(packs / "prod-3.zip", keys).ok
    assert "altered: signing-key.pem is not what was sealed" in verify(packs / "prod-3.zip").problems


SEALER = """
import sys
from datetime import UTC, datetime
from airlock.evidence.ledger import Ledger
from airlock.evidence.seal import seal
from airlock.models import Record
from airlock.signing import Signer
root, environment, release, pem, anchor = sys.argv[1:]
signer = Signer.from_pem(pem)
ledger = Ledger(root, "shop", environment, signer=lambda: signer)
sys.stdin.read()
for number in range(10):
    ledger.append(Record(release=release, type="step", at=datetime.now(UTC), actor="t", data={"number": number}))
ledger.append(Record(release=release, type="outcome", at=datetime.now(UTC), actor="t", data={"outcome": "promoted"}))
print("sealing", flush=True)
seal(ledger, release, signer, datetime.now(UTC), anchor)
"""


def sealing(home: Path, environment: str, release: str, pem: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SEALER, str(home / "ledger"), environment, release, pem, str(home / "anchor")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )


def test_releases_of_both_environments_recorded_and_sealed_at_once_lose_nothing(tmp_path: Path) -> None:
    pem = generate_pem()
    public = Signer.from_pem(pem).public_pem
    names = [(environment, f"{environment}-{number}") for environment in ("prod", "staging") for number in range(3)]
    running = [sealing(tmp_path, *name, pem) for name in names]
    for process in running:
        process.stdin.close()  # all begin together
    assert [process.wait(240) for process in running] == [0] * 6
    report = verify(tmp_path / "ledger", [public], tmp_path / "anchor")
    assert (report.problems, report.notes, report.records) == ((), (), 66)
    for environment in ("prod", "staging"):
        newest = anchored(tmp_path / "anchor", "shop", environment)
        assert newest is not None and newest.sequence == 3


@pytest.mark.parametrize("moment", range(4))
def test_a_sealing_process_that_is_killed_leaves_a_ledger_that_can_be_read_and_sealed(
    tmp_path: Path, moment: int
) -> None:
    pem = generate_pem()
    signer = Signer.from_pem(pem)
    process = sealing(tmp_path, "prod", "prod-1", pem)
    process.stdin.close()
    folder = tmp_path / "ledger/shop/prod/prod-1"
    if moment < 2:  # in the middle of the records
        while len(list(folder.glob("*-step-*"))) < 3 + moment and process.poll() is None:
            pass
    else:  # in the middle of the seal
        assert process.stdout.readline() == b"sealing\n"
    process.kill()
    process.wait(60)
    (folder / ".0123456789abcdef.part").write_bytes(b"{")  # what a kill in the middle of a write leaves
    ledger = Ledger(tmp_path / "ledger", "shop", "prod", signer=lambda: signer)
    records = ledger.read("prod-1")
    assert [one.data["number"] for one in records if one.type == "step"] == list(
        range(len([one for one in records if one.type == "step"]))
    )
    if not ledger.sealed("prod-1") and not any(one.type == "outcome" for one in records):
        ledger.append(Record(release="prod-1", type="outcome", at=NOW.replace(year=2100), actor="t",
                             data={"outcome": "refused"}))
    seal(ledger, "prod-1", signer, NOW, tmp_path / "anchor")
    report = verify(tmp_path / "ledger", [signer.public_pem], tmp_path / "anchor")
    assert report.problems == ()
    assert report.records == len(ledger.read("prod-1"))
