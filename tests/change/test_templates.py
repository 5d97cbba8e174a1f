from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.change.rfc import rfc_from_form
from airlock.change.templates import Restoration, Use, refusal, suspension, template_of, variations, version_step
from airlock.errors import GateRefused, InvalidInput, UnknownName
from airlock.models import Category, Outcome, Rfc
from airlock.service.standard_changes import StandardChange
from tests.service_data import TEXT, environment

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECOND = """\
      patch:
        title: Security patch
        reason: A fix of a known weakness.
        impact: "low: nobody notices"
        rollback_plan: All traffic goes back.
        categories: [security_patch, application]
        may_vary:
          version: {like: ["1.*", "2.0.?"], step: patch}
          reason: {}
"""
ANCHOR = "      regular:\n"


@pytest.fixture(scope="module")
def cafe(tmp_path_factory):
    return environment(tmp_path_factory.mktemp("cafe"), (ANCHOR, SECOND + ANCHOR))


def template(**more):
    return StandardChange(title="t", reason="r", impact="low: x", rollback_plan="p", **more)


def request(version="1.1", category=Category.APPLICATION):
    return Rfc(service="cafe", environment="live", version=version, change_type="standard", title="t", reason="r",
               impact="i", rollback_plan="p", requester="rita", category=category, template="regular")


def uses(*outcomes, days=1.0):
    """Uses, oldest first, *days* apart; the newest was just now."""
    return [Use(release=f"r{n}", outcome=Outcome.PROMOTED if good else Outcome.ROLLED_BACK,
                at=NOW - timedelta(days=days * (len(outcomes) - n)))
            for n, good in enumerate(outcomes, start=1)]


def test_a_request_names_its_template_where_there_are_several(cafe, tmp_path):
    assert template_of(cafe, "patch")[0] == "patch"
    with pytest.raises(GateRefused, match="name one of patch, regular"):
        template_of(cafe, None)
    with pytest.raises(UnknownName, match="did you mean 'patch'"):
        template_of(cafe, "patsch")
    assert template_of(environment(tmp_path), None)[0] == "regular"


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({}, None),
        ({"reason": "CVE-2026-1234"}, None),
        ({"version": "3.0"}, "version: '3.0' fits none of 1.*, 2.0.?"),
        ({"title": "Something else"}, "title: may not vary under this template"),
        ({"start_after": "2026-11-24T20:00:00+01:00"}, "start_after: may not vary"),
        ({"category": "infrastructure"}, "category: the template 'patch' is for security_patch, application"),
        ({"rollback_plan": "none at all, sorry"}, "rollback_plan: a standard change uses the words of its template"),
        ({"downtime": "long"}, "downtime: a standard change uses"),
        ({"template": "{{ 7*7 }}"}, "template: '{{ 7*7 }}' is not allowed"),
        ({"change_type": "normal"}, "template: belongs to a standard change only"),
    ],
)
def test_only_what_the_template_lets_vary_may_be_given(cafe, form, said):
    form = {"version": "1.2", "change_type": "standard", "template": "patch", **form}
    if said is None:
        rfc = rfc_from_form(form, "rita", cafe)
        assert (rfc.template, rfc.category, rfc.title) == ("patch", "security_patch", "Security patch")
        return
    with pytest.raises(InvalidInput) as caught:
        rfc_from_form(form, "rita", cafe)
    assert said in str(caught.value)


@given(st.dictionaries(st.sampled_from(["version", "title", "reason", "start_after"]),
                       st.one_of(st.none(), st.text(max_size=40))))
def test_whatever_is_given_is_taken_or_named(given):
    strict = template(may_vary={"version": {"like": ["1.*"]}})
    for fault in variations(strict, given):
        assert fault.split(":")[0] in given
    assert variations(template(), given) == ()


@pytest.mark.parametrize(
    ("outcomes", "days", "suspended_by"),
    [
        ([], 1, None),
        ([False], 1, None),
        ([False, True, False], 1, None),
        ([False, False], 1, "2 release(s) under it did not stay, in a row: r1, r2"),
        ([True, False, False, True, True, True], 1, "in a row: r2, r3"),
        ([False, True, False, True, False], 1, "3 release(s) under it did not stay, within 30 days: r1, r3, r5"),
        ([False, True, False, True, False], 20, None),
        ([False, False], 400, "in a row"),
    ],
)
def test_failures_suspend_a_template(outcomes, days, suspended_by):
    found = suspension(template(), uses(*outcomes, days=days), None)
    assert (found is None) == (suspended_by is None)
    if found is not None:
        assert suspended_by in found.sentence


@given(st.lists(st.booleans(), max_size=12), st.lists(st.booleans(), max_size=6), st.integers(0, 12))
def test_only_a_restoration_lifts_a_suspension(before, after, restored_at):
    """No later success and no time lifts it; after a restoration only later failures count."""
    policy = template()
    first = suspension(policy, uses(*before), None)
    later = [use.model_copy(update={"at": use.at + timedelta(days=900)}) for use in uses(*after)]
    if first is not None:
        still = suspension(policy, [*uses(*before), *later], None)
        assert still is not None and still.since == first.since
    lifted = Restoration(person="olga", at=NOW + timedelta(days=1), reason="mended")
    assert suspension(policy, uses(*before), lifted) is None
    assert suspension(policy, [*uses(*before), *later], lifted) == suspension(policy, later, None)


def refused(more=None, rfc=None, used=(), restored=None, current="1.0", now=NOW):
    return refusal("regular", template(**(more or {})), rfc or request(), used, restored, current, now)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, ""),
        ({"rfc": request(category=Category.INFRASTRUCTURE)}, "is for application, not for a change of category infra"),
        ({"more": {"valid_until": "2026-11-24"}}, ""),
        ({"more": {"valid_until": "2026-11-23"}}, "was valid until 23 Nov 2026"),
        ({"more": {"may_vary": {"version": {"step": "patch"}}}}, "allows a patch step at most, and the step from 1.0"),
        ({"more": {"may_vary": {"version": {"step": "patch"}}}, "current": "1.1.0", "rfc": request("1.1.4")}, ""),
        ({"more": {"may_vary": {"version": {"step": "minor"}}}}, ""),
        ({"more": {"may_vary": {"version": {"step": "major"}}}, "current": "1.2"}, "leads to an older version"),
        ({"more": {"may_vary": {"version": {"step": "major"}}}, "current": None}, "cannot be told"),
        ({"used": uses(False, False)}, "standard-change restore cafe live regular --reason WHY"),
        ({"used": uses(False, False), "restored": Restoration(person="o", at=NOW, reason="x")}, ""),
        ({"used": uses(False, False), "restored": Restoration(person="o", at=NOW - timedelta(days=9), reason="x")},
         "suspended itself on 24 Nov 2026 12:00 UTC: 2 release(s)"),
    ],
)
def test_why_a_template_does_not_carry_a_request(given, said):
    found = refused(**given)
    assert (said in found) and bool(said) == bool(found), found


@pytest.mark.parametrize(
    ("current", "wanted", "step"),
    [("1.0", "1.0.1", "patch"), ("1.0", "1.1", "minor"), ("1.9", "2.0", "major"), ("1.1", "1.0", "older"),
     (None, "1.0", None), ("main", "1.0", None), ("v1.2", "1.2", "patch")],
)
def test_steps_between_versions(current, wanted, step):
    assert version_step(current, wanted) == step


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("version: {like: [\"1.*\", \"2.0.?\"], step: patch}", "title: {}", "may_vary: has no version"),
        ("reason: {}", "reason: {step: minor}", "reason.step: belongs to the version only"),
        ("reason: {}", "start_after: {like: [x]}", "start_after.like: does not fit a moment"),
        ("categories: [security_patch, application]", "categories: []", "categories: tuple should have at least 1"),
        ("categories: [security_patch, application]", "categories: [firewall]", "'firewall_and_access'"),
        ("reason: {}", "impact: {}", "may_vary.impact"),
    ],
)
def test_a_wrong_template_is_named_with_its_line(tmp_path, old, new, said):
    with pytest.raises(InvalidInput) as caught:
        environment(tmp_path, (ANCHOR, SECOND.replace(old, new) + ANCHOR))
    assert said in str(caught.value) and "cafe.yaml:" in str(caught.value)


def test_a_cycle_names_its_template_where_there_are_several(tmp_path):
    cycle = '    cycle: {cron: "0 6 * * 2"}\n    after: base\n    artifact: {name'
    with pytest.raises(InvalidInput, match="the cycle must name one; add template"):
        environment(tmp_path, (ANCHOR, SECOND + ANCHOR), ("    artifact: {name", cycle))
    assert ANCHOR in TEXT
