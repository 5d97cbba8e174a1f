"""The check ``command`` with real programs: what may run, what it sees, and that it always ends."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from airlock.deploy.check import Subject, open_check
from airlock.errors import InvalidInput
from airlock.models import Answer, CheckResult, PlannedCheck
from tests.contracts.check_contract import SECRET, Case, Cases, CheckContract, planned, run

HERE = Subject("1.1", "http://127.0.0.1:8123")


class Programs:
    """Programs in a folder, and the allow-list that names them."""

    def __init__(self, folder: Path, policies: Path) -> None:
        self.folder, self.path = folder, policies / "commands.yaml"
        self.rules: list[dict[str, Any]] = []

    def add(self, name: str, script: str, *arguments: str, **rule: Any) -> str:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        self.allow({"name": name, "program": str(path), "arguments": list(arguments), **rule})
        return str(path)

    def allow(self, rule: dict[str, Any]) -> None:
        self.rules.append(rule)
        self.path.write_text(json.dumps({"commands": self.rules}))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    for name in ("programs", "policies"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("AIRLOCK_POLICIES", str(tmp_path / "policies"))
    return Programs(tmp_path / "programs", tmp_path / "policies")


def ran(*command: str, subject: Subject = HERE, **options: Any) -> CheckResult:
    return run("command", Case({"run": list(command), **options}, subject))


class TestCommand(CheckContract):
    name = "command"

    @pytest.fixture
    def cases(self, programs: Programs) -> Cases:
        good = programs.add("good", f"echo 'mail {SECRET}'")
        bad = programs.add("bad", f"echo 'mail {SECRET}' >&2; exit 3")
        silent = programs.add("silent", f"echo 'mail {SECRET}'; sleep 600")
        away = str(programs.folder / "not-installed")
        programs.allow({"name": "away", "program": away})
        return Cases(Case({"run": [good]}, HERE), Case({"run": [bad]}, HERE), Case({"run": [away]}, HERE),
                     Case({"run": [silent], "within_seconds": 0.5}, HERE))


# --- what may run -----------------------------------------------------------------------------------------------------


def test_only_what_the_list_allows_becomes_part_of_a_plan(programs: Programs) -> None:
    tool = programs.add("tool", "true", "--level", "(quick|full)", "{address}/[a-z]+")
    planned("command", {"run": [tool, "--level", "full", "{address}/orders"]})
    for wrong in (
        [tool], [tool, "--level", "full"], [tool, "--level", "full", "{address}/orders", "more"],
        [tool, "--level", "fullest", "{address}/orders"], [tool, "--level", "full\n", "{address}/orders"],
        [tool, "--level", "full", "{address}/orders/1"], [f"{tool}/../tool", "--level", "full", "{address}/orders"],
        ["tool", "--level", "full", "{address}/orders"], ["/bin/sh", "-c", "true"],
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match="no rule allows"):
            planned("command", {"run": wrong})


def test_further_arguments_need_a_pattern_of_their_own(programs: Programs) -> None:
    tool = programs.add("tool", "true", more="[a-z]+")
    assert ran(tool).verdict.answer is Answer.PASS
    assert ran(tool, "one", "two").verdict.answer is Answer.PASS
    with pytest.raises(InvalidInput, match="no rule allows"):
        planned("command", {"run": [tool, "one", "-x"]})


def test_without_a_list_nothing_is_allowed(programs: Programs) -> None:
    with pytest.raises(InvalidInput, match="there is no list of allowed commands"):
        planned("command", {"run": ["/bin/true"]})


@pytest.mark.parametrize(
    "rule",
    [{"program": "true"}, {"program": "/bin/../bin/true"}, {"program": "/bin//true"}, {"arguments": ["("]},
     {"more": "["}, {"most_seconds": 0}, {"environment": {"A B": "c"}}, {"sha256": "abc"}, {"shell": True}],
)  # fmt: skip
def test_a_wrong_list_stops_and_names_its_line(programs: Programs, rule: dict[str, Any]) -> None:
    programs.allow({"name": "wrong", "program": "/bin/true", **rule})
    with pytest.raises(InvalidInput, match=r"commands\.yaml:1: "):
        planned("command", {"run": ["/bin/true"]})


def test_a_list_that_changes_after_approval_stops_the_check(programs: Programs) -> None:
    tool = programs.add("tool", "echo ran > ran")
    plan = planned("command", {"run": [tool]})
    programs.rules[0]["environment"] = {"LEVEL": "other"}
    programs.allow({"name": "more", "program": "/bin/true"})
    for rules in (programs.rules, []):
        programs.path.write_text(json.dumps({"commands": rules}))
        result = open_check(plan).run(HERE, plan)
        assert (result.verdict.answer, result.found) == (Answer.ERROR, None)


def test_the_owner_of_the_platform_limits_the_time(programs: Programs) -> None:
    tool = programs.add("tool", "true", most_seconds=10)
    planned("command", {"run": [tool], "within_seconds": 10})
    with pytest.raises(InvalidInput, match="10 s at most"):
        planned("command", {"run": [tool], "within_seconds": 11})


def test_a_program_that_others_may_write_or_that_was_swapped_is_not_run(programs: Programs) -> None:
    tool = programs.add("tool", "true")
    digest = hashlib.sha256(Path(tool).read_bytes()).hexdigest()
    programs.rules[0]["sha256"] = f"sha256:{digest}"
    programs.allow({"name": "more", "program": "/bin/true"})
    assert ran(tool).verdict.answer is Answer.PASS
    for mode in (0o775, 0o757, 0o644):
        Path(tool).chmod(mode)
        assert ran(tool).verdict.answer is Answer.ERROR, oct(mode)
    Path(tool).write_text("#!/bin/sh\nexit 0\n# swapped")
    Path(tool).chmod(0o755)
    swapped = ran(tool)
    assert (swapped.verdict.answer, "has the digest" in swapped.verdict.sentence) == (Answer.ERROR, True)
    programs.allow({"name": "folder", "program": str(programs.folder)})
    assert ran(str(programs.folder)).verdict.answer is Answer.ERROR


# --- what it sees, and what is kept of it -----------------------------------------------------------------------------


def test_there_is_no_shell_and_nothing_of_the_worker(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SECRET", "postgres://u:p@h/d")
    out = programs.folder / "out"
    tool = programs.add("tool", f'env > {out}; pwd >> {out}; cat >> {out}; for one in "$@"; do echo "<$one>" >> {out}; '
                                "done; ls -la | wc -l; ls /proc/self/fd | wc -l", more=".*", environment={"LEVEL": "3"})
    assert ran(tool, "$(id)", "`id`; id", "a b", "*", "{version}", "{other}", "{port}").verdict.answer is Answer.PASS
    said = out.read_text()
    names = {line.partition("=")[0] for line in said.splitlines() if "=" in line and not line.startswith("<")}
    assert names <= {"PATH", "LANG", "HOME", "LEVEL", "PWD", "OLDPWD", "SHLVL", "_"}
    assert "<$(id)>\n<`id`; id>\n<a b>\n<*>\n<1.1>\n<{other}>\n<8123>\n" in said
    home = next(line for line in said.splitlines() if line.startswith("HOME=")).partition("=")[2]
    assert not Path(home).exists(), "its folder goes with it"


def test_what_needs_an_address_is_not_run_without_one(programs: Programs) -> None:
    tool = programs.add("tool", "true", "{address}")
    result = ran(tool, "{address}", subject=Subject("1.1"))
    assert (result.verdict.answer, "names no address of 1.1" in result.verdict.sentence) == (Answer.ERROR, True)


def test_the_first_line_is_kept_only_where_the_rule_says_so(programs: Programs) -> None:
    script = r"printf '\n \033[31mall\t fine\nmore\n'"
    hidden = ran(programs.add("hidden", script))
    shown = ran(programs.add("shown", script, shows_first_line=True))
    assert hidden.found is not None
    assert shown.found is not None
    assert hidden.found["first_line"] == ""
    assert shown.found["first_line"] == "[31mall fine"
    assert shown.found["output_sha256"] == hidden.found["output_sha256"]
    long = ran(programs.add("long", "printf 'x%.0s' $(seq 5000)", shows_first_line=True))
    assert long.found is not None
    assert len(long.found["first_line"]) <= 200


def test_output_without_end_fills_nothing(programs: Programs) -> None:
    result = ran(programs.add("endless", "exec cat /dev/zero", shows_first_line=True), within_seconds=1)
    assert result.verdict.answer is Answer.ERROR
    assert result.found is not None
    assert result.found["output_bytes"] > 1 << 20
    assert len(json.dumps(result.found)) < 1000


@pytest.mark.parametrize(
    ("script", "codes", "answer"),
    [
        ("exit 0", [0], "pass"), ("exit 1", [0], "fail"), ("exit 1", [0, 1], "pass"), ("exit 0", [1], "fail"),
        ("exit 127", [0], "error"), ("exec /no/such/program", [0], "error"), ("kill -9 $$", [0], "error"),
        ("kill -15 $$", [0], "error"), ("exit 200", [200], "pass"),
        ("exit 200", [0], "fail"), ("exit 192", [0], "error"), ("exit 193", [0], "fail"),
    ],
)  # fmt: skip
def test_only_the_declared_exit_codes_pass(programs: Programs, script: str, codes: list[int], answer: str) -> None:
    assert ran(programs.add("tool", script), exit_codes=codes).verdict.answer == answer


# --- that it always ends ----------------------------------------------------------------------------------------------


def alive(path: Path) -> list[int]:
    """Return the processes whose ids are in the file *path* and that still run."""
    found = []
    for word in path.read_text().split():
        try:
            os.kill(int(word), 0)
        except ProcessLookupError:
            continue
        if Path(f"/proc/{word}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            found.append(int(word))
    return found


STUBBORN = ("trap '' TERM INT HUP; echo $$ >> {pids}; (trap '' TERM; echo $$ >> {pids}; sleep 600) & "
            "setsid sh -c 'echo $$ >> {pids}; sleep 600' & sleep 600 & echo $! >> {pids}; {end}")


@pytest.mark.parametrize("end", ["wait", "exit 0", "exec 1>&- 2>&-; wait"])
def test_nothing_that_it_starts_outlives_it(programs: Programs, end: str) -> None:
    """A grandchild that holds the output open, one in a session of its own, and ones that bear no signal."""
    pids = programs.folder / "pids"
    tool = programs.add("tool", STUBBORN.replace("{pids}", str(pids)).replace("{end}", end))
    result = ran(tool, within_seconds=2)
    assert result.verdict.answer is (Answer.PASS if end == "exit 0" else Answer.ERROR)
    assert alive(pids) == []


@pytest.mark.parametrize("strike", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_task_that_runs_it(programs: Programs, strike: signal.Signals) -> None:
    pids = programs.folder / "pids"
    tool = programs.add("tool", STUBBORN.replace("{pids}", str(pids)).replace("{end}", "wait"))
    plan = planned("command", {"run": [tool], "within_seconds": 60})
    code = ("import sys; from airlock.models import PlannedCheck; from airlock.deploy.check import Subject, "
            "open_check; plan = PlannedCheck.model_validate_json(sys.argv[1]); "
            "open_check(plan).run(Subject('1.1'), plan)")
    task = subprocess.Popen([sys.executable, "-c", code, plan.model_dump_json()], stderr=subprocess.DEVNULL)
    try:
        await_pids(pids)
        task.send_signal(strike)
        task.wait(60)
        for _ in range(200):
            if not alive(pids):
                break
            time.sleep(0.1)
        assert alive(pids) == []
    finally:
        task.kill()
        task.wait()


def await_pids(path: Path) -> None:
    for _ in range(600):
        if path.exists() and len(path.read_text().split()) >= 4:
            return
        time.sleep(0.1)
    pytest.fail("the program did not start")


@pytest.mark.parametrize(
    "wrong", [{"run": []}, {"run": ["/bin/true\0"]}, {"exit_codes": []}, {"exit_codes": [256]},
              {"exit_codes": [0, 127]}, {"exit_codes": [126]}, {"exit_codes": [137]}, {"within_seconds": 0}]
)
def test_wrong_options_stop(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        open_check(PlannedCheck(name="command", options={"run": ["/bin/true"], **wrong}))
