"""Reminders, time-outs and escalation by table, and that it does not matter how often somebody looks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.change.asking import asking
from airlock.models import ApprovalRule, ApprovalTerms

ASKED = datetime(2026, 11, 24, 8, tzinfo=UTC)
OWNER = (ApprovalRule(group="service_owner", quorum=1, members=("olga",)),)
BOARD = (ApprovalRule(group="board", quorum=1, members=("bert",)),)
TERMS = ApprovalTerms(timeout_hours=10, reminder_hours=(1, 4), escalation=BOARD, escalation_hours=3)


def at(hours: float) -> datetime:
    return ASKED + timedelta(hours=hours)


@pytest.mark.parametrize(
    ("hours", "escalated", "stage", "over", "reminder", "look_at"),
    [
        (0, None, "first", False, None, 6),
        (5.9, None, "first", False, None, 6),
        (6, None, "first", False, 4, 9),
        (9.5, None, "first", False, 1, 10),
        (10, None, "first", True, None, 10),
        (10, 10, "escalated", False, None, 12),
        (12.5, 10, "escalated", False, 1, 13),
        (13, 10, "escalated", True, None, 13),
        (14, 12, "escalated", False, 1, 15),
    ],
)
def test_where_a_request_stands(hours, escalated, stage, over, reminder, look_at):
    state = asking(OWNER, TERMS, ASKED, None if escalated is None else at(escalated), at(hours))
    assert (state.stage, state.over, state.reminder, state.look_at) == (stage, over, reminder, at(look_at))
    assert state.rules == (OWNER if stage == "first" else BOARD)
    assert state.escalates == (stage == "first")


def test_without_an_escalation_the_first_end_is_the_last():
    state = asking(OWNER, ApprovalTerms(timeout_hours=1), ASKED, None, at(2))
    assert state.over and not state.escalates


@given(
    hours=st.floats(0, 60), timeout=st.floats(0.1, 40), reminders=st.lists(st.floats(0.01, 50), max_size=4)
)
def test_the_next_look_is_never_in_the_past_of_a_running_request(hours, timeout, reminders):
    terms = ApprovalTerms(timeout_hours=timeout, reminder_hours=tuple(reminders))
    state = asking(OWNER, terms, ASKED, None, at(hours))
    assert state.over == (at(hours) >= state.ends_at)
    if not state.over:
        assert at(hours) < state.look_at <= state.ends_at
        assert state.reminder is None or state.ends_at - timedelta(hours=state.reminder) <= at(hours)
