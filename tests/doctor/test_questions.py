"""Everything that a service environment names is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airlock.doctor.asking import ask_all
from airlock.doctor.finding import Gravity
from airlock.doctor.questions import questions
from tests import service_data
from tests.real_servers import set_connection
from tests.recompute.flown import COUNTED, delivered

CHECKS = """checks:
      smoke:
        - {name: http, options: {paths: [/], address: "http://127.0.0.1:9"}}
        - {name: command, options: {run: [FOLDER/no-such-program]}}
      bake:
        - {name: sql, options: {connection: shop_reader, query: SELECT 1, value: {equals: 1}}}"""


def test_what_checks_need_is_asked_before_a_release_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, "shop_reader", conn_type="postgres", host="127.0.0.1", port=9, login="u", password="p")
    (tmp_path / "policies").mkdir()
    rule = {"name": "tool", "program": str(tmp_path / "no-such-program")}
    (tmp_path / "policies/commands.yaml").write_text(json.dumps({"commands": [rule]}))
    monkeypatch.setenv("AIRLOCK_POLICIES", str(tmp_path / "policies"))
    cafe = service_data.environment(
        tmp_path, *delivered(tmp_path), ("metrics: {name: envoy}", f"metrics: {COUNTED}"),
        ("    rollout:", f"    {CHECKS}\n    rollout:"),
    )
    asked = [one for one in questions(cafe) if one.subject.area == "checks"]
    found = {one.where: one.gravity for one in ask_all(asked) if one.gravity is Gravity.FAULT}
    assert set(found) == {"smoke http", "smoke command", "bake sql"}
