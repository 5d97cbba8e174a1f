"""What every ticket system must do, asked over HTTP of a server that behaves as its public documents say."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import pytest

from airlock.errors import AirlockError, InvalidInput, PermanentError, TemporaryError, Throttled, TicketGone
from airlock.itsm.ticket_system import Account, Draft, TicketState, TicketSystem, fingerprint
from tests.faulty_proxy import Fault, faulty_proxy
from tests.itsm.ticket_server import LOGIN, SECRET, TicketServer

RELEASE = "cafe-live-20261123T100000-0011223344556677"
DRAFT = Draft(RELEASE, "Release of cafe 1.1", "first line\n<script>alert(1)</script> [code]<b>x</b>[/code] h1. *bold*")


class TicketContract:
    """Inherited by the test of each ticket system."""

    system: ClassVar[type[TicketSystem]]
    server: ClassVar[type[TicketServer]]
    strange_keys: ClassVar[tuple[str, ...]]
    title_field: ClassVar[str]
    text_field: ClassVar[str]

    @pytest.fixture
    def site(self) -> Any:
        with self.server().running() as server:
            yield server

    @pytest.fixture
    def tickets(self, site: Any) -> TicketSystem:
        return self.open(site.url)

    def open(self, url: str, secret: str = SECRET) -> TicketSystem:
        return self.system(self.server.options, Account(url, LOGIN, secret))

    # --- tickets ------------------------------------------------------------------------------------------------------

    def test_a_ticket_of_a_person_is_read_with_the_fields_that_were_asked_for(self, site, tickets):
        key = site.opened("New orders page", "one\ntwo")
        found = tickets.read(key, (self.title_field, self.text_field, "u_unknown"))
        assert (found.key, found.closed, found.releases) == (key, False, ())
        assert found.fields == {self.title_field: "New orders page", self.text_field: "one\ntwo", "u_unknown": ""}
        assert found.link.startswith(f"{site.url}/")

    def test_a_ticket_carries_its_release_from_its_first_moment(self, site, tickets):
        key = tickets.create(DRAFT)
        assert site.carried(RELEASE) == [key] == [tickets.find(RELEASE)]
        assert tickets.read(key).releases == (RELEASE,)
        assert tickets.find("another-release") is None
        assert site.asked[0][0] == "POST"

    def test_a_ticket_of_a_person_is_adopted_and_found_again(self, site, tickets):
        key = site.opened("New orders page")
        tickets.adopt(key, RELEASE)
        assert tickets.find(RELEASE) == key

    def test_notes_are_shown_as_typed(self, site, tickets):
        key = site.opened("x")
        tickets.note(key, DRAFT.text + "\x00\u202e")
        (note,) = site.notes(key)
        assert "first line\n<script>alert(1)</script>" in note
        assert "\x00" not in note and "\u202e" not in note

    def test_a_ticket_is_moved_through_its_states_and_a_second_time_nothing_happens(self, site, tickets):
        key = site.opened("x")
        for state in (TicketState.APPROVAL, TicketState.SCHEDULED, TicketState.IMPLEMENT, TicketState.CLOSED):
            assert tickets.move(key, state, "because")
            assert site.status(key) == state
            notes = len(site.notes(key))
            tickets.move(key, state, "because")
            assert site.status(key) == state and len(site.notes(key)) == notes
        assert tickets.read(key).closed

    def test_a_move_that_the_workflow_forbids_is_permanent_and_named(self, site, tickets):
        key = site.opened("x")
        with pytest.raises(PermanentError, match="transition|change model"):
            tickets.move(key, TicketState.REVIEW)

    # --- approvals ----------------------------------------------------------------------------------------------------

    def test_answers_of_every_page_are_read(self, site, tickets):
        key = site.opened("x")
        for number in range(7):
            site.ask_for_approval(key, f"account-{number}")
        site.answer(key, "account-6", "approve")
        found = sorted(tickets.decisions(key), key=lambda one: one.account)
        assert [one.account for one in found] == [f"account-{number}" for number in range(7)]
        assert [one.choice for one in found] == ["pending"] * 6 + ["approve"]
        assert len({one.id for one in found}) == 7

    def test_a_person_who_is_asked_again_gives_another_answer(self, site, tickets):
        key = site.opened("x")
        site.ask_for_approval(key, "olga")
        site.answer(key, "olga", "approve")
        site.ask_for_approval(key, "olga")
        site.answer(key, "olga", "reject")
        first, second = tickets.decisions(key)
        assert {first.account, second.account} == {"olga"} and {first.choice, second.choice} == {"approve", "reject"}
        assert first.id != second.id

    def test_the_fingerprint_changes_with_status_and_answers_and_not_with_words(self, site, tickets):
        key = site.opened("x")
        site.ask_for_approval(key, "olga")

        def look() -> str:
            return fingerprint(tickets.read(key), tickets.decisions(key))

        first = look()
        site.edit(key, self.title_field, "another title")
        tickets.note(key, "a note")
        assert look() == first
        site.answer(key, "olga", "approve")
        second = look()
        site.set_status(key, "canceled")
        assert len({first, second, look()}) == 3

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    def test_a_deleted_ticket_is_gone_for_every_question(self, site, tickets):
        key = site.opened("x")
        site.delete(key)
        for ask in (tickets.read, tickets.decisions, lambda one: tickets.note(one, "x"),
                    lambda one: tickets.adopt(one, RELEASE), lambda one: tickets.move(one, TicketState.APPROVAL)):
            with pytest.raises(TicketGone):
                ask(key)

    def test_no_strange_key_reaches_the_server(self, site, tickets):
        for key in ("", "../../x", "CHG-1/../2", "CHG-1\n", "chg-1", "CHG0030001^ORstate=3", *self.strange_keys):
            with pytest.raises(InvalidInput):
                tickets.read(key)
        with pytest.raises(InvalidInput):
            tickets.find('x" OR project = "SECRET')
        assert site.asked == []

    def test_throttling_says_how_long_to_wait(self, site, tickets):
        key = site.opened("x")
        for header, low, high in (("17", 17, 17), ("999999", 3600, 3600), ("soon", 1, 3600),
                                  ("Wed, 21 Oct 2099 07:28:00 GMT", 3600, 3600)):
            site.faults.append((429, {"Retry-After": header}, b""))
            with pytest.raises(Throttled) as caught:
                tickets.decisions(key)
            assert low <= caught.value.seconds <= high

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (Fault(status=500), TemporaryError), (Fault(status=502, body=b"<html>"), TemporaryError),
            (Fault(status=503), TemporaryError), (Fault(drop=True), TemporaryError),
            (Fault(status=200, body=b"<html>log in</html>"), TemporaryError),
            (Fault(status=200, body=b"[" * 100_000), TemporaryError),
            (Fault(cut=5), TemporaryError), (Fault(status=401), PermanentError), (Fault(status=403), PermanentError),
            (Fault(status=400, body=b'{"errorMessages": ["\\u202e no"]}'), PermanentError),
            (Fault(status=200, body=b'{"result": "x' + b"x" * (5 << 20) + b'"}'), PermanentError),
        ],
    )  # fmt: skip
    def test_an_outage_is_temporary_and_a_refusal_permanent(self, site, fault, kind):
        key = site.opened("x")
        with faulty_proxy(site.url) as proxy:
            proxy.always(fault)
            with pytest.raises(kind) as caught:
                self.open(proxy.url).decisions(key)
            assert SECRET not in str(caught.value) and "\u202e" not in str(caught.value)
            proxy.decide = lambda method, path: None
            assert self.open(proxy.url).read(key).key == key

    @pytest.mark.parametrize("body", [
        b"{}", b"[]", b"null", b'{"values": {}, "result": {}}', b'{"values": [1], "result": [1]}',
        b'{"values": [{"approvers": [{}]}], "isLastPage": true, "result": [{"state": {}}]}',
    ])  # fmt: skip
    def test_an_answer_of_another_shape_is_an_error_and_never_no_approvals(self, site, tickets, body):
        key = site.opened("x")
        site.ask_for_approval(key, "olga")
        paths = ("approval", "change_request")
        with faulty_proxy(site.url) as proxy:
            proxy.decide = lambda method, path: (
                Fault(status=200, body=body) if any(one in path for one in paths) else None
            )
            with pytest.raises(AirlockError):
                self.open(proxy.url).decisions(key)

    def test_a_server_that_is_gone_is_temporary(self):
        with pytest.raises(TemporaryError):
            self.open("http://127.0.0.1:1").find(RELEASE)

    def test_an_answer_that_drips_is_given_up(self, site, monkeypatch):
        monkeypatch.setattr("airlock.itsm.site._WHOLE_SECONDS", 0.5)
        key = site.opened("x", "a long text " * 50)
        begun = time.monotonic()
        with faulty_proxy(site.url) as proxy:
            proxy.always(Fault(drip=0.02))
            with pytest.raises(TemporaryError, match="whole answer"):
                self.open(proxy.url).read(key, (self.title_field, self.text_field))
        assert time.monotonic() - begun < 60

    def test_a_wrong_secret_is_permanent_and_not_repeated(self, site):
        key = site.opened("x")
        with pytest.raises(PermanentError, match="401") as caught:
            self.open(site.url, "wrong-secret").read(key)
        assert "wrong-secret" not in str(caught.value)

    def test_no_redirect_is_followed_and_no_secret_told(self, site, tickets):
        key = site.opened("x")
        with self.server().running() as stranger:
            for status in (301, 302, 307, 308):
                site.faults.append((status, {"Location": f"{stranger.url}/rest/api/3/issue/{key}"}, b""))
                with pytest.raises(PermanentError, match="not followed"):
                    tickets.read(key)
            assert stranger.asked == []

    @pytest.mark.parametrize("address", [
        "", "tickets.example.test", "http://tickets.example.test", "ftp://x", "https://", "https://user:word@x",
        "http://[", "https://x:99999", "file:///etc/passwd",
    ])  # fmt: skip
    def test_an_address_that_would_tell_the_secret_is_refused(self, address):
        with pytest.raises(InvalidInput) as caught:
            self.system(self.server.options, Account(address, LOGIN, SECRET))
        assert SECRET not in str(caught.value)

    def test_hostile_fields_are_bounded_and_hold_nothing_hidden(self, site, tickets):
        key = site.opened("x")
        site.edit(key, self.title_field, "a\x00\u202eb" + "z" * 500_000)
        text = tickets.read(key, (self.title_field,)).fields[self.title_field]
        assert text.startswith("a ") and len(text) <= 20_000
        assert "\x00" not in text and "\u202e" not in text
