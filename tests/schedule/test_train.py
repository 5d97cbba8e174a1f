"""Trains by rule alone: order, boarding, and what one failure means for everybody else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.errors import InvalidInput, UnknownName
from airlock.models import Outcome, Record
from airlock.schedule.train import Readiness, TrainService, board, course, ended, order
from airlock.schedule.train_file import find_train, load_train, read_trains

NAMES = ("a", "b", "c", "d", "e", "f")


def line(*edges: str) -> list[TrainService]:
    """``"a<bc"``: a leaves after b and c."""
    return [TrainService(name=edge[0], after=tuple(edge[2:])) for edge in edges]


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        (line("a", "b", "c"), "abc"),
        (line("a<b", "b"), "ba"),
        (line("a<bc", "b<c", "c"), "cba"),
        (line("a", "b<d", "c", "d<a"), "acdb"),
    ],
)
def test_dependencies_leave_first_else_it_is_the_order_of_the_file(services, expected):
    assert "".join(order(services)) == expected


@pytest.mark.parametrize(
    ("services", "sentence"),
    [
        (line("a<a"), "a -> a wait for one another"),
        (line("a<b", "b<c", "c<a"), "a -> b -> c -> a wait for one another"),
        (line("x", "a<bx", "b<a"), "a -> b -> a wait for one another"),
        (line("d<a", "a<b", "b<a"), "a -> b -> a wait for one another"),
        (line("a<z"), "'a' leaves after 'z', which is not on the train"),
        (line("a", "a"), "'a' is listed 2 times"),
    ],
)
def test_what_cannot_be_ordered_is_refused_by_name(services, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        order(services)


def graphs(circles: bool = False):
    """Services in any order in the file, each after some of those before it in a hidden order."""

    @st.composite
    def draw(pick):
        names = pick(st.permutations(NAMES[: pick(st.integers(1, 6))]))
        services = [
            TrainService(name=name, after=tuple(pick(st.sets(st.sampled_from(names[:number])))) if number else ())
            for number, name in enumerate(names)
        ]
        return pick(st.permutations(services))

    return draw()


@given(graphs())
def test_every_order_respects_every_dependency(services):
    found = order(services)
    assert sorted(found) == sorted(one.name for one in services)
    assert all(found.index(before) < found.index(one.name) for one in services for before in one.after)


@given(graphs(), st.data())
def test_any_circle_is_refused(services, data):
    if len(services) < 2:
        return
    found = order(services)
    late = data.draw(st.integers(1, len(found) - 1))
    early = data.draw(st.integers(0, late - 1))
    changed = []
    for one in services:
        more = (found[late],) if one.name == found[early] else (found[early],) if one.name == found[late] else ()
        changed.append(one.model_copy(update={"after": (*one.after, *more)}))
    with pytest.raises(InvalidInput, match="wait for one another"):
        order(changed)


def known(**states: str) -> dict[str, Readiness]:
    return {name: Readiness(service=name, state=state, why=f"{name} is {state}") for name, state in states.items()}


@pytest.mark.parametrize(
    ("services", "states", "leave", "behind"),
    [
        (line("a", "b"), {"a": "ready", "b": "ready"}, "ab", ""),
        (line("a", "b<a"), {"a": "nothing", "b": "ready"}, "b", ""),
        (line("a", "b<a"), {"a": "not_ready", "b": "ready"}, "", "ab"),
        (line("a", "b<a", "c"), {"a": "not_ready", "b": "ready", "c": "ready"}, "c", "ab"),
        (line("a", "b<a", "c<b"), {"a": "not_ready", "b": "nothing", "c": "ready"}, "", "abc"),
        (line("a", "b<a"), {"b": "ready"}, "", "ab"),
        (line("a"), {"a": "nothing"}, "", ""),
    ],
)
def test_who_leaves_and_who_stays_behind(services, states, leave, behind):
    found = board(services, known(**states))
    assert "".join(found.passengers) == leave
    assert "".join(sorted(found.carried_over)) == behind


@given(graphs(), st.data())
def test_nobody_leaves_before_or_without_one_that_it_waits_for(services, data):
    states = {one.name: data.draw(st.sampled_from(["ready", "nothing", "not_ready"])) for one in services}
    found = board(services, known(**states))
    after = {one.name: one.after for one in services}
    for name in found.passengers:
        assert states[name] == "ready"
        assert not set(after[name]) & set(found.carried_over)
        assert all(found.passengers.index(one) < found.passengers.index(name) for one in after[name]
                   if one in found.passengers)
    assert not set(found.passengers) & set(found.carried_over)
    assert {name for name, state in states.items() if state != "nothing"} <= {*found.passengers, *found.carried_over}


P, R, B = Outcome.PROMOTED, Outcome.REFUSED, Outcome.ROLLED_BACK


@pytest.mark.parametrize(
    ("results", "on_failure", "following", "failed", "back", "carried"),
    [
        ({}, "stop", "a", None, "", ""),
        ({"a": P}, "stop", "b", None, "", ""),
        ({"a": P, "b": P, "c": P}, "stop", None, None, "", ""),
        ({"a": P, "b": B}, "stop", None, "b", "", "c"),
        ({"a": P, "b": R}, "roll_back", None, "b", "a", "ac"),
        ({"a": P, "b": P, "c": B}, "roll_back", None, "c", "ba", "ab"),
        ({"a": B}, "roll_back", None, "a", "", "bc"),
    ],
)
def test_one_failure_stops_those_after_it(results, on_failure, following, failed, back, carried):
    found = course(("a", "b", "c"), results, on_failure)
    assert (found.next, found.failed) == (following, failed)
    assert ("".join(found.roll_back), "".join(found.carried_over)) == (back, carried)


@given(st.lists(st.sampled_from(list(Outcome)), max_size=6), st.sampled_from(["stop", "roll_back"]))
def test_after_a_failure_nobody_starts_and_everybody_is_accounted_for_once(outcomes, on_failure):
    passengers = NAMES
    results = dict(zip(passengers, outcomes, strict=False))
    found = course(passengers, results, on_failure)
    first = next((number for number, outcome in enumerate(outcomes) if outcome is not P), None)
    if first is None:
        assert found.failed is None
        assert found.next == (passengers[len(outcomes)] if len(outcomes) < len(passengers) else None)
        assert found.arrived == passengers[: len(outcomes)]
        return
    assert (found.next, found.failed) == (None, passengers[first])
    assert found.arrived == passengers[:first]
    assert found.roll_back == (tuple(reversed(passengers[:first])) if on_failure == "roll_back" else ())
    stays = set() if on_failure == "roll_back" else set(found.arrived)
    assert set(found.carried_over) == set(passengers) - {found.failed} - stays
    assert len(set(found.carried_over)) == len(found.carried_over)


def record(kind: str, subject: str = "", **data) -> Record:
    return Record(release="t", type=kind, subject=subject, at=datetime(2026, 11, 24, tzinfo=UTC), actor="t", data=data)


DEPARTURE = record("departure", passengers=["a", "b"], carried_over={"z": "late"}, train={"on_failure": "roll_back"})


@pytest.mark.parametrize(
    ("records", "outcome", "said"),
    [
        ([], "failed", "never left"),
        ([record("departure", passengers=[], carried_over={}, train={"on_failure": "stop"})], "skipped", "nothing new"),
        ([DEPARTURE, record("carried_over", why="a freeze")], "skipped", "a freeze; carried over.*: a, b, z"),
        ([DEPARTURE], "failed", "a had not arrived"),
        ([DEPARTURE, record("arrived", "a", outcome="promoted"), record("arrived", "b", outcome="promoted")],
         "completed", "arrived: a, b; carried over to the next train: z"),
        ([DEPARTURE, record("arrived", "a", outcome="promoted"), record("arrived", "b", outcome="refused", why="no"),
          record("returned", "a", outcome="promoted")], "failed", "b failed: no; to go back: a; carried over.*: a, z$"),
        ([DEPARTURE, record("arrived", "a", outcome="promoted"), record("arrived", "b", outcome="refused", why="no"),
          record("returned", "a", outcome="refused")], "failed", "a did not go back: on-call must look at it now"),
    ],
)  # fmt: skip
def test_how_a_train_ended_by_its_records(records, outcome, said):
    import re

    found, why = ended(records)
    assert found == outcome
    assert re.search(said, why), why


FILE = """\
train: weekly
description: Everything that leaves together.
owner: release-team
environment: prod
schedule: {cron: "0 6 * * 2", timezone: Europe/Berlin}
services:
  - {name: stock}
  - {name: shop, after: [stock]}
"""


def test_a_train_file(tmp_path):
    (tmp_path / "weekly.yaml").write_text(FILE)
    train = load_train(tmp_path / "weekly.yaml")
    assert (order(train.services), train.on_failure) == (("stock", "shop"), "stop")
    assert read_trains(tmp_path / "nowhere").complete() == ()
    with pytest.raises(UnknownName, match="declared are weekly"):
        find_train(tmp_path, "daily")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("after: [stock]", "after: [shop]", r"weekly.yaml:1: services: shop -> shop wait for one another"),
        ("train: weekly", "train: daily", "give both the same name"),
        ("0 6 * * 2", "every day", r"weekly.yaml:5: schedule.cron"),
        ("owner:", "owned_by:", "unknown field"),
        ("environment: prod", "environment: ../x", "weekly.yaml:4"),
    ],
)
def test_a_wrong_train_file_is_named(tmp_path, old, new, sentence):
    (tmp_path / "weekly.yaml").write_text(FILE.replace(old, new))
    with pytest.raises(InvalidInput, match=sentence):
        read_trains(tmp_path).complete()
    (tmp_path / "nightly.yaml").write_text(FILE.replace("train: weekly", "train: nightly"))
    assert [train.train for train in read_trains(tmp_path).declared] == ["nightly"]
