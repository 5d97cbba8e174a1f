"""Policy and people files: every fault with its own file and line."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airlock.errors import InvalidInput
from airlock.service.reading import load_file
from tests.change.test_policy import NAMED, POLICY, SHORT
from tests.service_data import TEXT, write

PEOPLE = """\
timezone: Europe/Berlin
absences:
  - {person: olga, from: 2026-12-20, to: 2027-01-04, delegate: bert}
authors:
  olga@cafe.example: olga
"""


def load(folder, policy=POLICY, people=PEOPLE):
    (folder / "house.yaml").write_text(policy)
    (folder / "people.yaml").write_text(people)
    text = TEXT.replace(SHORT, NAMED).replace("tier: 2", "tier: 2\npeople: ../people.yaml")
    return load_file(write(folder, text))[0]


def test_both_files_become_part_of_the_environment(tmp_path):
    cafe = load(tmp_path)
    assert [rule.name for rule in cafe.approval_policy.rules][-1] == "everything else"
    (absence,) = cafe.absences
    assert absence.start == datetime(2026, 12, 19, 23, tzinfo=UTC), "midnight in Berlin"
    assert (absence.person, absence.delegate, cafe.authors) == ("olga", "bert", {"olga@cafe.example": "olga"})


@pytest.mark.parametrize(
    ("old", "new", "line", "sentence"),
    [
        ("levels: [low]", "levels: [lov]", 4, "unknown risk level 'lov'; did you mean 'low'"),
        ("levels: [low], ", "", 5, "may be said only of low risk"),
        ("evidence: true", "evidence: false", 3, "has no seats"),
        ("name: emergency", "name: evidence", 3, "is used 2 times"),
        ("reminder_hours: [1, 0.5]", "reminder_hours: [3]", 10, "less than timeout_hours (2)"),
        ("  - name: everything else\n", "  - name: everything else\n    when: {tiers: [1]}\n", 17, "must fit every"),
        ("    when: {change_types: [emergency]}\n", "", 6, "the rules below it never count"),
        ("timeout_hours: 2", "timeout_hour: 2", 9, "unknown field; did you mean 'timeout_hours'"),
        ("name: house rules\n", "", 1, "name: is missing"),
        ("absent: refuse", "absent: maybe", 15, "should match pattern"),
    ],
)
def test_each_fault_of_a_policy_has_its_line(tmp_path, old, new, line, sentence):
    assert old in POLICY
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path, POLICY.replace(old, new, 1))
    assert any(one.partition("house.yaml:")[2].startswith(f"{line}: ") and sentence in one
               for one in str(caught.value).splitlines()), str(caught.value)


def test_a_group_that_the_service_lacks_is_a_fault_of_the_service_file(tmp_path):
    with pytest.raises(InvalidInput, match=r"cafe.yaml:\d+: .*rule 'everything else' of 'house rules': unknown group"):
        load(tmp_path, POLICY.replace("    seats: {board: 1}\n    conflicts", "    seats: {bored: 1}\n    conflicts"))


@pytest.mark.parametrize(
    ("old", "new", "line", "sentence"),
    [
        ("to: 2027-01-04", "to: 2026-12-01", 3, "ends before it begins"),
        ("delegate: bert", "delegate: Olga", 3, "would stand in for themselves"),
        ("delegate: bert", "delegate: B3rt", None, ""),
        ("delegate: bert", "delegate: Bert", 3, "looks like 'bert'"),
        ("authors:", "  - {person: bert, from: 2026-12-24, to: 2026-12-26}\nauthors:", 3, "a delegate has no delegate"),
        ("authors:", "  - {person: olga, from: 2027-01-01, to: 2027-02-01}\nauthors:", 4, "absent twice"),
        ("authors:", "  - {person: cleo, from: 2026-12-24, to: 2026-12-26, delegate: dan}\n  - {person: olga, "
         "from: 2027-02-24, to: 2027-02-26, delegate: Dan}\nauthors:", 5, "looks like 'dan', who is named"),
        ("delegate: bert", "delegate: olga@cafe.example", 3, "would stand in for themselves"),
        ("olga@cafe.example: olga", "olga@cafe.example: olga\n  Olga@cafe.example;: bert", 6, "'olga' in another line"),
        ("olga@cafe.example: olga", "';': olga", 5, "is no name"),
        ("olga@cafe.example: olga", "olga@cafe.example: 'no name'", 5, "no log-in name"),
        ("olga@cafe.example: olga", "bert: olga", 4, "bert', who is in a group, the log-in name 'olga'"),
        ("olga@cafe.example: olga", "cleo: cl\n  CL: dan", 4, "cleo', who is in a group, the log-in name 'cl'"),
        ("delegate: bert}\nauthors:\n  olga@cafe.example: olga", "delegate: dan}\nauthors:\n  dan: olga", 4,
         "dan', who is named in this file, the log-in name 'olga'"),
        ("timezone: Europe/Berlin", "timezone: Berlin", 1, "unknown time zone"),
    ],
)
def test_each_fault_of_a_people_file_has_its_line(tmp_path, old, new, line, sentence):
    if line is None:
        load(tmp_path, people=PEOPLE.replace(old, new, 1))
        return
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path, people=PEOPLE.replace(old, new, 1))
    assert any(one.partition("people.yaml:")[2].startswith(f"{line}: ") and sentence in one
               for one in str(caught.value).splitlines()), str(caught.value)


@pytest.mark.parametrize(
    ("approvals", "sentence"),
    [
        ("{policy: ../missing.yaml}", "cannot be read"),
        ("{policy: ../house.txt}", "is no YAML file"),
        ("{policy: ../house.yaml, timeout_hours: 3}", "is said in the policy file"),
        ("{low: {board: 1}, high: {board: 1}}", "approvals.medium: is missing"),
    ],
)
def test_wrong_ways_to_name_a_policy(tmp_path, approvals, sentence):
    (tmp_path / "house.yaml").write_text(POLICY)
    with pytest.raises(InvalidInput, match=sentence):
        load_file(write(tmp_path, TEXT.replace(SHORT, f"    approvals: {approvals}\n")))


def test_the_shipped_policy_fits_the_shipped_service(tmp_path):
    from pathlib import Path

    root = Path(__file__).resolve().parents[2] / "include"
    (tmp_path / "house.yaml").write_text((root / "policies" / "approval.yaml").read_text())
    text = TEXT.replace(SHORT, NAMED).replace("board: [bert, cleo, olga]", "change_advisory_board: [bert, cleo, olga]")
    cafe = load_file(write(tmp_path, text))[0]
    assert cafe.approval_policy.rules[-1].when.anything
