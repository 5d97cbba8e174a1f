"""Which rule of the policy fits, by table, and what authors lose by it."""

from __future__ import annotations

import pytest

from airlock.change.approval import check_vote, eligible, retro_rules_for, rules_for
from airlock.change.authors import names_of
from airlock.change.policy import rule_for, terms_for, without_authors
from airlock.errors import GateRefused
from airlock.models import ApprovalRule, Rfc, Risk, Vote, utc_now
from airlock.service.reading import load_file
from tests.service_data import TEXT, write

POLICY = """\
name: house rules
rules:
  - name: evidence
    when: {levels: [low], change_types: [normal], production: false}
    evidence: true
  - name: emergency
    when: {change_types: [emergency]}
    seats: {service_owner: 1}
    timeout_hours: 2
    reminder_hours: [1, 0.5]
    escalation: {seats: {board: 1}, timeout_hours: 1}
  - name: schema
    when: {categories: [database_schema], tiers: [1, 2]}
    seats: {service_owner: 1, board: 1}
    absent: refuse
  - name: everything else
    seats: {board: 1}
    conflicts: refuse
"""
SHORT = TEXT[TEXT.index("    approvals:"):TEXT.index("    calendar:")]
NAMED = "    approvals: {policy: ../house.yaml}\n"


@pytest.fixture
def cafe(tmp_path):
    (tmp_path / "house.yaml").write_text(POLICY)
    return load_file(write(tmp_path, TEXT.replace(SHORT, NAMED)))[0]


def rfc(kind="normal", category="application"):
    return Rfc(service="cafe", environment="live", version="1", change_type=kind, title="t", reason="r", impact="i",
               rollback_plan="p", requester="rita", category=category)


def risk(level):
    return Risk(score={"low": 10, "medium": 50, "high": 90}[level], level=level, factors=())


@pytest.mark.parametrize(
    ("level", "kind", "category", "rule", "seats"),
    [
        ("low", "normal", "application", "evidence", {}),
        ("low", "normal", "database_schema", "evidence", {}),
        ("low", "emergency", "application", "emergency", {"service_owner": 1}),
        ("high", "emergency", "database_schema", "emergency", {"service_owner": 1}),
        ("medium", "normal", "database_schema", "schema", {"board": 1, "service_owner": 1}),
        ("high", "normal", "application", "everything else", {"board": 1}),
    ],
)
def test_the_first_rule_that_fits_decides(cafe, level, kind, category, rule, seats):
    found = rules_for(risk(level), rfc(kind, category), cafe)
    assert rule_for(risk(level), rfc(kind, category), cafe).name == rule
    assert {one.group: one.quorum for one in found} == seats
    terms = terms_for(risk(level), rfc(kind, category), cafe)
    assert (terms.rule, terms.policy, terms.evidence) == (rule, "house rules", not seats)


def test_what_passes_on_evidence_asks_nobody_unless_its_content_failed_before_or_the_calendar_is_overridden(cafe):
    low, normal = risk("low"), rfc()
    assert rules_for(low, normal, cafe) == ()
    terms = terms_for(low, normal, cafe)
    assert terms.evidence and terms.escalation == ()
    failed = low.model_copy(update={"failed_before": True})
    assert rule_for(failed, normal, cafe).name == "everything else"
    assert [one.group for one in rules_for(failed, normal, cafe)] == ["board"]
    assert not terms_for(failed, normal, cafe).evidence
    for other in (risk("medium"), risk("high")):
        assert rules_for(other, normal, cafe) != ()
    assert retro_rules_for(low, rfc("emergency"), cafe) == (), "as a normal change it would have asked nobody either"


def test_terms_hold_the_escalation_and_the_digest_of_the_whole_policy(cafe, tmp_path):
    terms = terms_for(risk("high"), rfc("emergency"), cafe)
    assert [(one.group, one.quorum) for one in terms.escalation] == [("board", 1)]
    assert (terms.timeout_hours, terms.escalation_hours, terms.reminder_hours) == (2, 1, (1, 0.5))
    (tmp_path / "house.yaml").write_text(POLICY.replace("absent: refuse", "absent: wait"))
    again = load_file(tmp_path / "services" / "cafe.yaml")[0]
    assert terms_for(risk("high"), rfc("emergency"), again).policy_digest != terms.policy_digest


def test_an_emergency_is_approved_once_more_by_whom_a_normal_change_needs(cafe):
    assert [one.group for one in retro_rules_for(risk("high"), rfc("emergency"), cafe)] == ["board"]
    assert retro_rules_for(risk("high"), rfc(), cafe) == ()


def test_a_standard_change_needs_nobody_whatever_the_policy(cafe):
    assert rules_for(risk("medium"), rfc("standard"), cafe) == ()
    terms = terms_for(risk("medium"), rfc("standard"), cafe)
    assert terms.evidence and "template" in terms.rule and terms.conflicts == "refuse"


RULES = (ApprovalRule(group="board", quorum=1, members=("bert", "cleo", "olga")),)


@pytest.mark.parametrize(
    "author",
    [
        "olga@cafe.example",
        "Olga O. <olga@cafe.example>",
        "Olga O. <olga@cafe.example>;",
        "OLGA@else.example",
        "0lga",
        "1234567+olga@users.noreply.github.com",
        "Some One <1234567+Olga@users.noreply.github.com> ",
        "1234567-olga@users.noreply.gitlab.com",
        "olga+git@cafe.example",
        "\uff4flga@cafe.example",
        "Some One <dev@cafe.example>, Other <olga@cafe.example>",
    ],
)
def test_who_wrote_it_does_not_approve_it_also_where_nobody_mapped_the_name(author):
    rules = without_authors(RULES, (author,), {})
    assert rules[0].members == ("bert", "cleo")
    assert eligible(rules, "rita") == ("bert", "cleo")
    with pytest.raises(GateRefused, match="wrote .*what is released|may be .* who wrote"):
        check_vote(rules, Vote(person="olga", choice="approve", at=utc_now()), "rita")


def test_a_mapped_author_is_the_one_that_the_people_file_names():
    known = {"Dev@cafe.example": "bert"}
    assert names_of(("Some One <dev@CAFE.example>",), known) == ("bert",)
    assert without_authors(RULES, ("dev@cafe.example",), known)[0].members == ("cleo", "olga")


@pytest.mark.parametrize(
    ("author", "known"),
    [
        ("Some One <dev@cafe.example>;", {"dev@cafe.example": "bert"}),
        ("Some One <dev@cafe.example>", {" Dev@cafe.example ; ": "bert"}),
        ("Some One <dev@cafe.example>", {"\uff24ev@cafe.example": "bert"}),
        ("Some One <dev@cafe.example>", {"Some One <dev@cafe.example>": "bert"}),
        ("Another <dev@cafe.example>", {"Some One <dev@cafe.example>": "bert"}),
        ("Some One <dev+git@cafe.example>", {"dev@cafe.example": "bert"}),
        ("Some One ", {"some one": "bert"}),
    ],
)
def test_a_mapping_holds_however_the_author_is_written(author, known):
    assert names_of((author,), known) == ("bert",)
    assert without_authors(RULES, (author,), known)[0].members == ("cleo", "olga")


@pytest.mark.parametrize("author", ["7+dev@users.noreply.github.com", "Dev <dev@home.example>", "dev"])
def test_who_may_be_somebody_known_is_taken_for_them_too(author):
    assert without_authors(RULES, (author,), {"dev@cafe.example": "bert"})[0].members == ("cleo", "olga")


@pytest.mark.parametrize(
    ("requester", "known"),
    [
        ("rita@home.example", {"rita@home.example": "bert"}),
        ("RITA@home.example;", {"Rita <rita@home.example>": "bert"}),
        ("rita+x@home.example", {"rita@home.example": "bert"}),
        ("rita", {"rita": "rl", "rl": "bert"}),
        ("rita", {"rita": "rl", "rl": "bert", "bert": "rita"}),
    ],
)
def test_a_requester_who_is_known_under_another_log_in_name_does_not_approve_under_it(requester, known):
    rules = without_authors(RULES, None, known, requester)
    assert rules[0].members == ("cleo", "olga")
    assert eligible(rules, requester) == ("cleo", "olga")
    with pytest.raises(GateRefused, match="bert wrote or asked for what is released"):
        check_vote(rules, Vote(person="bert", choice="approve", at=utc_now(), stands_for=("olga",)), requester)
    assert without_authors(RULES, None, {"else@home.example": "bert"}, requester)[0].members == RULES[0].members


def test_an_author_is_followed_through_every_name_that_the_people_file_gives():
    known = {"dev@cafe.example": "d1", "d1": "d2", "D2 ": "bert"}
    assert names_of(("Dev <dev@cafe.example>",), known) == ("bert", "d1", "d2")
    assert without_authors(RULES, ("Dev <dev@cafe.example>",), known)[0].members == ("cleo", "olga")


def test_a_mapped_author_is_nobody_else():
    known = {"olga@partner.example": "partner-olga"}
    assert without_authors(RULES, ("Olga P. <olga@partner.example>",), known)[0].members == ("bert", "cleo", "olga")
    two = without_authors(RULES, ("Olga P. <olga@partner.example>, <cleo@cafe.example>",), known)
    assert two[0].members == ("bert",), "one of two addresses is unknown, so it may be anybody whom it names"


def test_two_lines_for_one_author_count_both():
    known = {"dev@cafe.example": "bert", "Dev@cafe.example": "cleo"}
    assert without_authors(RULES, ("dev@cafe.example",), known)[0].members == ("olga",)


def test_a_group_of_authors_only_is_refused():
    with pytest.raises(GateRefused, match="everybody in board wrote"):
        without_authors(RULES, ("bert", "cleo", "olga"), {})
    assert without_authors(RULES, None, {})[0].members == RULES[0].members
