"""What becomes of what a release migrated when its traffic goes back: the rule, and how the outcome tells it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.deploy.landing import DataWayBack, data_way_back, outcome_of
from airlock.models import Outcome, Plan, PlannedMigration, Record, Reversal, RollbackSafety

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
VERDICTS = {"a": Reversal.REVERSIBLE, "f": Reversal.FIX_FORWARD, "r": Reversal.NEEDS_RESTORE}


def plan(kinds: str, on_rollback: str = "undo", restored: tuple[str, ...] = (), undo: bool = True) -> Plan:
    """A plan whose migrations are reversible (a), fix forward only (f), or need a restore (r)."""
    migrations = tuple(
        PlannedMigration(name=f"{number:04}_{kind}", up_digest="sha256:" + "0" * 64, down_digest=None,
                         verdict=VERDICTS[kind], undo=undo and kind == "a")
        for number, kind in enumerate(kinds, start=1)
    )  # fmt: skip
    return Plan.model_construct(
        current_version="1.0", way_back=RollbackSafety(migrations=migrations),
        backup_policy={"restore_on_rollback": list(restored)},
        settings={"migrations": {"resource": "shop_db", "on_rollback": on_rollback}},
    )  # fmt: skip


def names(one: Plan) -> list[str]:
    return [migration.name for migration in one.way_back.migrations]


@pytest.mark.parametrize(
    ("kinds", "given", "choice", "word"),
    [
        ("aa", {}, DataWayBack.UNDO, "0001_a, 0002_a only added"),
        ("aa", {"on_rollback": "keep"}, DataWayBack.KEEP, "1.0 can live with it"),
        ("aa", {"undo": False}, DataWayBack.KEEP, "1.0 can live with it"),
        ("aa", {"restored": ("shop_db",)}, DataWayBack.RESTORE, "restore_on_rollback names shop_db"),
        ("aa", {"restored": ("other",)}, DataWayBack.UNDO, "only added"),
        ("af", {}, DataWayBack.HUMAN, "fix forward"),
        ("af", {"restored": ("shop_db",)}, DataWayBack.RESTORE, "it is restored"),
        ("afr", {}, DataWayBack.HUMAN, "a human decides about the data of shop_db"),
        ("r", {"restored": ("shop_db",)}, DataWayBack.HUMAN, "loses what was written since"),
        ("", {}, DataWayBack.NOTHING, "holds nothing"),
    ],
)
def test_the_verdict_and_the_policy_choose(kinds: str, given: dict[str, Any], choice: DataWayBack, word: str) -> None:
    one = plan(kinds, **given)
    found, why = data_way_back(one, names(one))
    assert found is choice
    assert word in why


def test_only_what_was_applied_counts() -> None:
    one = plan("aar")
    assert data_way_back(one, names(one)[:2])[0] is DataWayBack.UNDO
    assert data_way_back(one, [])[0] is DataWayBack.NOTHING
    assert data_way_back(one, ["0009_of_somebody_else"])[0] is DataWayBack.NOTHING


def test_a_way_that_failed_is_for_people() -> None:
    choice, why = data_way_back(plan("a"), ["0001_a"], "table is locked for good")
    assert choice is DataWayBack.HUMAN
    assert "its way back failed: table is locked for good" in why


@given(st.text("afr", max_size=5), st.sampled_from(["undo", "keep"]), st.booleans(), st.data())
def test_data_that_only_a_restore_brings_back_is_never_touched_by_itself(
    kinds: str, on_rollback: str, restored: bool, data: st.DataObject
) -> None:
    one = plan(kinds, on_rollback, ("shop_db",) if restored else ())
    applied = data.draw(st.lists(st.sampled_from(names(one)), unique=True)) if kinds else []
    choice, why = data_way_back(one, applied)
    if any(name.endswith("_r") for name in applied):
        assert choice is DataWayBack.HUMAN
    if choice is DataWayBack.UNDO:
        assert all(name.endswith("_a") for name in applied)
    assert why


@pytest.mark.parametrize(("choice", "told"), [("human", True), ("undo", False), ("keep", False)])
def test_the_outcome_says_that_a_human_decides(choice: str, told: bool) -> None:
    given = [("act", "migrate", {}), ("act", "roll_back", {}), ("data_way_back", "", {"choice": choice, "why": "look"}),
             ("rolled_back", "", {"why": "the canary failed"})]  # fmt: skip
    records = [
        Record(release="r", type=kind, subject=subject, at=NOW + timedelta(seconds=n), actor="a", data=data)
        for n, (kind, subject, data) in enumerate(given)
    ]
    assert outcome_of(records) == (Outcome.ROLLED_BACK, "the canary failed; look" if told else "the canary failed")
