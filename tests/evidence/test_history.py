"""What someone can do to a whole ledger who can write its folders and has no key: each deed, and what must be named.

Two services in two environments, with sealed releases and one under way in each, a stream beside them, and their anchor
in a place that the attacker cannot write.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airlock.errors import EvidenceInvalid, InvalidInput
from airlock.evidence.history import verify_history
from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import verify, write_pack
from airlock.evidence.seal import seal
from airlock.evidence.stored import record_name, stored_bytes
from airlock.models import Record
from airlock.places.paths import root_path
from airlock.signing import Keyring, Signer, generate_pem

NOW = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
SIGNER, STRANGER = Signer.from_pem(generate_pem()), Signer.from_pem(generate_pem())
KEYRING = Keyring([SIGNER.public_pem])
PLACES = [("shop", "prod"), ("shop", "staging"), ("till", "prod"), ("till", "staging")]
KINDS = ("run", "rfc", "vote")


def ledger_of(home: Path, service: str, environment: str, stream: str = "") -> Ledger:
    return Ledger(home / "ledger" / stream, service, environment, signer=lambda: SIGNER, keyring=lambda: KEYRING,
                  anchor=home / "anchor" / stream)


def record(release: str, kind: str, number: int, **data: object) -> Record:
    return Record(release=release, type=kind, at=NOW + timedelta(minutes=number), actor="test",
                  data=data or {"number": number})


def begin(home: Path, service: str, environment: str, number: int | str, stream: str = "") -> str:
    release = f"{service}-{environment}-{number}"
    for place, kind in enumerate(KINDS):
        ledger_of(home, service, environment, stream).append(record(release, kind, place))
    return release


def end(home: Path, service: str, environment: str, release: str, stream: str = "") -> None:
    ledger = ledger_of(home, service, environment, stream)
    ledger.append(record(release, "outcome", 9, outcome="promoted"))
    seal(ledger, release, SIGNER, NOW, home / "anchor" / stream)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("history")
    for service, environment in PLACES:
        for number in (1, 2):
            end(home, service, environment, begin(home, service, environment, number))
        begin(home, service, environment, "open")
    end(home, "shop", "prod", begin(home, "shop", "prod", "b1", "_backups"), "_backups")
    write_pack(ledger_of(home, "shop", "prod"), "shop-prod-1", home / "packs")
    return home


class Home:
    """A copy of it all, for one attacker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "ledger"
        self.prod = self.root / "shop/prod"
        self.open = self.prod / "shop-prod-open"

    def problems(self, below: str = "", *, anchor: bool = True, keys: bool = True) -> tuple[str, ...]:
        return verify(self.root / below, [SIGNER.public_pem] if keys else [],
                      self.folder / "anchor" if anchor else None).problems


@pytest.fixture
def home(original: Path, tmp_path: Path) -> Home:
    shutil.copytree(original, tmp_path / "home")
    return Home(tmp_path / "home")


def plant(folder: Path, release: str = "planted", signer: Signer | None = None) -> None:
    """Put a record of one's own into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    made = record(release, "vote", 3)
    (folder / record_name(made)).write_bytes(stored_bytes(made, (), signer))


def rewritten(home: Home) -> None:
    """A release is deleted and an outcome rewritten, behind what is planted."""
    shutil.rmtree(home.prod / "shop-prod-1")
    (path,) = (home.prod / "shop-prod-2").glob("*-outcome-*")
    path.write_bytes(path.read_bytes().replace(b"promoted", b"refused!"))


def shadow(*parts: str) -> Callable[[Home], None]:
    def deed(home: Home) -> None:
        rewritten(home)
        plant(home.root.joinpath(*parts))

    return deed


def unpacked_over(home: Home) -> None:
    """A true pack lies unpacked in the root, and what was there is hidden."""
    shutil.unpack_archive(home.folder / "packs/shop-prod-1.zip", home.root)
    for name in ("shop", "till", "_backups"):
        (home.root / name).rename(home.root / f".{name}")


def genuine_above(home: Home) -> None:
    for path in (home.prod / "shop-prod-1").iterdir():
        shutil.copy(path, home.root)


def newest_removed(home: Home) -> None:
    max(home.open.iterdir()).unlink()


def linked(*parts: str) -> Callable[[Home], None]:
    """What lay in a place of the ledger lies elsewhere now, and a link leads there."""
    def deed(home: Home) -> None:
        place = home.root.joinpath(*parts)
        place.rename(home.folder / "elsewhere")
        place.symlink_to(home.folder / "elsewhere")

    return deed


DEEDS: dict[str, tuple[Callable[[Home], object], str]] = {
    "a record above": (shadow(), "lies beside the services"),
    "a record folder beside the services": (shadow("aa"), "aa/"),
    "a record folder that sorts last": (shadow("zz"), "zz/"),
    "a record folder beside the environments": (shadow("shop", "aa"), "shop/aa"),
    "a record beside the services": (shadow("aa", "prod"), "aa/prod"),
    "a whole service of one's own": (shadow("aa", "prod", "planted"), "aa/prod/planted"),
    "a record below a release": (shadow("shop", "prod", "shop-prod-2", "deeper"), "deeper"),
    "a release below a release": (shadow("shop", "prod", "shop-prod-open", "aa", "bb"), "folder aa"),
    "a hidden record folder": (shadow(".aa", "prod", "planted"), ".aa"),
    "a stream of one's own": (shadow("_aa", "shop", "prod", "planted"), "_aa/shop/prod"),
    "a true release above all": (genuine_above, "seal.json lies beside the services"),
    "a true pack above all": (unpacked_over, ".shop"),
    "a service deleted": (lambda h: shutil.rmtree(h.root / "till"), "nothing is in the ledger of till/prod"),
    "an environment deleted": (lambda h: shutil.rmtree(h.prod), "nothing is in the ledger of shop/prod"),
    "an environment hidden": (lambda h: h.prod.rename(h.root / "shop/.prod"), "nothing is in the ledger of shop/prod"),
    "an environment renamed": (lambda h: h.prod.rename(h.root / "shop/prod2"), "nothing is in the ledger of shop/prod"),
    "a stream deleted": (lambda h: shutil.rmtree(h.root / "_backups"), "nothing is in the ledger of _backups/shop/p"),
    "a stream cut off": (lambda h: shutil.rmtree(h.root / "_backups/shop/prod/shop-prod-b1"), "_backups/shop/prod: "),
    "everything deleted": (lambda h: [shutil.rmtree(one) for one in h.root.iterdir()], "nothing is in the ledger of"),
    "a release under way deleted": (lambda h: shutil.rmtree(h.open), "the release shop-prod-open is not in the ledger"),
    "a release under way hidden": (lambda h: h.open.rename(h.prod / ".open"), "shop-prod-open is not in the ledger"),
    "a release under way moved": (lambda h: h.open.rename(h.root / "till/prod/open"), "till/prod/open"),
    "a release under way copied": (
        lambda h: shutil.copytree(h.open, h.root / "till/prod/shop-prod-open"),
        "duplicated: the release shop-prod-open"),
    "a release under way renamed": (lambda h: h.open.rename(h.prod / "shop-prod-2b"), "shop-prod-2b: altered"),
    "a release under way emptied": (lambda h: [one.unlink() for one in h.open.iterdir()], "shop-prod-open: removed"),
    "the newest record of a release under way": (newest_removed, "shop-prod-open: removed: the record"),
    "an unsigned record in a release under way": (lambda h: plant(h.open, "shop-prod-open"), "is not signed"),
    "a stranger's record in a release under way": (lambda h: plant(h.open, "shop-prod-open", STRANGER), "unknown key"),
    "another release's record": (
        lambda h: shutil.copy(max((h.prod / "shop-prod-2").glob("*-vote-*")), h.open), "belongs to the release"),
    "a whole unsigned release": (lambda h: plant(h.prod / "planted"), "shop/prod/planted"),
    "a seal taken away": (lambda h: (h.prod / "shop-prod-2/seal.json").unlink(), "shop-prod-2: removed: its seal"),
    "a service called as an index": (lambda h: (h.root / "shop").rename(h.root / ".open"), "part of the index .open"),
    "an environment in an index": (
        lambda h: ((h.root / ".held").mkdir(), h.prod.rename(h.root / ".held/prod")), "no part of the index .held"),
    "records in an index": (lambda h: plant(h.root / ".held" / ("0" * 32) / "0"), "no part of the index .held"),
    "an index that is a link": (lambda h: (h.root / ".held").symlink_to(h.prod), ".held is a link"),
    "a service elsewhere": (linked("shop"), "shop is a link"),
    "an environment elsewhere": (linked("shop", "prod"), "prod is a link"),
    "a release elsewhere": (linked("shop", "prod", "shop-prod-1"), "shop-prod-1 is a link"),
    "a release under way elsewhere": (linked("shop", "prod", "shop-prod-open"), "shop-prod-open is a link"),
    "one service under two names": (lambda h: (h.root / "aa").symlink_to(h.root / "shop"), "aa is a link"),
    "a link in a circle": (lambda h: (h.prod / "aa").symlink_to(h.root), "prod/aa is a link"),
    "a file beside the releases": (lambda h: (h.prod / "note.txt").write_text("x"), "note.txt"),
    "a hidden file in a release": (lambda h: (h.open / ".x").write_text("x"), "shop-prod-open/.x"),
    "a folder called as a killed writer's part": (
        lambda h: (h.prod / "shop-prod-1").rename(h.prod / "shop-prod-2/.0123456789abcdef.part"), ".part"),
}


def test_what_nobody_touched_is_intact_at_every_level(home: Home) -> None:
    for below in ("", "shop", "shop/prod", "till"):
        for anchor in (True, False):
            assert home.problems(below, anchor=anchor) == ()
            assert home.problems(below, anchor=anchor, keys=False) == ()
    assert verify(home.root / "_backups", [SIGNER.public_pem], home.folder / "anchor/_backups").problems == ()
    assert verify(home.root, [SIGNER.public_pem], home.folder / "anchor").records == 4 * 11 + 4


@pytest.mark.parametrize("name", DEEDS)
def test_every_deed_is_named(home: Home, name: str) -> None:
    deed, place = DEEDS[name]
    deed(home)
    problems = home.problems()
    assert any(place in one for one in problems), problems
    if deed.__qualname__.startswith("shadow"):
        assert home.problems("shop"), "the history below what was planted is told from every level"
        assert home.problems("shop/prod")


@pytest.mark.parametrize("name", [name for name, (deed, _) in DEEDS.items() if deed.__qualname__.startswith("shadow")])
def test_what_is_planted_hides_nothing_without_an_anchor_either(home: Home, name: str) -> None:
    deed, place = DEEDS[name]
    deed(home)
    problems = home.problems(anchor=False)
    assert any(place in one for one in problems), problems


ANCHOR_DEEDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "the seal of another release": (
        lambda a: shutil.copy(a / "shop-prod-2/seal.json", a / "shop-prod-1/seal.json"), "another seal of the release"),
    "no seal": (lambda a: (a / "shop-prod-1/seal.json").write_text("{}"), "it is not a seal's digest"),
    "no folder of the environment": (
        lambda a: (a.rename(a.with_name("kept")), a.write_text("")), "shop/prod: the anchor was altered: .* no folder"),
    "no folder of the release": (
        lambda a: (shutil.rmtree(a / "shop-prod-open"), (a / "shop-prod-open").write_text("")), "no folder"),
    "a record of no ledger": (lambda a: (a / "shop-prod-open/x.json").write_text(""), "x.json is missing"),
    "a release of no ledger": (lambda a: (a / "shop-prod-3").mkdir(), "shop-prod-3 is not in the ledger"),
    "nothing of a release under way": (lambda a: shutil.rmtree(a / "shop-prod-open"), "does not know that it began"),
    "an older newest seal": (
        lambda a: shutil.copy(a / "shop-prod-1/seal.json", a.with_suffix(".json")), "the anchor is behind"),
    "the newest seal of another service": (
        lambda a: shutil.copy(a.parents[1] / "till/prod.json", a.with_suffix(".json")), "cut off"),
    "a folder as the newest seal": (
        lambda a: (a.with_suffix(".json").unlink(), a.with_suffix(".json").mkdir()), "not a regular file"),
}


@pytest.mark.parametrize("name", ANCHOR_DEEDS)
def test_an_anchor_that_says_something_else_is_named(home: Home, name: str) -> None:
    deed, sentence = ANCHOR_DEEDS[name]
    deed(home.folder / "anchor/shop/prod")
    for below in ("", "shop", "shop/prod"):
        assert any(re.search(sentence, one) for one in home.problems(below)), home.problems(below)


def test_a_pack_is_compared_with_what_the_anchor_knows_of_its_own_release(home: Home) -> None:
    """Also where it is not the newest: a release that was sealed a second time, with the right key, elsewhere."""
    pack, anchor = home.folder / "packs/shop-prod-1.zip", home.folder / "anchor"
    assert verify(pack, [SIGNER.public_pem], anchor).ok
    end(home.folder / "second", "shop", "prod", begin(home.folder / "second", "shop", "prod", 1))
    other = write_pack(Ledger(home.folder / "second/ledger", "shop", "prod"), "shop-prod-1", home.folder / "second")
    assert verify(other, [SIGNER.public_pem], anchor).ok, "the same content is sealed the same"
    seal_ = home.folder / "second/ledger/shop/prod/shop-prod-1/seal.json"
    seal_.unlink()
    ledger = Ledger(home.folder / "second/ledger", "shop", "prod", signer=lambda: SIGNER)
    ledger.append(record("shop-prod-1", "vote", 1))
    seal(ledger, "shop-prod-1", SIGNER, NOW)
    report = verify(write_pack(ledger, "shop-prod-1", home.folder / "second"), [SIGNER.public_pem], anchor)
    assert "replaced: the anchor knows another seal of the release shop-prod-1" in report.problems[0]


def test_what_the_anchor_has_not_learned_of_is_said(home: Home) -> None:
    max((home.folder / "anchor/shop/prod/shop-prod-open").iterdir()).unlink()
    report = verify(home.root, [SIGNER.public_pem], home.folder / "anchor")
    assert report.ok
    assert any("shop-prod-open: the anchor does not know 1 of its records, such as " in note for note in report.notes)


def test_without_an_anchor_it_is_said_of_each_release_under_way_that_its_end_may_be_gone(home: Home) -> None:
    newest_removed(home)
    report = verify(home.root, [SIGNER.public_pem])
    assert (report.ok, report.end) == (True, "not checked")
    assert report.end_in_words == "but its END WAS NOT CHECKED (no anchor given)"
    assert sum("its end was not checked" in note and "-open" in note for note in report.notes) == len(PLACES)
    whole = verify(home.root / "till", [SIGNER.public_pem], home.folder / "anchor")
    assert (whole.end, whole.end_in_words) == ("checked", "")
    assert not any("its end was not checked" in note for note in whole.notes)


def test_what_is_expected_by_name_must_be_there_and_nothing_else(home: Home) -> None:
    root, names = root_path(home.root), ["/".join(one) for one in PLACES]
    assert verify_history(root, KEYRING, None, names).problems == ()
    (problem,) = verify_history(root, KEYRING, None, [*names, "kiosk/prod"]).problems
    assert problem == "removed: nothing is in the ledger of kiosk/prod, which was asked for"
    (problem,) = verify_history(root, KEYRING, None, names[:-1]).problems
    assert problem == "added: till/staging lies in the ledger, and was not asked for"
    with pytest.raises(InvalidInput, match="names no environment"):
        verify_history(root, KEYRING, None, ["shop"])


def test_a_release_goes_no_further_once_the_anchor_misses_a_record_and_goes_back(home: Home) -> None:
    ledger = ledger_of(home.folder, "shop", "prod")
    newest_removed(home)
    with pytest.raises(EvidenceInvalid, match="vote.*is missing, which the anchor knows"):
        ledger.read("shop-prod-open")
    records, damaged = ledger.read_undamaged("shop-prod-open")
    assert [one.type for one in records] == ["run", "rfc"]
    assert "which the anchor knows" in damaged[0]


def test_an_anchor_of_a_former_version_is_no_problem(home: Home) -> None:
    """It knew the newest seal alone; what is under way there says so in a note, until its next record."""
    for service, environment in PLACES:
        shutil.rmtree(home.folder / "anchor" / service / environment)
    report = verify(home.root, [SIGNER.public_pem], home.folder / "anchor")
    assert report.problems == ()
    assert "shop/prod/shop-prod-open: the anchor knows only ends of releases here" in "".join(report.notes)
    ledger_of(home.folder, "shop", "prod").append(record("shop-prod-open", "plan", 5))
    assert home.problems() == ()
    newest_removed(home)
    assert "plan" in home.problems()[0]


def test_a_writer_that_is_killed_leaves_no_problem(home: Home) -> None:
    """Between the folder and its first record, in the middle of a record, and between the record and the anchor."""
    (home.prod / "shop-prod-9").mkdir()
    (home.open / ".0123456789abcdef.part").write_bytes(b"{")
    ledger = Ledger(home.root, "shop", "prod", signer=lambda: SIGNER, keyring=lambda: KEYRING)
    ledger.append(record("shop-prod-open", "plan", 5))
    assert home.problems() == ()
    ledger_of(home.folder, "shop", "prod").append(record("shop-prod-open", "permit", 6))
    assert home.problems() == ()


def test_an_anchor_that_is_away_stops_what_goes_forward_alone(home: Home) -> None:
    (home.folder / "anchor/shop/prod").rename(home.folder / "kept")
    (home.folder / "anchor/shop/prod").write_text("no folder")
    ledger = ledger_of(home.folder, "shop", "prod")
    ledger.append(record("shop-prod-open", "act", 5))
    assert len(ledger.read_undamaged("shop-prod-open")[0]) == len(KINDS) + 1
