"""Jira Service Management, over HTTP."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.errors import InvalidInput, PermanentError
from airlock.itsm.jira import JiraServiceManagement, document, text_of
from airlock.itsm.ticket_system import Account, TicketState
from tests.contracts.ticket_contract import DRAFT, TicketContract
from tests.itsm.jira_server import JiraServer
from tests.itsm.ticket_server import LOGIN, SECRET


class TestJira(TicketContract):
    system = JiraServiceManagement
    server = JiraServer
    strange_keys = ("OTHER-1", "CHG-0", "CHG0030001")
    title_field = "summary"
    text_field = "description"

    def test_text_goes_out_as_plain_nodes(self, site, tickets):
        key = tickets.create(DRAFT)
        fields = site.issues[key]["fields"]
        assert fields["description"] == document(DRAFT.text)
        nodes = [node for paragraph in fields["description"]["content"] for node in paragraph["content"]]
        assert all(set(node) == {"type", "text"} for node in nodes)
        assert fields["labels"] == [f"airlock:{DRAFT.release}"]

    def test_a_state_without_a_status_is_left_out(self, site):
        key = site.opened("x")
        tickets = JiraServiceManagement({"project": "CHG"}, Account(site.url, LOGIN, SECRET))
        assert tickets.move(key, TicketState.REVIEW) == ""
        assert site.asked == []

    def test_a_ticket_that_was_moved_to_another_project_is_named(self, site, tickets):
        key = site.opened("x")
        site.issues[key]["key"] = "OTHER-7"
        with pytest.raises(PermanentError, match="another ticket now"):
            tickets.read(key)

    def test_approvals_without_an_end_are_given_up(self, site, tickets, monkeypatch):
        monkeypatch.setattr("airlock.itsm.jira._PAGES", 3)
        key = site.opened("x")
        for _ in range(9):
            site.ask_for_approval(key, "olga")
        with pytest.raises(PermanentError, match="has no end after 3 pages"):
            tickets.decisions(key)

    def test_a_field_of_a_ticket_that_airlock_creates_cannot_be_taken_over(self, site):
        options = {**JiraServer.options, "create_fields": {"customfield_10010": "69", "labels": ["other"]}}
        key = JiraServiceManagement(options, Account(site.url, LOGIN, SECRET)).create(DRAFT)
        assert site.issues[key]["fields"]["customfield_10010"] == "69"
        assert site.carried(DRAFT.release) == [key]

    def test_wrong_options_are_named(self, site):
        with pytest.raises(InvalidInput, match="states.sceduled"):
            JiraServiceManagement({"project": "CHG", "states": {"sceduled": "x"}}, Account(site.url))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["content", "text", "value", "name"]), inner, max_size=4)
    | inner.map(lambda one: {"type": "doc", "content": one})
    | inner.map(lambda one: {"type": "text", "text": one}),
    max_leaves=30,
)


@given(JSON)
def test_whatever_a_field_holds_becomes_bounded_text(value):
    assert len(text_of(value)) <= 20_000


def test_choices_people_and_lists_become_their_names():
    assert text_of([{"value": "Low"}, {"displayName": "Olga"}, {"name": "x"}, 7, None]) == "Low, Olga, x, 7"
    deep: object = "x"
    for _ in range(2000):
        deep = [deep]
    assert text_of(deep) == ""
