"""A version that failed is not forgotten: what real ledgers say of one content, and what the gates make of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airlock.change.content import CONTENT
from airlock.change.text import approval_text
from airlock.deploy.resolution import resolve_artifact
from airlock.errors import EvidenceInvalid, GateRefused
from airlock.flow.stages import change, undo
from airlock.flow.stages.content import look_again
from airlock.flow.stages.release import Release
from airlock.models import Record, utc_now
from airlock.past import ledgers
from airlock.past.content import content_past
from airlock.recompute.release import recompute
from airlock.service.reading import load_file
from tests.memory_delivery import in_memory
from tests.recompute import flown
from tests.recompute.test_release import BAD, FORM, GOOD, SIGNER, YES, explained, forged, put

STANDARD = {"version": "1.1", "change_type": "standard"}


@pytest.fixture(scope="module", autouse=True)
def keys() -> Iterator[None]:
    with flown.keys():
        yield


def fly(folder: Path, name: str, form: dict[str, Any], good: bool = True, answers: Any = YES, content: str = "1.1",
        version: str = "1.1") -> flown.Flight:
    flight = flown.prepared(folder, "{}", (GOOD,) * 12 if good else (BAD,) * 4, answers, name)
    (folder / f"cafe-{version}.bin").write_text(content)
    flight.carry_out({**form, "version": version})
    return flight


def ended(flight: flown.Flight) -> tuple[str, str]:
    found = flight.release.latest("outcome") or {}
    found_again = recompute(Path(flight.release.environment.evidence) / f"{flight.release.id}.zip", [SIGNER.public_pem])
    assert found_again.ok, explained(found_again)
    return found["outcome"], found["why"]


def test_what_the_canary_rolled_back_is_no_standard_change_under_any_name(tmp_path):
    assert ended(fly(tmp_path, "cafe-live-1", STANDARD, good=False))[0] == "rolled_back"
    outcome, why = ended(fly(tmp_path, "cafe-live-2", STANDARD))
    assert outcome == "refused"
    assert "failed here: 1.1 was rolled back here on" in why and "(cafe-live-1)" in why and "a normal change" in why
    outcome, why = ended(fly(tmp_path, "cafe-live-3", STANDARD, version="1.1.1"))
    assert outcome == "refused" and "1.1 was rolled back here" in why
    assert ended(fly(tmp_path, "cafe-live-4", STANDARD, content="mended"))[0] == "promoted"


def test_a_normal_change_carries_it_with_its_history_at_the_head_of_text_and_risk(tmp_path):
    fly(tmp_path, "cafe-live-1", STANDARD, good=False)
    flight = fly(tmp_path, "cafe-live-2", FORM)
    assert ended(flight)[0] == "promoted"
    plan = flight.release.plan
    assert plan.risk.factors[0].name == CONTENT and plan.risk.factors[0].points == 30 and plan.risk.failed_before
    text = approval_text(plan)
    assert text.index("THIS CONTENT FAILED BEFORE") < text.index("Requester")
    assert "was rolled back here on" in text and r"cafe\-live\-1" in text
    # Nor does its promotion make it one that nobody looks at.
    assert ended(fly(tmp_path, "cafe-live-3", STANDARD))[0] == "refused"


def test_an_emergency_shows_it_too(tmp_path):
    fly(tmp_path, "cafe-live-1", STANDARD, good=False)
    form = {**FORM, "change_type": "emergency", "incident": "INC-7", "justification": "Guests are inside."}
    flight = fly(tmp_path, "cafe-live-2", form)
    assert ended(flight)[0] == "promoted"
    assert "THIS CONTENT FAILED BEFORE" in approval_text(flight.release.plan)


def test_what_people_rejected_is_not_let_through_without_people(tmp_path):
    rejected = fly(tmp_path, "cafe-live-1", FORM, answers=(("olga", "reject", "not this one"),))
    assert ended(rejected)[0] == "refused"
    outcome, why = ended(fly(tmp_path, "cafe-live-2", STANDARD))
    assert outcome == "refused" and "was rejected here" in why and "not this one" in why


def test_what_on_call_took_back_is_no_standard_change(tmp_path):
    first = fly(tmp_path, "cafe-live-1", STANDARD)
    assert ended(first)[0] == "promoted"
    back = flown.prepared(tmp_path, "{}", (GOOD,) * 12, YES, "cafe-live-2")
    back.release.delivery = first.release.delivery
    flown.Flight(back.release, YES, lambda release, _: undo.request(release, "It burns.", None, "rita")).carry_out({})
    assert ended(back)[0] == "promoted"
    outcome, why = ended(fly(tmp_path, "cafe-live-3", STANDARD))
    assert outcome == "refused" and "taken back by cafe-live-2" in why


def test_what_a_review_blames_is_no_standard_change(tmp_path):
    flight = fly(tmp_path, "cafe-live-1", STANDARD)
    reviews = ledgers.stream(flight.release.environment, ledgers.FOLLOW_UP)
    reviews.append(Record(release="cafe-live-9", type="review", at=utc_now(), actor="test",
                          data={"answers": {"caused_by": "cafe-live-1"}}))
    outcome, why = ended(fly(tmp_path, "cafe-live-2", STANDARD))
    assert outcome == "refused" and "names it as the cause of an emergency" in why


def add_main(source: str, more: str = "    after: live\n", template: str = "") -> None:
    head, block = Path(source).read_text().split("  live:\n")
    Path(source).write_text(f"{head}  live:\n{block}  main:\n{more}"
                            + block.replace("        maximum_risk: 60\n", f"        maximum_risk: 60\n{template}"))


def second(folder: Path, more: str = "    after: live\n", template: str = "") -> Release:
    """A release to ``main``, which comes after ``live``."""
    source = flown.prepared(folder, "{}", (), ()).release.environment.source
    add_main(source, more, template)
    where = next(one for one in load_file(source) if one.environment == "main")
    release = Release(where, f"cafe-main-{utc_now():%H%M%S%f}", "test")
    release.delivery = in_memory(resolve_artifact(where, "1.0"))
    release.metrics = flown.GivenMetrics((GOOD,) * 12)
    return release


def carried(release: Release, form: dict[str, Any] = STANDARD) -> tuple[str, str]:
    flight = flown.Flight(release, YES)
    flight.carry_out(form)
    return ended(flight)


@pytest.mark.parametrize("where", [("    after: live\n", ""), ("", "        promoted_in: live\n")])
def test_a_standard_change_is_of_content_that_stands_as_promoted_where_the_file_says(tmp_path, where):
    assert "does not stand as promoted in live" in carried(second(tmp_path, *where))[1]
    fly(tmp_path, "cafe-live-1", STANDARD, content="another build under the same name")
    assert "does not stand as promoted in live" in carried(second(tmp_path, *where))[1]
    fly(tmp_path, "cafe-live-2", STANDARD)
    assert carried(second(tmp_path, *where))[0] == "promoted"


def test_a_normal_change_says_that_it_was_not_promoted_before(tmp_path):
    release = second(tmp_path)
    assert carried(release, FORM)[0] == "promoted"
    factor = release.plan.risk.factors[0]
    assert (factor.points, factor.reason) == (5, "it does not stand as promoted in live")


def test_content_that_is_swapped_after_the_plan_is_looked_at_anew(tmp_path):
    fly(tmp_path, "cafe-live-1", FORM, good=False, content="bad")
    for name, form in (("cafe-live-2", FORM), ("cafe-live-3", STANDARD)):
        flight = flown.prepared(tmp_path, "{}", (), (), name)
        change.validate(flight.release, form, "rita")
        change.assess(flight.release)
        (tmp_path / "cafe-1.1.bin").write_text("bad")
        with pytest.raises(GateRefused, match="the artifact was replaced, and what is known of its content"):
            change.refreeze(flight.release)


@pytest.mark.parametrize(("form", "said"), [
    (STANDARD, "1.1.* does not stand as promoted in live"),
    (FORM, "which nobody who approved has read: 1.1 was promoted in live on .* and taken back by cafe-live-2"),
])
def test_what_fails_elsewhere_while_a_release_waits_is_seen_before_its_first_act(tmp_path, form, said):
    first = fly(tmp_path, "cafe-live-1", STANDARD)
    release = second(tmp_path)
    change.validate(release, form, "rita")
    change.assess(release)
    look_again(release, utc_now())
    back = flown.prepared(tmp_path, "{}", (GOOD,) * 12, YES, "cafe-live-2")
    back.release.delivery = first.release.delivery
    flown.Flight(back.release, YES, lambda release, _: undo.request(release, "It burns.", None, "rita")).carry_out({})
    add_main(release.environment.source)
    with pytest.raises(GateRefused, match=said):
        look_again(release, utc_now())


def test_what_was_known_when_people_approved_holds_nothing_up(tmp_path):
    fly(tmp_path, "cafe-live-1", STANDARD, good=False)
    release = second(tmp_path)
    change.validate(release, FORM, "rita")
    assert change.assess(release).risk.failed_before
    look_again(release, utc_now())


def test_another_request_for_it_that_is_refused_meanwhile_says_nothing_against_it(tmp_path):
    release = second(tmp_path)
    change.validate(release, FORM, "rita")
    change.assess(release)
    refused = second(tmp_path, "    after: live\n")
    assert carried(refused)[0] == "refused"
    look_again(release, utc_now())


def test_an_emergency_goes_on_and_says_what_became_known(tmp_path, caplog):
    release = second(tmp_path)
    form = {**FORM, "change_type": "emergency", "incident": "INC-7", "justification": "Guests are inside."}
    change.validate(release, form, "rita")
    change.assess(release)
    fly(tmp_path, "cafe-live-1", STANDARD, good=False)
    add_main(release.environment.source)
    look_again(release, utc_now())
    assert "this became known: 1.1 was rolled back in live" in caplog.text and "the emergency goes on" in caplog.text


def test_a_history_that_was_forged_is_not_believed(tmp_path):
    flight = fly(tmp_path, "cafe-live-1", STANDARD, good=False)
    for path in (tmp_path / "ledger/cafe/live/cafe-live-1").glob("*-outcome-*"):
        path.write_bytes(path.read_bytes().replace(b"rolled_back", b"promoted___"))
    where = flight.release.environment
    with pytest.raises(EvidenceInvalid):
        content_past(where, resolve_artifact(where, "1.1").digest, ())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (put("content", "digest", value=f"sha256:{0:064}"), "digest"),
        (put("content", "here", value="elsewhere"), "here"),
        (put("after", value="staging"), "comes_from"),
        (put("content", "appearances", value=[{
            "release": "r", "environment": "live", "version": "1.1", "at": (utc_now() - timedelta(1)).isoformat(),
            "outcome": "rolled_back"}]), "allowed: true -> false"),
    ],
)
def test_a_standard_change_on_record_is_decided_again_from_its_content(tmp_path, change, field):
    fly(tmp_path, "cafe-live-1", STANDARD)
    found = forged(tmp_path, "standard_change", change)
    assert not found.ok
    assert any(field in said for one in found.differing for said in one.differences), explained(found)
