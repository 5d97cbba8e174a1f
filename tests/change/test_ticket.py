"""What a ticket may say: fields of a request, and answers of people whom the plan knows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.change.approval import check_vote
from airlock.change.ticket import TicketAnswer, doubt_in, form_with_ticket, said_by_ticket, vote_in_ticket
from airlock.errors import GateRefused, InvalidInput
from airlock.models import ApprovalRule, utc_now
from airlock.plain_text import LOGIN_NAME
from airlock.service.model import Tickets

TICKETS = Tickets(
    name="jira", connection="tickets", fields={"title": "summary", "impact": "impact", "change_type": "type"},
    values={"impact": {"Minor / Localized": "low"}}, people={"acc-olga": "olga"},
)  # fmt: skip
RULES = (ApprovalRule(group="owners", quorum=1, members=("olga", "bert")),)


def answer(**more: str) -> TicketAnswer:
    given = {"system": "jira", "ticket": "CHG-1", "id": "1", "account": "acc-olga", "choice": "approve", **more}
    return TicketAnswer.model_validate(given)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"summary": " New page ", "impact": "minor / localized"}, {"title": "New page", "impact": "low"}),
        ({"summary": "", "impact": "Huge", "other": "x"}, {"impact": "Huge"}),
        ({}, {}),
    ],
)
def test_fields_are_mapped_by_the_service_file_and_choices_by_their_value(found, said):
    assert said_by_ticket(TICKETS, found) == said


@pytest.mark.parametrize(
    ("form", "said", "whole"),
    [
        ({"title": ""}, {"title": "a"}, {"title": "a"}),
        ({"title": None}, {"title": "a"}, {"title": "a"}),
        ({"title": " a "}, {"title": "a"}, {"title": " a "}),
        ({"change_type": "normal"}, {"change_type": "emergency"}, {"change_type": "emergency"}),
        ({"version": "1.1"}, {}, {"version": "1.1"}),
    ],
)
def test_only_what_is_empty_or_untouched_is_filled(form, said, whole):
    assert form_with_ticket(form, said) == whole


def test_every_contradiction_is_named():
    with pytest.raises(InvalidInput, match=r"title: .*'b'.* \| version: .*'1.1'.*'1.2'"):
        form_with_ticket({"title": "b", "version": "1.1"}, {"title": "a", "version": "1.2"})


@given(st.dictionaries(st.sampled_from(["title", "version", "x"]), st.none() | st.text() | st.integers()),
       st.dictionaries(st.sampled_from(["title", "version"]), st.text(min_size=1)))  # fmt: skip
def test_any_form_and_any_ticket_end_in_a_form_or_a_sentence(form, said):
    try:
        whole = form_with_ticket(form, said)
    except InvalidInput:
        return
    assert {name: value for name, value in whole.items() if name not in said} == {
        name: value for name, value in form.items() if name not in said
    }


@given(st.text(max_size=40).filter(lambda name: name != "acc-olga"))
def test_an_unknown_account_never_becomes_somebody(account):
    vote = vote_in_ticket(answer(account=account), TICKETS.people, utc_now())
    assert not LOGIN_NAME.fullmatch(vote.person)
    with pytest.raises(GateRefused):
        check_vote(RULES, vote, "rita")


def test_a_known_account_is_its_person_and_a_rejection_always_has_a_reason():
    vote = vote_in_ticket(answer(choice="reject"), TICKETS.people, utc_now())
    assert (vote.person, vote.choice) == ("olga", "reject")
    assert "CHG-1" in vote.reason
    check_vote(RULES, vote, "rita")
    assert vote_in_ticket(answer(choice="reject", reason=" No. "), TICKETS.people, utc_now()).reason == "No."


def test_a_doubt_is_a_sentence():
    vote = vote_in_ticket(answer(), TICKETS.people, utc_now())
    assert doubt_in(answer(), vote) == ""
    assert "written by admin" in doubt_in(answer(doubt="it was written by admin"), vote)
