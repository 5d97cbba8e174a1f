"""What a release will need of its artifacts' signatures, asked before one begins."""

from __future__ import annotations

from pathlib import Path

from airlock.doctor.finding import Finding
from airlock.doctor.questions import questions
from airlock.errors import InvalidInput
from tests.deploy.test_resolution import ATTESTATION, SIGNATURE, demanding
from tests.signing_keys import PROVENANCE, publisher


def found(folder: Path, *demands: str) -> list[Finding | str]:
    said: list[Finding | str] = []
    for question in questions(demanding(folder, *demands)):
        if question.subject.area == "artifact" and question.subject.where == "signatures":
            try:
                said += question.ask(question.subject)
            except InvalidInput as error:
                said.append(str(error))
    return said


def test_the_keys_of_signatures_are_asked_for(tmp_path: Path) -> None:
    assert found(tmp_path) == []
    one, other = found(tmp_path, SIGNATURE, ATTESTATION)
    assert isinstance(one, Finding) and isinstance(other, Finding)
    assert publisher().id[:16] in str(one) and PROVENANCE in str(other)


def test_keys_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    lost = SIGNATURE.replace("keys.pem", "lost.pem")
    (said,) = found(tmp_path, lost)
    assert isinstance(said, str) and "lost.pem" in said and "cannot be read" in said
