from __future__ import annotations

import hashlib
import os

import pytest

from airlock.change.approval import rules_for
from airlock.change.planning import build_plan, resolve_artifact
from airlock.change.rfc import rfc_from_form
from airlock.change.risk import assess
from airlock.change.risk_policy import load_risk_policy
from airlock.errors import InvalidInput, PermanentError
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


def test_an_artifact_has_the_digest_of_its_content(cafe, tmp_path):
    artifact = resolve_artifact(cafe, "1.1")
    assert artifact.digest == "sha256:" + hashlib.sha256(b"coffee 1.1").hexdigest()
    assert artifact.path == f"{tmp_path}/cafe-1.1.bin"


def test_an_unknown_version_lists_what_is_there(cafe):
    with pytest.raises(InvalidInput, match=r"versions found are 1\.1, 1\.2, 1\.10;"):
        resolve_artifact(cafe, "9.9")


@pytest.mark.parametrize("version", ["", "../1", "1/1", "a\x00", "..", "{version}"])
def test_a_version_cannot_leave_the_folder(cafe, version):
    with pytest.raises(InvalidInput, match="is no version"):
        resolve_artifact(cafe, version)


def test_only_a_regular_file_of_the_folder_is_an_artifact(cafe, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-secret.bin"
    outside.write_bytes(b"secret")
    (tmp_path / "cafe-2.0.bin").symlink_to(outside)
    (tmp_path / "cafe-2.1.bin").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "cafe-2.2.bin")
    (tmp_path / "cafe-2.3.bin").mkdir()
    (tmp_path / "cafe-2.4.bin").symlink_to("cafe-2.4.bin")
    (tmp_path / "cafe-2.5.bin").symlink_to("cafe-1.1.bin")
    (tmp_path / "cafe-2.6.bin").symlink_to(f"../{tmp_path.name}/../{outside.name}")
    for version in ("2.0", "2.1", "2.6"):
        with pytest.raises(InvalidInput, match="is a link that leads out of"):
            resolve_artifact(cafe, version)
    for version in ("2.2", "2.3"):
        with pytest.raises(InvalidInput, match="is not a regular file"):
            resolve_artifact(cafe, version)
    with pytest.raises(PermanentError, match=r"cafe-2\.4\.bin"):
        resolve_artifact(cafe, "2.4")
    assert resolve_artifact(cafe, "2.5").digest == resolve_artifact(cafe, "1.1").digest


def test_an_artifact_beyond_all_measure_is_refused_before_it_is_read(cafe, tmp_path):
    with (tmp_path / "cafe-3.0.bin").open("wb") as sparse:
        sparse.truncate(1 << 42)
    with pytest.raises(InvalidInput, match="is larger than 64 GiB"):
        resolve_artifact(cafe, "3.0")


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
