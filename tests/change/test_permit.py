"""The permit allows exactly the plan that was approved, for a time, and only with a trusted signature."""

import copy
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.change.difference import difference
from airlock.change.permit import PAYLOAD_TYPE, check, issue
from airlock.errors import InvalidInput, PermitInvalid
from airlock.models import (
    AnalysisPolicy,
    ApprovalRule,
    Artifact,
    Plan,
    Resource,
    Rfc,
    Risk,
    Rollout,
    RolloutStep,
    Vote,
)
from airlock.signing import Keyring, Signer, generate_pem

NOW = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
SIGNER = Signer.from_pem(generate_pem())
KEYRING = Keyring([SIGNER.public_pem])
VOTES = (Vote(person="owner", choice="approve", at=NOW),)


def make_plan(**changes) -> Plan:
    rfc = Rfc(
        service="shop",
        environment="prod",
        version="1.1",
        change_type="normal",
        title="New orders page",
        reason="asked for",
        impact="orders",
        rollback_plan="shift back",
        requester="release-manager",
        start_after=changes.pop("start_after", None),
    )
    values = {
        "release": "shop-prod-20261122T210000-ab12cd",
        "service": "shop",
        "environment": "prod",
        "rfc": rfc,
        "artifact": Artifact(version="1.1", path="/a/shop-1.1.pyz", digest="sha256:" + "a" * 64),
        "current_version": "1.0",
        "rollout": Rollout(
            steps=(RolloutStep(percent=5, observe_seconds=10), RolloutStep(percent=25, observe_seconds=10))
        ),
        "analysis": AnalysisPolicy(),
        "target": {"name": "supervisord", "options": {}},
            "router": {"name": "envoy", "options": {}},
        "metrics": {"name": "envoy"},
        "resources": (
            Resource(name="shop_db", kind="databases", driver="postgres", options={"database": "shop_prod"}),
            Resource(name="shop_env", kind="configuration", driver="env_file", options={"path": "/x"}),
        ),
        "backup_policy": {"maximum_skew_seconds": 30},
        "calendar": {"windows": []},
        "approvals": (ApprovalRule(group="service_owner", quorum=1, members=("owner",)),),
        "risk": Risk(score=10, level="low", factors=()),
    }
    return Plan(**(values | changes))


def test_a_permit_allows_its_plan_until_it_expires():
    plan = make_plan()
    envelope = issue(plan, VOTES, NOW, 24, SIGNER)
    permit = check(envelope, plan, NOW + timedelta(hours=23, minutes=59), KEYRING)
    assert permit.votes == VOTES
    assert permit.plan_digest == plan.digest
    with pytest.raises(PermitInvalid, match=r"expired at 2026-11-23T21:00:00\+00:00.*clear the task change.approve"):
        check(envelope, plan, NOW + timedelta(hours=24), KEYRING)


def test_signing_again_does_not_make_a_permit_last_longer():
    plan = make_plan()
    again = check(issue(plan, VOTES, NOW + timedelta(hours=20), 24, SIGNER), plan, NOW + timedelta(hours=21), KEYRING)
    assert again.expires_at == NOW + timedelta(hours=24)
    with pytest.raises(PermitInvalid, match="was approved for 24 h, until .*clear the task change.approve"):
        issue(plan, VOTES, NOW + timedelta(hours=24), 24, SIGNER)
    unasked = make_plan(approvals=())
    expires = check(issue(unasked, (), NOW + timedelta(days=3), 24, SIGNER), unasked, NOW + timedelta(days=3), KEYRING)
    assert expires.expires_at == NOW + timedelta(days=4)


def test_a_permit_waits_for_the_time_that_the_rfc_names():
    plan = make_plan(start_after=NOW + timedelta(hours=5))
    envelope = issue(plan, VOTES, NOW, 2, SIGNER)
    with pytest.raises(PermitInvalid, match=r"not valid before 2026-11-23T02:00:00"):
        check(envelope, plan, NOW + timedelta(hours=4), KEYRING)
    assert check(envelope, plan, NOW + timedelta(hours=6), KEYRING).expires_at == NOW + timedelta(hours=7)


def test_a_clock_that_is_a_few_seconds_behind_does_not_stop_a_release():
    plan = make_plan()
    assert check(issue(plan, VOTES, NOW, 1, SIGNER), plan, NOW - timedelta(seconds=5), KEYRING)


def test_a_changed_plan_makes_the_permit_stale_and_the_message_says_what_changed():
    approved = make_plan()
    envelope = issue(approved, VOTES, NOW, 24, SIGNER)
    present = make_plan(
        current_version="0.9",
        resources=(
            Resource(name="shop_db", kind="databases", driver="postgres", options={"database": "shop_staging"}),
        ),
    )
    with pytest.raises(PermitInvalid) as caught:
        check(envelope, present, NOW, KEYRING, approved)
    message = str(caught.value)
    assert "stale" in message
    assert 'current_version: "1.0" -> "0.9"' in message
    assert 'resources.shop_db.options.database: "shop_prod" -> "shop_staging"' in message
    assert "resources.shop_env: " in message
    assert "-> (nothing)" in message
    assert "clear the task change.approve" in message
    assert approved.digest in message
    with pytest.raises(PermitInvalid, match=r"stale.*not at hand.*clear the task change.approve"):
        check(envelope, present, NOW, KEYRING)


def test_a_wrong_plan_given_as_the_approved_one_is_not_believed():
    approved, present = make_plan(), make_plan(current_version="0.9")
    with pytest.raises(PermitInvalid, match="not at hand"):
        check(issue(approved, VOTES, NOW, 24, SIGNER), present, NOW, KEYRING, make_plan(current_version="0.8"))


def test_no_permit_other_release_other_key_and_altered_content_are_refused():
    plan = make_plan()
    envelope = issue(plan, VOTES, NOW, 24, SIGNER)
    with pytest.raises(PermitInvalid, match="there is no permit"):
        check(None, plan, NOW, KEYRING)
    with pytest.raises(PermitInvalid, match="is for the release shop-prod-20261122T210000-ab12cd"):
        check(envelope, make_plan(release="shop-prod-other"), NOW, KEYRING)
    stranger = Signer.from_pem(generate_pem())
    with pytest.raises(PermitInvalid, match="unknown key"):
        check(envelope, plan, NOW, Keyring([stranger.public_pem]))
    with pytest.raises(PermitInvalid, match="unknown key"):
        check(issue(plan, VOTES, NOW, 24, stranger), plan, NOW, KEYRING)
    forged = copy.deepcopy(envelope) | {"payload": issue(plan, VOTES, NOW, 48, stranger)["payload"]}
    with pytest.raises(PermitInvalid, match="altered"):
        check(forged, plan, NOW, KEYRING)
    with pytest.raises(PermitInvalid, match="cannot be trusted"):
        check({}, plan, NOW, KEYRING)
    with pytest.raises(PermitInvalid, match="not a permit"):
        check(SIGNER.sign(PAYLOAD_TYPE, b"{}"), plan, NOW, KEYRING)
    with pytest.raises(PermitInvalid, match="expected"):
        check(SIGNER.sign("text/plain", b"{}"), plan, NOW, KEYRING)


def test_a_permit_outlives_a_change_of_keys_if_the_former_key_is_trusted():
    plan = make_plan()
    successor = Signer.from_pem(generate_pem())
    assert check(issue(plan, VOTES, NOW, 24, SIGNER), plan, NOW, Keyring([successor.public_pem, SIGNER.public_pem]))


@pytest.mark.parametrize("hours", [0, -1, float("nan"), float("inf"), 9000])
def test_unreasonable_validity_is_refused(hours):
    with pytest.raises(InvalidInput, match="hours"):
        issue(make_plan(), VOTES, NOW, hours, SIGNER)


def test_no_permit_is_issued_over_a_rejection_or_without_votes():
    with pytest.raises(PermitInvalid, match="board-1 rejected"):
        issue(make_plan(), (*VOTES, Vote(person="board-1", choice="reject", at=NOW)), NOW, 1, SIGNER)
    with pytest.raises(PermitInvalid, match="nobody approved"):
        issue(make_plan(), (), NOW, 1, SIGNER)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    old=st.dictionaries(st.text(max_size=5), JSON, max_size=4),
    new=st.dictionaries(st.text(max_size=5), JSON, max_size=4),
)
def test_plans_differ_exactly_if_their_digests_do(old, new):
    approved, present = make_plan(target=old), make_plan(target=new)
    lines = difference(approved, present)
    assert bool(lines) == (approved.digest != present.digest)
    assert all(line.startswith("target") or line.startswith("...") for line in lines)
    assert all(len(line) <= 400 and line.isprintable() for line in lines)


def test_the_list_of_differences_is_bounded_and_notices_order():
    many = make_plan(calendar={f"day{number:03}": number for number in range(100)})
    lines = difference(make_plan(calendar={"day000": "x" * 10_000}), many)
    assert len(lines) == 21
    assert lines[-1].endswith("further differences")
    assert max(map(len, lines)) < 400
    plan = make_plan()
    assert difference(plan, plan) == ()
    (line,) = difference(plan, make_plan(resources=tuple(reversed(plan.resources))))
    assert line.startswith("resources: [")
