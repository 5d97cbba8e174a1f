"""Service files are read once for each change of what they depend on, whoever else could have written the notes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.registry import STRATEGIES
from airlock.service import find, last_good, unchanged
from airlock.service.stand_ins import read_standing
from airlock.service.unchanged import read_standing_once
from tests.change.test_policy import NAMED, POLICY, SHORT
from tests.service.test_named_files import PEOPLE
from tests.service_data import TEXT, write

ROOT = Path(__file__).resolve().parents[2]
FULL = TEXT.replace(SHORT, NAMED).replace("tier: 2", "tier: 2\npeople: ../people.yaml").replace(
    "description: A coffee house.", "description: A coffee house of ${AIRLOCK_TOWN}.")
DEFAULTS = "defaults:\n  production: false\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that a reading may depend on."""
    monkeypatch.setenv("AIRLOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRLOCK_TOWN", "Berlin")
    (tmp_path / "house.yaml").write_text(POLICY)
    (tmp_path / "people.yaml").write_text(PEOPLE)
    write(tmp_path, FULL)
    write(tmp_path, TEXT.replace("service: cafe", "service: bar"), "bar.yaml")
    (tmp_path / "services" / "_defaults.yaml").write_text(DEFAULTS)
    return tmp_path / "services"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the service files that are read, as they are read."""
    names: list[str] = []
    load_file = find.load_file

    def noted(path, *arguments):
        names.append(path.name)
        return load_file(path, *arguments)

    monkeypatch.setattr(find, "load_file", noted)
    return names


def says_the_same(folder: Path) -> bool:
    read_standing_once(folder)  # keeps the last good versions, which a reading may go by
    ours, theirs = read_standing_once(folder), read_standing(folder)
    assert (ours[0].declared, ours[0].faults, ours[1]) == (theirs[0].declared, theirs[0].faults, theirs[1])
    return True


def test_what_is_the_same_is_read_once(folder: Path, read: list[str]) -> None:
    first, again = read_standing_once(folder), read_standing_once(folder)
    assert read == ["bar.yaml", "cafe.yaml"]
    assert [(one.service, one.description) for one in again[0].declared] == [
        ("bar", "A coffee house."), ("cafe", "A coffee house of Berlin.")]
    assert (first[0].declared, first[0].faults, first[1]) == (again[0].declared, again[0].faults, again[1])
    assert says_the_same(folder)


def test_the_six_dag_files_read_it_once(
    folder: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("AIRLOCK_SERVICES", str(folder))
    monkeypatch.setenv("AIRLOCK_TRAINS", str(tmp_path / "trains"))
    (tmp_path / "trains").mkdir()
    for name in ("releases", "rollback", "backups", "drills", "retention", "wrong_files"):
        assert DagBag(str(ROOT / "dags" / f"{name}.py")).import_errors == {}
    assert read == ["bar.yaml", "cafe.yaml"]


CHANGES: dict[str, Callable[[Path], object]] = {
    "a service file": lambda folder: edit(folder / "cafe.yaml", "coffee", "tea"),
    "as long as before": lambda folder: edit(folder / "cafe.yaml", "tier: 2", "tier: 3"),
    "a policy": lambda folder: edit(folder.parent / "house.yaml", "timeout_hours: 2", "timeout_hours: 3"),
    "people": lambda folder: edit(folder.parent / "people.yaml", "2027-01-04", "2027-01-05"),
    "defaults": lambda folder: edit(folder / "_defaults.yaml", "false", "true"),
    "defaults that go": lambda folder: (folder / "_defaults.yaml").unlink(),
    "a file that comes": lambda folder: write(folder.parent, TEXT.replace("cafe", "pub"), "pub.yml"),
    "a file that goes": lambda folder: (folder / "bar.yaml").unlink(),
    "a file that is renamed": lambda folder: (folder / "bar.yaml").rename(folder / "tavern.yaml"),
    "a mistake": lambda folder: edit(folder / "cafe.yaml", "tier: 2", "tier: two"),
    "a service that two declare": lambda folder: edit(folder / "bar.yaml", "service: bar", "service: cafe"),
    "a folder in its place": lambda folder: ((folder / "bar.yaml").unlink(), (folder / "bar.yaml").mkdir()),
    "a link that leads out": lambda folder: (
        (folder / "bar.yaml").rename(folder.parent / "bar.yaml"),
        (folder / "bar.yaml").symlink_to(folder.parent / "bar.yaml")),
    "a variable": lambda _: os.environ.update(AIRLOCK_TOWN="Rome"),
    "a variable that goes": lambda _: os.environ.pop("AIRLOCK_TOWN"),
    "Airlock itself": lambda _: setattr(unchanged, "_code", lambda: "another version"),
}


def edit(path: Path, old: str, new: str) -> None:
    """Change the content, and neither size nor time more than must be: nothing may go by them."""
    text, times = path.read_text(), path.stat()
    assert old in text
    path.write_text(text.replace(old, new))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen_at_once(
    folder: Path, read: list[str], change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unchanged, "_code", unchanged._code)  # put back at the end
    read_standing_once(folder)
    read.clear()
    CHANGES[change](folder)
    read_standing_once(folder)
    assert read, "nothing was read"
    assert says_the_same(folder)


def test_defaults_that_come_are_seen(folder: Path) -> None:
    (folder / "_defaults.yaml").unlink()
    before = read_standing_once(folder)[0].declared
    (folder / "_defaults.yaml").write_text(DEFAULTS.replace("false", "true"))
    assert [one.production for one in before] != [one.production for one in read_standing_once(folder)[0].declared]


def note(folder: Path) -> Path:
    return last_good.kept_folder(folder) / "unchanged"


def kept(folder: Path) -> Path:
    return last_good.kept_folder(folder) / "cafe.live.json"


def poison(folder: Path) -> None:
    kept(folder).write_text(kept(folder).read_text().replace("coffee", "poison"))


FOUL: dict[str, Callable[[Path], object]] = {
    "cut off": lambda folder: note(folder).write_bytes(note(folder).read_bytes()[:-20]),
    "empty": lambda folder: note(folder).write_bytes(b""),
    "noise": lambda folder: note(folder).write_bytes(os.urandom(300)),
    "of another shape": lambda folder: note(folder).write_text('{"circumstances": "x"}'),
    "altered content": poison,
    "content that is gone": lambda folder: kept(folder).unlink(),
    "others may write it": lambda folder: note(folder).chmod(0o666),
    "others may write what it names": lambda folder: kept(folder).chmod(0o620),
    "others may write beside it": lambda folder: note(folder).parent.chmod(0o777),
    "a link": lambda folder: (note(folder).rename(folder / "elsewhere"), note(folder).symlink_to(folder / "elsewhere")),
    "a pipe": lambda folder: (note(folder).unlink(), os.mkfifo(note(folder))),
    "a folder": lambda folder: (note(folder).unlink(), note(folder).mkdir()),
}


@pytest.mark.parametrize("foul", FOUL)
def test_a_note_that_is_not_surely_its_own_is_not_used(folder: Path, read: list[str], foul: str) -> None:
    read_standing_once(folder)
    read.clear()
    FOUL[foul](folder)
    assert [one.description for one in read_standing_once(folder)[0].declared] == [
        "A coffee house.", "A coffee house of Berlin."]
    assert read == ["bar.yaml", "cafe.yaml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_what_another_user_wrote_is_not_used(folder: Path, read: list[str]) -> None:
    read_standing_once(folder)
    read.clear()
    os.chown(note(folder), 12345, 12345)
    read_standing_once(folder)
    assert read == ["bar.yaml", "cafe.yaml"]


def test_with_a_mistake_somewhere_nothing_is_noted(folder: Path, read: list[str]) -> None:
    edit(folder / "bar.yaml", "tier: 2", "tier: two")
    for _ in range(2):
        assert says_the_same(folder) and read_standing_once(folder)[0].faults
    assert not note(folder).exists()


def test_a_home_that_cannot_be_written_costs_time_only(
    folder: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIRLOCK_HOME", str(tmp_path / "file"))
    assert len(read_standing_once(folder)[0].declared) == 2 == len(read_standing_once(folder)[0].declared)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_all_code_that_reads_a_service_file_counts(folder: Path, strategy: str) -> None:
    text = FULL.replace("rollout: {", f"rollout: {{strategy: {strategy}, ")
    assert text != FULL
    write(folder.parent, text)
    program = ("import sys, airlock.service.unchanged as one, pathlib as p\n"
               f"one.read_standing_once({str(folder)!r})\n"
               "root = p.Path(one.__file__).parents[1]\n"
               "known = {path for pattern in one._CODE for path in root.glob(pattern)}\n"
               "loaded = {p.Path(m.__file__) for n, m in sys.modules.items() if n.split('.')[0] == 'airlock' "
               "and getattr(m, '__file__', None)}\n"
               "print(sorted(str(path) for path in loaded - known))\n")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]"), done.stdout


STEPS = st.lists(st.sampled_from(sorted(set(CHANGES) - {"Airlock itself"})), min_size=1, max_size=6)


@pytest.mark.campaign
@given(STEPS, st.data())
def test_after_any_changes_it_is_what_the_files_say(steps: list[str], data: st.DataObject) -> None:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        home = Path(name)
        patch.setenv("AIRLOCK_HOME", str(home / "home"))
        patch.setenv("AIRLOCK_TOWN", "Berlin")
        (home / "house.yaml").write_text(POLICY)
        (home / "people.yaml").write_text(PEOPLE)
        write(home, FULL)
        write(home, TEXT.replace("service: cafe", "service: bar"), "bar.yaml")
        (home / "services" / "_defaults.yaml").write_text(DEFAULTS)
        for step in steps:
            if data.draw(st.booleans(), "read before"):
                read_standing_once(home / "services")
            try:
                CHANGES[step](home / "services")
            except (OSError, AssertionError, KeyError):  # it was changed so before
                continue
            assert says_the_same(home / "services")
