"""The driver ``aws_route53``: private zones stay private, and a zone comes back from any damage."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.network.aws_route53 import AwsRoute53Driver
from airlock.backup.run import prove, restore_origin
from airlock.backup.store import BackupStore
from airlock.errors import PermanentError
from airlock.models import Kind, RecoveryPoint, Resource
from sandbox import moto
from tests.real_servers import aws_connection

pytestmark = pytest.mark.campaign

ORIGIN, SCRATCH = Place(origin=True), Place(name="proof1")
COUNTER = itertools.count()


@pytest.fixture
def route53(moto_server: moto.Moto, monkeypatch: pytest.MonkeyPatch) -> Any:
    aws_connection(monkeypatch, moto_server.url)
    return moto_server.client("route53")


def driver(store: BackupStore, zone: str) -> AwsRoute53Driver:
    given = {"connection": "test_aws", "zone": zone}
    return AwsRoute53Driver(Resource(name="dns", kind=Kind.NETWORK, driver="aws_route53", options=given), store)


def taken(subject: AwsRoute53Driver) -> RecoveryPoint:
    return subject.finish(subject.start("point-1"))


def wrong(subject: AwsRoute53Driver, point: RecoveryPoint, place: Place = ORIGIN) -> list[str]:
    return [check.name for check in subject.prove(point, place) if not check.ok]


def change(route53: Any, zone: str, action: str, name: str, kind: str, *values: str, **more: Any) -> None:
    found = {"TTL": 60, "ResourceRecords": [{"Value": value} for value in values]} if values else {}
    record = {"Name": name, "Type": kind, **found, **more}
    route53.change_resource_record_sets(
        HostedZoneId=zone, ChangeBatch={"Changes": [{"Action": action, "ResourceRecordSet": record}]}
    )


def make(route53: Any, *, private: bool) -> tuple[str, str, str]:
    """Return name, id and health check of a zone with one of everything."""
    name = f"way{next(COUNTER)}.test."
    network = {"VPC": {"VPCRegion": "us-east-1", "VPCId": "vpc-1"}} if private else {}
    made = route53.create_hosted_zone(Name=name, CallerReference=name, **network,
                                      HostedZoneConfig={"Comment": "inside", "PrivateZone": private})  # fmt: skip
    zone = made["HostedZone"]["Id"].rsplit("/", 1)[-1]
    if private:
        route53.associate_vpc_with_hosted_zone(HostedZoneId=zone, VPC={"VPCRegion": "eu-west-1", "VPCId": "vpc-2"})
    route53.change_tags_for_resource(ResourceType="hostedzone", ResourceId=zone,
                                     AddTags=[{"Key": "team", "Value": "till"}])  # fmt: skip
    check = route53.create_health_check(CallerReference=name, HealthCheckConfig={
        "Type": "HTTPS", "FullyQualifiedDomainName": f"a.{name}", "Port": 443, "ResourcePath": "/up",
        "RequestInterval": 30, "FailureThreshold": 3})["HealthCheck"]["Id"]  # fmt: skip
    change(route53, zone, "CREATE", f"db.{name}", "A", "10.0.0.5", "10.0.0.6")
    change(route53, zone, "CREATE", f"*.{name}", "CNAME", f"db.{name}")
    change(route53, zone, "CREATE", f"t.{name}", "TXT", f'"{"x" * 255}" "{"y" * 50}"', '"say \\"hi\\""')
    for side, role in (("a", "PRIMARY"), ("b", "SECONDARY")):
        change(route53, zone, "CREATE", f"api.{name}", "A", f"10.0.1.{ord(side)}", SetIdentifier=side, Failover=role,
               **({"HealthCheckId": check} if side == "a" else {}))  # fmt: skip
    target = {"HostedZoneId": zone, "DNSName": f"db.{name}", "EvaluateTargetHealth": False}
    change(route53, zone, "CREATE", f"www.{name}", "A", AliasTarget=target)
    return name, zone, check


def scratch_zones(route53: Any) -> list[dict[str, Any]]:
    return [zone for zone in route53.list_hosted_zones()["HostedZones"] if zone["Name"].startswith("airlock-")]


@pytest.mark.parametrize("private", [True, False])
def test_a_zone_is_proven_where_nobody_asks(route53: Any, store: BackupStore, private: bool) -> None:
    name, _, check = make(route53, private=private)
    subject = driver(store, name)
    point = taken(subject)
    subject.restore(point, SCRATCH)
    assert wrong(subject, point, SCRATCH) == []
    (scratch,) = scratch_zones(route53)
    assert scratch["Config"]["PrivateZone"] is private
    assert scratch["Name"] == "airlock-proof1.internal.", "below a name that the root of the DNS delegates to nobody"
    assert [one["Id"] for one in route53.list_health_checks()["HealthChecks"]].count(check) == 1
    subject.discard(SCRATCH)
    assert scratch_zones(route53) == []


def delete(route53: Any, zone: str, name: str) -> None:
    for record in route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]:
        if record["Name"] != name or record["Type"] not in ("NS", "SOA"):
            route53.change_resource_record_sets(
                HostedZoneId=zone, ChangeBatch={"Changes": [{"Action": "DELETE", "ResourceRecordSet": record}]}
            )
    route53.delete_hosted_zone(Id=zone)


DAMAGES: tuple[Callable[[Any, str, str], object], ...] = (
    lambda r, z, n: change(r, z, "UPSERT", f"db.{n}", "A", "10.9.9.9"),
    lambda r, z, n: change(r, z, "CREATE", f"later.{n}", "A", "10.9.9.9"),
    lambda r, z, n: r.update_hosted_zone_comment(Id=z, Comment="other"),
    lambda r, z, n: r.change_tags_for_resource(ResourceType="hostedzone", ResourceId=z, RemoveTagKeys=["team"],
                                               AddTags=[{"Key": "later", "Value": "x"}]),
    lambda r, z, n: [change(r, z, "CREATE", f"new.{n}", "A", "10.9.9.9"), change(
        r, z, "UPSERT", f"www.{n}", "A", AliasTarget={"HostedZoneId": z, "DNSName": f"new.{n}",
                                                      "EvaluateTargetHealth": False})],
)  # fmt: skip


@pytest.mark.parametrize("private", [True, False])
def test_the_way_back_from_every_damage(
    route53: Any, store: BackupStore, private: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    name, zone, check = make(route53, private=private)
    subject = driver(store, zone)
    point = taken(subject)
    assert prove(subject, point, SCRATCH).ok
    subject.discard(SCRATCH)
    for number, damage in enumerate(DAMAGES):
        damage(route53, zone, name)
        assert wrong(subject, point), number
        restore_origin(subject, point)
        assert wrong(subject, point) == [], number
    if private:
        route53.associate_vpc_with_hosted_zone(HostedZoneId=zone, VPC={"VPCRegion": "us-east-1", "VPCId": "vpc-9"})
        route53.disassociate_vpc_from_hosted_zone(HostedZoneId=zone, VPC={"VPCRegion": "us-east-1", "VPCId": "vpc-1"})
        restore_origin(subject, point)
        assert wrong(subject, point) == []
    delete(route53, zone, name)
    route53.delete_health_check(HealthCheckId=check)
    restore_origin(subject, point)
    assert wrong(subject, point) == [], "also by an id that is gone"
    assert "was made anew as" in caplog.text
    assert "health check" in caplog.text
    again = subject._zone_of(route53, ORIGIN)
    assert again is not None and again["Config"]["PrivateZone"] is private


def test_a_private_zone_is_never_made_public(route53: Any, store: BackupStore) -> None:
    name, zone, _ = make(route53, private=True)
    subject = driver(store, name)
    point = taken(subject)
    delete(route53, zone, name)
    route53.create_hosted_zone(Name=name, CallerReference=f"{name} public")
    with pytest.raises(PermanentError, match="is public now"):
        restore_origin(subject, point)


@pytest.mark.parametrize("form", ["/hostedzone/{}", "{}"])
def test_a_zone_goes_by_its_id_as_aws_writes_it(route53: Any, store: BackupStore, form: str) -> None:
    _, zone, _ = make(route53, private=False)
    subject = driver(store, form.format(zone))
    point = taken(subject)
    assert prove(subject, point, SCRATCH).ok
    subject.discard(SCRATCH)


def test_health_checks_that_count_others_come_back_counting_those_that_came_back(
    route53: Any, store: BackupStore
) -> None:
    """With their tags, which are the only names that people have of them."""
    name, zone, _ = make(route53, private=False)
    asked = {"Type": "HTTP", "IPAddress": "192.0.2.9", "Port": 80, "ResourcePath": f"/{name}"}
    child = route53.create_health_check(CallerReference=f"{name}1", HealthCheckConfig=asked)["HealthCheck"]["Id"]
    counting = {"Type": "CALCULATED", "HealthThreshold": 1, "ChildHealthChecks": [child]}
    parent = route53.create_health_check(CallerReference=f"{name}2", HealthCheckConfig=counting)["HealthCheck"]["Id"]
    for number in (child, parent):
        route53.change_tags_for_resource(ResourceType="healthcheck", ResourceId=number,
                                         AddTags=[{"Key": "Name", "Value": f"{name} {number == parent}"}])  # fmt: skip
    record = {"SetIdentifier": "one", "Weight": 1, "HealthCheckId": parent}
    change(route53, zone, "UPSERT", f"counted.{name}", "A", "192.0.2.1", **record)
    subject = driver(store, name)
    point = taken(subject)
    assert prove(subject, point, SCRATCH).ok
    subject.discard(SCRATCH)
    change(route53, zone, "DELETE", f"counted.{name}", "A", "192.0.2.1", **record)
    for number in (parent, child):
        route53.delete_health_check(HealthCheckId=number)
    restore_origin(subject, point)
    assert wrong(subject, point) == []
    held = {one["Id"]: one["HealthCheckConfig"] for one in route53.list_health_checks()["HealthChecks"]}
    listed = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    named = next(one["HealthCheckId"] for one in listed if one["Name"] == f"counted.{name}")
    (counted,) = held[named]["ChildHealthChecks"]
    assert held[counted]["ResourcePath"] == f"/{name}"
    for number, text in ((named, f"{name} True"), (counted, f"{name} False")):
        told = route53.list_tags_for_resource(ResourceType="healthcheck", ResourceId=number)["ResourceTagSet"]["Tags"]
        assert told == [{"Key": "Name", "Value": text}]
