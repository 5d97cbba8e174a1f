"""The first service file of a new service: by flags and by questions at a real terminal, right from the start."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.commands.main import main
from airlock.errors import InvalidInput
from airlock.service import schema
from airlock.service.defaults import DEFAULTS_FILE
from airlock.service.file import parse
from airlock.service.first_file import FirstAnswers, text_of, write_first
from airlock.service.reading import load_file
from tests.service.test_last_good import built
from tests.service.test_schema import faults
from tests.service_data import write

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    services = tmp_path / "services"
    services.mkdir()
    (tmp_path / "trains").mkdir()
    for name, value in (("SERVICES", services), ("HOME", tmp_path / "home"), ("TRAINS", tmp_path / "trains")):
        monkeypatch.setenv(f"AIRLOCK_{name}", str(value))
    for name in ("AIRLOCK_SIGNING", "AIRLOCK_BACKUP_KEY", "CAFE_SUPERVISOR", "BAKERY_SUPERVISOR"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps({"conn_type": "http"}))
    return services


def test_flags_alone_make_a_right_file_that_becomes_dags(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--approvers", "ann, bob", "--environment", "test", "--tier", "2", "--owner", "Coffee: & \"tea\"",
             "--artifact", "/builds/{version}/cafe.bin", "--backup-folder", "/srv/café files",
             "--description", "Serves 'coffee' # and more"]
    assert main(["new", "cafe", *given]) == 0
    said = capsys.readouterr().out
    assert f"{folder}/cafe.yaml is written and right" in said and "./airlock plan cafe test" in said
    (made,) = load_file(folder / "cafe.yaml")
    assert (made.service, made.environment, made.tier, made.production) == ("cafe", "test", 2, False)
    assert made.groups == {"service_owner": ("ann", "bob")} and made.owner == "Coffee: & \"tea\""
    assert made.description == "Serves 'coffee' # and more" and made.resources[0].options == {"path": "/srv/café files"}
    assert main(["services", "check"]) == 0
    assert built("releases.py") == {"release.cafe.test"} and built("rollback.py") == {"rollback.cafe.test"}
    assert faults((folder / "cafe.yaml").read_text()) == [], "editors find nothing wrong either"
    assert main(["new", "bakery", "--approvers", "ann"]) == 0 and main(["services", "check"]) == 0, "and a second one"
    assert [path.name for path in sorted(folder.glob("*.yaml"))] == ["bakery.yaml", "cafe.yaml"]
    first = (folder / "cafe.yaml").read_text().splitlines()[0]
    assert (folder / first.partition("$schema=")[2]).read_text() == schema.text_of("service"), "editors find it"


def test_what_the_company_says_is_left_out(folder: Path) -> None:
    assert main(["new", "cafe", "--approvers", "ann"]) == 0
    whole = (folder / "cafe.yaml").read_text()
    (folder / "cafe.yaml").unlink()
    (folder / DEFAULTS_FILE).write_text((ROOT / "include/services" / DEFAULTS_FILE).read_text())
    assert main(["new", "cafe", "--approvers", "ann"]) == 0
    short = (folder / "cafe.yaml").read_text()
    for line in ("  ledger: ", "  evidence: ", "  anchor: ", "  signing_connection: ", "  backup:", "    timezone: "):
        assert line in whole and line not in short
    (made,) = load_file(folder / "cafe.yaml")
    assert made.signing_connection == "airlock_signing" and made.backup.store == f"{os.environ['AIRLOCK_HOME']}/backups"


def test_an_environment_that_sounds_like_production_says_that_it_is_none_yet(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "cafe", "--approvers", "ann, board-1", "--environment", "prod"]) == 0
    assert "prod is no production yet" in capsys.readouterr().out
    assert "[ann, board-1]" in (folder / "cafe.yaml").read_text()
    (made,) = load_file(folder / "cafe.yaml")
    assert not made.production and made.resources[0].options == {"path": "/srv/cafe/prod/files"}
    assert main(["new", "bakery", "--approvers", "ann"]) == 0
    assert "production" not in capsys.readouterr().out


@pytest.mark.parametrize(("shared", "steps"), [
    ("{strategy: blue_green, observe_seconds: 60}", 0), ("{strategy: all_at_once}", 0), ("{bake_seconds: 5}", 3),
    ("{steps: [{percent: 7, observe_seconds: 9}], bake_seconds: 5}", 1), ("{strategy: canary}", 3),
])  # fmt: skip
def test_a_company_may_roll_out_in_its_own_way(folder: Path, shared: str, steps: int) -> None:
    (folder / DEFAULTS_FILE).write_text(f"defaults: {{rollout: {shared}}}\n")
    assert main(["new", "cafe", "--approvers", "ann"]) == 0
    (made,) = load_file(folder / "cafe.yaml")
    assert len(made.rollout.steps) == steps
    assert made.rollout.bake_seconds == (5 if "bake_seconds" in shared else 600)


def test_the_longest_name_has_a_first_file_too(folder: Path) -> None:
    assert main(["new", "x" * 63, "--approvers", "ann", "--environment", "e" * 27]) == 0
    assert load_file(folder / f"{'x' * 63}.yaml")[0].service == "x" * 63


@pytest.mark.parametrize(("arguments", "said"), [
    (["Cafe", "--approvers", "ann"], "SERVICE: 'Cafe' is no name; use lower case letters"),
    (["../x", "--approvers", "ann"], "SERVICE: '../x' is no name"),
    (["x" * 64, "--approvers", "ann"], "is no name"),
    (["cafe"], "--approvers: somebody must approve"),
    (["cafe", "--approvers", "аnn"], "--approvers: "),
    (["cafe", "--approvers", "ann", "--tier", "5"], "--tier: '5' is no tier"),
    (["cafe", "--approvers", "ann", "--environment", "Test"], "--environment: 'Test' is no name"),
    (["cafe", "--approvers", "ann", "--artifact", "/srv/cafe.bin"], "must have {version} in it"),
    (["cafe", "--approvers", "ann", "--description", "a\nb"], "--description: write one line"),
    (["cafe", "--approvers", "ann", "--backup-folder", "${HOME}/x"], "cafe.yaml:"),
    (["c" * 60, "--approvers", "ann", "--environment", "e" * 60], "characters together"),
])  # fmt: skip
def test_wrong_input_is_named_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["new", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_nothing_that_is_there_is_changed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder.parent, name="house.yaml")
    (folder / "inn.yml").write_text("service: [")
    (folder / "gone.yaml").symlink_to("nowhere")
    before = {path.name: path.lstat().st_mtime_ns for path in folder.iterdir()}
    for service, there in (("cafe", "house.yaml"), ("inn", "inn.yml"), ("gone", "gone.yaml")):
        assert main(["new", service, "--approvers", "ann"]) == 2
        assert f"{there} is there already" in capsys.readouterr().err
    assert {path.name: path.lstat().st_mtime_ns for path in folder.iterdir()} == before
    (folder / DEFAULTS_FILE).write_text("default: {}\n")
    assert main(["new", "bar", "--approvers", "ann"]) == 2
    assert f"{folder / DEFAULTS_FILE}:1: default: unknown field" in capsys.readouterr().err
    assert main(["new", "bar", "--approvers", "ann", "--folder", str(folder / "none")]) == 2


LETTERS = st.characters(exclude_categories=["C", "M", "Z"], exclude_characters="$")
WORDS = st.text(LETTERS, min_size=1, max_size=30)


@given(st.lists(WORDS, min_size=3, max_size=3), st.sampled_from(["null", "true", "on", "no", "y", "a-b", "x9"]))
def test_whatever_people_answer_arrives_as_it_was_meant(words: list[str], name: str) -> None:
    answers = FirstAnswers(name, words[0], words[1], 3, ("ann", "null", "1"), name, "/x-{version}", words[2])
    document = parse(text_of(answers, None).encode(), Path("x.yaml"), {}, named=True)
    assert document.report() == []
    assert document.data["service"] == name and list(document.data["environments"]) == [name]
    assert document.data["groups"] == {"service_owner": ["ann", "null", "1"]}
    assert [document.data["description"], document.data["owner"],
            document.data["defaults"]["resources"][0]["options"]["path"]] == words


class Terminal:
    """The command at a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.end, inner = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "airlock", "new", *arguments], stdin=inner, stdout=inner, stderr=inner,
            env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(ROOT / "include")}, start_new_session=True)
        os.close(inner)
        self.seen = ""

    def until(self, asked: str) -> None:
        """Read until *asked* is on screen, after what was seen before."""
        deadline, new = time.monotonic() + 60, ""
        while asked not in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", new):
            assert time.monotonic() < deadline, f"{asked!r} never came: {self.seen}{new}"
            if select.select([self.end], [], [], 1)[0]:
                new += os.read(self.end, 4096).decode()
        self.seen += new

    def interrupt(self) -> None:
        """Send what a terminal makes of Ctrl-C once the command waits for an answer; right before, it is lost."""
        deadline, stat = time.monotonic() + 60, Path(f"/proc/{self.process.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "S":  # sleeping: it has asked, so it reads
            assert time.monotonic() < deadline, f"it never waits: {self.seen}"
            time.sleep(0.01)
        self.process.send_signal(signal.SIGINT)

    def answer(self, asked: str, text: str) -> None:
        self.until(asked)
        os.write(self.end, f"{text}\n".encode())

    def code(self) -> int:
        while True:
            try:
                if not os.read(self.end, 4096):
                    break
            except OSError:  # the other end is closed
                break
        return self.process.wait(60)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for one in opened:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        os.close(one.end)


def test_questions_at_a_terminal_make_the_same_file(folder: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal("cafe", "--tier", "2")
    terminals.append(terminal)
    terminal.answer("What is it, in a sentence? [The service cafe.]", "Coffee.")
    terminal.answer("Which team owns it? [cafe-team]", "")
    terminal.answer("Who approves its releases?", "")
    terminal.answer("somebody must approve", "ann, bob")
    terminal.answer("Which environment first? [staging]", "Test it")
    terminal.answer("'Test it' is no name", "test")
    terminal.answer("Where are its versions?", "/builds/cafe-{version}.bin")
    terminal.answer("Which folder of it is backed up", "")
    terminal.until("is written and right")
    assert terminal.code() == 0 and "How critical" not in terminal.seen, "what was given is not asked"
    answers = FirstAnswers("cafe", "Coffee.", "cafe-team", 2, ("ann", "bob"), "test", "/builds/cafe-{version}.bin",
                           "/srv/cafe/${environment}/files")
    assert (folder / "cafe.yaml").read_text() == text_of(answers, None)
    assert main(["services", "check"]) == 0 and built("releases.py") == {"release.cafe.test"}


@pytest.mark.parametrize("stop", [b"\x03", b"\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_who_stops_in_between_leaves_nothing(folder: Path, terminals: list[Terminal], stop: bytes) -> None:
    terminal = Terminal("cafe")
    terminals.append(terminal)
    terminal.answer("What is it, in a sentence?", "Coffee.")
    terminal.until("Which team owns it?")
    if stop == b"\x03":
        terminal.interrupt()
    else:
        os.write(terminal.end, stop)
    terminal.until("stopped")
    assert terminal.code() == 130
    assert list(folder.iterdir()) == []


def test_a_file_that_somebody_else_writes_meanwhile_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airlock.service import first_file

    def checked(_: object) -> None:
        (folder / "cafe.yaml").write_text("theirs")

    monkeypatch.setattr(first_file, "check_deep", checked)
    answers = FirstAnswers("cafe", "Coffee.", "team", 2, ("ann",), "test", "/x-{version}", "/x")
    with pytest.raises(InvalidInput, match="is there already"):
        write_first(folder, answers)
    assert [path.name for path in folder.iterdir()] == ["cafe.yaml"]
    assert (folder / "cafe.yaml").read_text() == "theirs"
