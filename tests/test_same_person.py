"""Whether two names may belong to one person, by table and for any names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.plain_text import LOGIN_NAME
from airlock.same_person import log_ins_of, look_alike, may_be_same, people_of, spelled


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("owner", "OWNER"),
        ("owner", "0wner"),
        ("board-1", "board-l"),
        ("Ian", "lan"),
        ("modern", "modem"),
        ("vvera", "wera"),
        ("a|b", "alb"),
        ("ADMIN", "admin"),
    ],
)
def test_names_of_one_look(one, other):
    assert LOGIN_NAME.fullmatch(one) and LOGIN_NAME.fullmatch(other)
    assert look_alike(one, other) and look_alike(other, one)
    assert may_be_same(one, other)


@pytest.mark.parametrize(("one", "other"), [("owner", "owned"), ("ian", "lan"), ("board-1", "board-2"), ("a", "aa")])
def test_names_that_differ(one, other):
    assert not look_alike(one, other)
    assert not may_be_same(one, other)


ANN = (
    "ann",
    "Ann",
    "ann ",
    "ann.",
    "ann;",
    "\uff41\uff4e\uff4e",  # full width
    "a\u200bnn",  # zero width space
    "an\u200dn",  # zero width joiner
    "ann\ufe0f",
    "\u202eann",
    "a\u0301nn",  # accents
    "\u0430nn",  # Cyrillic a
    "\u03b1nn",  # Greek alpha
    "ann@corp.example",
    "ANN@CORP.EXAMPLE.",
    "ann@other.example",
    "ann+git@corp.example",
    "ann+git+more@corp.example",
    "ann+admin",
    "Ann <ann@corp.example>",
    "Ann Lee <ann@corp.example>;",
    "Ann Lee <ann@corp.example> ;  ",
    "<ann@corp.example>",
    '"Lee, Ann" <ann@corp.example>,',
    "ann@corp.example (Ann Lee)",
    "mailto:ann@corp.example",
    "Ann Lee <mailto:ann@corp.example>",
    "Lee <ann\uff20corp.example>",
    "Bo <bo@corp.example>, Ann Lee <ann@corp.example>",
    "1234567+ann@users.noreply.github.com",
    "1234567+Ann@Users.NoReply.GitHub.com",
    "ann@users.noreply.github.com",
    "1234567+ann@users.noreply.github.corp.example",
    "1234567-ann@users.noreply.gitlab.com",
    "1234567-ann@users.noreply.gitlab.corp.example",
    "ann@noreply.codeberg.org",
    "ann@no-reply.corp.example",
    "{8f3a1b2c-0d1e-4f5a-8b6c-7d8e9f0a1b2c}+ann@users.noreply.bitbucket.org",
    "8f3a1b2c-0d1e-4f5a-8b6c-7d8e9f0a1b2c-ann@noreply.bitbucket.org",
    "a.nn@gmail.com",
    "a.nn+git@googlemail.com",
    "CORP\\ann",
    "corp.example\\Ann",
    "auth0|ann",
    "corp/ann",
    "live.com#ann@corp.example",
    "uid=ann,ou=people,dc=corp",
    "ann@",
    "@ann",
    "ann|",
    "ann\\",
    "ann_",
    "-ann-",
    "ann/",
    "+ann",
    "\u201cann\u201d",
    "\u00abann\u00bb",
    "ann\u3002",
    "ann\u2800",
    "ann (contractor)",
    "ann[bot]",
    "ann at corp.example",
    "ann(at)corp.example",
    "ann [AT] corp.example",
    "ann%40corp.example",
    "samlp|corp|ann@corp.example",
    "ann_corp.example#EXT#@house.onmicrosoft.com",
)


@pytest.mark.parametrize("name", ANN)
def test_every_name_that_ann_may_have(name):
    assert may_be_same("ann", name) and may_be_same(name, "ann")
    assert may_be_same("ann@corp.example", name)


def test_whoever_is_called_by_many_names_is_one():
    assert len(set(people_of(ANN).values())) == 1
    assert set(people_of(ANN)) == set(ANN)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ; ",
        "anna",
        "ann-b",
        "ann.b",
        "anne@corp.example",
        "anna+ann@corp.example",
        "bo@ann.example",
        "1234567+bo@users.noreply.github.com",
        "1234567-bo-ann@users.noreply.gitlab.com",
        "a.nn@corp.example",
        "Ann Lee",
        "Ann Lee <al@corp.example>",
        "ann\\bo",
        "ann|bo",
        "ann/bo",
        "bo (ann)",
        "bo at ann.example",
        "uid=bo,ou=ann",
        "\u0430\u043d\u043d\u0430",
    ],
)
def test_names_that_are_not_anns(name):
    assert not may_be_same("ann", name)
    assert not may_be_same(name, "ann")


@pytest.mark.parametrize("name", ["Ann Lee", "Lee, Ann", "ann_lee", "ANN-LEE", "Ann  LEE <al@home.example>", "lee.ann"])
def test_a_name_of_several_words_is_one_however_they_are_joined_and_ordered(name):
    assert may_be_same("ann.lee", name) and may_be_same(name, "ann.lee@corp.example")
    assert not may_be_same("ann.leigh", name)


@pytest.mark.parametrize(("one", "other"), [("a.b", "a-b"), ("board.1", "board-1"), ("b.ann", "ann.b")])
def test_letters_and_numbers_are_no_words(one, other):
    assert not may_be_same(one, other)


@pytest.mark.parametrize(("one", "other"), [("joerg", "J\u00f6rg"), ("jorg", "J\u00f6rg"), ("soeren", "S\u00f8ren")])
def test_letters_that_are_written_out(one, other):
    assert may_be_same(one, other)


def test_whoever_is_known_is_followed_however_long_the_chain_and_in_a_circle():
    known = {"A <ann@home.example>": "al", "al": "alee", "alee;": "ann", "bo": "bo"}
    assert log_ins_of("ann+x@home.example", known) == ("al", "alee", "ann")
    assert log_ins_of("ALEE", known) == ("ann",)
    assert log_ins_of("bo", known) == log_ins_of("cy", known) == log_ins_of("", known) == ()


def test_names_of_two_companies_are_told_apart_by_what_is_before_the_at():
    assert not may_be_same("ann@corp.example", "bo@corp.example")
    assert len(set(people_of(["ann@corp.example", "bo@corp.example", "cy"]).values())) == 3


def test_one_spelling():
    assert spelled(" Ann@CORP.example ;") == spelled("\uff41nn@corp.example\u200b") == "ann@corp.example"


names = st.text(max_size=30) | st.from_regex(LOGIN_NAME, fullmatch=True) | st.sampled_from(ANN)


@given(one=names, other=names)
def test_for_any_names_the_answer_is_the_same_both_ways_and_nobody_is_two(one, other):
    assert may_be_same(one, other) == may_be_same(other, one)
    assert may_be_same(one, one) or not spelled(one)
    if look_alike(one, other) and spelled(one):
        assert may_be_same(one, other)


@given(name=st.from_regex(LOGIN_NAME, fullmatch=True), tag=st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True),
       number=st.integers(0, 10**8))
def test_whoever_writes_under_another_form_of_the_own_name_is_known(name, tag, number):
    for other in (name.swapcase(), f" {name};", f"X Y <{name}@corp.example>" if "@" not in name else name,
                  f"{number}+{name}@users.noreply.github.com", f"{number}-{name}@users.noreply.gitlab.com",
                  f"{name}+{tag}@corp.example"):
        if "@" in name and "@" in other.replace(name, ""):
            continue
        assert may_be_same(name, other), other


@given(known=st.lists(names, max_size=6))
def test_people_are_as_few_as_there_may_be_and_each_has_one_name(known):
    people = people_of(known)
    assert set(people) == set(known)
    for one in known:
        assert people[people[one]] == people[one]
        for other in known:
            assert people[one] == people[other] or not may_be_same(one, other)
