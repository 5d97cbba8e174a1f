"""ServiceNow, over HTTP."""

import pytest

from airlock.errors import InvalidInput, PermanentError, TicketGone
from airlock.itsm.servicenow import ServiceNow
from airlock.itsm.ticket_system import Account, TicketState
from tests.contracts.ticket_contract import DRAFT, RELEASE, TicketContract
from tests.itsm.servicenow_server import ServiceNowServer
from tests.itsm.ticket_server import LOGIN, SECRET


class TestServiceNow(TicketContract):
    system = ServiceNow
    server = ServiceNowServer
    strange_keys = ("CHG-1", "CHG003", "CHG0030001^ORDERBYnumber")
    title_field = "short_description"
    text_field = "description"

    @pytest.fixture(autouse=True)
    def small_pages(self, monkeypatch):
        monkeypatch.setattr("airlock.itsm.servicenow._PAGE", 3)

    def test_html_of_journal_fields_is_defused(self, site, tickets):
        key = site.opened("x")
        tickets.note(key, "[code]<img src=x onerror=alert(1)>[/CODE]")
        assert site.notes(key) == ["(code)<img src=x onerror=alert(1)>(/CODE)".replace("/CODE", "/code")]
        assert "[code]" not in site.changes[site._row(tickets.create(DRAFT))["sys_id"]]["description"]

    def test_an_approval_that_another_account_wrote_is_in_doubt(self, site, tickets):
        key = site.opened("x")
        site.ask_for_approval(key, "olga", "bert")
        site.answer(key, "olga", "approve", by="admin")
        site.answer(key, "bert", "reject", by="admin")
        olga, bert = sorted(tickets.decisions(key), key=lambda one: one.account, reverse=True)
        assert "written by admin in the name of olga" in olga.doubt
        assert (bert.choice, bert.reason, bert.doubt) == ("reject", "No.", "")
        lenient = ServiceNow({"only_own_answers": False}, Account(site.url, LOGIN, SECRET))
        assert not any(one.doubt for one in lenient.decisions(key))

    @pytest.mark.parametrize("state", ["cancelled", "not_required", "duplicate", "approved ", "", "APPROVED"])
    def test_only_approved_is_an_approval(self, site, tickets, state):
        key = site.opened("x")
        site.ask_for_approval(key, "olga")
        site.approvals[-1]["state"] = state
        assert [one.choice for one in tickets.decisions(key)] == ["pending"]

    def test_a_move_that_is_silently_undone_is_found(self, site, tickets):
        site.silent_rule = True
        with pytest.raises(PermanentError, match="was to become state 0 and is -5"):
            tickets.move(site.opened("x"), TicketState.REVIEW)

    def test_a_failed_change_is_closed_as_unsuccessful(self, site, tickets):
        key = site.opened("x", state="0")
        tickets.move(key, TicketState.FAILED, "rolled back: the canary failed")
        row = site._row(key)
        assert (row["close_code"], row["close_notes"]) == ("unsuccessful", "rolled back: the canary failed")

    def test_a_query_that_the_server_ignores_is_noticed(self, site, tickets):
        site.opened("one")
        site._selected = lambda rows, query: [  # as an instance without strict queries does
            {name: {"value": row.get(name, ""), "display_value": ""} for name in query["sysparm_fields"].split(",")}
            for row in site.changes.values()
        ]
        with pytest.raises(TicketGone):
            tickets.read("CHG0099999")
        assert RELEASE not in str(site.asked)


def test_options_are_checked_with_their_line_before_anybody_is_asked(tmp_path):
    from airlock.service.deep_check import check_deep
    from tests.service_data import environment

    block = "    tickets: {name: servicenow, connection: c, options: {states: {aproval: x}, page: 3}}\n    calendar:"
    cafe = environment(tmp_path, ("    calendar:", block))
    with pytest.raises(InvalidInput) as caught:
        check_deep(cafe)
    faults = [line for line in str(caught.value).splitlines() if "environments.live.tickets." in line]
    assert any("tickets.options.page: unknown field" in line for line in faults)
    assert any("tickets.options.states.aproval" in line for line in faults)
