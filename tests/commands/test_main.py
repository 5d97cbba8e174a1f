"""``python -m airlock`` as a process: exit codes, one sentence for an error, never a stack trace."""

import importlib
import json
import logging
import os
import pkgutil
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NoReturn

import pytest

from airlock import commands
from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import write_pack
from airlock.evidence.seal import seal
from airlock.models import Kind, Record
from airlock.registry import DRIVERS
from airlock.signing import Signer, generate_pem
from tests.service_data import write

# Before the fork, so that each command finds them loaded.
PRELOADED = [importlib.import_module(name) for name in (
    "airlock.recompute.release", *(f"airlock.commands.{one.name}" for one in pkgutil.iter_modules(commands.__path__)))]
INCLUDE = Path(__file__).resolve().parents[2] / "include"
NOW = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
SIGNER = Signer.from_pem(generate_pem())


def airlock(*arguments: str, columns: int = 200) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, which is forked from this one: the libraries are loaded already, which
    takes most of the time of a command."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        sys.stdout.flush(), sys.stderr.flush()
        child = os.fork()
        if child == 0:
            _as_a_program(arguments, columns, out, errors)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0), errors.seek(0)
        return subprocess.CompletedProcess(arguments, code, out.read(), errors.read())


def _as_a_program(arguments: Sequence[str], columns: int, out: IO[str], errors: IO[str]) -> NoReturn:
    code = 99
    try:
        os.dup2(out.fileno(), 1), os.dup2(errors.fileno(), 2)
        sys.stdout, sys.stderr = (open(one, "w", closefd=False) for one in (1, 2))  # noqa: SIM115 - to the very end
        sys.argv = ["airlock", *arguments]
        os.environ.update(COLUMNS=str(columns), NO_COLOR="1")
        logging.getLogger().handlers.clear()
        runpy.run_module("airlock", run_name="__main__", alter_sys=False)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - nothing may go on in the copy of this process
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def test_a_command_is_a_program_of_its_own_too(pack):
    arguments = ("evidence", "verify", str(pack), "--public-key", str(pack.parent / "key.pem"))
    done = subprocess.run([sys.executable, "-m", "airlock", *arguments], capture_output=True, text=True, timeout=240,
                          env=os.environ | {"PYTHONPATH": str(INCLUDE), "COLUMNS": "200", "NO_COLOR": "1"}, check=False)
    forked = airlock(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (forked.returncode, forked.stdout, forked.stderr)


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    ledger = Ledger(folder / "ledger", "shop", "prod")
    ledger.append(Record(release="shop-1", type="step", at=NOW, actor="t", data={"text": "[bold]x[/]"}))
    ledger.append(Record(release="shop-1", type="outcome", at=NOW, actor="t", data={"outcome": "rolled_back"}))
    seal(ledger, "shop-1", SIGNER, NOW, folder / "anchor")
    (folder / "key.pem").write_text(SIGNER.public_pem)
    return Path(write_pack(ledger, "shop-1", folder))


def test_an_intact_pack_gives_0_and_says_so(pack):
    done = airlock("evidence", "verify", str(pack), "--public-key", str(pack.parent / "key.pem"))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{pack}: intact" in done.stdout
    assert "outcome: rolled_back" in done.stdout
    ledger = airlock(
        "evidence", "verify", str(pack.parent / "ledger"), "--anchor", str(pack.parent / "anchor"), "--json",
        "--public-key", str(pack.parent / "key.pem"),
    )
    assert ledger.returncode == 0
    assert (json.loads(ledger.stdout)["records"], json.loads(ledger.stdout)["end"]) == (2, "checked")


def test_without_an_anchor_the_verdict_itself_says_what_was_not_checked(pack):
    key, anchor = ("--public-key", str(pack.parent / "key.pem")), ("--anchor", str(pack.parent / "anchor"))
    for path in (pack, pack.parent / "ledger"):
        done = airlock("evidence", "verify", str(path), *key)
        assert done.returncode == 0
        assert done.stdout.splitlines()[0] == f"{path}: intact, but its END WAS NOT CHECKED (no anchor given)"
        assert airlock("evidence", "verify", str(path), *key, *anchor).stdout.splitlines()[0] == f"{path}: intact"


def test_problems_give_1_and_name_the_record(pack, tmp_path):
    other = tmp_path / "other.pem"
    other.write_text(Signer.from_pem(generate_pem()).public_pem)
    done = airlock("evidence", "verify", str(pack), "--public-key", str(other))
    assert done.returncode == 1
    assert "NOT intact" in done.stdout
    assert "unknown key" in done.stdout
    both = airlock(
        "evidence", "verify", str(pack), "--public-key", str(other), "--public-key", str(pack.parent / "key.pem")
    )
    assert both.returncode == 0
    cut = tmp_path / "cut.zip"
    cut.write_bytes(pack.read_bytes()[:-30])
    done = airlock("evidence", "verify", str(cut), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["ok"] is False
    assert "Traceback" not in done.stderr


def test_without_a_trusted_key_the_exit_code_is_1_unless_any_signer_is_accepted(pack):
    for action in ("verify", "recompute"):
        done = airlock("evidence", action, str(pack))
        assert (done.returncode, done.stderr) == (1, "")
        assert "unverified signer" in done.stdout and "intact" not in done.stdout
        assert "--public-key FILE" in done.stdout
    done = airlock("evidence", "verify", str(pack), "--accept-any-signer")
    assert done.returncode == 0
    assert "trusted: any signer" in done.stdout


def test_several_packs_and_folders_of_packs_are_checked_one_by_one(pack, tmp_path):
    key, folder = str(pack.parent / "key.pem"), tmp_path / "packs"
    folder.mkdir()
    for name in ("a.zip", "b.zip"):
        shutil.copy(pack, folder / name)
    (folder / "notes.txt").write_text("no pack")
    for paths in ([str(folder)], [str(folder / "a.zip"), str(folder / "b.zip")]):
        done = airlock("evidence", "verify", *paths, "--public-key", key)
        assert (done.returncode, done.stderr) == (0, "")
        assert "a.zip: intact" in done.stdout and "b.zip: intact" in done.stdout and "2 of 2 are intact" in done.stdout
    found = json.loads(airlock("evidence", "verify", str(folder), "--public-key", key, "--json").stdout)
    assert found["ok"] and len(found["reports"]) == 2
    lines = airlock("evidence", "recompute", str(folder), "--public-key", key, "--json").stdout.splitlines()
    assert [json.loads(line)["release"] for line in lines] == ["shop-1", "shop-1"]
    (folder / "b.zip").write_bytes(pack.read_bytes() + b"x")
    for action in ("verify", "recompute"):
        done = airlock("evidence", action, str(folder), "--public-key", key)
        assert done.returncode == 1
        assert "1 of 2 are" in done.stdout or action == "recompute"
    assert airlock("evidence", "verify", str(folder), "--releases", str(folder), "--anchor", "x").returncode == 2


@pytest.mark.parametrize("action", ["verify", "recompute"])
def test_a_text_file_is_no_evidence(pack, action):
    done = airlock("evidence", action, str(pack.parent / "key.pem"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "is no evidence" in done.stderr


@pytest.mark.parametrize("action", ["verify", "recompute"])
def test_an_anchor_that_does_not_exist_is_refused(pack, action):
    key = ("--public-key", str(pack.parent / "key.pem"))
    for path in (pack, pack.parent / "ledger/shop/prod/shop-1"):
        done = airlock("evidence", action, str(path), *key, "--anchor", "/nowhere")
        assert (done.returncode, done.stdout) == (2, "")
        assert "the anchor /nowhere is no folder" in done.stderr
        assert "the end of the history was not checked" in airlock("evidence", action, str(path), *key).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("evidence", "verify", "/nowhere/x.zip"),
        ("evidence", "verify", "{pack}", "--public-key", "/nowhere.pem"),
        ("evidence", "verify", "{pack}", "--public-key", "{pack}"),
        ("evidence", "verify", ""),
        ("evidence",),
        ("nonsense",),
        (),
    ],
)
def test_wrong_input_gives_2_and_a_sentence(pack, arguments):
    done = airlock(*(argument.replace("{pack}", str(pack)) for argument in arguments))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "airlock" in done.stderr
    assert done.stdout == ""


HOSTILE_PATHS = [
    "/dev/zero",
    "/dev/null",
    "/proc/self/mem",
    "/bin",
    "/bin/ls",
    "\udcff\udcfe",
    "a\nb\x1b[2J\u202ec",
    "x" * 5000,
    "x" * 300,
    "zzz://x",
    "http://[",
    "../../../../etc/shadow",
    "~",
    "-",
    "{{ conn.x }}",
    "[bold]x[/]",
]
HOSTILE_COMMANDS = [
    ("services", "check", "{path}"),
    ("plan", "{path}", "{path}", "--version", "{path}", "--folder", "{folder}"),
    ("plan", "cafe", "live", "--version", "{path}", "--folder", "{folder}", "--requester", "{path}"),
    ("plan", "cafe", "live", "--version", "1.1", "--folder", "{path}"),
    ("evidence", "verify", "{path}"),
    ("evidence", "verify", "{path}", "--json"),
    ("evidence", "verify", "{pack}", "--public-key", "{path}"),
    ("evidence", "verify", "{ledger}", "--anchor", "{path}"),
    ("evidence", "recompute", "{path}"),
    ("drivers", "{path}"),
    ("{path}",),
]
MANY = """
import io, os, sys, traceback
from airlock.commands.main import main
for line in sys.stdin.buffer.read().split(b"\\0\\0"):
    argv = [os.fsdecode(word) for word in line.split(b"\\0")]
    for stream in (sys.stdout, sys.stderr):
        stream.write("\\f")
        stream.flush()
    try:
        code = main(argv)
    except SystemExit as left:  # of argparse
        code = left.code
    except BaseException:  # noqa: BLE001 - nothing may go on in the copy of this process
        traceback.print_exc()
        code = -1
    print(f"\\nEXIT {code}", flush=True)
"""


def test_hostile_arguments_end_in_a_sentence_and_a_known_exit_code(pack, tmp_path):
    """Through ``main`` as a process, all commands in a row: starting Python is most of what one costs."""
    write(tmp_path)
    known = {"{pack}": str(pack), "{ledger}": str(pack.parent / "ledger"), "{folder}": str(tmp_path / "services")}
    calls = [
        [known.get(word, word.replace("{path}", path)) for word in command]
        for command in HOSTILE_COMMANDS
        for path in HOSTILE_PATHS
    ]
    given = b"\0\0".join(b"\0".join(os.fsencode(word) for word in call) for call in calls)
    done = subprocess.run(
        [sys.executable, "-c", MANY],
        input=given,
        capture_output=True,
        timeout=280,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(INCLUDE), "COLUMNS": "200", "NO_COLOR": "1"},
    )
    outputs, errors = (data.decode().split("\f")[1:] for data in (done.stdout, done.stderr))
    assert len(outputs) == len(errors) == len(calls)
    for call, output, error in zip(calls, outputs, errors, strict=True):
        said, _, code = output.rpartition("\nEXIT ")
        assert int(code) in (0, 1, 2), (call, output, error)
        assert "Traceback" not in output + error and (said + error).strip(), call
        assert not {character for character in output + error if ord(character) < 32} - {"\n"}, call
        assert "\u202e" not in output + error and len(error) < 5000, call


@pytest.mark.parametrize(
    ("redirection", "code", "error"),
    [
        (
            "> /dev/full",
            1,
            "airlock: input or output failed: [Errno 28] No space left on device; check the disk and the paths\n",
        ),
        (">&-", 0, ""),
        (">&- 2>&-", 0, ""),
        ("2> /dev/full", 0, ""),
    ],
)
@pytest.mark.parametrize("form", ["", "--json"])
def test_outputs_that_take_nothing_leave_no_stack_trace(redirection, code, error, form):
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m airlock drivers {form} {redirection}"],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"PYTHONPATH": str(INCLUDE)},
    )
    assert (done.returncode, done.stderr, done.stdout if redirection != "2> /dev/full" else "") == (code, error, "")


def test_a_terminal_without_unicode_gets_escapes(tmp_path):
    (tmp_path / "x.yaml").write_text("sérvice: ü\n")
    done = subprocess.run(
        [sys.executable, "-m", "airlock", "services", "check", str(tmp_path)],
        capture_output=True,
        timeout=240,
        env=os.environ | {"PYTHONPATH": str(INCLUDE), "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (2, b"")
    assert b"s\\xe9rvice: unknown field; did you mean 'service'?" in done.stdout


def test_a_private_key_is_not_taken_for_a_public_one_nor_shown(pack, tmp_path):
    private = tmp_path / "private.pem"
    private.write_text(generate_pem())
    done = airlock("evidence", "verify", str(pack), "--public-key", str(private))
    assert done.returncode == 2
    assert "holds no public key" in done.stderr
    assert private.read_text().splitlines()[1] not in done.stdout + done.stderr


@pytest.mark.parametrize(("arguments", "listed"), [((), "ask for everything"), (("services",), "print every setting")])
def test_without_a_command_all_are_listed(arguments, listed):
    done = airlock(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert listed in done.stderr and "error: the following arguments are required" in done.stderr


def test_drivers_lists_every_registered_driver():
    done = airlock("drivers", "--json")
    rows = json.loads(done.stdout)
    assert sorted(row["driver"] for row in rows) == sorted(DRIVERS)
    assert {row["kind"] for row in rows} == {str(kind) for kind in Kind}
    assert [row["fault"] for row in rows if row["fault"]] == []
    assert done.returncode == 0
    assert all(row["restore_proof"] for row in rows)
    table = airlock("drivers", columns=80).stdout
    assert all(name in table for name in DRIVERS)
    assert max(map(len, table.splitlines())) <= 80
    words = " ".join(table.split())
    assert "leaves out:" in words and len(table.splitlines()) < 150
    assert [row["driver"] for row in rows if not row["leaves_out"]] == []


def test_checking_evidence_needs_no_airflow_and_loads_none(pack):
    code = (
        "import sys; from airlock.commands.main import main; code = main(sys.argv[1:]); "
        "sys.exit(code or 10 * any(name.split('.')[0] == 'airflow' for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "evidence", "verify", "--accept-any-signer", str(pack)],
        check=False,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(INCLUDE)},
        timeout=240,
    )
    assert done.returncode == 0


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "airlock", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(INCLUDE)},
    )


@pytest.fixture
def ctrl_c_is_heard():
    """A shell's background job ignores Ctrl-C, and so would all that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_a_command_without_a_stack_trace(pack, tmp_path, ctrl_c_is_heard):
    pipe = tmp_path / "key.pem"
    os.mkfifo(pipe)
    running = start("evidence", "verify", str(pack), "--public-key", str(pipe))
    with pipe.open("wb"):  # opens when the command has begun to read, which then waits for this end
        running.send_signal(signal.SIGINT)
        output, error = running.communicate(timeout=240)
    assert (running.returncode, output, error) == (130, "", "airlock: stopped\n")


def test_a_reader_that_goes_away_leaves_no_stack_trace(pack):
    running = start("evidence", "verify", "--accept-any-signer", str(pack))
    running.stdout.close()
    assert running.stderr.read() == ""
    assert running.wait(240) == 1
