from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from airlock.change.debt import Debt, overdue, refusal
from airlock.models import ApprovalRule

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RULE = ApprovalRule(group="board", quorum=1, members=("bert",))


def debt(hours, release="r1"):
    return Debt(service="cafe", environment="live", release=release, incident="INC-7",
                landed_at=NOW + timedelta(hours=hours - 72), due_at=NOW + timedelta(hours=hours), approvals=(RULE,))


def test_an_overdue_debt_is_named_and_one_that_has_time_is_not():
    assert refusal("cafe-team", [debt(1)], NOW) == ""
    said = refusal("cafe-team", [debt(1, "young"), debt(-1, "old"), debt(-5, "older")], NOW)
    assert "older (incident INC-7), due on 24 Nov 2026 07:00 UTC; old (incident INC-7)" in said
    assert "young" not in said and said.startswith("cafe-team makes no standard change")


@given(st.lists(st.integers(-500, 500), max_size=20), st.integers(0, 500))
def test_debts_only_become_overdue_with_time(hours, later):
    debts = [debt(one, f"r{n}") for n, one in enumerate(hours)]
    now, then = (overdue(debts, moment) for moment in (NOW, NOW + timedelta(hours=later)))
    assert set(now) <= set(then)
    assert bool(refusal("t", debts, NOW)) == any(one <= 0 for one in hours)
