"""Checks in service files: how they are written, what is said of former spellings, and what a plan makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airlock.errors import InvalidInput
from airlock.service.deep_check import check_deep
from airlock.service.planned_checks import planned_checks
from airlock.service.unknown_connections import unknown_connections
from tests import service_data
from tests.recompute.flown import COUNTED, delivered

ROLLOUT = "rollout: {steps: [{percent: 10, observe_seconds: 1}]}"


def given(folder: Path, checks: str) -> service_data.ServiceEnvironment:
    (folder / ".env").write_text("")
    return service_data.environment(folder, (ROLLOUT, f"{ROLLOUT}\n    {checks}"),
                                    *delivered(folder),
                                    ("metrics: {name: envoy}", f"metrics: {COUNTED}"))


def test_without_any_the_health_of_the_version_is_asked(tmp_path: Path) -> None:
    found = planned_checks(given(tmp_path, ""))
    assert [(one.name, one.options["paths"]) for one in found.smoke] == [("http", ["/health"])]
    assert (found.validation, found.bake, found.attempts) == (found.smoke, (), 3)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (("observe_seconds: 1}]}", "observe_seconds: 1}], smoke_paths: [/a]}"),
         r"rollout\.smoke_paths: is the former spelling; write checks: \{smoke: \[\{name: http"),
        ((ROLLOUT, f"{ROLLOUT}\n    validation: {{paths: [/a], attempts: 2}}"),
         r"live\.validation: is the former spelling; write checks: \{validation: \[\{name: http"),
        ((ROLLOUT, f"{ROLLOUT}\n    checks: {{smoke: []}}"), r"checks\.smoke: .*at least 1 item"),
        ((ROLLOUT, f"{ROLLOUT}\n    checks: {{smoke: [{{name: htpt}}]}}"), "unknown check 'htpt'; did you mean 'http'"),
        ((ROLLOUT, f"{ROLLOUT}\n    checks: {{smoke_paths: [/a]}}"), "unknown field; did you mean 'smoke'"),
        ((ROLLOUT, f"{ROLLOUT}\n    checks: {{attempts: 0}}"), r"checks\.attempts"),
    ],
)  # fmt: skip
def test_wrong_and_former_spellings_say_what_to_write(tmp_path: Path, changed: tuple[str, str], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        service_data.environment(tmp_path, changed)


@pytest.mark.parametrize(
    ("checks", "says"),
    [
        ("{bake: [{name: http, options: {path: /a}}]}", r"checks\.bake\.0\.options\.paths: is missing"),
        ("{smoke: [{name: http, options: {paths: [a]}}]}", r"checks\.smoke\.0\.options\.paths\.0"),
        ("{smoke: [{name: sql, options: {connection: c, query: SELECT 1}}]}", "neither value nor rows is given"),
        ("{smoke: [{name: command, options: {run: [/bin/sh, -c, id]}}]}", r"smoke\.0\.options: .*no rule allows"),
        ("{smoke: [{name: http, options: {paths: [/], ca: FOLDER/none.pem}}]}", r"none\.pem cannot be read"),
    ],
)  # fmt: skip
def test_options_that_cannot_work_are_named_at_their_line(tmp_path: Path, checks: str, says: str) -> None:
    environment = given(tmp_path, f"checks: {checks}")
    with pytest.raises(InvalidInput, match=says):
        check_deep(environment)


def test_right_checks_pass_and_their_unknown_connections_are_named(tmp_path: Path) -> None:
    sql = "{name: sql, options: {connection: nowhere, query: SELECT 1, value: {equals: 1}}}"
    environment = given(tmp_path, f"checks: {{bake: [{sql}]}}")
    check_deep(environment)
    named = {place: text for place, text in unknown_connections(environment) if place[0] == "checks"}
    assert list(named) == [("checks", "bake", 0, "options", "connection")]


def test_the_shipped_allow_list_allows_nothing_by_itself(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("certificates")
    found = planned_checks(given(tmp_path, "checks: {smoke: [{name: http, options: {paths: [/], ca: FOLDER/ca.pem}}]}"))
    assert found.smoke[0].basis["ca"].startswith("sha256:")
    assert json.loads(found.model_dump_json())["smoke"][0]["options"]["status"] == ["2xx"]
