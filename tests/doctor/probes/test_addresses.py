"""Addresses: whoever answers is reached; clocks by the date that a server tells."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.probes import addresses
from airlock.models import utc_now
from airlock.models.needs import Address, Stage
from sandbox import reach
from tests.certificates import Authority


@contextmanager
def server(
    status: int = 200, off: float = 0, tls: ssl.SSLContext | None = None, **headers: str
) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status)
            self.send_header("Date", format_datetime(utc_now() + timedelta(seconds=off), usegmt=True))
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        if tls is not None:
            running.socket = tls.wrap_socket(running.socket, server_side=True)
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def asked(url: str, idle: bool = False) -> list[Finding]:
    return list(addresses.ask(Subject("target", "envoy"), Address(url=url, stages=(Stage.DELIVERY,), idle=idle)))


@pytest.mark.parametrize("status", [200, 301, 401, 404])
def test_any_answer_is_an_answer(status: int) -> None:
    with server(status) as url:
        assert [one.gravity for one in asked(url)] == [Gravity.FINE, Gravity.FINE]


def test_a_server_that_is_not_well_is_a_warning() -> None:
    with server(503) as url:
        assert asked(url)[0].gravity is Gravity.WARNING


def test_nobody_there_is_a_fault_without_the_log_in_of_the_address() -> None:
    port = reach.free_port()
    (found,) = asked(f"http://robot:hunter2@127.0.0.1:{port}/x?token=hunter2")
    assert found.gravity is Gravity.FAULT
    assert "hunter2" not in found.model_dump_json()
    assert "firewall" in found.mend


def test_a_server_that_takes_the_connection_and_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (found,) = asked(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert found.gravity is Gravity.FAULT
    assert "does not answer" in found.what


def test_an_address_without_a_scheme_is_connected_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert asked(f"127.0.0.1:{listening.getsockname()[1]}")[0].gravity is Gravity.FINE
    assert asked(f"127.0.0.1:{reach.free_port()}")[0].gravity is Gravity.FAULT


@pytest.mark.parametrize(("off", "gravity"), [(0, Gravity.FINE), (20, Gravity.WARNING), (-600, Gravity.FAULT)])
def test_a_clock_that_is_off_is_seen(off: float, gravity: Gravity) -> None:
    with server(off=off) as url:
        assert asked(url)[1].gravity is gravity


def test_the_date_of_an_answer_that_a_cache_kept_is_no_clock() -> None:
    with server(off=-3600, Age="3600") as url:
        assert [one.gravity for one in asked(url)] == [Gravity.FINE]


@pytest.mark.parametrize("told", ["", None, "yesterday", "Fri, 99 Nov 2026 10:00:00 GMT"])
def test_a_date_that_is_none_says_nothing(told: str | None) -> None:
    assert addresses.date_of(told) is None


def test_where_nobody_need_answer_only_a_host_that_is_not_reached_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = asked(f"http://127.0.0.1:{reach.free_port()}", idle=True)
    assert found.gravity is Gravity.FINE and "its host is reached" in found.what
    with server(503) as url:
        assert asked(url, idle=True)[0].gravity is Gravity.FINE
    monkeypatch.setattr(addresses, "_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent:
        (found,) = asked(f"http://127.0.0.1:{silent.getsockname()[1]}", idle=True)
    assert found.gravity is Gravity.FAULT


def test_a_log_in_is_never_shown_whatever_the_scheme() -> None:
    with socket.create_server(("127.0.0.1", 0)) as running:
        for found in asked(f"redis://robot:hunter2@127.0.0.1:{running.getsockname()[1]}/0"):
            assert found.gravity is Gravity.FINE
            assert "hunter2" not in found.what


@pytest.mark.parametrize("url", ["host", "host:", "host:99999", "host:ten", "http://host:99999/", "[::1:80", ":80"])
def test_what_is_no_address_is_a_fault_and_no_failure_of_the_question(url: str) -> None:
    for idle in (False, True):
        (found,) = asked(url, idle)
        assert found.gravity is Gravity.FAULT
        assert "is no address" in found.what


def test_a_server_is_judged_by_the_authority_that_the_service_file_names(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    for days, trusted, gravity in ((1, authority.path, Gravity.FINE), (1, other.path, Gravity.FAULT),
                                   (-1, authority.path, Gravity.FAULT), (1, "", Gravity.FAULT),
                                   (1, tmp_path / "gone.pem", Gravity.FAULT)):  # fmt: skip
        with server(tls=authority.server("version.internal", days=days)) as url:
            address = Address(url=url, stages=(Stage.CHECK,), authority=str(trusted))
            found = list(addresses.ask(Subject("checks", "smoke http"), address))
        assert found[0].gravity is gravity, found
        assert len(found) == (2 if gravity is Gravity.FINE else 1)
