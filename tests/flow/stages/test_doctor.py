"""What the tasks of the DAG ``doctor`` do: which environments, what is handed on, and what the log says."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from airlock.doctor.components import TRIGGERER, WORKER, Component
from airlock.doctor.finding import Gravity, Report, Subject
from airlock.errors import InvalidInput, UnknownName
from airlock.flow.stages import doctor
from tests.service_data import environment, write

SUBJECT = Subject("resources", "x")


def test_the_form_says_which_environments_and_nothing_says_all(tmp_path: Path) -> None:
    folder = write(tmp_path).parent
    assert doctor.meant(folder, "", "") == ["cafe live"]
    assert doctor.meant(folder, "cafe", "") == doctor.meant(folder, "", "live") == ["cafe live"]
    with pytest.raises(UnknownName, match="no service 'caff': did you mean 'cafe'"):
        doctor.meant(folder, "caff", "")
    for service in ("cafe", ""):
        with pytest.raises(UnknownName, match="no environment 'dead': declared are live"):
            doctor.meant(folder, service, "dead")
    (folder / "shop.yaml").write_text("service: shop\nwrong: [")
    assert doctor.meant(folder, "shop", "") == [], "the wrong file is a fault of the outcome"
    assert doctor.named(folder, "cafe live").environment == "live"
    with pytest.raises(InvalidInput):
        doctor.named(folder, "cafe dead")


def test_a_service_file_that_is_wrong_is_a_fault(tmp_path: Path) -> None:
    folder = write(tmp_path).parent
    assert doctor.wrong_files(folder).findings == ()
    (folder / "broken.yaml").write_text("service: [")
    (found,) = doctor.wrong_files(folder).findings
    assert found.gravity is Gravity.FAULT
    assert "broken.yaml" in found.what


def test_what_is_handed_on_is_bounded_and_has_every_fault_first() -> None:
    findings = [SUBJECT.fine("fine")] * 500 + [SUBJECT.found(Gravity.NOTE, "note")] * 500
    report = Report(findings=(*findings, SUBJECT.fault("fault", "why", "mend")))
    found = doctor.short(report).findings
    assert found[0].gravity is Gravity.FAULT
    assert len(found) == 100
    assert Gravity.FINE not in {one.gravity for one in found}
    assert doctor.short(report).sentence == report.sentence, "what is not handed on is counted all the same"
    assert doctor.short(report).exit_code == report.exit_code
    assert len(report.model_dump_json()) > len(doctor.short(report).model_dump_json())


def test_the_log_has_every_finding_with_its_gravity(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    doctor.told([SUBJECT.fine("all is well"), SUBJECT.found(Gravity.WARNING, "hm"),
                 SUBJECT.fault("it is gone", "nobody can read it", "bring it back")])  # fmt: skip
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert ("INFO", "fine: resources, x: all is well") in lines
    assert ("WARNING", "warning: resources, x: hm") in lines
    assert ("ERROR", "fault: resources, x: it is gone; why: nobody can read it; next: bring it back") in lines


def test_components_and_people_are_one_report(tmp_path: Path) -> None:
    one = environment(tmp_path)
    assert doctor.people_of([one]) == ["bert", "cleo", "olga"]
    own = Component(role=WORKER, host="w", code="a" * 64, airflow="3.3.2")
    report = doctor.components(own, (own.model_copy(update={"role": TRIGGERER}),), None, [one])
    assert [found.where for found in report.findings if found.gravity is Gravity.FAULT] == ["API server"]
    assert [found.area for found in report.findings if found.gravity is Gravity.NOT_ASKED] == ["people"]
