from __future__ import annotations

import pytest

from airlock.change.approval import rules_for
from airlock.change.planning import build_plan
from airlock.change.rfc import rfc_from_form
from airlock.change.risk import assess
from airlock.change.risk_policy import load_risk_policy
from airlock.deploy.resolution import resolve_artifact
from airlock.errors import InvalidInput
from airlock.models import Plan
from tests.change.test_rfc import FORM
from tests.service_data import environment, known_facts


@pytest.fixture
def cafe(tmp_path):
    for version in ("1.2", "1.10", "1.1"):
        (tmp_path / f"cafe-{version}.bin").write_bytes(b"coffee " + version.encode())
    (tmp_path / "cafe-notes.txt").write_text("not an artifact")
    return environment(tmp_path)


def plan_of(cafe, **form):
    rfc = rfc_from_form({**FORM, **form}, "rita", cafe)
    risk = assess(rfc, cafe, known_facts(cafe), load_risk_policy())
    return build_plan("r1", rfc, cafe, resolve_artifact(cafe, rfc.version), "1.0", rules_for(risk, rfc, cafe), risk)


def test_a_plan_survives_json_and_its_digest_follows_every_part(cafe, tmp_path):
    plan = plan_of(cafe)
    assert Plan.model_validate_json(plan.model_dump_json()).digest == plan.digest == plan_of(cafe).digest
    assert plan.calendar["windows"][0]["from"] == "09:00"
    other = environment(tmp_path, ("percent: 10", "percent: 11"))
    assert plan_of(other).digest != plan.digest
    assert plan_of(cafe, title="Other title").digest != plan.digest
    (tmp_path / "cafe-1.1.bin").write_bytes(b"tea")
    assert plan_of(environment(tmp_path)).digest != plan.digest


def test_a_request_for_another_version_or_environment_is_refused(cafe):
    plan = plan_of(cafe)
    with pytest.raises(InvalidInput, match="but the artifact is"):
        build_plan("r1", plan.rfc, cafe, resolve_artifact(cafe, "1.2"), "1.0", (), plan.risk)
    elsewhere = plan.rfc.model_copy(update={"environment": "test"})
    with pytest.raises(InvalidInput, match="not for cafe live"):
        build_plan("r1", elsewhere, cafe, plan.artifact, "1.0", (), plan.risk)
