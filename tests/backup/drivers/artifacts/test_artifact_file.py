from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
import zipfile
from pathlib import Path

import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.artifacts.artifact_file import ArtifactFileDriver
from airlock.backup.run import prove, restore_origin, take
from airlock.errors import InvalidInput
from airlock.models import Kind, Resource
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest_of_folder, make_store
from tests.contracts.driver_forms import Damage, Form, taken_by_a_folder, taken_by_a_link
from tests.contracts.killed import killed

PROGRAM = """
import hashlib, json, os, pathlib, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
digest = "sha256:" + hashlib.sha256(pathlib.Path(sys.argv[0]).read_bytes()).hexdigest()
pathlib.Path("environment.txt").write_text(json.dumps(dict(os.environ)))
child = subprocess.Popen(["sleep", "300"])
stray = subprocess.Popen(["sleep", "300"], start_new_session=True)
pathlib.Path("pids.txt").write_text(f"{os.getpid()} {child.pid} {stray.pid}")
pathlib.Path(os.environ.get("NEEDED", "pids.txt")).read_text()
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"digest": digest}).encode()
        self.send_response(STATUS if self.path == "/health" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def artifact(path: Path, program: str = PROGRAM.replace("STATUS", "200"), note: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__main__.py", program + note)
    return path


def latin(path: Path) -> None:
    """Have a comment that is not UTF-8 behind the archive, where its readers allow one."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"caf\xe9"


def driver_for(path: Path, store, **options: object) -> ArtifactFileDriver:
    resource = Resource(
        name="shop_file",
        kind=Kind.ARTIFACTS,
        driver="artifact_file",
        options={"path": str(path), "start_seconds": 10, **options},
    )
    return ArtifactFileDriver(resource, store)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def running_in(folder: Path) -> list[str]:
    """Return every process that works in *folder*, after the time that one which was told to end may take."""
    deadline = time.monotonic() + 60
    while True:
        found = []
        for link in Path("/proc").glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                found += [link.parent.name] if link.readlink().is_relative_to(folder) else []
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


class TestArtifactFile(DriverContract):
    @pytest.fixture
    def case(self, store, tmp_path: Path) -> Case:
        path = artifact(tmp_path / "slots" / "a" / "shop-1.0.pyz")
        (tmp_path / "slots" / "stable").symlink_to("a/shop-1.0.pyz")
        needed = tmp_path / "needed"
        needed.write_text("what every version reads when it starts")

        def spoil(place: Place) -> None:
            artifact(next((Path(place.folder) / "artifact").glob("*.pyz")), note="\n# other")

        return Case(
            driver_for(
                tmp_path / "slots" / "stable", store, environment={"PORT": "{port}", "NEEDED": str(needed)}
            ),
            change=lambda: artifact(path, note="\n#") and None,
            spoil=spoil,
            origin=lambda: digest_of_folder(path.parent),
            useless=(
                Useless("another version", "digest", "artifact", lambda content: content + b"\0"),
                Useless("half of it", "size", "artifact", lambda content: content[: len(content) // 2]),
                Useless(
                    "it does not start any more",
                    "ended with code 1",
                    before=needed.unlink,
                    after=lambda: needed.write_text("again"),
                ),
            ),
            left_over=lambda place: running_in(Path(place.folder)),
            restored=lambda: digest_of_folder(path.parent, times=False),
            damages={
                "emptied": Damage(lambda: path.write_text("")),
                "added": "the resource is one file; what is added to it is 'changed'",
                "settings": Damage(lambda: path.chmod(0o777)),
                "gone": Damage(path.unlink),
                "taken": taken_by_a_folder(path),
                "linked": taken_by_a_link(path, lambda: digest_of_folder(path.parent, times=False)),
            },
            forms={
                "text that is not UTF-8": Form(lambda: latin(path)),
                "names at the edges": "the name is that of the options; see test_names_at_the_edges",
                "modes and owners": Form(lambda: path.chmod(0o4710)),
                "disappears while it is read": "a file that is open stays whole",
                "grows while it is read": Form(
                    lambda: artifact(path, note="\n#" + "x" * 5_000_000),
                    during=lambda: artifact(path, note="\n#" + "x" * 6_000_000),
                ),
                "empty": "an empty program does not start: see the backups that are of no use",
                "huge": Form(lambda: artifact(path, note="\n#" + "x" * 5_000_000)),
                "deeply nested": "a file has no depth; its answer has: see what is recorded of an answer",
            },
        )

    def test_the_restored_artifact_is_started_asked_and_ended_with_its_children(self, case: Case, place: Place) -> None:
        proof = prove(case.driver, self.taken(case), place)
        assert {check.name for check in proof.checks} == {
            "size", "rights", "digest", "starts and answers /health", "digest that it states",
        }  # fmt: skip
        pids = [int(pid) for pid in (Path(place.folder) / "artifact" / "pids.txt").read_text().split()]
        deadline = time.monotonic() + 60
        while any(map(alive, pids)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(alive, pids))

    def test_a_trial_does_not_outlive_a_proof_that_is_killed(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        pids = Path(place.folder) / "artifact" / "pids.txt"
        driver = case.driver
        killed(
            lambda: prove(type(driver)(driver.resource, driver.store), point, place),
            when=lambda: pids.exists() and len(pids.read_text().split()) == 3,
        )
        started = [int(pid) for pid in pids.read_text().split()]
        deadline = time.monotonic() + 60
        while any(map(alive, started)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(alive, started))
        driver.discard(place)
        assert not Path(place.folder).exists()

    def test_a_rollback_writes_where_the_link_led_when_it_was_taken(self, case: Case, tmp_path: Path) -> None:
        old = (tmp_path / "slots" / "a" / "shop-1.0.pyz").read_bytes()
        point = self.taken(case)
        new = artifact(tmp_path / "slots" / "b" / "shop-1.1.pyz", note="\n# new")
        content = new.read_bytes()
        (tmp_path / "slots" / "stable").unlink()
        (tmp_path / "slots" / "stable").symlink_to("b/shop-1.1.pyz")
        (tmp_path / "slots" / "a" / "shop-1.0.pyz").unlink()
        case.driver.restore(point, Place(origin=True))
        assert new.read_bytes() == content
        assert (tmp_path / "slots" / "a" / "shop-1.0.pyz").read_bytes() == old


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(name="trial1", folder=str(tmp_path / "trial1"))


@pytest.mark.parametrize(
    ("program", "seconds", "reason"),
    [
        ("raise SystemExit('no such module')", 60, "ended with code 1"),
        (PROGRAM.replace("STATUS", "503"), 5, "503"),
        ("import time; time.sleep(600)", 1, "never answered"),
    ],
)
def test_a_version_that_does_not_start_is_no_backup(
    program: str, seconds: float, reason: str, tmp_path: Path, place: Place
) -> None:
    path = artifact(tmp_path / "shop.pyz", program)
    driver = driver_for(path, make_store(tmp_path), start_seconds=seconds)
    proof = prove(driver, take(driver, "t.1"), place)
    assert not proof.ok
    assert reason in proof.reason


def test_last_words_hold_no_environment(tmp_path: Path, place: Place) -> None:
    path = artifact(tmp_path / "shop.pyz", "import os; raise SystemExit('bad password ' + os.environ['TOKEN'])")
    driver = driver_for(path, make_store(tmp_path), environment={"PORT": "{port}", "TOKEN": "secret-4711"})
    reason = prove(driver, take(driver, "t.1"), place).reason
    assert "bad password ***" in reason
    assert "secret-4711" not in reason


def test_the_process_sees_the_database_and_nothing_of_airflow(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_LEAK", "leaked")
    monkeypatch.setenv(
        "AIRFLOW_CONN_SHOPDB",
        '{"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "login": "me", '
        '"password": "p@ss/word", "schema": "shop"}',
    )
    driver = driver_for(artifact(tmp_path / "shop.pyz"), make_store(tmp_path), database_connection="shopdb")
    proof = prove(driver, take(driver, "t.1"), place)
    assert proof.ok, proof.reason
    seen = json.loads((Path(place.folder) / "artifact" / "environment.txt").read_text())
    assert seen["DATABASE_URL"] == "postgresql://me:p%40ss%2Fword@127.0.0.1:1/shop"
    assert "AIRFLOW_LEAK" not in seen


def test_a_proof_in_a_scratch_place_uses_no_other_folder(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = driver_for(artifact(tmp_path / "shop.pyz"), make_store(tmp_path))
    point = take(driver, "t.1")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert prove(driver, point, place).ok


def test_a_program_that_is_not_there_is_named(tmp_path: Path, place: Place) -> None:
    driver = driver_for(
        artifact(tmp_path / "shop.pyz"), make_store(tmp_path), command=["/no/such/program", "{artifact}"]
    )
    assert "/no/such/program" in prove(driver, take(driver, "t.1"), place).reason


def test_a_folder_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not a regular file"):
        take(driver_for(tmp_path, make_store(tmp_path / "store")), "t.1")
    assert not driver_for(tmp_path / "none", make_store(tmp_path / "store")).inspect().present


ANSWER = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = BODY
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.mark.parametrize(
    ("body", "ok"),
    [
        (b"[" * 100_000, True),
        (b"\xff\xfe", True),
        (b'{"digest": null}', True),
        (b'{"digest": NaN}', False),
        (b'{"digest": "\\ud800"}', False),
        (b'{"digest": {"customer": "Ada Lovelace"}}', False),
        (b'{"digest": "Ada Lovelace, 12 High Street"}', False),
    ],
)
def test_nothing_but_a_digest_of_an_answer_is_recorded(body: bytes, ok: bool, tmp_path: Path, place: Place) -> None:
    path = artifact(tmp_path / "shop.pyz", ANSWER.replace("BODY", repr(body)))
    driver = driver_for(path, make_store(tmp_path))
    proof = prove(driver, take(driver, "t.1"), place)
    assert proof.ok is ok, proof.reason
    assert "Ada" not in proof.model_dump_json()


@pytest.mark.parametrize("name", [b"caf\xe9.pyz", b"n" * 255, b"{port} {artifact}.pyz", b" new\nline'\"$HOME"])
def test_names_at_the_edges(name: bytes, tmp_path: Path, place: Place) -> None:
    path = artifact(tmp_path / "slots" / os.fsdecode(name))
    (tmp_path / "current").symlink_to(path)
    driver = driver_for(tmp_path / "current", make_store(tmp_path))
    assert driver.inspect().present
    before, point = path.read_bytes(), take(driver, "t.1")
    proof = prove(driver, point, place)
    assert proof.ok, proof.reason
    path.unlink()
    restore_origin(driver, point)
    assert path.read_bytes() == before


def test_last_words_hold_no_password_of_an_address(tmp_path: Path, place: Place) -> None:
    program = """
import os, urllib.parse as url
word = url.urlsplit(os.environ["DATABASE"]).password
raise SystemExit("no entry with " + word + " nor " + url.unquote(word))
"""
    path = artifact(tmp_path / "shop.pyz", program)
    address = "postgresql://shop:hunter2%2Fsecret@db/shop"
    driver = driver_for(path, make_store(tmp_path), environment={"PORT": "{port}", "DATABASE": address})
    reason = prove(driver, take(driver, "t.1"), place).reason
    assert "no entry with *** nor ***" in reason
