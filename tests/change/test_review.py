from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.change.review import QUESTIONS, checked, owed
from airlock.errors import InvalidInput
from airlock.models import Outcome

GOOD = {"what_happened": "The canary answered with errors.", "way_back": "as_planned", "surprises": None,
        "will_change": "A test is added.", "caused_by": ""}
RELEASES = {"cafe-live-1", "cafe-live-2"}


@pytest.mark.parametrize(
    ("outcome", "kind", "wanted"),
    [
        (Outcome.ROLLED_BACK, "normal", True), (Outcome.ROLLED_BACK, "standard", True),
        (Outcome.PROMOTED, "emergency", True), (Outcome.PROMOTED, "normal", False),
        (Outcome.PROMOTED, "rollback", True),
        (Outcome.REFUSED, "emergency", False), (Outcome.SKIPPED, "standard", False),
    ],
)
def test_when_a_review_is_owed(outcome, kind, wanted):
    assert bool(owed(outcome, kind)) == wanted


def test_answers_are_kept_without_empty_ones():
    assert set(checked(GOOD, RELEASES, "cafe-live-2")) == {"what_happened", "way_back", "will_change"}
    assert checked({**GOOD, "caused_by": "cafe-live-1"}, RELEASES, "cafe-live-2")["caused_by"] == "cafe-live-1"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"what_happened": "short"}, "What happened? wants at least 10"),
        ({"what_happened": None}, "What happened? wants at least 10"),
        ({"way_back": "maybe"}, "wants one of as_planned"),
        ({"way_back": "with_surprises"}, "Surprises on the way back: say what"),
        ({"will_change": "x" * 4001}, "at most 4000"),
        ({"will_change": "turned \u202e round it is"}, "invisible or direction"),
        ({"caused_by": "cafe-live-2"}, "is no other release"),
        ({"caused_by": "../../x"}, "is no other release"),
    ],
)
def test_every_fault_is_named(answer, said):
    with pytest.raises(InvalidInput) as caught:
        checked({**GOOD, **answer}, RELEASES, "cafe-live-2")
    assert said in str(caught.value)


@given(st.dictionaries(st.sampled_from([one.name for one in QUESTIONS]),
                       st.one_of(st.none(), st.text(max_size=60), st.integers())))
def test_anything_at_all_is_taken_or_refused_in_a_sentence(answers):
    try:
        assert set(checked(answers, RELEASES, "r")) <= {one.name for one in QUESTIONS}
    except InvalidInput as error:
        assert len(str(error)) < 3000
