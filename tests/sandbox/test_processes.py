"""Servers are found and ended by their own ids, and nobody else's process is ever touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airlock.errors import TemporaryError
from sandbox import processes, reach

SERVE = "import http.server as h, sys; h.test(h.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"
FORK = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "


def program(folder: Path, name: str, code: str, port: int = 0, deadline: float = 60) -> processes.Program:
    return processes.Program(
        name=name,
        command=(sys.executable, "-c", code, str(port)),
        log=folder / f"{name}.log",
        ready=lambda: not port or reach.listens(port),
        folder=folder,
        deadline=deadline,
        grace=1,
    )


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process of someone else, leader of a session of its own."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_server_starts_answers_and_stops(tmp_path: Path) -> None:
    port = reach.free_port()
    with processes.start(program(tmp_path, "web", SERVE, port), tmp_path) as server:
        assert reach.answers(f"http://127.0.0.1:{port}/")
        assert server.alive()
        assert processes.names(tmp_path) == ["web"]
        assert processes.find(tmp_path, "web") == server
    # Not by its port: another process may have got it by now.
    assert not list(sessions(str(tmp_path / "web.log")))
    assert not server.alive()
    assert processes.names(tmp_path) == []
    server.stop()  # safe to repeat


def test_a_server_that_ends_by_itself_shows_its_log(tmp_path: Path) -> None:
    code = "import sys; print('the disk is on fire'); sys.exit(3)"
    with pytest.raises(TemporaryError, match=r"broken ended by itself with code 3(?s:.*)the disk is on fire"):
        processes.start(program(tmp_path, "broken", code, reach.free_port()), tmp_path)
    assert processes.names(tmp_path) == []


def test_a_server_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    code = f"{FORK}print('thinking', flush=True); time.sleep(600)"
    with pytest.raises(TemporaryError, match=r"slow was not ready within 3 s(?s:.*)thinking"):
        processes.start(program(tmp_path, "slow", code, reach.free_port(), deadline=3), tmp_path)
    assert not list(sessions(str(tmp_path / "slow.log")))


def test_only_the_log_of_this_start_is_shown(tmp_path: Path) -> None:
    (tmp_path / "broken.log").write_text("a fault of yesterday\n")
    with pytest.raises(TemporaryError) as raised:
        processes.start(program(tmp_path, "broken", "raise SystemExit('today')", reach.free_port()), tmp_path)
    assert "today" in str(raised.value)
    assert "yesterday" not in str(raised.value)


def test_what_outlives_the_first_process_is_found_and_ended(tmp_path: Path) -> None:
    server = processes.start(program(tmp_path, "parent", f"{FORK}time.sleep(600)"), tmp_path)
    wait_for(lambda: len(members(server.pid)) == 2)
    os.kill(server.pid, signal.SIGKILL)
    os.waitpid(server.pid, 0)
    assert not server.alive()
    assert processes.remains(tmp_path, "parent")
    again = processes.find(tmp_path, "parent")
    assert again is not None
    again.stop()
    assert members(server.pid) == []
    assert not processes.remains(tmp_path, "parent")


def test_a_process_that_ignores_its_signal_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    deaf = program(tmp_path, "deaf", code)
    server = processes.start(deaf, tmp_path)
    wait_for(lambda: "deaf" in deaf.log.read_text())
    server.stop()
    assert members(server.pid) == []


@pytest.mark.parametrize("field", ["born", "mark"])
def test_a_recycled_id_is_left_alone(tmp_path: Path, stranger: subprocess.Popen[bytes], field: str) -> None:
    held = {"pid": stranger.pid, "born": "another-boot/1", "mark": "0" * 16, "stop_signal": 15, "grace": 1}
    if field == "mark":
        held["born"] = ""  # as if it had ended before its start could be read
    (tmp_path / "old.process").write_text(json.dumps({**held, "log": str(tmp_path / "old.log")}))
    server = processes.find(tmp_path, "old")
    assert server is not None
    assert not server.alive()
    assert not processes.remains(tmp_path, "old")
    server.stop()
    assert stranger.poll() is None
    assert processes.names(tmp_path) == []


def test_a_damaged_process_file_is_removed(tmp_path: Path) -> None:
    (tmp_path / "odd.process").write_text('{"pid": "many"}')
    assert processes.find(tmp_path, "odd") is None
    assert processes.names(tmp_path) == []


def test_a_program_that_ends_by_itself_is_waited_for(tmp_path: Path) -> None:
    processes.complete(program(tmp_path, "once", "print('done')"), tmp_path)
    assert (tmp_path / "once.log").read_text() == "done\n"
    with pytest.raises(TemporaryError, match=r"twice ended with 7(?s:.*)no such table"):
        processes.complete(program(tmp_path, "twice", "print('no such table'); raise SystemExit(7)"), tmp_path)
    with pytest.raises(TemporaryError, match="ended with nothing within 1 s"):
        processes.complete(program(tmp_path, "never", "import time; time.sleep(600)", deadline=1), tmp_path)
    assert processes.names(tmp_path) == []


def members(session: int) -> list[int]:
    return [pid for pid, found in sessions_of_all().items() if found == session and processes.birth(pid)]


def sessions_of_all() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = os.getsid(int(entry.name))
            except ProcessLookupError:
                continue
    return found


def sessions(log: str) -> Iterator[int]:
    """Processes that write to *log*."""
    for pid in sessions_of_all():
        try:
            if str(Path(f"/proc/{pid}/fd/1").readlink()) == log and processes.birth(pid):
                yield pid
        except OSError:
            continue


def wait_for(condition: object, seconds: float = 60) -> None:
    assert callable(condition)
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.05)
