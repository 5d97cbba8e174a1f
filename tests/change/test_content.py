"""What speaks for and against one content: by table, and by properties."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.change.content import CONTENT, Appearance, ContentPast, comes_from, refusal, worse
from airlock.models import Outcome, Risk, RiskFactor
from airlock.service.standard_changes import StandardChange

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DIGEST = f"sha256:{1:064}"


def seen(number: int = 1, environment: str = "prod", outcome: str = "promoted", **more: object) -> Appearance:
    return Appearance.model_validate({
        "release": f"shop-{environment}-{number}", "environment": environment, "version": "1.2", "outcome": outcome,
        "at": NOW + timedelta(days=number), "why": "3 errors in 76 requests.", **more,
    })


def known(*appearances: Appearance, sources: tuple[str, ...] = ()) -> ContentPast:
    return ContentPast(digest=DIGEST, here="prod", comes_from=sources, appearances=appearances)


@pytest.mark.parametrize(
    ("one", "failed", "stands"),
    [
        (seen(), False, True),
        (seen(outcome="rolled_back", acted=True), True, False),
        (seen(outcome="refused"), False, False),
        (seen(outcome="refused", acted=True), True, False),
        (seen(outcome="refused", rejected=True), True, False),
        (seen(taken_back="shop-prod-9"), True, False),
        (seen(sent_back="shop-prod-9"), False, False),
        (seen(blamed=True), True, False),
        (seen(undoes="shop-prod-8"), False, False),
    ],
)
def test_what_speaks_against_content_and_what_stands(one, failed, stands):
    assert (one.failed, one.stands) == (failed, stands)


@pytest.mark.parametrize(
    ("past", "said"),
    [
        (known(), ""),
        (known(seen()), ""),
        (known(seen(outcome="rolled_back")), "the content of 1.2 .* failed here: 1.2 was rolled back here on 25 Nov "
         r"2026 12:00 UTC \(shop-prod-1\): 3 errors in 76 requests; .* ask for a normal change"),
        (known(seen(1, outcome="rolled_back"), seen(2)), "failed here"),
        (known(seen(outcome="refused", rejected=True)), "was rejected here"),
        (known(seen(taken_back="shop-prod-9")), "was promoted here .* and taken back by shop-prod-9"),
        (known(seen(blamed=True)), "a review names it as the cause of an emergency"),
        (known(seen(environment="staging", outcome="rolled_back")), ""),
        (known(sources=("staging",)), "does not stand as promoted in staging"),
        (known(seen(environment="staging"), sources=("staging",)), ""),
        (known(seen(environment="staging"), sources=("staging", "load")), "does not stand as promoted in load"),
        (known(seen(environment="staging", taken_back="x"), sources=("staging",)), "does not stand as promoted"),
        (known(seen(1, "staging", "rolled_back"), seen(2, "staging"), sources=("staging",)), ""),
    ],
)
def test_what_a_standard_change_does_not_carry(past, said):
    found = refusal("regular", "1.2", past)
    assert (found == "") == (said == "")
    assert re.search(said, found)


def test_other_names_do_not_hide_what_failed():
    past = known(seen(outcome="rolled_back").model_copy(update={"version": "9.9"}))
    assert "9.9 was rolled back here" in refusal("regular", "1.2", past)


def test_what_speaks_against_it_is_told_first_and_a_long_past_is_cut():
    past = known(*(seen(number) for number in range(2, 12)), seen(1, outcome="rolled_back"), sources=("staging",))
    told = past.sentences()
    assert "was rolled back here" in told[0] and "was promoted here on 05 Dec" in told[1]
    assert told[-2:] == ("6 more release(s) of it are on record", "it does not stand as promoted in staging")
    assert known().sentences() == ("nothing is known of it: it was not released here yet",)


def test_where_content_must_have_been():
    template = StandardChange(title="t", reason="r", impact="low", rollback_plan="p", promoted_in="load")
    assert comes_from("staging", [template]) == ("staging", "load")
    assert comes_from("load", [template]) == ("load",)
    assert comes_from(None) == ()


def risk(reason: str) -> Risk:
    return Risk(score=1, level="low", factors=(RiskFactor(name=CONTENT, points=0, reason=reason),))


def test_a_risk_that_was_scored_for_other_content_is_kept_only_where_nothing_is_worse():
    fresh = "; ".join(known().sentences())
    assert worse(known(), risk(fresh)) == ""
    assert "was rolled back here" in worse(known(seen(outcome="rolled_back")), risk(fresh))
    assert "does not stand" in worse(known(sources=("staging",)), risk("1.2 was promoted in staging"))
    assert worse(known(sources=("staging",)), risk("; ".join(known(sources=("staging",)).sentences()))) == ""


appearances = st.lists(st.builds(
    seen, st.integers(1, 9), st.sampled_from(["prod", "staging"]),
    st.sampled_from([Outcome.PROMOTED, Outcome.ROLLED_BACK, Outcome.REFUSED]), acted=st.booleans(),
    rejected=st.booleans(), blamed=st.booleans(), taken_back=st.sampled_from([None, "x"]),
), max_size=6)


@given(appearances, appearances)
def test_no_later_success_makes_failed_content_a_standard_change(before, later):
    past = known(*before, sources=("staging",))
    if past.failed_here:
        assert "failed here" in refusal("regular", "1.2", known(*before, *later, sources=("staging",)))
