"""The driver ``aws_iam``: instance profiles and all else that is there is proven, and comes back from any damage."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.security.aws_iam import AwsIamDriver
from airlock.backup.drivers.security.iam_writing import Names
from airlock.backup.run import prove, restore_origin
from airlock.backup.store import BackupStore
from airlock.errors import PermanentError, TemporaryError
from airlock.models import Kind, RecoveryPoint, Resource
from sandbox import moto
from tests.backup.drivers.aws_faults import QUERY_ERROR, refuse_after
from tests.faulty_proxy import Fault, faulty_proxy
from tests.real_servers import aws_connection

pytestmark = pytest.mark.campaign

COUNTER = itertools.count()
ORIGIN, SCRATCH = Place(origin=True), Place(name="proof1")
ACCOUNT = "arn:aws:iam::123456789012"


def policy(action: str, effect: str = "Allow") -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": {"Effect": effect, "Action": action, "Resource": "*"}})


def trust(principal: dict[str, str]) -> str:
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


EC2 = trust({"Service": "ec2.amazonaws.com"})


@pytest.fixture
def iam(moto_server: moto.Moto, monkeypatch: pytest.MonkeyPatch) -> Any:
    aws_connection(monkeypatch, moto_server.url)
    return moto_server.client("iam")


@pytest.fixture
def prefix() -> str:
    return f"w{next(COUNTER)}-"


def driver(store: BackupStore, prefix: str) -> AwsIamDriver:
    given = {"connection": "test_aws", "name_prefix": prefix}
    return AwsIamDriver(Resource(name="roles", kind=Kind.SECURITY, driver="aws_iam", options=given), store)


def taken(subject: AwsIamDriver) -> RecoveryPoint:
    return subject.finish(subject.start("point-1"))


def wrong(subject: AwsIamDriver, point: RecoveryPoint, place: Place = ORIGIN) -> list[str]:
    return [check.name for check in subject.prove(point, place) if not check.ok]


def seed(iam: Any, p: str) -> None:
    """Roles that trust and bound each other, a policy of five versions, odd names, profiles inside and outside."""
    limit = iam.create_policy(PolicyName=f"{p}limit", Path="/edge/", PolicyDocument=policy("s3:*"), Description="most")
    five = iam.create_policy(PolicyName=f"{p}five", PolicyDocument=policy("s3:One"))["Policy"]["Arn"]
    for number in range(4):
        iam.create_policy_version(PolicyArn=five, PolicyDocument=policy(f"s3:V{number}"), SetAsDefault=number == 2)
    iam.create_role(RoleName=f"{p}b", AssumeRolePolicyDocument=EC2, Path="/app/", Tags=[{"Key": "k", "Value": ""}])
    iam.create_role(RoleName=f"{p}a", AssumeRolePolicyDocument=trust({"AWS": f"{ACCOUNT}:role/app/{p}b"}),
                    PermissionsBoundary=limit["Policy"]["Arn"], Description="it is a")  # fmt: skip
    iam.put_role_policy(RoleName=f"{p}a", PolicyName="odd+=,.@-name", PolicyDocument=policy("s3:Odd"))
    iam.attach_role_policy(RoleName=f"{p}a", PolicyArn=five)
    iam.create_role(RoleName=f"other-{p}", AssumeRolePolicyDocument=EC2)
    for name, role in ((f"{p}b", f"{p}b"), (f"{p}strange", f"other-{p}"), (f"web-{p}", f"{p}a"), (f"{p}none", "")):
        iam.create_instance_profile(InstanceProfileName=name, Path="/web/", Tags=[{"Key": "t", "Value": "v"}])
        if role:
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=role)


def test_all_is_proven_by_copies_that_are_no_way_to_act(iam: Any, store: BackupStore, prefix: str) -> None:
    seed(iam, prefix)
    subject = driver(store, prefix)
    point = taken(subject)
    assert set(point.facts["documents"]) == {
        *(f"policy/{prefix}{name}" for name in ("limit", "five")), *(f"role/{prefix}{name}" for name in "ab"),
        *(f"instance-profile/{prefix}{name}" for name in ("b", "strange", "none")), f"instance-profile/web-{prefix}",
    }  # fmt: skip
    subject.restore(point, SCRATCH)
    assert wrong(subject, point, SCRATCH) == []
    copy = iam.get_instance_profile(InstanceProfileName=Names(SCRATCH).actual(f"{prefix}strange"))["InstanceProfile"]
    assert copy["Roles"] == []
    subject.discard(SCRATCH)
    left = [found["InstanceProfileName"] for found in iam.list_instance_profiles()["InstanceProfiles"]]
    assert not any(name.startswith("airlock-") for name in left)
    assert wrong(subject, point) == []


def without_role(iam: Any, name: str) -> None:
    for profile in iam.list_instance_profiles_for_role(RoleName=name)["InstanceProfiles"]:
        iam.remove_role_from_instance_profile(InstanceProfileName=profile["InstanceProfileName"], RoleName=name)
    for attached in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
        iam.detach_role_policy(RoleName=name, PolicyArn=attached["PolicyArn"])
    for inline in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=name, PolicyName=inline)
    iam.delete_role(RoleName=name)


def later_role_in_a_profile(iam: Any, p: str) -> None:
    iam.create_role(RoleName=f"{p}later", AssumeRolePolicyDocument=EC2)
    for name in (f"{p}later", f"foreign-{p}"):
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=f"{p}later")


def later_policy_on_strangers(iam: Any, p: str) -> None:
    arn = iam.create_policy(PolicyName=f"{p}later", PolicyDocument=policy("iam:*"))["Policy"]["Arn"]
    iam.create_group(GroupName=f"group-{p}")
    iam.create_user(UserName=f"user-{p}")
    iam.attach_group_policy(GroupName=f"group-{p}", PolicyArn=arn)
    iam.attach_user_policy(UserName=f"user-{p}", PolicyArn=arn)
    iam.attach_role_policy(RoleName=f"other-{p}", PolicyArn=arn)
    iam.attach_role_policy(RoleName=f"{p}b", PolicyArn=arn)


def role_on_another_path(iam: Any, p: str) -> None:
    without_role(iam, f"{p}b")
    iam.create_role(RoleName=f"{p}b", AssumeRolePolicyDocument=EC2, Path="/elsewhere/")


def both_roles_gone(iam: Any, p: str) -> None:
    for name in ("a", "b"):
        without_role(iam, f"{p}{name}")


def another_description(iam: Any, p: str) -> None:
    arn = f"{ACCOUNT}:policy/{p}five"
    iam.detach_role_policy(RoleName=f"{p}a", PolicyArn=arn)
    for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]:
        if not version["IsDefaultVersion"]:
            iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
    iam.delete_policy(PolicyArn=arn)
    iam.create_policy(PolicyName=f"{p}five", Path="/moved/", PolicyDocument=policy("s3:*"), Description="another")


def another_default(iam: Any, p: str) -> None:
    arn = f"{ACCOUNT}:policy/{p}five"
    held = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    other = next(version["VersionId"] for version in held if not version["IsDefaultVersion"])
    iam.set_default_policy_version(PolicyArn=arn, VersionId=other)


DAMAGES: tuple[Callable[[Any, str], object], ...] = (
    later_role_in_a_profile,
    later_policy_on_strangers,
    role_on_another_path,
    both_roles_gone,
    another_description,
    lambda iam, p: iam.update_assume_role_policy(RoleName=f"{p}a", PolicyDocument=trust({"AWS": "*"})),
    lambda iam, p: iam.delete_role_permissions_boundary(RoleName=f"{p}a"),
    lambda iam, p: iam.put_role_policy(RoleName=f"{p}b", PolicyName="more", PolicyDocument=policy("*")),
    another_default,
    lambda iam, p: iam.tag_role(RoleName=f"{p}b", Tags=[{"Key": "later", "Value": "x"}]),
    lambda iam, p: iam.remove_role_from_instance_profile(InstanceProfileName=f"{p}b", RoleName=f"{p}b"),
    lambda iam, p: iam.delete_instance_profile(InstanceProfileName=f"{p}none"),
)


def test_the_way_back_from_every_damage(iam: Any, store: BackupStore, prefix: str) -> None:
    seed(iam, prefix)
    subject = driver(store, prefix)
    point = taken(subject)
    for number, damage in enumerate(DAMAGES):
        damage(iam, prefix)
        assert wrong(subject, point), number
        restore_origin(subject, point)
        assert wrong(subject, point) == [], number
    assert iam.get_instance_profile(InstanceProfileName=f"foreign-{prefix}")["InstanceProfile"]["Roles"] == []


def test_a_later_limit_of_somebody_is_named_before_anything_is_changed(
    iam: Any, store: BackupStore, prefix: str
) -> None:
    seed(iam, prefix)
    subject = driver(store, prefix)
    point = taken(subject)
    arn = iam.create_policy(PolicyName=f"{prefix}later", PolicyDocument=policy("s3:Get*"))["Policy"]["Arn"]
    iam.create_role(RoleName=f"bound-{prefix}", AssumeRolePolicyDocument=EC2, PermissionsBoundary=arn)
    iam.attach_role_policy(RoleName=f"bound-{prefix}", PolicyArn=arn)  # the emulator tells only who has it attached
    iam.put_role_policy(RoleName=f"{prefix}b", PolicyName="more", PolicyDocument=policy("s3:Put*"))
    with pytest.raises(PermanentError, match=f"permissions boundary of bound-{prefix}"):
        restore_origin(subject, point)
    assert iam.list_role_policies(RoleName=f"{prefix}b")["PolicyNames"] == ["more"]


def test_roles_that_aws_makes_itself_stay_out(iam: Any, store: BackupStore) -> None:
    iam.create_service_linked_role(AWSServiceName="autoscaling.amazonaws.com")
    assert not driver(store, "AWSServiceRole").inspect().present


@pytest.mark.parametrize("code", [b"NoSuchEntity", b"DeleteConflict"])
def test_what_iam_does_not_know_yet_is_tried_again(
    iam: Any, store: BackupStore, prefix: str, moto_server: moto.Moto, monkeypatch: pytest.MonkeyPatch, code: bytes
) -> None:
    seed(iam, prefix)
    point = taken(driver(store, prefix))
    with faulty_proxy(moto_server.url) as proxy:
        aws_connection(monkeypatch, proxy.url)
        proxy.always(Fault(status=409, body=QUERY_ERROR % code, content_type="text/xml"))
        with pytest.raises(TemporaryError, match="try again"):
            driver(store, prefix).restore(point, SCRATCH)


def test_a_proof_goes_on_where_the_last_one_was_killed(iam: Any, store: BackupStore, prefix: str) -> None:
    seed(iam, prefix)
    subject = driver(store, prefix)
    point = taken(subject)
    subject.restore(point, SCRATCH)
    subject.restore(point, SCRATCH)
    assert prove(subject, point, SCRATCH).ok
    subject.discard(SCRATCH)


def test_a_way_back_that_is_cut_short_at_any_call_takes_no_policy_from_anybody(
    iam: Any, store: BackupStore, prefix: str, moto_server: moto.Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(iam, prefix)
    group, user, arn = f"group-{prefix}", f"user-{prefix}", f"{ACCOUNT}:policy/{prefix}five"
    iam.create_group(GroupName=group)
    iam.create_user(UserName=user)
    point = taken(driver(store, prefix))

    def attached() -> list[list[str]]:
        told = iam.list_attached_group_policies(GroupName=group), iam.list_attached_user_policies(UserName=user)
        return [[one["PolicyArn"] for one in found["AttachedPolicies"]] for found in told]

    with faulty_proxy(moto_server.url) as proxy:
        aws_connection(monkeypatch, proxy.url)
        for last in (8, 30, 33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 70, 10_000):
            for act in (iam.detach_group_policy, iam.detach_user_policy):
                which = {"GroupName": group} if act == iam.detach_group_policy else {"UserName": user}
                with suppress(iam.exceptions.NoSuchEntityException):
                    act(**which, PolicyArn=arn)
            another_description(iam, prefix)
            moved = f"{ACCOUNT}:policy/moved/{prefix}five"
            iam.attach_group_policy(GroupName=group, PolicyArn=moved)
            iam.attach_user_policy(UserName=user, PolicyArn=moved)
            proxy.seen.clear()
            proxy.decide = partial(refuse_after, proxy, last)
            with suppress(PermanentError):
                restore_origin(driver(store, prefix), point)
            proxy.decide = lambda *_: None
            assert all(attached()), last
            restore_origin(driver(store, prefix), point)
            assert attached() == [[arn], [arn]], last
            assert wrong(driver(store, prefix), point) == [], last
    assert not [one for one in iam.list_policies(Scope="Local")["Policies"] if "stand-in" in one["Path"]]


@pytest.mark.parametrize(("told", "error"), [
    (b"AROAEXAMPLEEXAMPLEID", PermanentError), (b"arn:aws:iam::123456789012:role/new", TemporaryError),
])  # fmt: skip
def test_a_principal_that_is_gone_for_good_is_not_waited_for(
    iam: Any, store: BackupStore, prefix: str, moto_server: moto.Moto, monkeypatch: pytest.MonkeyPatch, told: bytes,
    error: type[Exception],
) -> None:  # fmt: skip
    seed(iam, prefix)
    point = taken(driver(store, prefix))
    said = b'Invalid principal in policy: "AWS":"%s"' % told
    body = (QUERY_ERROR % b"MalformedPolicyDocument").replace(b"told so", said)
    with faulty_proxy(moto_server.url) as proxy:
        aws_connection(monkeypatch, proxy.url)
        proxy.always(Fault(status=400, body=body, content_type="text/xml"))
        with pytest.raises(error, match="Invalid principal"):
            driver(store, prefix).restore(point, SCRATCH)


@pytest.mark.parametrize("others", [[f"{ACCOUNT}:root"], []])
def test_a_principal_that_is_gone_keeps_no_role_from_being_proven(
    iam: Any, store: BackupStore, prefix: str, others: list[str]
) -> None:
    """AWS shows such a principal by its id and refuses it in what is written: after reports of cdk, pacu and others."""
    gone = trust({"AWS": ["AROAJ3ABCDEFGHIJKLMNO", *others]})
    iam.create_role(RoleName=f"{prefix}old", AssumeRolePolicyDocument=gone)
    iam.create_role(RoleName=f"{prefix}new", AssumeRolePolicyDocument=EC2)
    subject = driver(store, prefix)
    point = taken(subject)
    said = f"principals that are gone, in the trust of {prefix}old"
    assert point.facts["left_out"] == [said]
    assert said in subject.plan()["leaves_out"]
    assert "AROAJ3" not in json.dumps(subject.stored_documents(point))
    proof = prove(subject, point, SCRATCH)
    subject.discard(SCRATCH)
    assert proof.ok, proof.reason
    iam.update_assume_role_policy(RoleName=f"{prefix}old", PolicyDocument=EC2)
    restore_origin(subject, point)
    assert wrong(subject, point) == []
    written = iam.get_role(RoleName=f"{prefix}old")["Role"]["AssumeRolePolicyDocument"]["Statement"][0]
    allowed = written["Principal"]["AWS"]
    assert (written["Effect"], allowed) == (("Allow", others[0]) if others else ("Deny", "*"))
