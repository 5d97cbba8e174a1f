"""Where each value comes from, as people are shown it; and that plans go by the values that count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airlock.commands.main import main
from airlock.service.defaults import DEFAULTS_FILE
from airlock.service.find import find
from tests.commands.test_services_and_plan import ALWAYS
from tests.service.test_last_good import built, shown
from tests.service_data import write

SHARED = "defaults:\n  ledger: FOLDER/${service}\n  rollout:\n    bake_seconds: 7\n"
SERVICE = ALWAYS.replace("    ledger: FOLDER/ledger\n", "").replace(
    "environments:\n", "defaults:\n  analysis: {alpha: 0.02}\nenvironments:\n")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("NONE", "KEY"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps({"conn_type": "http"}))
    monkeypatch.setenv("AIRLOCK_SERVICES", str(tmp_path / "services"))
    monkeypatch.setenv("AIRLOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRLOCK_TRAINS", str(tmp_path / "trains"))
    (tmp_path / "trains").mkdir()
    (tmp_path / "cafe-1.1.bin").write_bytes(b"coffee")
    write(tmp_path, SHARED, DEFAULTS_FILE)
    return write(tmp_path, SERVICE).parent


def test_a_text_that_could_not_be_seen_is_quoted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder.parent, SERVICE.replace("defaults:\n", "defaults:\n  checks: {smoke: [{name: http, options: {paths: "
                                         "[/health], json_body: [{at: \"\"}]}}]}\n"))
    assert main(["services", "show", "cafe", "live"]) == 0
    assert 'checks.smoke.0.options.json_body.0.at: ""  [cafe.yaml:9 (defaults)]' in capsys.readouterr().out


def test_show_prints_every_value_with_its_file_and_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["services", "show", "cafe", "live"]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = next(number for number, line in enumerate(SERVICE.splitlines(), 1) if "percent: 10" in line)
    for line in (
        f"ledger: {folder.parent}/cafe  [_defaults.yaml:2 (defaults)]",
        "rollout.bake_seconds: 7.0  [_defaults.yaml:4 (defaults)]",
        "analysis.alpha: 0.02  [cafe.yaml:9 (defaults)]",
        f"rollout.steps.0.percent: 10  [cafe.yaml:{at}]",
        "analysis.minimum_requests: 50  [built in]",
        "owner: cafe-team  [cafe.yaml:3]",
    ):
        assert line in lines
    assert main(["services", "show", "cafe", "live", "--json"]) == 0
    rows = {row["setting"]: row for row in json.loads(capsys.readouterr().out)}
    assert len(rows) == len(lines)
    assert rows["ledger"] == {"setting": "ledger", "value": f"{folder.parent}/cafe", "file": f"{folder}/_defaults.yaml",
                              "line": 2}
    assert rows["analysis.minimum_requests"]["file"] is None
    assert main(["services", "show", "cafe", "lve"]) == 2
    assert "did you mean 'cafe live'" in capsys.readouterr().err


def test_the_plan_says_which_lines_of_which_file_each_part_comes_from(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    main(["plan", "cafe", "live", "--version", "1.1"])
    said = capsys.readouterr().out
    (rollout,) = [line for line in said.splitlines() if "│ rollout " in line]
    assert "_defaults.yaml:4 (defaults), cafe.yaml:" in rollout and "the rest is built in" in rollout
    (ledger,) = [line for line in said.splitlines() if "│ ledger " in line]
    assert "_defaults.yaml:2 (defaults)" in ledger and "built in" not in ledger


def test_the_digest_of_the_plan_follows_the_value_that_counts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def plan(shared: str) -> dict[str, object]:
        write(folder.parent, shared, DEFAULTS_FILE)
        main(["plan", "cafe", "live", "--version", "1.1", "--json"])
        made = json.loads(capsys.readouterr().out)
        return {name: made[name] for name in ("rollout", "analysis")}

    first = plan(SHARED)
    assert first["rollout"]["bake_seconds"] == 7  # type: ignore[index]
    assert plan(SHARED.replace("bake_seconds: 7", "bake_seconds: 8")) != first
    assert plan(f"{SHARED}  analysis: {{alpha: 0.3}}\n") == first, "the service file says another one"


def test_while_the_file_of_the_company_is_wrong_nothing_begins_and_the_last_good_version_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert built("releases.py") == {"release.cafe.live"}
    good = find(folder, "cafe", "live")
    shared = folder / DEFAULTS_FILE
    for wrong in ("defaults: [\n", "defaults: {rollout: {bake_seconds: soon}}\n", "default: {}\n"):
        shared.write_text(wrong)
        assert built("releases.py") == {"release.cafe.live"} and built("rollback.py") == {"rollback.cafe.live"}
        assert f"{shared}:" in shown() and "1 service environment(s) have their last good version stand in" in shown()
        assert "retire" not in shown()
        assert main(["services", "retire", "cafe"]) == 2
        assert "so mend this first" in capsys.readouterr().err
    shared.unlink()
    shared.mkdir()
    assert built("releases.py") == {"release.cafe.live"} and f"{shared}:1: file:" in shown()
    shared.rmdir()
    assert "ledger: is missing" in shown(), "what it shared is missing now"
    assert built("releases.py") == {"release.cafe.live"}
    write(folder.parent, SHARED, DEFAULTS_FILE)
    assert shown() == "" and find(folder, "cafe", "live") == good
