"""``python -m airlock`` as a process: exit codes, one sentence for an error, never a stack trace."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import write_pack
from airlock.evidence.seal import seal
from airlock.models import Kind, Record
from airlock.registry import DRIVERS
from airlock.signing import Signer, generate_pem

INCLUDE = Path(__file__).resolve().parents[1] / "include"
NOW = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
SIGNER = Signer.from_pem(generate_pem())


def airlock(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "airlock", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=os.environ | {"PYTHONPATH": str(INCLUDE), "COLUMNS": "200", "NO_COLOR": "1"},
    )


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
        "evidence", "verify", str(pack.parent / "ledger"), "--anchor", str(pack.parent / "anchor"), "--json"
    )
    assert ledger.returncode == 0
    assert json.loads(ledger.stdout)["records"] == 2


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


def test_a_private_key_is_not_taken_for_a_public_one_nor_shown(pack, tmp_path):
    private = tmp_path / "private.pem"
    private.write_text(generate_pem())
    done = airlock("evidence", "verify", str(pack), "--public-key", str(private))
    assert done.returncode == 2
    assert "holds no public key" in done.stderr
    assert private.read_text().splitlines()[1] not in done.stdout + done.stderr


def test_drivers_lists_every_registered_driver():
    done = airlock("drivers", "--json")
    rows = json.loads(done.stdout)
    assert sorted(row["driver"] for row in rows) == sorted(DRIVERS)
    assert {row["kind"] for row in rows} == {str(kind) for kind in Kind}
    assert [row["fault"] for row in rows if row["fault"]] == []
    assert done.returncode == 0
    assert all(row["restore_proof"] for row in rows)
    table = airlock("drivers").stdout
    assert all(name in table for name in DRIVERS)


def test_checking_evidence_needs_no_airflow_and_loads_none(pack):
    code = (
        "import sys; from airlock.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(code or 10 * any(name.split('.')[0] == 'airflow' for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "evidence", "verify", str(pack)],
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
    running = start("evidence", "verify", str(pack))
    running.stdout.close()
    assert running.stderr.read() == ""
    assert running.wait(240) == 1
