"""Airflow's components: alive, with one code and the plugin; and people who exist."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.doctor.components import (
    API_SERVER,
    DAG_PROCESSOR,
    SCHEDULER,
    TRIGGERER,
    WORKER,
    Component,
    Job,
    ServerView,
    judge,
    judge_people,
)
from airlock.doctor.finding import Finding, Gravity

CODE, OTHER = "a" * 64, "b" * 64


def component(role: str, **more: Any) -> Component:
    return Component(role=role, host=f"{role}-1".replace(" ", "-"), code=CODE, airflow="3.3.2").model_copy(update=more)


JOBS = tuple(Job(role=role, host="h", silent_seconds=1) for role in (SCHEDULER, TRIGGERER, DAG_PROCESSOR))
SERVER = ServerView(itself=component(API_SERVER), parsed_with=CODE, jobs=JOBS)


def worst(*others: Component, server: ServerView | None = SERVER) -> list[Finding]:
    found = judge(component(WORKER), others, server)
    return [one for one in found if one.gravity in (Gravity.WARNING, Gravity.FAULT)]


def test_all_alive_with_one_code_is_fine() -> None:
    assert worst(component(TRIGGERER), component(WORKER, host="w2")) == []


def test_what_nobody_can_ask_is_said() -> None:
    found = judge(component(WORKER), (component(TRIGGERER),), SERVER)
    assert [one.where for one in found if one.gravity is Gravity.NOT_ASKED] == [SCHEDULER]


@pytest.mark.parametrize("role", [TRIGGERER, WORKER])
def test_another_code_is_a_fault_that_names_both(role: str) -> None:
    others = [component(TRIGGERER), component(WORKER, host="w2")]
    others = [one.model_copy(update={"code": OTHER}) if one.role == role else one for one in others]
    (found,) = worst(*others)
    assert found.gravity is Gravity.FAULT
    assert "bbbbbbbbbbbb" in found.what
    assert "aaaaaaaaaaaa" in found.what


@pytest.mark.parametrize(("change", "gravity"), [
    ({"changed": True}, Gravity.WARNING), ({"plugin": False}, Gravity.FAULT), ({"airflow": "3.2.0"}, Gravity.FAULT),
])  # fmt: skip
def test_each_way_to_differ_is_told(change: dict[str, Any], gravity: Gravity) -> None:
    (found,) = worst(component(TRIGGERER, **change))
    assert found.gravity is gravity


def test_the_api_server_and_the_dag_processor_are_compared_too() -> None:
    server = SERVER.model_copy(update={"itself": component(API_SERVER, code=OTHER), "parsed_with": OTHER})
    assert [one.where.partition(" on ")[0] for one in worst(component(TRIGGERER), server=server)] == [
        API_SERVER, DAG_PROCESSOR]  # fmt: skip
    (found,) = worst(component(TRIGGERER), server=SERVER.model_copy(update={"parsed_with": ""}))
    assert found.gravity is Gravity.WARNING


def test_no_triggerer_and_an_api_server_without_the_plugin_are_faults() -> None:
    assert [one.where for one in worst()] == [TRIGGERER]
    assert [one.where for one in worst(component(TRIGGERER), server=None)] == [API_SERVER]


@pytest.mark.parametrize(("jobs", "said"), [
    ((), "there is none"), ((Job(role=SCHEDULER, host="h", silent_seconds=400),), "silent for 400 s")])
def test_a_job_that_is_silent_is_not_alive(jobs: tuple[Job, ...], said: str) -> None:
    others = tuple(job for job in JOBS if job.role != SCHEDULER)
    (found,) = worst(component(TRIGGERER), server=SERVER.model_copy(update={"jobs": (*others, *jobs)}))
    assert found.gravity is Gravity.FAULT
    assert said in found.what


def people(known: dict[str, bool], why: str = "") -> list[Gravity]:
    server = SERVER.model_copy(update={"people": known, "people_unknown": why})
    return [one.gravity for one in judge_people("shop prod", {"board": ("ada", "bob"), "owner": ("ada",)}, server)]


def test_people_who_exist_are_told_from_those_who_do_not() -> None:
    assert people({"ada": True, "bob": True}) == [Gravity.FINE, Gravity.FINE]
    assert people({"ada": True, "bob": False}) == [Gravity.WARNING, Gravity.FINE]
    assert people({}) == [Gravity.FAULT, Gravity.FAULT]
    assert people({}, "the auth manager does not tell") == [Gravity.NOT_ASKED]


def test_a_view_survives_json() -> None:
    assert ServerView.model_validate_json(SERVER.model_dump_json()) == SERVER
