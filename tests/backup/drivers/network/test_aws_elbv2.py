"""The driver ``aws_elbv2`` against moto over HTTP, directly and behind a proxy that fails."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.network import elbv2_documents as forms
from airlock.backup.drivers.network.aws_elbv2 import AwsElbv2Driver
from airlock.backup.drivers.network.elbv2_writing import scratch_name
from airlock.backup.store import BackupStore
from airlock.errors import InvalidInput
from airlock.models import Kind, Resource
from sandbox import moto
from tests.backup.drivers.aws_faults import FAULTS
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest, documents, without
from tests.contracts.driver_forms import DAMAGES, FORMS
from tests.faulty_proxy import Fault, faulty_proxy
from tests.real_servers import aws_connection

SET_BY_THE_SERVER = ("RuleArn", "Priority", "ForwardConfig", "TargetGroupArn", "LoadBalancerArns")
ORIGIN = Place(origin=True)


def driver(store: BackupStore, **options: Any) -> AwsElbv2Driver:
    given = {"connection": "test_aws", "load_balancers": ["shop-prod"], **options}
    return AwsElbv2Driver(Resource(name="front", kind=Kind.NETWORK, driver="aws_elbv2", options=given), store)


@pytest.fixture(autouse=True)
def connection(moto_server: moto.Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    aws_connection(monkeypatch, moto_server.url)


def listener_of(elbv2: Any, name: str) -> str:
    arn = elbv2.describe_load_balancers(Names=[name])["LoadBalancers"][0]["LoadBalancerArn"]
    return str(elbv2.describe_listeners(LoadBalancerArn=arn)["Listeners"][0]["ListenerArn"])


def scratch_names(elbv2: Any) -> list[str]:
    names = [found["LoadBalancerName"] for found in elbv2.describe_load_balancers()["LoadBalancers"]]
    names += [found["TargetGroupName"] for found in elbv2.describe_target_groups()["TargetGroups"]]
    return [name for name in names if name.startswith("airlock-")]


def change_rules(elbv2: Any, listener: str) -> None:
    rules = [rule for rule in elbv2.describe_rules(ListenerArn=listener)["Rules"] if not rule["IsDefault"]]
    elbv2.delete_rule(RuleArn=rules[0]["RuleArn"])
    # of another content each time: the load balancer is shared, and what changed once is to change again
    fixed = {"StatusCode": "404", "ContentType": "text/plain", "MessageBody": f"gone {secrets.token_hex(4)}"}
    used = {rule["Priority"] for rule in rules}
    free = next(number for number in range(500, 900) if str(number) not in used)
    elbv2.create_rule(
        ListenerArn=listener,
        Priority=free,
        Conditions=[{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/new*"]}}],
        Actions=[{"Type": "fixed-response", "FixedResponseConfig": fixed}],
    )

FORMS_OF_AN_API = dict.fromkeys(FORMS, "AWS takes ASCII names and small documents; those are tried beside this")


@pytest.mark.campaign
class TestContract(DriverContract):
    @pytest.fixture
    def case(self, store: BackupStore, moto_server: moto.Moto) -> Case:
        elbv2 = moto_server.client("elbv2")

        def spoil(place: Place) -> None:
            copy = scratch_name("shop-prod", place)
            change_rules(elbv2, listener_of(elbv2, copy))

        def held() -> list[Any]:
            found: list[Any] = []
            for balancer in elbv2.describe_load_balancers(Names=["shop-prod"])["LoadBalancers"]:
                arn = balancer["LoadBalancerArn"]
                listeners = elbv2.describe_listeners(LoadBalancerArn=arn)["Listeners"]
                groups = elbv2.describe_target_groups(LoadBalancerArn=arn)["TargetGroups"]
                rules = [elbv2.describe_rules(ListenerArn=one["ListenerArn"])["Rules"] for one in listeners]
                tags = elbv2.describe_tags(ResourceArns=[arn])["TagDescriptions"]
                found += [balancer, listeners, groups, rules, tags]
            return found

        def group(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
            return documents(lambda d: change(d["target-group/shop-prod-stable"]))

        stream = "documents.json"
        useless = (
            Useless("a target group", "cannot be used", stream,
                    documents(lambda d: d.pop("target-group/shop-prod-stable"))),
            Useless("a listener", "names of documents", stream, documents(lambda d: d.pop("listener/shop-prod/80"))),
            Useless("a health check", "content of target-group", stream,
                    group(lambda g: g["settings"].update(HealthCheckPath="/other"))),
            Useless("rules", "content of listener", stream,
                    documents(lambda d: d["listener/shop-prod/80"]["rules"].clear())),
            Useless("no settings", "cannot be used", stream, group(dict.clear)),
            Useless("what AWS refuses", "network.front", stream, group(lambda g: g["settings"].update(Protocol="X"))),
        )  # fmt: skip
        return Case(
            driver=driver(store),
            origin=lambda: digest(held()),
            restored=lambda: without(held(), *SET_BY_THE_SERVER),
            useless=useless,
            change=lambda: change_rules(elbv2, listener_of(elbv2, "shop-prod")),
            spoil=spoil,
            left_over=lambda place: scratch_names(elbv2),
            damages={**dict.fromkeys(DAMAGES[1:-1], "tried in test_aws_elbv2_way_back.py"),
                     "linked": "there are no links"},
            forms=FORMS_OF_AN_API,
        )


def test_documents_name_target_groups_and_hold_no_arn_of_them(store: BackupStore) -> None:
    documents = driver(store, load_balancers=["shop-staging"]).export(ORIGIN)
    assert {
        "load-balancer/shop-staging",
        "listener/shop-staging/80",
        "target-group/shop-staging-stable",
        "target-group/shop-staging-canary",
    } == set(documents)
    listener = documents["listener/shop-staging/80"]
    weights = listener["default_actions"][0]["ForwardConfig"]["targets"]
    assert weights == {"{target-group:shop-staging-stable}": 100, "{target-group:shop-staging-canary}": 0}
    assert {"10", "20", "30"} <= set(listener["rules"])
    assert "targetgroup" not in str(documents)


def test_a_whole_load_balancer_comes_back_after_it_was_deleted(store: BackupStore, moto_server: moto.Moto) -> None:
    elbv2 = moto_server.client("elbv2")
    subject = driver(store, load_balancers=["shop-staging"])
    point = subject.finish(subject.start("point-1"))
    arn = elbv2.describe_load_balancers(Names=["shop-staging"])["LoadBalancers"][0]["LoadBalancerArn"]
    groups = [group["TargetGroupArn"] for group in elbv2.describe_target_groups(LoadBalancerArn=arn)["TargetGroups"]]
    elbv2.delete_listener(ListenerArn=listener_of(elbv2, "shop-staging"))
    elbv2.delete_load_balancer(LoadBalancerArn=arn)
    for group in groups:
        elbv2.delete_target_group(TargetGroupArn=group)
    assert subject.export(ORIGIN) == {}
    subject.restore(point, ORIGIN)
    assert [check for check in subject.prove(point, ORIGIN) if not check.ok] == []


@pytest.mark.campaign
@FAULTS
def test_failing_answers_are_named_as_what_they_are(
    store: BackupStore, moto_server: moto.Moto, monkeypatch: pytest.MonkeyPatch, fault: Fault, error: type[Exception]
) -> None:
    with faulty_proxy(moto_server.url) as proxy:
        aws_connection(monkeypatch, proxy.url)
        proxy.always(fault)
        with pytest.raises(error, match=r"network\.front"):
            driver(store).inspect()


def test_no_name_is_refused(store: BackupStore) -> None:
    with pytest.raises(InvalidInput, match="load_balancers"):
        driver(store, load_balancers=[])


def test_plain_values_and_config_objects_are_one_form() -> None:
    plain = [{"Field": "host-header", "Values": ["b", "a"]}]
    config = [{"Field": "host-header", "Values": ["a", "b"], "HostHeaderConfig": {"Values": ["a", "b"]}}]
    assert forms.conditions_document(plain) == forms.conditions_document(config)
