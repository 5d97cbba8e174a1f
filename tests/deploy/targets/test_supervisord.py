from __future__ import annotations

import hashlib
import shutil
import sys
import xmlrpc.client
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airlock.deploy.targets.supervisord import SupervisordTarget
from airlock.deploy.targets.supervisord_rpc import Supervisor
from airlock.deploy.targets.version_slots import Slot, mark_stable
from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.models import Artifact, digest_of
from sandbox import processes, reach
from tests.contracts.target_contract import TargetContract
from tests.faulty_proxy import Fault, faulty_proxy
from tests.real_servers import set_connection
from tests.shop_front import Front, front, running_front, wait_for

__all__ = ["front", "running_front"]


class TestSupervisordTarget(TargetContract):
    old, new, other = "1.0", "1.1", "1.2"

    @pytest.fixture
    def target(self, front: Front) -> SupervisordTarget:
        self._front = front
        return SupervisordTarget(front.target_options())

    def artifact(self, version: str) -> Artifact:
        return self._front.artifact(version)

    def test_a_mark_on_a_slot_that_the_options_do_not_have_stops(self, target: SupervisordTarget) -> None:
        target.mark_stable("c")
        with pytest.raises(PermanentError, match="'c', which the options do not have"):
            target.stable()
        target.mark_stable(next(one.name for one in target.backends() if one.running))


def test_an_interrupted_install_leaves_the_former_version_current(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.pyz", tmp_path / "bad.pyz"
    good.write_bytes(b"good")
    bad.write_bytes(b"bad")
    slot = Slot("a", tmp_path / "a")
    slot.install("1.0", good, "sha256:" + hashlib.sha256(b"good").hexdigest())
    with pytest.raises(PermanentError, match="was approved"):
        slot.install("1.1", bad, digest_of("something else"))
    assert slot.installed == "1.0"
    assert slot.current.read_bytes() == b"good"
    shutil.rmtree(tmp_path / "a" / "versions")
    assert slot.digest() == ""


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(("key", "value"), [("program", "shop"), ("address", "http://127.0.0.1:8081")])
def test_two_slots_that_are_one_are_refused(key: str, value: str) -> None:
    """Else the new version is installed over the one that serves, or that one answers for it."""
    slots = {name: {"program": f"shop-{name}", "address": f"http://127.0.0.1:{port}", key: value}
             for name, port in (("a", 9001), ("b", 9002))}
    with pytest.raises(InvalidInput, match=f"{key} {value} belongs to two slots"):
        SupervisordTarget({"folder": "/srv/shop", "supervisor_connection": "shop_supervisor", "slots": slots})


def test_a_version_that_was_installed_under_two_names_comes_back_as_the_newer_one(tmp_path: Path) -> None:
    """Its source changed: the file of one is shop-1.0.pyz, of the other shop.pyz."""
    for name, content in (("shop-1.0.pyz", b"first"), ("shop.pyz", b"second")):
        (tmp_path / name).write_bytes(content)
        slot = Slot("a", tmp_path / "a")
        slot.install("1.0", tmp_path / name, sha256(content))
    slot.empty()
    slot.revive("1.0")
    assert slot.digest() == sha256(b"second")


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "good").write_bytes(b"good")
    slot = Slot("a", tmp_path / "file" / "a")
    acts: list[Any] = [lambda: slot.install("1.0", tmp_path / "good", sha256(b"good")), slot.empty, slot.digest,
                       lambda: slot.installed, lambda: mark_stable(tmp_path / "file", "a")]
    for act in acts:
        with pytest.raises(PermanentError, match=r"file.* cannot be .*(rights|production)"):
            act()


# --- supervisord itself ---------------------------------------------------------------------------------


@dataclass
class Host:
    """A supervisord with the program ``slow``, which takes a while to stop."""

    url: str
    port: int

    @property
    def rpc(self) -> Any:
        return xmlrpc.client.ServerProxy(f"{self.url}/RPC2").supervisor

    def running(self) -> Supervisor:
        """Return a client once the program has run for a second."""
        supervisor = Supervisor("slow_supervisor")
        supervisor.start("slow")
        wait_for(lambda: supervisor.state("slow") == "RUNNING")
        return supervisor


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    port, path = reach.free_port(), tmp_path / "supervisord.conf"
    slow = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    path.write_text(f"""[inet_http_server]
port=127.0.0.1:{port}
[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile={tmp_path}/supervisord.pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:slow]
command="{sys.executable}" -c "{slow}"
startsecs=1
stopwaitsecs=4
""")
    program = processes.Program(
        name="supervisor", command=(sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(path)),
        log=tmp_path / "supervisor.log", ready=lambda: reach.listens(port), folder=Path("/"), grace=12.0)
    server = processes.start(program, tmp_path / "run")
    set_connection(monkeypatch, "slow_supervisor", conn_type="http", host="127.0.0.1", port=port)
    yield Host(f"http://127.0.0.1:{port}", port)
    server.stop()


def test_a_program_that_is_just_being_stopped_is_waited_for(host: Host) -> None:
    """Whoever began to stop it was killed. supervisord says that it is not running, and would not start it either."""
    supervisor = host.running()
    before = host.rpc.getProcessInfo("slow")["pid"]
    host.rpc.stopProcess("slow", False)
    assert supervisor.state("slow") == "STOPPING"
    supervisor.stop("slow")
    assert supervisor.state("slow") == "STOPPED"
    supervisor.start("slow")
    assert host.rpc.getProcessInfo("slow")["pid"] not in (0, before)


def test_a_program_that_does_not_stop_in_time_is_tried_again(host: Host) -> None:
    host.running()
    host.rpc.stopProcess("slow", False)
    with pytest.raises(TemporaryError, match="slow is still STOPPING"):
        Supervisor("slow_supervisor", timeout=0.5).stop("slow")


def test_a_supervisord_that_shuts_down_is_temporary(host: Host) -> None:
    supervisor = host.running()
    host.rpc.shutdown()
    with pytest.raises(TemporaryError, match="SHUTDOWN_STATE"):
        while True:
            supervisor.state("slow")


def test_a_name_that_supervisord_does_not_know_is_permanent(host: Host) -> None:
    with pytest.raises(PermanentError, match="'fast': BAD_NAME"):
        Supervisor("slow_supervisor").stop("fast")


@pytest.mark.parametrize("said", [b"<html>Welcome to nginx!</html>", b"", b"{}", b"\xff\xfe", b"<?xml version='1.0'?>",
                                  b"<methodResponse><params></params></methodResponse>",
                                  b"<methodResponse><params><param><value><int>x</int></value></param></params>"
                                  b"</methodResponse>"])
def test_who_is_no_supervisord_is_named(host: Host, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    with faulty_proxy(host.url) as proxy:
        proxy.always(Fault(status=200, body=said, content_type="text/xml"))
        port = int(proxy.url.rpartition(":")[2])
        set_connection(monkeypatch, "slow_supervisor", conn_type="http", host="127.0.0.1", port=port)
        with pytest.raises(TemporaryError, match=f"supervisord at 127.0.0.1:{port} does not answer"):
            Supervisor("slow_supervisor").state("slow")
