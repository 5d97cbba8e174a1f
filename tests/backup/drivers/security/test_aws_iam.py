"""The driver ``aws_iam`` against moto over HTTP, directly and behind a proxy that fails."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.backup import aws
from airlock.backup.driver import Place
from airlock.backup.drivers.security.aws_iam import AwsIamDriver
from airlock.backup.drivers.security.iam_writing import Names
from airlock.backup.store import BackupStore
from airlock.errors import InvalidInput
from airlock.models import Kind, Resource
from sandbox import moto
from tests.backup.drivers.aws_faults import FAULTS
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest, documents, without
from tests.contracts.driver_forms import DAMAGES, FORMS
from tests.faulty_proxy import Fault, faulty_proxy
from tests.real_servers import aws_connection

SET_BY_THE_SERVER = ("CreateDate", "UpdateDate", "RoleId", "VersionId", "DefaultVersionId")
ORIGIN = Place(origin=True)
SCRATCH = Place(name="proof1")
COUNTER = itertools.count(1)


def driver(store: BackupStore, **options: Any) -> AwsIamDriver:
    given = {"connection": "test_aws", "name_prefix": "shop-", **options}
    return AwsIamDriver(Resource(name="roles", kind=Kind.SECURITY, driver="aws_iam", options=given), store)


TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}],
    }
)


def policy(action: str) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": action, "Resource": "*"}})


@pytest.fixture(autouse=True)
def connection(moto_server: moto.Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    aws_connection(monkeypatch, moto_server.url)


def in_lists(value: Any) -> Any:
    """Return what IAM answered with lists where a policy may have a single value instead."""
    if isinstance(value, dict):
        single = {key for key in ("Action", "Resource", "Service", "AWS") if isinstance(value.get(key), str)}
        single |= {key for key in ("Statement",) if isinstance(value.get(key), dict)}
        return {key: [in_lists(one)] if key in single else in_lists(one) for key, one in value.items()}
    return [in_lists(one) for one in value] if isinstance(value, list) else value

FORMS_OF_AN_API = dict.fromkeys(FORMS, "AWS takes ASCII names and small documents; those are tried beside this")


@pytest.mark.campaign
class TestContract(DriverContract):
    @pytest.fixture
    def case(self, store: BackupStore, moto_server: moto.Moto) -> Case:
        iam = moto_server.client("iam")

        def change() -> None:
            number = next(COUNTER)
            iam.put_role_policy(RoleName="shop-app", PolicyName="parameters", PolicyDocument=policy(f"s3:Act{number}"))
            iam.create_role(RoleName=f"shop-later-{number}", AssumeRolePolicyDocument=TRUST)

        def spoil(place: Place) -> None:
            actual = Names(place).actual("shop-app")
            iam.put_role_policy(RoleName=actual, PolicyName="parameters", PolicyDocument=policy("iam:*"))

        def left_over(place: Place) -> list[str]:
            names = [role["RoleName"] for role in iam.list_roles()["Roles"]]
            names += [found["PolicyName"] for found in iam.list_policies(Scope="Local")["Policies"]]
            return [name for name in names if name.startswith("airlock-")]

        def held() -> list[Any]:
            roles = iam.get_account_authorization_details(Filter=["Role"])["RoleDetailList"]
            arns = [one["Arn"] for one in iam.list_policies(Scope="Local")["Policies"] if "/airlock-" not in one["Arn"]]
            return [
                [one for one in roles if not one["RoleName"].startswith("airlock-")],
                [iam.get_policy(PolicyArn=arn)["Policy"] for arn in arns],
                [iam.list_policy_versions(PolicyArn=arn)["Versions"] for arn in arns],
            ]

        stream = "documents.json"
        useless = (
            Useless("an inline policy", "content of role/shop-app", stream,
                    documents(lambda d: d["role/shop-app"]["inline"].clear())),
            Useless("an attached policy", "content of role/shop-app", stream,
                    documents(lambda d: d["role/shop-app"]["attached"].clear())),
            Useless("a policy that a role needs", "not proven", stream,
                    documents(lambda d: d.pop("policy/shop-uploads"))),
            Useless("a role", "names of documents", stream, documents(lambda d: d.pop("role/shop-app"))),
            Useless("no trust", "cannot be used", stream, documents(lambda d: d["role/shop-app"].pop("trust"))),
            Useless("what AWS refuses", "AWS answered 400", stream,
                    documents(lambda d: d["role/shop-app"]["inline"].update(parameters={"Statement": "none"}))),
        )  # fmt: skip
        return Case(
            driver=driver(store),
            change=change,
            spoil=spoil,
            origin=lambda: digest(held()),
            useless=useless,
            left_over=left_over,
            restored=lambda: without(in_lists(held()), *SET_BY_THE_SERVER),
            damages={**dict.fromkeys(DAMAGES[1:-1], "tried in test_aws_iam_way_back.py"),
                     "linked": "there are no links"},
            forms=FORMS_OF_AN_API,
        )


def test_roles_and_policies_come_with_versions_and_references(store: BackupStore) -> None:
    documents = driver(store).export(ORIGIN)
    assert documents["role/shop-app"]["attached"] == ["policy/shop-uploads"]
    assert documents["role/shop-app"]["max_session_seconds"] == 7200
    uploads = documents["policy/shop-uploads"]
    assert len(uploads["others"]) == 2
    assert uploads["default"]["Statement"][0]["Action"] == ["s3:GetObject", "s3:ListBucket", "s3:PutObject"]


def test_a_copy_of_a_role_can_do_nothing(store: BackupStore, moto_server: moto.Moto) -> None:
    iam = moto_server.client("iam")
    subject = driver(store)
    point = subject.finish(subject.start("point-1"))
    subject.restore(point, SCRATCH)
    actual = Names(SCRATCH).actual("shop-app")
    denied = iam.get_role_policy(RoleName=actual, PolicyName="airlock-deny-all")["PolicyDocument"]
    assert denied["Statement"] == [{"Effect": "Deny", "Action": "*", "Resource": "*"}]
    assert iam.get_role(RoleName=actual)["Role"]["Path"] == "/airlock-scratch/proof1/shop-app/"
    subject.discard(SCRATCH)


def test_an_origin_gets_back_its_policy_versions_and_its_deleted_role(
    store: BackupStore, moto_server: moto.Moto
) -> None:
    iam = moto_server.client("iam")
    boundary = iam.create_policy(PolicyName="outside", PolicyDocument=policy("s3:*"))["Policy"]["Arn"]
    iam.create_policy(PolicyName="till-one", PolicyDocument=policy("s3:One"), Tags=[{"Key": "a", "Value": "b"}])
    arn = "arn:aws:iam::123456789012:policy/till-one"
    for number in range(4):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=policy(f"s3:V{number}"), SetAsDefault=number == 1)
    iam.create_role(RoleName="till-role", AssumeRolePolicyDocument=TRUST, PermissionsBoundary=boundary)
    iam.attach_role_policy(RoleName="till-role", PolicyArn=boundary)
    subject = driver(store, name_prefix="till-")
    point = subject.finish(subject.start("point-1"))
    for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]:
        if not version["IsDefaultVersion"]:
            iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
    iam.untag_policy(PolicyArn=arn, TagKeys=["a"])
    iam.tag_policy(PolicyArn=arn, Tags=[{"Key": "c", "Value": "d"}])
    iam.detach_role_policy(RoleName="till-role", PolicyArn=boundary)
    iam.delete_role(RoleName="till-role")
    subject.restore(point, ORIGIN)
    assert [check for check in subject.prove(point, ORIGIN) if not check.ok] == []


def test_the_whole_account_is_refused(store: BackupStore) -> None:
    with pytest.raises(InvalidInput, match="name_prefix or path_prefix"):
        driver(store, name_prefix="")


@FAULTS
def test_failing_answers_are_named_as_what_they_are(
    store: BackupStore, moto_server: moto.Moto, monkeypatch: pytest.MonkeyPatch, fault: Fault, error: type[Exception]
) -> None:
    with faulty_proxy(moto_server.url) as proxy:
        aws_connection(monkeypatch, proxy.url)
        proxy.always(fault)
        with pytest.raises(error, match=r"security\.roles"):
            driver(store).inspect()


WORDS = st.lists(st.sampled_from(["s3:Get*", "s3:Put*", "sts:AssumeRole", "*"]), min_size=1, max_size=4)


@given(actions=WORDS, order=st.randoms())
def test_policies_that_aws_treats_as_equal_have_one_form(actions: list[str], order: Any) -> None:
    shuffled = [*actions, actions[0]]
    order.shuffle(shuffled)
    first = aws.canonical_policy({"Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]})
    second = aws.canonical_policy(json.dumps({"Statement": {"Effect": "Allow", "Action": shuffled, "Resource": ["*"]}}))
    assert first == second == aws.canonical_policy(first)


@given(actions=WORDS, single=st.booleans(), person=st.sampled_from(["é", "a b", "ada"]))
def test_a_policy_that_is_as_long_as_it_may_be_does_not_grow(actions: list[str], single: bool, person: str) -> None:
    statement = {"Sid": person, "Effect": "Allow", "Action": actions[0] if single else actions, "Resource": "*",
                 "Principal": {"AWS": "*"}, "Condition": {"Bool": {"aws:SecureTransport": True}}}  # fmt: skip
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]}, ensure_ascii=False, separators=(",", ":"))
    canonical = aws.canonical_policy(text)
    written = aws.policy_text(canonical)
    assert len(written) <= len(text) + len('"""') - 1  # true became "true"
    assert aws.canonical_policy(written) == canonical


def test_different_policies_keep_different_forms() -> None:
    assert aws.canonical_policy(policy("s3:Get")) != aws.canonical_policy(policy("s3:Put"))
    assert aws.canonical_policy({"Statement": [{"Principal": "*"}]}) != aws.canonical_policy(
        {"Statement": [{"Principal": {"AWS": "x"}}]}
    )
