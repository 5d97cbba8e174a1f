"""The check ``http`` against real HTTP and TLS servers."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import quote

import pytest

from airlock.deploy.check import Subject, open_check
from airlock.errors import InvalidInput
from airlock.models import Answer, CheckResult, PlannedCheck
from tests.certificates import Authority
from tests.contracts.check_contract import SECRET, Case, Cases, CheckContract, planned, run
from tests.faulty_proxy import Fault, FaultyProxy, faulty_proxy

NOBODY = "http://127.0.0.1:9"
BODY = json.dumps({"ok": True, "orders": [{"mail": SECRET, "cents": 1250}], "share": 0.1, "none": None}).encode()


def answered(method: str, path: str) -> Fault | None:
    answers = {
        "/health": Fault(status=200, body=BODY, content_type="application/json"),
        "/broken": Fault(status=500, body=f"no such customer: {SECRET}".encode()),
        "/text": Fault(status=200, body=f"fine, {SECRET}".encode()),
        "/drip": Fault(status=200, body=BODY * 200, drip=0.05),
    }
    return answers.get(path, Fault(status=404))


@pytest.fixture
def shop() -> Iterator[FaultyProxy]:
    with faulty_proxy(NOBODY) as server:
        server.decide = answered
        yield server


def looked(own: str, *paths: str, **options: Any) -> CheckResult:
    return run("http", Case({"paths": list(paths), **options}, Subject("1.1", own)))


class TestHttp(CheckContract):
    name = "http"

    @pytest.fixture
    def cases(self, shop: FaultyProxy) -> Cases:
        here = Subject("1.1", shop.url)
        wanted = [{"at": "/ok", "equals": True}]
        return Cases(
            good=Case({"paths": ["/health"], "json_body": wanted}, here),
            bad=Case({"paths": ["/health", "/broken"]}, here),
            away=Case({"paths": ["/health"]}, Subject("1.1", NOBODY)),
            silent=Case({"paths": ["/drip"], "within_seconds": 0.3}, here),
        )


def test_it_asks_the_version_itself_unless_an_address_is_given(shop: FaultyProxy) -> None:
    assert looked(shop.url, "/health").verdict.answer is Answer.PASS
    assert shop.seen == [("GET", "/health")]
    assert looked(NOBODY, "/health", address=shop.url).verdict.answer is Answer.PASS
    nowhere = looked("", "/health")
    assert (nowhere.verdict.answer, nowhere.found) == (Answer.ERROR, None)
    assert "names no address of 1.1" in nowhere.verdict.sentence


@pytest.mark.parametrize(
    ("status", "wanted", "answer"),
    [
        (200, ["2xx"], "pass"), (204, [200, 204], "pass"), (201, [200], "fail"), (404, ["2xx"], "fail"),
        (401, [401], "pass"), (503, ["2xx", "3xx"], "fail"), (302, ["2xx"], "fail"), (302, ["3xx"], "pass"),
    ],
)  # fmt: skip
def test_only_the_declared_status_passes(shop: FaultyProxy, status: int, wanted: list[Any], answer: str) -> None:
    shop.always(Fault(status=status))
    assert looked(shop.url, "/x", status=wanted).verdict.answer == answer


@pytest.mark.parametrize(
    ("expectation", "answer"),
    [
        ({"at": "/ok", "equals": True}, "pass"),
        ({"at": "/ok", "equals": 1}, "fail"),
        ({"at": "/ok", "equals": "true"}, "fail"),
        ({"at": "/share", "equals": 0.1}, "pass"),
        ({"at": "/orders/0/cents", "at_least": 1250, "at_most": 1250}, "pass"),
        ({"at": "/orders/0/cents", "at_least": 1251}, "fail"),
        ({"at": "/orders/0/cents", "equals": "1250"}, "fail"),
        ({"at": "/orders", "equals": 1}, "pass"),
        ({"at": "/orders/00/cents", "equals": 1250}, "fail"),
        ({"at": "/orders/1/cents", "at_most": 5}, "fail"),
        ({"at": "/none"}, "fail"),
        ({"at": "/none", "not_equals": "broken"}, "fail"),
        ({"at": "/nowhere", "not_equals": "broken"}, "fail"),
        ({"at": "/orders/0/mail"}, "pass"),
        ({"at": "/orders/0/mail", "at_least": 5}, "fail"),
    ],
)  # fmt: skip
def test_what_stands_in_a_body_is_compared_and_not_kept(
    shop: FaultyProxy, expectation: dict[str, Any], answer: str
) -> None:
    result = looked(shop.url, "/health", json_body=[expectation])
    assert result.verdict.answer == answer
    assert "1250" not in json.dumps(result.found)


@pytest.mark.parametrize(
    "body",
    [b"", b"OK", b"<html>", b'{"ok": tru', b'{"ok": NaN}', b'{"ok": false, "ok": true}', b"[" * 100_000, b"\xff\xfe",
     b'{"ok": ' + b"9" * 9999 + b"}", b'"ok"', b"[]", b"true"],
)  # fmt: skip
def test_a_body_that_is_no_such_json_never_passes(shop: FaultyProxy, body: bytes) -> None:
    """A body that cannot be read is nothing that fits, whatever is asked of it."""
    shop.always(Fault(status=200, body=body))
    for expectation in ({"at": "/ok", "equals": True}, {"at": "/ok", "not_equals": False}, {"at": "/ok"}):
        assert looked(shop.url, "/health", json_body=[expectation]).verdict.answer is Answer.FAIL


def sent_on(shop: FaultyProxy, where: str, status: int = 302) -> None:
    """Answer ``/start`` with a redirect to *where*."""

    def decide(method: str, path: str) -> Fault | None:
        if path == "/start":
            return Fault(status=status, headers={"Location": where})
        return answered(method, path)

    shop.decide = decide


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_on_request_only(shop: FaultyProxy, status: int) -> None:
    sent_on(shop, "/health", status)
    assert looked(shop.url, "/start").verdict.answer is Answer.FAIL
    assert looked(shop.url, "/start", redirects=1).verdict.answer is Answer.PASS
    sent_on(shop, "/broken", status)
    assert looked(shop.url, "/start", redirects=1).verdict.answer is Answer.FAIL


def test_a_redirect_away_from_the_version_is_never_followed(shop: FaultyProxy) -> None:
    """The public address goes through the traffic split: the version before would answer for this one."""
    with faulty_proxy(NOBODY) as front:
        front.decide = answered
        port = shop.url.rpartition(":")[2]
        for where in (f"{front.url}/health", f"//127.0.0.1:{front.url.rpartition(':')[2]}/health",
                      f"https://127.0.0.1:{port}/health", f"http://localhost:{port}/health",
                      f"http://user@127.0.0.1:{port}/health", "http://[::1/health", "ftp://127.0.0.1/health", ""):
            sent_on(shop, where)
            result = looked(shop.url, "/start", redirects=5)
            assert result.verdict.answer is Answer.FAIL, where
            assert "leads to another address" in result.verdict.sentence
        assert front.seen == []


def test_redirects_in_a_circle_end(shop: FaultyProxy) -> None:
    sent_on(shop, "/start")
    assert looked(shop.url, "/start", redirects=3).verdict.answer is Answer.FAIL
    assert len(shop.seen) == 4


def test_one_time_limit_holds_for_all_redirects(shop: FaultyProxy) -> None:
    shop.always(Fault(status=302, headers={"Location": "/start"}, delay=0.3))
    result = looked(shop.url, "/start", redirects=10, within_seconds=0.7)
    assert "no whole answer within 0.7 s" in result.verdict.sentence
    assert len(shop.seen) <= 3


@pytest.mark.parametrize(
    ("fault", "answer", "says"),
    [
        (Fault(drop=True), "error", "has no answer"),
        (Fault(status=200, body=BODY, cut=10), "error", "has no answer: IncompleteRead"),
        (Fault(status=200, body=BODY, delay=1), "fail", "no whole answer within 0.5 s"),
        (Fault(status=200, body=BODY * 9, drip=0.05), "fail", "no whole answer within 0.5 s"),
        (Fault(status=200, body=b"x" * 5000), "fail", "more than 2000 bytes"),
    ],
)  # fmt: skip
def test_an_answer_that_is_cut_late_or_large_is_no_pass(
    shop: FaultyProxy, fault: Fault, answer: str, says: str
) -> None:
    shop.always(fault)
    result = looked(shop.url, "/health", within_seconds=0.5, largest_bytes=2000)
    assert (result.verdict.answer, says in result.verdict.sentence) == (answer, True), result.verdict.sentence


def test_one_path_of_many_that_has_no_answer_is_no_pass(shop: FaultyProxy) -> None:
    shop.once("/text", Fault(drop=True))
    once = shop.decide
    shop.decide = lambda method, path: once(method, path) or answered(method, path)
    assert looked(shop.url, "/health", "/text").verdict.answer is Answer.ERROR
    assert looked(shop.url, "/health", "/text").verdict.answer is Answer.PASS


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def secured(authority: Authority) -> Iterator[Any]:
    with ExitStack() as stack:

        def start(*names: str, days: int = 1) -> str:
            server = stack.enter_context(faulty_proxy(NOBODY, authority.server(*names, days=days)))
            server.decide = answered
            return server.url

        yield start


def test_a_certificate_of_the_own_authority_passes(secured: Any, authority: Authority) -> None:
    assert looked(secured("127.0.0.1"), "/health", ca=str(authority.path)).verdict.answer is Answer.PASS
    inside = secured("shop.example")
    assert looked(inside, "/health", ca=str(authority.path), host="shop.example").verdict.answer is Answer.PASS


def test_every_wrong_certificate_is_refused(secured: Any, authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    ca = str(authority.path)
    cases = {
        "unknown to this machine": looked(secured("127.0.0.1"), "/health"),
        "of another authority": looked(secured("127.0.0.1"), "/health", ca=str(other.path)),
        "for another name": looked(secured("other.example"), "/health", ca=ca),
        "for another host": looked(secured("127.0.0.1"), "/health", ca=ca, host="shop.example"),
        "that has ended": looked(secured("127.0.0.1", days=-1), "/health", ca=ca),
    }
    for name, result in cases.items():
        assert result.verdict.answer is Answer.FAIL, name
        assert "the certificate is refused" in result.verdict.sentence, name


def test_a_certificate_does_not_make_up_for_a_wrong_answer(secured: Any, authority: Authority) -> None:
    assert looked(secured("127.0.0.1"), "/broken", ca=str(authority.path)).verdict.answer is Answer.FAIL


def test_plain_http_where_tls_is_expected_is_no_pass(shop: FaultyProxy, secured: Any, authority: Authority) -> None:
    plain = looked(shop.url, "/health", ca=str(authority.path))
    assert (plain.verdict.answer, "is not https" in plain.verdict.sentence) == (Answer.ERROR, True)
    assert looked(shop.url.replace("http:", "https:"), "/health").verdict.answer is Answer.ERROR
    assert looked(secured("127.0.0.1").replace("https:", "http:"), "/health").verdict.answer is Answer.ERROR


def test_who_swaps_the_authority_changes_what_was_approved(secured: Any, authority: Authority, tmp_path: Path) -> None:
    plan = planned("http", {"paths": ["/health"], "ca": str(authority.path)})
    authority.path.write_bytes(Authority(tmp_path, "other").path.read_bytes())
    result = open_check(plan).run(Subject("1.1", secured("127.0.0.1")), plan)
    assert (result.verdict.answer, "has changed since" in result.verdict.sentence) == (Answer.ERROR, True)


def test_no_certificates_stop_before_anybody_is_asked(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.pem", tmp_path):
        with pytest.raises(InvalidInput, match="cannot be read"):
            planned("http", {"paths": ["/"], "ca": str(path)})
    (tmp_path / "empty.pem").write_text("nothing")
    assert looked("https://127.0.0.1:9", "/", ca=str(tmp_path / "empty.pem")).verdict.answer is Answer.ERROR


@pytest.mark.parametrize(
    "wrong",
    [{"paths": []}, {"paths": ["health"]}, {"paths": ["/a b"]}, {"paths": ["/a\r\nX: y"]}, {"paths": ["/a#b"]},
     {"paths": ["/ä"]}, {"status": []}, {"status": ["9xx"]}, {"status": [2000]}, {"address": "http://u:p@h:1"},
     {"address": "shop"}, {"host": "a b"}, {"host": "shop:80"}, {"within_seconds": 0}, {"redirects": -1},
     {"json_body": [{"at": "ok"}]}, {"json_body": [{"at": "/a~2"}]}, {"json_body": [{"at": "/a", "colour": 1}]},
     {"json_body": [{"at": "/a", "at_least": 5, "at_most": 4}]}, {"json_body": [{"at": "/a", "at_least": "5"}]}],
)  # fmt: skip
def test_wrong_options_stop(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        open_check(PlannedCheck(name="http", options={"paths": ["/"], **wrong}))


@pytest.mark.parametrize("location", [
    "/caf\u00e9", "/a b", "/a\tb", "/%zz", "/a?b=\u00fc", "//[", "http://", "/\x7f", "?x", "http://127.0.0.1:99999/",
    "\u00e9",
])  # fmt: skip
def test_wherever_a_redirect_leads_there_is_a_verdict(shop: FaultyProxy, location: str) -> None:
    """A stack trace would be no verdict, and would not be kept."""
    there = quote(location, safe="/%?=:[]!~", encoding="latin-1") if location.startswith("/") else ""
    shop.decide = lambda method, path: Fault(status=200) if path == there else (
        Fault(status=302, headers={"Location": location}) if path == "/old" else Fault(status=404))
    result = looked(shop.url, "/old", redirects=3)
    assert result.found is not None
    assert result.verdict.answer in (Answer.PASS, Answer.FAIL, Answer.ERROR)
    if location in ("/caf\u00e9", "/a?b=\u00fc", "/a b"):
        assert result.verdict.answer is Answer.PASS


class _Slow(StreamRequestHandler):
    """Sends its answer byte by byte, and knows how much of it was taken."""

    sent = 0

    def handle(self) -> None:
        self.rfile.readline()
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n")
            for number in range(60):
                self.wfile.write(b"x")
                type(self).sent = number
                time.sleep(0.1)


def test_a_name_that_is_found_late_counts_in_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks up names cannot be interrupted; what comes after it can."""
    known = socket.getaddrinfo

    def slowly(*asked: Any, **more: Any) -> Any:
        time.sleep(0.6)
        return known(*asked, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    with ThreadingTCPServer(("127.0.0.1", 0), _Slow) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        result = looked(f"http://127.0.0.1:{server.server_address[1]}", "/x", within_seconds=0.3)
        server.shutdown()
    assert (result.verdict.answer, _Slow.sent < 59) == (Answer.FAIL, True), "it was not read to its end"
