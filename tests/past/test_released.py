"""Ledgers are older than the build that reads them: what was released is told from plans of any form."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airlock.errors import EvidenceInvalid, PermitInvalid
from airlock.evidence.ledger import Ledger
from airlock.flow.stages.cycle import past_of
from airlock.flow.stages.release import Release
from airlock.models import Record
from airlock.past import ledgers
from airlock.past.content import content_past
from airlock.past.released import Released, digest_seen, released
from tests import service_data

RELEASE = "cafe-live-20260301T100000-0123456789abcdef"
RFC = {"change_type": "normal", "undoes": None, "a_field_of_then": 1}
PLAN = {"artifact": {"version": "1.1", "digest": f"sha256:{'1' * 64}", "path": "/gone"}, "current_version": "1.0",
        "rfc": RFC, "a_setting_of_then": {}}


def at(minute: int) -> datetime:
    return datetime(2026, 3, 1, 10, minute, tzinfo=UTC)


def written(ledger: Ledger, kind: str, minute: int, **data: Any) -> None:
    ledger.append(Record(release=RELEASE, type=kind, subject="", at=at(minute), actor="task", data=data))


def test_a_plan_of_another_build_tells_what_it_released(tmp_path: Path) -> None:
    environment = service_data.environment(tmp_path)
    ledger = ledgers.releases(environment)
    assert released(ledger, RELEASE) is None
    written(ledger, "rfc", 0, rfc=RFC)
    assert released(ledger, RELEASE) is None
    written(ledger, "plan", 1, plan=PLAN, digest="sha256:0")
    written(ledger, "staged", 2, state={"versions": [{"version": "1.0", "digest": "sha256:2", "slot_of_then": "a"}]})
    written(ledger, "outcome", 3, outcome="promoted", why="fine")
    assert released(ledger, RELEASE) == Released("1.1", PLAN["artifact"]["digest"], "1.0")
    assert digest_seen(ledger, RELEASE, "1.0") == "sha256:2"
    assert digest_seen(ledger, RELEASE, "0.9") == ""
    assert [one.version for one in past_of(environment).promoted] == ["1.1"]
    appeared = content_past(environment, PLAN["artifact"]["digest"], ()).appearances
    assert [(one.version, one.outcome) for one in appeared] == [("1.1", "promoted")]


def test_such_a_release_is_not_carried_on_and_the_message_says_what_to_do(tmp_path: Path) -> None:
    environment = service_data.environment(tmp_path)
    written(ledgers.releases(environment), "plan", 1, plan=PLAN, digest="sha256:0")
    with pytest.raises(PermitInvalid, match=r"another build of Airlock .*; let that build end the release"):
        _ = Release(environment, RELEASE, "task").plan


def test_a_plan_without_a_content_is_no_evidence(tmp_path: Path) -> None:
    ledger = ledgers.releases(service_data.environment(tmp_path))
    written(ledger, "plan", 1, plan={"artifact": None}, digest="sha256:0")
    with pytest.raises(EvidenceInvalid, match="does not say which content"):
        released(ledger, RELEASE)
