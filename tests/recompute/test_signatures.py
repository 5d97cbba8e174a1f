"""No signature, no permit; and what a signature was verified with is verified again from the evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airlock.errors import GateRefused
from airlock.flow.stages import change
from airlock.models import Plan
from airlock.recompute.release import recompute
from tests.contracts.artifact_contract import sha256
from tests.recompute import flown
from tests.recompute.flown import FORM, GOOD, YES
from tests.recompute.test_release import SIGNER, explained, forged, put
from tests.signing_keys import PROVENANCE, publisher

SOURCE = '{name: file, options: {path: "FOLDER/cafe-{version}.bin"}}'


@pytest.fixture(autouse=True)
def connections() -> Any:
    with flown.keys():
        yield


@pytest.fixture
def flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> flown.Flight:
    """A release whose artifact must be signed, and attested."""
    (tmp_path / "keys.pem").write_text(publisher().pem)
    demands = f"[{{keys: [FOLDER/keys.pem]}}, {{keys: [FOLDER/keys.pem], predicate_type: '{PROVENANCE}'}}]"
    text = flown.service_data.TEXT.replace(SOURCE, f"{SOURCE[:-1]}, signatures: {demands}}}")
    monkeypatch.setattr(flown.service_data, "TEXT", text)
    return flown.prepared(tmp_path, "{}", (GOOD,) * 12, YES)


def sign(folder: Path, content: bytes = b"1.1") -> None:
    for name, said in (("", publisher().signed(content)), (".provenance", publisher().attested(sha256(content)))):
        (folder / f"cafe-1.1.bin{name}.sigstore.json").write_text(json.dumps(said))


def test_without_a_signature_there_is_no_plan_and_no_permit(flight: flown.Flight, tmp_path: Path) -> None:
    with pytest.raises(GateRefused, match="has no signature"):
        change.validate(flight.release, FORM, "rita")
    sign(tmp_path)
    change.validate(flight.release, FORM, "rita")
    sign(tmp_path, b"other")
    with pytest.raises(GateRefused, match="has no signature"):
        change.assess(flight.release)
    assert flight.release.latest("plan") is None
    with pytest.raises(GateRefused):
        change.permit(flight.release)


def test_a_signed_release_is_promoted_and_all_of_it_computed_again(flight: flown.Flight, tmp_path: Path) -> None:
    sign(tmp_path)
    found = recompute(flight.carry_out(FORM), [SIGNER.public_pem])
    assert found.ok and found.outcome == "promoted", explained(found)
    (answer,) = [one.answer for one in found.decisions if one.decision == "signatures"]
    assert answer == f"signature by {publisher().id[:16]}; {PROVENANCE} by {publisher().id[:16]}"
    plan = flight.release.plan
    assert [one.predicate_type for one in plan.artifact.signatures] == ["", PROVENANCE]
    assert Plan.model_validate_json(plan.model_dump_json()).digest == plan.digest


def test_a_key_that_is_no_longer_trusted_stops_the_release(flight: flown.Flight, tmp_path: Path) -> None:
    sign(tmp_path)
    change.validate(flight.release, FORM, "rita")
    change.assess(flight.release)
    flight._ask()
    change.permit(flight.release)
    assert flight.release.permitted("stage")
    (tmp_path / "keys.pem").write_text(publisher("p-256 other").pem)
    with pytest.raises(GateRefused, match="has no signature"):
        flight.release.permitted("stage")


@pytest.mark.parametrize(
    ("kind", "altered", "said"),
    [
        ("plan", put("plan", "artifact", "signatures", value=[]), "demanded -> missing"),
        ("plan", put("plan", "artifact", "signatures", 0, "key", value="0" * 64), "nothing on record"),
        ("plan", put("plan", "artifact", "signatures", 1, "predicate_type", value="x:y"), "nothing on record"),
        ("signature", put("public_key", value=publisher("p-256 other").pem), "none of the keys signed it"),
        ("signature", put("signed", "content", value=json.dumps(publisher("rsa").signed(b"1.1"))), "->"),
        ("signature", put("verified", "subject", value=sha256(b"x")), "nothing on record"),
    ],
)
def test_one_changed_value_is_named(flight: flown.Flight, tmp_path: Path, kind: str, altered: Any, said: str) -> None:
    sign(tmp_path)
    flight.carry_out(FORM)
    found = forged(tmp_path, kind, altered)
    assert not found.ok
    named = [text for one in found.differing if one.decision == "signatures" for text in one.differences]
    assert any(said in text for text in named), explained(found)
