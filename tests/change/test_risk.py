from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.change.form import CHANGE_TYPES, IMPACTS, QUESTIONS
from airlock.change.history import PastChange
from airlock.change.risk import assess
from airlock.change.risk_policy import RiskCondition, Rule, load_risk_policy
from airlock.models import Category, Outcome, Rfc, digest_of
from tests.service_data import TUESDAY_NOON, environment, known_facts

POLICY = load_risk_policy()
BEST = {"users": "nobody", "tested": "production_like", "done_before": "often", "downtime": "none"}


@pytest.fixture(scope="module")
def cafe(tmp_path_factory):
    return environment(tmp_path_factory.mktemp("cafe"))


def request(version="1.1", change_type="normal", impact="low: x", **more):
    return Rfc(
        service="cafe", environment="live", version=version, change_type=change_type, title="t", reason="r",
        impact=impact, rollback_plan="p", requester="rita", **{"answers": BEST, **more},
    )


def past(*failed, blamed=()):
    outcomes = [Outcome.ROLLED_BACK if one else Outcome.PROMOTED for one in failed]
    return [
        PastChange(release=f"r{n}", outcome=outcome, at=TUESDAY_NOON - timedelta(days=n + 1), change_type="normal",
                   blamed=n in blamed).model_dump(mode="json")
        for n, outcome in enumerate(outcomes)
    ]


def points(risk):
    return {factor.name: factor.points for factor in risk.factors}


def reasons(risk):
    return {factor.name: factor.reason for factor in risk.factors}


def test_the_score_is_the_sum_of_its_factors_and_each_has_a_reason(cafe):
    risk = assess(request(), cafe, known_facts(cafe), POLICY)
    assert risk.score == sum(points(risk).values()) == 12 + 5 + 1 + 3 + 4
    assert all(factor.reason for factor in risk.factors)
    assert (risk.level, risk.policy) == ("low", digest_of(POLICY))


@pytest.mark.parametrize(
    ("score", "level"), [(0, "low"), (39, "low"), (40, "medium"), (69, "medium"), (70, "high"), (100, "high")]
)
def test_levels(score, level):
    assert POLICY.level_of(score) == level


@pytest.mark.parametrize(
    ("factor", "fact", "expected", "said"),
    [
        ("version step", {"current_version": "1.1"}, 0, "a small step"),
        ("version step", {"current_version": "1.0"}, 3, "another minor version"),
        ("version step", {"current_version": "2.0"}, 10, "older"),
        ("version step", {"current_version": "0.9"}, 10, "another major"),
        ("version step", {"current_version": None}, 10, "unknown"),
        ("version step", {"current_version": "main"}, 10, "unknown"),
        ("artifact size", {"artifact_bytes": {"now": 100, "wanted": 105}}, 0, "5.0 %"),
        ("artifact size", {"artifact_bytes": {"now": 100, "wanted": 40}}, 3, "60.0 %"),
        ("artifact size", {"artifact_bytes": {"now": 0, "wanted": 40}}, 5, "%"),
        ("artifact size", {"artifact_bytes": {"now": 7}}, 5, "unknown"),
        ("artifact size", {"artifact_bytes": None}, 5, "unknown"),
        ("way back", {"way_back": {"verdict": "reversible", "reason": "no schema"}}, 0, "reversible: no schema"),
        ("way back", {"way_back": {"verdict": "fix_forward", "reason": "x"}}, 10, "fix forward"),
        ("way back", {"way_back": {"verdict": "needs_restore", "reason": "drops a table"}}, 15, "drops a table"),
        ("way back", {"way_back": {"verdict": "surely", "reason": "x"}}, 15, "unknown"),
        ("way back", {"way_back": None}, 15, "unknown"),
        ("restore drills", {"restore_drills": {}}, 6, "configuration.settings"),
        ("restore drills", {"restore_drills": None}, 6, "no restore is proved"),
        ("restore drills", {"restore_drills": {"configuration.settings": "2026-11-23T11:00:00+00:00"}}, 0, "23 Nov"),
        ("restore drills", {"restore_drills": {"configuration.settings": "2026-11-10T11:00:00+00:00"}}, 2, "10 Nov"),
        ("restore drills", {"restore_drills": {"configuration.settings": "2026-01-10T11:00:00+00:00"}}, 4, "10 Jan"),
        ("history", {"history": None}, 15, "unknown"),
        ("history", {"history": []}, 4, "too few for a rate (from 10 on)"),
        ("history", {"history": past(True, False, True)}, 12, "2 of 3"),
        ("history", {"history": past(*[False] * 20)}, 2, "0 of the last 20 changes here failed"),
        ("history", {"history": past(*[True] * 20)}, 15, "between 83.9% and 100.0%"),
        ("history", {"history": past(*[False] * 20, blamed=(3, 4))}, 5, "2 of the last 20"),
        ("hours", {"now": TUESDAY_NOON}, 0, "within office hours"),
        ("hours", {"now": datetime(2026, 11, 22, 11, tzinfo=UTC)}, 5, "Sunday 12:00 in Europe/Berlin"),
        ("hours", {"now": datetime(2026, 11, 24, 6, 59, tzinfo=UTC)}, 5, "outside"),
        ("hours", {"now": datetime(2026, 11, 24, 7, 0, tzinfo=UTC)}, 0, "within"),
        ("hours", {"now": datetime(2026, 11, 24, 17, 0, tzinfo=UTC)}, 5, "outside"),
        ("hours", {"now": None}, 5, "unknown"),
    ],
)
def test_each_fact_weighs_what_the_policy_says(cafe, factor, fact, expected, said):
    risk = assess(request(), cafe, {**known_facts(cafe), **fact}, POLICY)
    assert (points(risk)[factor], said in reasons(risk)[factor]) == (expected, True), reasons(risk)[factor]


def test_a_later_start_counts_instead_of_now(cafe):
    late = request(start_after=datetime(2026, 11, 28, 11, tzinfo=UTC))
    assert points(assess(late, cafe, known_facts(cafe), POLICY))["hours"] == 5


@pytest.mark.parametrize(
    ("more", "expected", "said"),
    [
        ({}, 0, "impact low 0"),
        ({"answers": {}}, 21, "tested not answered, counts as the worst 6"),
        ({"impact": "high: all"}, 25, "rule 'high impact' gives 25"),
        ({"impact": "high: all", "answers": {}}, 46, "the higher counts, the questionnaire"),
        ({"impact": "not rated"}, 25, "impact not answered"),
        ({"impact": "anything", "change_type": "standard", "answers": {}}, 25, "when the template was approved"),
        ({"impact": "low: x", "change_type": "standard", "answers": {}}, 0, "when the template was approved"),
    ],
)
def test_the_higher_of_rules_and_questionnaire_counts(cafe, more, expected, said):
    risk = assess(request(**more), cafe, known_facts(cafe), POLICY)
    assert points(risk)["rules or questionnaire"] == expected
    assert said in reasons(risk)["rules or questionnaire"]


def test_the_first_rule_that_fits_counts(cafe):
    rules = (Rule(name="one", when=RiskCondition(tiers=(1,)), points=90),
             Rule(name="two", when=RiskCondition(categories=(Category.CONFIGURATION,)), points=20),
             Rule(name="three", points=30))
    policy = POLICY.model_copy(update={"rules": rules})

    def found(category):
        return points(assess(request(category=category), cafe, known_facts(cafe), policy))["rules or questionnaire"]

    assert (found(Category.CONFIGURATION), found(Category.APPLICATION)) == (20, 30)


CAUSES = st.fixed_dictionaries({
    "now": st.sampled_from([TUESDAY_NOON, TUESDAY_NOON + timedelta(hours=9)]),
    "current_version": st.sampled_from(["1.0", "1.1.1", "2.0"]),
    "artifact_bytes": st.builds(lambda now, wanted: {"now": now, "wanted": wanted}, st.integers(0, 9999),
                                st.integers(0, 9999)),
    "way_back": st.sampled_from(["reversible", "fix_forward", "needs_restore"]).map(
        lambda verdict: {"verdict": verdict, "reason": "r"}),
    "restore_drills": st.integers(0, 400).map(
        lambda days: {"configuration.settings": (TUESDAY_NOON - timedelta(days=days)).isoformat()}),
    "history": st.lists(st.booleans(), max_size=30).map(lambda failed: past(*failed)),
})
REQUESTS = st.builds(
    request,
    version=st.from_regex(r"\A[0-9A-Za-z][0-9A-Za-z.+_-]{0,30}\Z"),
    change_type=st.sampled_from(CHANGE_TYPES),
    impact=st.one_of(st.sampled_from([f"{impact}: x" for impact in IMPACTS]), st.text(max_size=20)),
    category=st.sampled_from(Category),
    answers=st.fixed_dictionaries({}, optional={name: st.sampled_from(known) for name, known in QUESTIONS.items()}),
)


@pytest.mark.campaign
@given(rfc=REQUESTS, facts=CAUSES, data=st.data())
def test_scores_are_bounded_explained_and_never_lowered_by_what_is_missing(cafe, rfc, facts, data):
    full = assess(rfc, cafe, facts, POLICY)
    assert 0 <= full.score <= 100
    assert full.score == min(100, sum(factor.points for factor in full.factors))
    assert all(factor.reason and factor.points >= 0 for factor in full.factors)
    missing = data.draw(st.sets(st.sampled_from(sorted(facts))))
    blind = assess(rfc, cafe, {name: value for name, value in facts.items() if name not in missing}, POLICY)
    silent = data.draw(st.sets(st.sampled_from(sorted(QUESTIONS))))
    kept = {name: answer for name, answer in rfc.answers.items() if name not in silent}
    unanswered = assess(rfc.model_copy(update={"answers": kept}), cafe, facts, POLICY)
    unrated = assess(rfc.model_copy(update={"impact": "?"}), cafe, facts, POLICY)
    for other in (blind, unanswered, unrated):
        assert other.score >= full.score
        assert all(points(other)[name] >= had for name, had in points(full).items())


WORSE = [
    ("tier", lambda cafe: [cafe.model_copy(update={"tier": tier}) for tier in (4, 3, 2, 1)]),
    ("environment", lambda cafe: [cafe.model_copy(update={"production": value}) for value in (False, True)]),
    ("resources", lambda cafe: [cafe.model_copy(update={"resources": cafe.resources * n}) for n in (1, 2, 3, 9)]),
]


@pytest.mark.parametrize(("factor", "worse"), WORSE, ids=[name for name, _ in WORSE])
@given(rfc=REQUESTS, facts=CAUSES)
def test_a_service_that_matters_more_never_has_a_lower_score(cafe, factor, worse, rfc, facts):
    risks = [assess(rfc, one, facts, POLICY) for one in worse(cafe)]
    assert [risk.score for risk in risks] == sorted(risk.score for risk in risks)
    assert [points(risk)[factor] for risk in risks] == sorted(points(risk)[factor] for risk in risks)


@given(rfc=REQUESTS, facts=CAUSES, days=st.integers(1, 500), failures=st.integers(0, 30))
def test_older_drills_worse_ways_back_and_more_failures_never_lower_it(cafe, rfc, facts, days, failures):
    def score(**fact):
        return assess(rfc, cafe, {**facts, **fact}, POLICY).score

    older = (TUESDAY_NOON - timedelta(days=days)).isoformat()
    oldest = (TUESDAY_NOON - timedelta(days=2 * days)).isoformat()
    assert score(restore_drills={"configuration.settings": older}) <= score(
        restore_drills={"configuration.settings": oldest}) <= score(restore_drills={})
    assert score(way_back={"verdict": "reversible", "reason": ""}) <= score(
        way_back={"verdict": "fix_forward", "reason": ""}) <= score(way_back={"verdict": "needs_restore", "reason": ""})
    few = past(*[n < failures for n in range(30)])
    more = past(*[n < failures + 1 for n in range(30)])
    assert score(history=few) <= score(history=more) <= score(history=None)
