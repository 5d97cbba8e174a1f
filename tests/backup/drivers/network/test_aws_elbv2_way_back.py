"""The driver ``aws_elbv2``: a rich load balancer is proven, and comes back from any damage."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.network.aws_elbv2 import AwsElbv2Driver
from airlock.backup.drivers.network.elbv2_writing import scratch_name
from airlock.backup.run import prove, restore_origin
from airlock.backup.store import BackupStore
from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.models import Kind, RecoveryPoint, Resource
from sandbox import moto
from tests.backup.drivers.aws_faults import QUERY_ERROR, refuse_after
from tests.faulty_proxy import Fault, faulty_proxy
from tests.real_servers import aws_connection

pytestmark = pytest.mark.campaign

COUNTER = itertools.count()
ORIGIN, SCRATCH = Place(origin=True), Place(name="proof1")


@pytest.fixture(autouse=True)
def connection(moto_server: moto.Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    aws_connection(monkeypatch, moto_server.url)


@dataclass(frozen=True)
class Rich:
    """A load balancer with all that it may have."""

    elbv2: Any
    ec2: Any
    name: str
    balancer: str
    groups: dict[str, str]
    listeners: dict[int, str]
    subnets: list[str]

    def rule(self, priority: str) -> str:
        rules = self.elbv2.describe_rules(ListenerArn=self.listeners[443])["Rules"]
        return next(rule["RuleArn"] for rule in rules if rule["Priority"] == priority)


def forward(**weights: int) -> list[dict[str, Any]]:
    groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
    stickiness = {"Enabled": True, "DurationSeconds": 300}
    return [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups, "TargetGroupStickinessConfig": stickiness}}]


@pytest.fixture
def rich(moto_server: moto.Moto, request: pytest.FixtureRequest) -> Rich:
    elbv2, ec2, acm = (moto_server.client(name) for name in ("elbv2", "ec2", "acm"))
    name = f"rich-{abs(hash(request.node.name)) % 10**8}"
    network = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = sorted(found["SubnetId"] for found in ec2.describe_subnets()["Subnets"])
    security = ec2.create_security_group(GroupName=name, Description="x", VpcId=network)["GroupId"]
    balancer = elbv2.create_load_balancer(
        Name=name, Subnets=subnets[:2], SecurityGroups=[security], Scheme="internet-facing",
        Tags=[{"Key": "team", "Value": "till"}],
    )["LoadBalancers"][0]["LoadBalancerArn"]  # fmt: skip
    attributes = {"idle_timeout.timeout_seconds": "90", "access_logs.s3.enabled": "true",
                  "access_logs.s3.bucket": "logs", "deletion_protection.enabled": "true"}  # fmt: skip
    elbv2.modify_load_balancer_attributes(
        LoadBalancerArn=balancer, Attributes=[{"Key": key, "Value": value} for key, value in attributes.items()]
    )
    groups = {}
    for part in ("old", "new"):
        made = elbv2.create_target_group(
            Name=f"{name}-{part}", Protocol="HTTP", Port=80, VpcId=network, TargetType="ip", HealthCheckPath="/ready",
            Matcher={"HttpCode": "200-299"}, Tags=[{"Key": "part", "Value": part}],
        )  # fmt: skip
        groups[part] = made["TargetGroups"][0]["TargetGroupArn"]
        elbv2.modify_target_group_attributes(
            TargetGroupArn=groups[part], Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "17"}]
        )
        elbv2.register_targets(TargetGroupArn=groups[part], Targets=[{"Id": "10.0.0.7", "Port": 8080}])
    certificates = [acm.request_certificate(DomainName=f"{n}.{name}.test")["CertificateArn"] for n in range(3)]
    plain = elbv2.create_listener(
        LoadBalancerArn=balancer, Protocol="HTTP", Port=80,
        DefaultActions=[{"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443",
                                                                "StatusCode": "HTTP_301"}}],
    )["Listeners"][0]["ListenerArn"]  # fmt: skip
    secure = elbv2.create_listener(
        LoadBalancerArn=balancer, Protocol="HTTPS", Port=443, SslPolicy="ELBSecurityPolicy-TLS13-1-2-2021-06",
        Certificates=[{"CertificateArn": certificates[0]}], Tags=[{"Key": "edge", "Value": "yes"}],
        DefaultActions=forward(**{groups["old"]: 90, groups["new"]: 10}),
    )["Listeners"][0]["ListenerArn"]  # fmt: skip
    elbv2.add_listener_certificates(ListenerArn=secure, Certificates=[{"CertificateArn": certificates[1]}])
    elbv2.modify_listener_attributes(
        ListenerArn=secure, Attributes=[{"Key": "routing.http.response.server.enabled", "Value": "false"}]
    )
    fixed = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503", "ContentType": "text/plain",
                                                               "MessageBody": "away"}}]  # fmt: skip
    paths = {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/b/*", "/a/*"]}}
    hosts = {"Field": "host-header", "HostHeaderConfig": {"Values": ["b.test", "a.test"]}}
    header = {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Beta", "Values": ["yes"]}}
    elbv2.create_rule(ListenerArn=secure, Priority=5, Conditions=[paths, hosts], Actions=forward(**{groups["new"]: 1}),
                      Tags=[{"Key": "why", "Value": "beta"}])  # fmt: skip
    elbv2.create_rule(ListenerArn=secure, Priority=50000, Conditions=[header], Actions=fixed)
    login = {"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": {
        "Issuer": "https://id.test", "AuthorizationEndpoint": "https://id.test/a", "TokenEndpoint": "https://id.test/t",
        "UserInfoEndpoint": "https://id.test/u", "ClientId": "till", "ClientSecret": "hidden-word"}}  # fmt: skip
    elbv2.create_rule(ListenerArn=secure, Priority=7, Conditions=[{**paths, "PathPatternConfig": {"Values": ["/in"]}}],
                      Actions=[login, {**fixed[0], "Order": 2}])  # fmt: skip
    return Rich(elbv2, ec2, name, balancer, groups, {80: plain, 443: secure}, subnets)


def driver(store: BackupStore, *names: str) -> AwsElbv2Driver:
    given = {"connection": "test_aws", "load_balancers": list(names)}
    return AwsElbv2Driver(Resource(name="front", kind=Kind.NETWORK, driver="aws_elbv2", options=given), store)


def taken(subject: AwsElbv2Driver) -> RecoveryPoint:
    return subject.finish(subject.start("point-1"))


def wrong(subject: AwsElbv2Driver, point: RecoveryPoint) -> list[str]:
    return [check.name for check in subject.prove(point, ORIGIN) if not check.ok]


def test_a_rich_load_balancer_is_proven_by_a_copy_that_acts_on_nobody(store: BackupStore, rich: Rich) -> None:
    subject = driver(store, rich.name)
    point = taken(subject)
    subject.restore(point, SCRATCH)
    assert [check.name for check in subject.prove(point, SCRATCH) if not check.ok] == []
    copy = rich.elbv2.describe_load_balancers(Names=[scratch_name(rich.name, SCRATCH)])["LoadBalancers"][0]
    assert copy["Scheme"] == "internal"
    told = rich.elbv2.describe_load_balancer_attributes(LoadBalancerArn=copy["LoadBalancerArn"])["Attributes"]
    held = {entry["Key"]: entry["Value"] for entry in told}
    assert held["access_logs.s3.enabled"] == held["deletion_protection.enabled"] == "false"
    for group in subject._groups(rich.elbv2, SCRATCH, ()).values():
        health = rich.elbv2.describe_target_health(TargetGroupArn=group["TargetGroupArn"])
        assert health["TargetHealthDescriptions"] == []
    subject.discard(SCRATCH)
    assert "hidden-word" not in point.model_dump_json() + str(subject.stored_documents(point))


DAMAGES: dict[str, Callable[[Rich], object]] = {
    "traffic on the other group": lambda r: r.elbv2.modify_listener(
        ListenerArn=r.listeners[443], DefaultActions=forward(**{r.groups["new"]: 1})),
    "another health check": lambda r: r.elbv2.modify_target_group(
        TargetGroupArn=r.groups["old"], HealthCheckPath="/other", Matcher={"HttpCode": "200"}),
    "other attributes of a group": lambda r: r.elbv2.modify_target_group_attributes(
        TargetGroupArn=r.groups["old"], Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}]),
    "other tags": lambda r: [r.elbv2.remove_tags(ResourceArns=[arn], TagKeys=["team", "part", "edge", "why"])
                             for arn in (r.balancer, r.groups["old"], r.listeners[443])],
    "a tag of a rule": lambda r: r.elbv2.add_tags(ResourceArns=[r.rule("5")], Tags=[{"Key": "why", "Value": "x"}]),
    "no listener": lambda r: r.elbv2.delete_listener(ListenerArn=r.listeners[80]),
    "a later listener": lambda r: r.elbv2.create_listener(
        LoadBalancerArn=r.balancer, Protocol="HTTP", Port=8080, DefaultActions=forward(**{r.groups["new"]: 1})),
    "another certificate": lambda r: r.elbv2.remove_listener_certificates(ListenerArn=r.listeners[443], Certificates=[
        {"CertificateArn": c["CertificateArn"]} for c in r.elbv2.describe_listener_certificates(
            ListenerArn=r.listeners[443])["Certificates"] if not c.get("IsDefault")]),
    "an attribute of a listener": lambda r: r.elbv2.modify_listener_attributes(
        ListenerArn=r.listeners[443], Attributes=[{"Key": "routing.http.response.server.enabled", "Value": "true"}]),
    "other rules": lambda r: [
        r.elbv2.delete_rule(RuleArn=r.rule("50000")),
        r.elbv2.modify_rule(RuleArn=r.rule("5"), Actions=[{"Type": "fixed-response",
                                                           "FixedResponseConfig": {"StatusCode": "200"}}]),
        r.elbv2.modify_rule(RuleArn=r.rule("7"), Conditions=[{"Field": "path-pattern", "Values": ["/out"]}]),
        r.elbv2.create_rule(ListenerArn=r.listeners[443], Priority=1, Actions=forward(**{r.groups["old"]: 1}),
                            Conditions=[{"Field": "path-pattern", "Values": ["/later"]}])],
    "other attributes of the balancer": lambda r: r.elbv2.modify_load_balancer_attributes(
        LoadBalancerArn=r.balancer, Attributes=[{"Key": "idle_timeout.timeout_seconds", "Value": "1"},
                                                {"Key": "access_logs.s3.enabled", "Value": "false"}]),
    "other subnets": lambda r: r.elbv2.set_subnets(LoadBalancerArn=r.balancer, Subnets=r.subnets[1:3]),
    "other security groups": lambda r: r.elbv2.set_security_groups(
        LoadBalancerArn=r.balancer, SecurityGroups=[r.ec2.create_security_group(
            GroupName=f"{r.name}-{next(COUNTER)}", Description="x")["GroupId"]]),
    "other addresses": lambda r: r.elbv2.set_ip_address_type(LoadBalancerArn=r.balancer, IpAddressType="dualstack"),
}  # fmt: skip


def test_the_way_back_from_every_damage(store: BackupStore, rich: Rich) -> None:
    subject = driver(store, rich.name)
    point = taken(subject)
    assert prove(subject, point, SCRATCH).ok
    subject.discard(SCRATCH)
    secret = rich.rule("7")
    for damage, act in DAMAGES.items():
        act(rich)
        if damage != "traffic on the other group":
            assert wrong(subject, point), damage
        restore_origin(subject, point)
        assert wrong(subject, point) == [], damage
        rich.listeners[80] = subject_listener(rich, 80)
    assert rich.rule("7") == secret, "a rule that logs people in is changed, not made anew without its secret"
    for act in DAMAGES.values():
        act(rich)
    restore_origin(subject, point)
    assert wrong(subject, point) == []


def subject_listener(rich: Rich, port: int) -> str:
    found = rich.elbv2.describe_listeners(LoadBalancerArn=rich.balancer)["Listeners"]
    return next(one["ListenerArn"] for one in found if one["Port"] == port)


def test_a_target_group_that_was_made_anew_gets_its_targets_back(
    store: BackupStore, rich: Rich, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    subject = driver(store, rich.name)
    point = taken(subject)
    rich.elbv2.modify_listener(ListenerArn=rich.listeners[443], DefaultActions=forward(**{rich.groups["new"]: 1}))
    rich.elbv2.delete_target_group(TargetGroupArn=rich.groups["old"])
    network = rich.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    rich.elbv2.create_target_group(Name=f"{rich.name}-old", Protocol="HTTP", Port=81, VpcId=network, TargetType="ip")
    restore_origin(subject, point)
    assert wrong(subject, point) == []
    group = rich.elbv2.describe_target_groups(Names=[f"{rich.name}-old"])["TargetGroups"][0]
    assert group["Port"] == 80
    health = rich.elbv2.describe_target_health(TargetGroupArn=group["TargetGroupArn"])["TargetHealthDescriptions"]
    assert [entry["Target"]["Id"] for entry in health] == ["10.0.0.7"]
    assert "was made anew, with the 1 target(s) on record" in caplog.text


def test_targets_come_back_whenever_a_way_back_was_cut_short(
    store: BackupStore, rich: Rich, moto_server: moto.Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    rich.elbv2.delete_rule(RuleArn=rich.rule("7"))
    point = taken(driver(store, rich.name))
    network = rich.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    with faulty_proxy(moto_server.url) as proxy:
        aws_connection(monkeypatch, proxy.url)
        for last in (12, 20, 24, 26, 28, 30, 32, 36, 45, 60, 75, 90):
            secure = subject_listener(rich, 443)
            rich.elbv2.modify_listener(ListenerArn=secure, DefaultActions=forward(**{rich.groups["new"]: 1}))
            old = rich.elbv2.describe_target_groups(Names=[f"{rich.name}-old"])["TargetGroups"][0]["TargetGroupArn"]
            rich.elbv2.delete_target_group(TargetGroupArn=old)
            if last % 4:
                rich.elbv2.create_target_group(
                    Name=f"{rich.name}-old", Protocol="HTTP", Port=81, VpcId=network, TargetType="ip"
                )
            proxy.seen.clear()
            proxy.decide = partial(refuse_after, proxy, last)
            with suppress(PermanentError):
                restore_origin(driver(store, rich.name), point)
            proxy.decide = lambda *_: None
            restore_origin(driver(store, rich.name), point)
            assert wrong(driver(store, rich.name), point) == [], last
            group = rich.elbv2.describe_target_groups(Names=[f"{rich.name}-old"])["TargetGroups"][0]["TargetGroupArn"]
            health = rich.elbv2.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
            assert [entry["Target"]["Id"] for entry in health] == ["10.0.0.7"], last
            tags = rich.elbv2.describe_tags(ResourceArns=[group])["TagDescriptions"][0]["Tags"]
            assert tags == [{"Key": "part", "Value": "old"}], "no mark is left"


@pytest.mark.parametrize("code", [b"TargetGroupNotFound", b"ResourceInUse", b"RuleNotFound", b"DuplicateListener"])
def test_what_changes_meanwhile_is_tried_again(
    store: BackupStore, rich: Rich, moto_server: moto.Moto, monkeypatch: pytest.MonkeyPatch, code: bytes
) -> None:
    point = taken(driver(store, rich.name))
    with faulty_proxy(moto_server.url) as proxy:
        aws_connection(monkeypatch, proxy.url)
        proxy.always(Fault(status=400, body=QUERY_ERROR % code, content_type="text/xml"))
        for act in (driver(store, rich.name).inspect, lambda: driver(store, rich.name).restore(point, ORIGIN)):
            with pytest.raises(TemporaryError, match="changed meanwhile"):
                act()


def test_no_listener_goes_when_one_of_them_cannot_be_made_again(store: BackupStore, rich: Rich) -> None:
    subject = driver(store, rich.name)
    point = taken(subject)
    login = rich.elbv2.describe_rules(RuleArns=[rich.rule("7")])["Rules"][0]["Actions"]
    login[0]["AuthenticateOidcConfig"]["ClientSecret"] = "hidden-word"
    old = forward(**{rich.groups["old"]: 1})
    rich.elbv2.create_listener(LoadBalancerArn=rich.balancer, Protocol="HTTP", Port=81, DefaultActions=old)
    changed = subject.stored_documents(point)
    changed[f"target-group/{rich.name}-old"]["settings"]["Port"] = 82
    before = len(rich.elbv2.describe_listeners(LoadBalancerArn=rich.balancer)["Listeners"])
    rich.elbv2.modify_rule(RuleArn=rich.rule("5"), Actions=[login[0], *forward(**{rich.groups["old"]: 1})])
    with pytest.raises(PermanentError, match="listener 443 logs people in"):
        subject.load(changed, ORIGIN)
    assert len(rich.elbv2.describe_listeners(LoadBalancerArn=rich.balancer)["Listeners"]) == before


def test_a_log_in_that_is_gone_is_said_and_not_made_without_its_secret(store: BackupStore, rich: Rich) -> None:
    subject = driver(store, rich.name)
    point = taken(subject)
    rich.elbv2.delete_rule(RuleArn=rich.rule("7"))
    with pytest.raises(PermanentError, match="rule 7 logs people in with OpenID Connect"):
        restore_origin(subject, point)


def test_a_name_that_is_not_there_is_named(store: BackupStore, rich: Rich) -> None:
    subject = driver(store, rich.name, "shop-prdo")
    for act in (subject.inspect, lambda: taken(subject)):
        with pytest.raises(InvalidInput, match="no load balancer shop-prdo"):
            act()


def test_a_target_group_of_a_function_is_proven_and_comes_back(rich: Rich, store: BackupStore) -> None:
    """AWS tells attributes of such a group that it refuses to be told: after reports of terraform and pulumi."""
    made = rich.elbv2.create_target_group(Name=f"{rich.name}-f", TargetType="lambda", Tags=[{"Key": "a", "Value": "b"}])
    group = made["TargetGroups"][0]["TargetGroupArn"]
    rich.elbv2.create_listener(LoadBalancerArn=rich.balancer, Protocol="HTTP", Port=8081,
                               DefaultActions=[{"Type": "forward", "TargetGroupArn": group}])  # fmt: skip
    subject = driver(store, rich.name)
    point = taken(subject)
    proof = prove(subject, point, SCRATCH)
    subject.discard(SCRATCH)
    assert proof.ok, proof.reason
    listeners = rich.elbv2.describe_listeners(LoadBalancerArn=rich.balancer)["Listeners"]
    for listener in [one for one in listeners if one["Port"] == 8081]:
        rich.elbv2.delete_listener(ListenerArn=listener["ListenerArn"])
    rich.elbv2.delete_target_group(TargetGroupArn=group)
    restore_origin(subject, point)
    assert [check.name for check in subject.prove(point, ORIGIN) if not check.ok] == []
