"""The driver ``aws_route53`` against moto over HTTP, directly and behind a proxy that fails."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.network.aws_route53 import AwsRoute53Driver
from airlock.backup.store import BackupStore
from airlock.errors import InvalidInput
from airlock.models import Kind, Resource
from sandbox import moto
from tests.backup.drivers.aws_faults import FAULTS
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest, documents, without
from tests.contracts.driver_forms import Damage, Form
from tests.faulty_proxy import Fault, faulty_proxy
from tests.real_servers import aws_connection

SOA = {
    "{zone} SOA": {
        "Name": "{zone}",
        "Type": "SOA",
        "TTL": 900,
        "ResourceRecords": [{"Value": "ns.elsewhere.test. root.elsewhere.test. 1 7200 900 1209600 86400"}],
    }
}
ORIGIN = Place(origin=True)
SCRATCH = Place(name="proof1")


def driver(store: BackupStore, **options: Any) -> AwsRoute53Driver:
    given = {"connection": "test_aws", "zone": "shop.test", **options}
    return AwsRoute53Driver(Resource(name="dns", kind=Kind.NETWORK, driver="aws_route53", options=given), store)


@pytest.fixture(autouse=True)
def connection(moto_server: moto.Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    aws_connection(monkeypatch, moto_server.url)


def upsert(route53: Any, zone: str, name: str, value: str) -> None:
    record = {"Name": name, "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": value}]}
    route53.change_resource_record_sets(
        HostedZoneId=zone, ChangeBatch={"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}
    )


def address(route53: Any, zone: str, name: str) -> str:
    found = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    values = [
        record["ResourceRecords"][0]["Value"] for record in found if (record["Name"], record["Type"]) == (name, "A")
    ]
    return str(values[0])


@pytest.mark.campaign
class TestContract(DriverContract):
    @pytest.fixture
    def case(self, store: BackupStore, moto_server: moto.Moto) -> Case:
        route53 = moto_server.client("route53")

        def change() -> None:
            number = int(address(route53, moto_server.zone_id, "shop.test.").rpartition(".")[2])
            upsert(route53, moto_server.zone_id, "shop.test.", f"127.0.0.{number % 250 + 1}")
            upsert(route53, moto_server.zone_id, "made-later.shop.test.", f"127.0.1.{number % 250 + 1}")

        def of_another_type() -> None:
            found = route53.list_resource_record_sets(HostedZoneId=moto_server.zone_id)["ResourceRecordSets"]
            old = next(one for one in found if one["Name"] == "shop.test." and one["Type"] == "A")
            new = {**old, "Type": "CNAME", "ResourceRecords": [{"Value": "elsewhere.test."}]}
            route53.change_resource_record_sets(
                HostedZoneId=moto_server.zone_id,
                ChangeBatch={"Changes": [{"Action": "DELETE", "ResourceRecordSet": old},
                                         {"Action": "CREATE", "ResourceRecordSet": {**new, "Name": "www2.shop.test."}},
                                         {"Action": "CREATE", "ResourceRecordSet": {
                                             "Name": "shop.test.", "Type": "A", "AliasTarget": {
                                                 "HostedZoneId": moto_server.zone_id, "DNSName": "www2.shop.test.",
                                                 "EvaluateTargetHealth": False}}}]},
            )

        def spoil(place: Place) -> None:
            zone = driver(store)._zone_of(route53, place)
            assert zone is not None
            upsert(route53, zone["Id"], f"mail.{zone['Name']}", "9.9.9.9")

        def left_over(place: Place) -> list[str]:
            return [zone["Name"] for zone in route53.list_hosted_zones()["HostedZones"] if "airlock" in zone["Name"]]

        def records() -> list[Any]:
            found = route53.list_resource_record_sets(HostedZoneId=moto_server.zone_id)["ResourceRecordSets"]
            return [route53.get_hosted_zone(Id=moto_server.zone_id)["HostedZone"], found]

        def empty() -> None:
            found = route53.list_resource_record_sets(HostedZoneId=moto_server.zone_id)["ResourceRecordSets"]
            ours = [one for one in found if one["Type"] not in ("NS", "SOA") and one["Name"] != "shop.test."]
            for one in ours:
                route53.change_resource_record_sets(
                    HostedZoneId=moto_server.zone_id,
                    ChangeBatch={"Changes": [{"Action": "DELETE", "ResourceRecordSet": one}]},
                )

        useless = (
            Useless("a record", "names of documents", "documents.json", documents(lambda d: d.pop("{zone} MX"))),
            Useless("a value", "content of", "documents.json", documents(lambda d: d["{zone} MX"].update(TTL=1))),
            Useless(
                "an alias to nothing",
                "content of start.{zone} A",
                "documents.json",
                documents(lambda d: d["start.{zone} A"]["AliasTarget"].update(DNSName="gone.{zone}")),
            ),
            Useless("no name", "cannot be used", "documents.json", documents(lambda d: d["{zone} MX"].pop("Name"))),
            Useless("the zone's SOA", "names of documents", "documents.json", documents(lambda d: d.update(SOA))),
        )
        return Case(
            driver=driver(store), change=change, spoil=spoil, origin=lambda: digest(records()),
            useless=useless, left_over=left_over,
            restored=lambda: without(records()),
            damages={
                "emptied": Damage(empty),
                "added": Damage(lambda: upsert(route53, moto_server.zone_id, "later.shop.test.", "127.0.0.9")),
                "settings": Damage(lambda: route53.update_hosted_zone_comment(Id=moto_server.zone_id, Comment="x")),
                "gone": "tried in test_aws_route53_way_back.py, with a zone of its own",
                "taken": Damage(of_another_type),
                "linked": "an alias is a record like others; one that took the place of another is 'taken'",
            },
            forms={
                "text that is not UTF-8": "names and values are ASCII; escapes are tried in test_route53_records.py",
                "names at the edges": "tried in test_route53_records.py",
                "modes and owners": "a record has none",
                "disappears while it is read": Form(
                    make=lambda: upsert(route53, moto_server.zone_id, "passing.shop.test.", "127.0.0.9"),
                    during=lambda: route53.change_resource_record_sets(
                        HostedZoneId=moto_server.zone_id, ChangeBatch={"Changes": [{"Action": "DELETE",
                        "ResourceRecordSet": {"Name": "passing.shop.test.", "Type": "A", "TTL": 60,
                                              "ResourceRecords": [{"Value": "127.0.0.9"}]}}]})),
                "grows while it is read": Form(
                    during=lambda: upsert(route53, moto_server.zone_id, "meanwhile.shop.test.", "127.0.0.9")),
                "empty": "a zone without records of people is refused, as is one that is not there",
                "huge": "tried below with more records than one request takes",
                "deeply nested": "chains of aliases are tried in test_route53_records.py",
            },
        )  # fmt: skip


def test_names_are_relative_and_the_zones_own_records_stay_out(store: BackupStore, moto_server: moto.Moto) -> None:
    documents = driver(store, zone=moto_server.zone_id).export(ORIGIN)
    assert {"www.{zone} CNAME", "api.{zone} A stable", "api.{zone} A canary", "{zone} MX", "start.{zone} A"} <= set(
        documents
    )
    assert documents["start.{zone} A"]["AliasTarget"]["HostedZoneId"] == "{zone}"
    assert not {"{zone} NS", "{zone} SOA"} & set(documents)
    assert driver(store).export(ORIGIN) == documents


def test_more_records_than_one_request_takes(store: BackupStore, moto_server: moto.Moto) -> None:
    route53 = moto_server.client("route53")
    zone = route53.create_hosted_zone(Name="many.test.", CallerReference="many")["HostedZone"]["Id"]
    records = [
        {
            "Action": "CREATE",
            "ResourceRecordSet": {
                "Name": f"r{number}.many.test.",
                "Type": "A",
                "TTL": 60,
                "ResourceRecords": [{"Value": "127.0.0.1"}],
            },
        }
        for number in range(700)
    ]
    for at in (0, 350):
        route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": records[at : at + 350]})
    subject = driver(store, zone="many.test")
    point = subject.finish(subject.start("point-1"))
    subject.restore(point, SCRATCH)
    checks = subject.prove(point, SCRATCH)
    assert len(checks) == 702 and all(check.ok for check in checks)
    subject.discard(SCRATCH)


def test_two_zones_of_one_name_are_told_apart_by_id_only(store: BackupStore, moto_server: moto.Moto) -> None:
    route53 = moto_server.client("route53")
    for reference in ("one", "two"):
        route53.create_hosted_zone(Name="twin.test.", CallerReference=reference)
    with pytest.raises(InvalidInput, match="2 hosted zones are called twin.test"):
        driver(store, zone="twin.test").inspect()


def test_an_unknown_zone_is_not_there(store: BackupStore) -> None:
    subject = driver(store, zone="nowhere.test")
    assert not subject.inspect().present
    with pytest.raises(InvalidInput, match="nothing is there"):
        subject.finish(subject.start("point-1"))


@pytest.mark.campaign
@FAULTS
def test_failing_answers_are_named_as_what_they_are(
    store: BackupStore, moto_server: moto.Moto, monkeypatch: pytest.MonkeyPatch, fault: Fault, error: type[Exception]
) -> None:
    with faulty_proxy(moto_server.url) as proxy:
        aws_connection(monkeypatch, proxy.url)
        proxy.always(fault)
        with pytest.raises(error, match=r"network\.dns"):
            driver(store).inspect()
