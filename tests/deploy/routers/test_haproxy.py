from __future__ import annotations

import http.client
import json
import shutil
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from airlock.deploy.router import WHOLE, percentages
from airlock.deploy.routers.haproxy import HaproxyRouter
from airlock.errors import EffectMissing, InvalidInput, PermanentError, TemporaryError
from airlock.haproxy_socket import ask
from tests.contracts.router_contract import RouterContract
from tests.haproxy_front import PROXY, HaproxyFront, of_the_system, wheel


class _Named(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    said = b""
    status = 200

    def do_GET(self) -> None:
        asked = self.path == "/health"
        health = json.dumps({"version": self.said.decode(), "digest": "sha256:0", "ok": self.status == 200}).encode()
        said = health if asked else self.said
        self.send_response(self.status if asked else 200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """HAProxy drops idle connections when it ends."""


@contextmanager
def named_server(name: str) -> Iterator[ThreadingHTTPServer]:
    """A server that answers with its own name."""
    handler = type("Named", (_Named,), {"said": name.encode()})
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, ThreadingHTTPServer]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(named_server(name)) for name in "abc"}


class Fronts:
    """Starts HAProxys in front of the same servers, and ends them."""

    def __init__(self, folder: Path, servers: Mapping[str, ThreadingHTTPServer]) -> None:
        self.folder, self.servers, self.started = folder, servers, list[HaproxyFront]()

    def start(self, names: str = "ab", **settings: Any) -> HaproxyFront:
        folder = self.folder / str(len(self.started))
        folder.mkdir()
        addresses = {name: f"127.0.0.1:{self.servers[name].server_address[1]}" for name in names}
        front = HaproxyFront(folder, addresses, **settings)
        front.start()
        self.started.append(front)
        return front


@pytest.fixture
def fronts(tmp_path: Path, servers: dict[str, ThreadingHTTPServer]) -> Iterator[Fronts]:
    made = Fronts(tmp_path, servers)
    yield made
    for front in made.started:
        front.stop()


def answered(front: HaproxyFront, requests: int, headers: Mapping[str, str] | None = None) -> Counter[str]:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    found = Counter[str]()
    for _ in range(requests):
        connection.request("GET", "/", headers=dict(headers or {}))
        answer = connection.getresponse()
        body = answer.read().decode()
        found[body if answer.status == 200 else str(answer.status)] += 1
    connection.close()
    return found


def router_of(front: HaproxyFront, **changes: Any) -> HaproxyRouter:
    return HaproxyRouter({**front.router_options(), "effect_seconds": 5, **changes})


@pytest.mark.parametrize("program", [
    pytest.param(wheel, id="wheel"), pytest.param(of_the_system, id="system"),
])  # fmt: skip
class TestHaproxyRouter(RouterContract):
    first, second = "a", "b"

    @pytest.fixture
    def router(self, fronts: Fronts, program: Callable[[], str]) -> HaproxyRouter:
        self._front = fronts.start(program=program())
        router = router_of(self._front)
        router.set_shares({"a": 100})
        router.set_fallback("a")
        return router

    def restart(self) -> None:
        self._front.restart()

    def answers(self, requests: int) -> Counter[str]:
        return answered(self._front, requests)

    def test_the_split_is_exact(self, router: HaproxyRouter) -> None:
        """A server that loses weight is passed over for a while, so each share is measured after a round of it."""
        for percent in (5, 25, 50, 10, 1):
            router.set_shares({"a": 100 - percent, "b": percent})
            self.answers(400)
            found = self.answers(400)
            assert sum(found.values()) == 400
            assert abs(found["b"] - 4 * percent) <= 1, found  # a round may have begun before


def test_a_share_of_nothing_takes_sessions_that_stick_with_it(fronts: Fronts) -> None:
    section = ("cookie S insert indirect nocache dynamic", "dynamic-cookie-key secret", "option redispatch")
    front = fronts.start(section=section)
    router = router_of(front)
    router.set_shares({"b": 100})
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert answer.read() == b"b"
    sticky = {"Cookie": str(answer.getheader("Set-Cookie")).partition(";")[0]}
    connection.close()
    router.set_shares({"a": 95, "b": 5})
    assert answered(front, 20, sticky) == {"b": 20}, "a session sticks while its server has a share"
    ask(front.socket, f"set weight {PROXY}/b 0")
    assert answered(front, 20, sticky) == {"b": 20}, "a weight of 0 is not enough"
    assert router.shares() == {"a": 100, "b": 0}
    ask(front.socket, f"set weight {PROXY}/b 5")
    router.set_shares({"a": 100})
    assert answered(front, 20, sticky) == {"a": 20}


@pytest.mark.parametrize("state", ["maint", "drain"])
def test_a_state_that_somebody_else_set_is_seen_and_mended(fronts: Fronts, state: str) -> None:
    front = fronts.start()
    router = router_of(front)
    router.set_shares({"a": 50, "b": 50})
    ask(front.socket, f"set server {PROXY}/a state {state}")
    assert router.shares() == {"a": 0, "b": 100}
    assert router.set_shares({"a": 50, "b": 50}) == {"a": 50, "b": 50}
    assert set(answered(front, 40)) == {"a", "b"}


def test_a_server_that_is_down_has_no_share_whatever_its_weight(fronts: Fronts) -> None:
    front = fronts.start(server_options="check inter 100ms fall 1 rise 1", section=("option httpchk GET /health",))
    router = router_of(front, effect_seconds=1)
    router.set_shares({"a": 95, "b": 5})
    fronts.servers["a"].RequestHandlerClass.status = 503  # type: ignore[attr-defined]
    try:
        limit = time.monotonic() + 30
        while router.shares() != {"a": 0, "b": 100}:  # what customers get: the canary has everything
            assert time.monotonic() < limit
        assert answered(front, 10) == {"b": 10}
        with pytest.raises(EffectMissing, match=r"does not deal out.*a DOWN.*look at its health checks"):
            router.set_shares({"a": 95, "b": 5})
        # Nobody else takes over from the one that has everything, so a way back still lands.
        assert router.set_shares({"a": 100}) == {"a": 100, "b": 0}
    finally:
        fronts.servers["a"].RequestHandlerClass.status = 200  # type: ignore[attr-defined]


def test_several_servers_of_a_backend_share_what_it_gets(fronts: Fronts) -> None:
    front = fronts.start("abc")
    backends = {"old": {"servers": ["a", "b"]}, "new": {"servers": ["c"]}}
    router = router_of(front, backends=backends)
    for percent in (1, 5, 33, 50, 99):
        wanted = {"old": 100 - percent, "new": percent}
        assert router.set_shares(wanted) == wanted
    router.set_shares({"old": 90, "new": 10})
    answered(front, 400)
    found = answered(front, 400)
    assert all(abs(found[name] - wanted) <= 1 for name, wanted in (("a", 180), ("b", 180), ("c", 40))), found
    router.set_fallback("old")
    assert router.fallback() == "old"
    front.restart()
    assert router.shares() == {"old": 100, "new": 0}
    assert answered(front, 40) == {"a": 20, "b": 20}


@given(some.dictionaries(some.sampled_from("abcd"), some.integers(0, 256)).filter(lambda one: any(one.values())))
def test_shares_that_are_read_add_up_and_a_small_one_is_never_nothing(parts: dict[str, int]) -> None:
    found = percentages(parts, sum(parts.values()))
    assert sum(found.values()) == WHOLE
    assert all((found[name] > 0) == (part > 0) for name, part in parts.items())


def test_a_stranger_in_the_section_is_refused(fronts: Fronts) -> None:
    front = fronts.start("abc")
    options = {**front.router_options(), "backends": {"a": {"servers": ["a"]}, "b": {"servers": ["b"]}}}
    with pytest.raises(PermanentError, match=r"c gets 33% of the traffic and is in no backend"):
        HaproxyRouter(options).shares()
    ask(front.socket, f"set server {PROXY}/c state maint")
    assert HaproxyRouter(options).set_shares({"a": 100}) == {"a": 100, "b": 0}


def test_a_spare_server_counts_only_when_it_serves(fronts: Fronts) -> None:
    front = fronts.start()
    front.stop()
    port = fronts.servers["c"].server_address[1]
    front.section = (f"server spare 127.0.0.1:{port} backup",)
    front.start()
    router = router_of(front)
    assert router.set_shares({"a": 75, "b": 25}) == {"a": 75, "b": 25}
    ask(front.socket, f"set server {PROXY}/a state maint; set server {PROXY}/b state maint")
    with pytest.raises(PermanentError, match="spare gets 100% of the traffic"):
        router.shares()


@pytest.mark.parametrize("balance", ["leastconn", "static-rr", "source", "first"])
def test_what_cannot_split_can_still_switch(fronts: Fronts, balance: str) -> None:
    front = fronts.start(balance=balance)
    router = router_of(front)
    for name in ("a", "b", "b", "a"):
        assert router.set_shares({name: 100}) == {"a": 0, "b": 0} | {name: 100}
        assert answered(front, 10) == {name: 10}
    with pytest.raises(PermanentError, match=f"balances by '{balance}'.*balance roundrobin"):
        router.set_shares({"a": 95, "b": 5})
    assert answered(front, 10) == {"a": 10}


def test_what_the_file_says_of_other_sections_stays(fronts: Fronts) -> None:
    front = fronts.start()
    router = router_of(front)
    router.set_fallback("a")
    own = front.state_file.read_text().splitlines()
    other = next(line for line in own if f" {PROXY} " in line).replace(f" {PROXY} ", " other ")
    front.state_file.write_text("\n".join([*own, other, "9 old 1 x too few columns"]) + "\n")
    router.set_fallback("b")
    assert other in front.state_file.read_text().splitlines()
    assert "too few" not in front.state_file.read_text()
    assert router.fallback() == "b"


@pytest.mark.parametrize("content", ["", "1\n", "1\n# be_id\n", "\x00\xff", "1\n# x\n3 shop 1 a\n"])
def test_a_file_that_says_nothing_is_no_fallback(fronts: Fronts, content: str) -> None:
    front = fronts.start()
    front.state_file.write_bytes(content.encode("latin-1"))
    router = router_of(front)
    assert router.fallback() is None
    router.set_fallback("b")
    front.restart()
    assert router.shares() == {"a": 0, "b": 100}


def test_slow_start_is_not_read_as_the_whole_share(fronts: Fronts) -> None:
    front = fronts.start(server_options="check inter 100ms rise 1 slowstart 60s")
    router = router_of(front, effect_seconds=1)
    router.set_shares({"a": 100})
    with pytest.raises(EffectMissing, match="slowstart"):
        router.set_shares({"a": 50, "b": 50})


def test_mistakes_are_named(fronts: Fronts, tmp_path: Path) -> None:
    front = fronts.start()
    with pytest.raises(PermanentError, match="no backend section 'shopp'"):
        router_of(front, proxy="shopp").shares()
    with pytest.raises(PermanentError, match="has no server z"):
        router_of(front, backends={"a": {"servers": ["a"]}, "b": {"servers": ["z"]}}).shares()
    for wrong in ({"a": {"servers": ["a"]}, "b": {"servers": ["a"]}}, {"a": {"servers": []}, "b": {"servers": ["b"]}},
                  {"a": {"servers": ["a; disable frontend customers"]}, "b": {"servers": ["b"]}}):
        with pytest.raises(InvalidInput):
            router_of(front, backends=wrong)
    with pytest.raises(TemporaryError, match="does not answer"):
        router_of(front, socket=str(tmp_path / "none")).shares()
    with pytest.raises(TemporaryError, match=r"127\.0\.0\.1:9 does not answer"):
        router_of(front, socket="127.0.0.1:9").shares()


def test_a_socket_of_too_low_a_level_is_named(fronts: Fronts) -> None:
    front = fronts.start()
    front.stop()
    path = front.folder / "haproxy.cfg"
    shutil.copy(path, front.folder / "kept.cfg")
    front.configuration = lambda: path.read_text().replace("level admin", "level user")  # type: ignore[method-assign]
    front.start()
    with pytest.raises(PermanentError, match=r"level admin"):
        router_of(front).set_shares({"b": 100})


@contextmanager
def between(front: HaproxyFront, seen: Callable[[str], str]) -> Iterator[str]:
    """A socket that stands before HAProxy's: each command of a line is carried out by itself, as HAProxy does it too,
    and *seen*, which is given the command, may answer instead. Gives its path."""

    class Passing(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for command in self.rfile.readline().decode().strip().split("; "):
                self.wfile.write((seen(command) or ask(front.socket, command)).encode())

    path = str(front.folder / "between.sock")
    with socketserver.ThreadingUnixStreamServer(path, Passing) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield path
        server.shutdown()


@pytest.mark.parametrize("weight", [1, 10, 100, 256])
def test_no_state_on_the_way_gives_more_or_less_than_both_ends(fronts: Fronts, weight: int) -> None:
    """Whatever weights the configuration has: after a restart, they count."""
    front = fronts.start(weights={"a": weight, "b": weight})
    plain = router_of(front)
    plain.set_shares({"a": 100})
    plain.set_fallback("a")
    front.restart()
    on_the_way = list[dict[str, int]]()

    def seen(command: str) -> str:
        if command.startswith("set"):
            on_the_way.append(plain.shares())
        return ""

    with between(front, seen) as path:
        router, before = router_of(front, socket=path), 0
        for percent in (1, 5, 50, 100, 50, 5, 0):
            on_the_way.clear()
            router.set_shares({"a": 100 - percent, "b": percent})
            low, high = sorted((before, percent))
            outside = [shares for shares in on_the_way if not low <= shares["b"] <= high]
            assert on_the_way and not outside, f"{before} -> {percent}: {outside}"
            before = percent


@pytest.mark.parametrize("program", [wheel, of_the_system])
def test_hundreds_of_servers_are_told_too(fronts: Fronts, program: Callable[[], str]) -> None:
    port = fronts.servers["a"].server_address[1]
    names = {side: [f"{side}-{'x' * 40}-{number}" for number in range(100)] for side in ("old", "new")}
    folder = fronts.folder / "many"
    folder.mkdir()
    addresses = {name: f"127.0.0.1:{port}" for side in names.values() for name in side}
    front = HaproxyFront(folder, addresses, program=program())
    front.start()
    fronts.started.append(front)
    router = router_of(front, backends={side: {"servers": servers} for side, servers in names.items()})
    for percent in (5, 100, 0):
        wanted = {"old": 100 - percent, "new": percent}
        assert router.set_shares(wanted) == wanted


def test_a_way_back_is_walked_though_a_stranger_stands_in_the_section(fronts: Fronts) -> None:
    front = fronts.start("abc")
    options = {**front.router_options(), "backends": {"a": {"servers": ["a"]}, "b": {"servers": ["b"]}}}
    ask(front.socket, f"set server {PROXY}/c state maint")
    HaproxyRouter(options).set_shares({"a": 50, "b": 50})
    ask(front.socket, f"set server {PROXY}/c state ready")
    with pytest.raises(PermanentError, match="c gets 33% of the traffic"):
        HaproxyRouter(options).set_shares({"a": 95, "b": 5})
    assert "b" in answered(front, 30), "nothing was split anew"
    with pytest.raises(PermanentError, match="c gets 50% of the traffic"):
        HaproxyRouter(options).set_shares({"a": 100})
    assert "b" not in answered(front, 30), "it is named, and the version that fails has nothing more"


@pytest.mark.parametrize(("asked", "said"), [
    ("show stat", "\n"), ("show stat", "Unknown command\n"),
    ("show servers state", "Can't find backend.\n"), ("show servers state", "\n"),
    ("show servers state", "1\n"), ("show servers state", "2\nwhat\never\n"),
])  # fmt: skip
def test_what_haproxy_does_not_say_is_temporary(fronts: Fronts, asked: str, said: str) -> None:
    front = fronts.start()
    with between(front, lambda command: said if command.startswith(asked) else "") as path:
        router = router_of(front, socket=path)
        with pytest.raises((PermanentError, TemporaryError), match=f"{path} answers '{asked}"):
            router.set_shares({"b": 100})
            router.set_fallback("b")
    assert router_of(front).fallback() is None, "nothing was written"


def test_an_answer_that_never_ends_holds_nobody_for_ever(fronts: Fronts, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dripping(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                for _ in range(200):
                    self.wfile.write(b"#")
                    time.sleep(0.05)

    monkeypatch.setattr("airlock.haproxy_socket._TIMEOUT", 0.2)
    path = str(fronts.folder / "drip.sock")
    with socketserver.ThreadingUnixStreamServer(path, Dripping) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        with pytest.raises(TemporaryError, match="does not answer to the end"):
            ask(path, "show stat")
        server.shutdown()


def test_who_has_everything_is_where_the_configuration_says_after_a_restart(fronts: Fronts) -> None:
    """HAProxy believes a file of states more than its configuration when it comes to ports."""
    front = fronts.start()
    router = router_of(front)
    router.set_shares({"a": 100})
    router.set_fallback("a")
    front.stop()
    front.servers = {**front.servers, "a": f"127.0.0.1:{fronts.servers['c'].server_address[1]}"}
    front.start()
    assert answered(front, 5) == {"c": 5}
    assert (router.fallback(), router.shares()) == ("a", {"a": 100, "b": 0})


def test_a_file_of_states_that_cannot_be_used_is_named(fronts: Fronts, tmp_path: Path) -> None:
    front = fronts.start()
    (tmp_path / "file").write_text("no folder")
    for path in (tmp_path / "file" / "states", tmp_path):
        with pytest.raises(PermanentError, match=f"{path} cannot be read.*rights"):
            router_of(front, state_file=str(path)).set_fallback("a")
