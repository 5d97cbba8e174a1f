"""Records as documents: what is free of the zone, in which order changes are asked, and in what portions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.backup.drivers.network import route53_records as records

ZONE = {"Name": "shop.test.", "Id": "/hostedzone/Z1"}
SCRATCH = {"Name": "airlock-x.internal.", "Id": "/hostedzone/Z2"}


def plain(name: str, kind: str = "A", *values: str, **more: Any) -> dict[str, Any]:
    found = [{"Value": value} for value in values or ("192.0.2.1",)]
    return {"Name": name, "Type": kind, "TTL": 60, "ResourceRecords": found, **more}


def alias(name: str, target: str, zone: str = "Z1", **more: Any) -> dict[str, Any]:
    told = {"HostedZoneId": zone, "DNSName": target, "EvaluateTargetHealth": False}
    return {"Name": name, "Type": "A", "AliasTarget": told, **more}


@pytest.mark.parametrize(
    "record",
    [
        plain("shop.test."),
        plain("\\052.shop.test."),
        plain("a\\040b.\\100.shop.test."),
        plain("notshop.test."),
        plain("t.shop.test.", "TXT", f'"{"x" * 255}" "{"y" * 100}"', '"a \\"quoted\\" \\344 {zone}"'),
        alias("www.shop.test.", "\\052.shop.test."),
        alias("cdn.shop.test.", "d1.cloudfront.net.", "Z2FDTNDATAQYW2"),
        plain("api.shop.test.", SetIdentifier="eu west", GeoLocation={"ContinentCode": "EU"}),
        plain("api.shop.test.", SetIdentifier="", Failover="PRIMARY", HealthCheckId="h-1"),
        plain("api.shop.test.", SetIdentifier="m", MultiValueAnswer=True),
        plain("api.shop.test.", SetIdentifier="c", CidrRoutingConfig={"CollectionId": "c", "LocationName": "*"}),
    ],
)
def test_a_record_goes_to_another_zone_and_back(record: dict[str, Any]) -> None:
    document = records.relative(record, ZONE, {"h-1": "sha256:check"})
    copy = records.absolute(document, SCRATCH, {"sha256:check": "h-2"})
    assert records.relative(copy, SCRATCH, {"h-2": "sha256:check"}) == document
    back = records.absolute(document, ZONE, {"sha256:check": "h-1"})
    assert records.relative(back, ZONE, {"h-1": "sha256:check"}) == document
    assert {value["Value"] for value in back.get("ResourceRecords", ())} == {
        value["Value"] for value in record.get("ResourceRecords", ())
    }


def test_what_belongs_to_aws_or_a_traffic_policy_is_not_ours() -> None:
    for kind in ("NS", "SOA"):
        assert not records.is_ours(plain("shop.test.", kind), "shop.test.")
        assert records.is_ours(plain("sub.shop.test.", kind), "shop.test.")
    assert not records.is_ours(plain("a.shop.test.", TrafficPolicyInstanceId="t"), "shop.test.")


def named(*found: dict[str, Any]) -> dict[str, Any]:
    documents = [records.relative(record, ZONE, {}) for record in found]
    return {records.key_of(document): document for document in documents}


def asked(held: dict[str, Any], wanted: dict[str, Any]) -> list[tuple[str, str]]:
    return [(act, records.key_of(document)) for act, document in records.changes(held, wanted, remove=True)]


def test_aliases_come_after_what_they_point_at_and_go_before_it() -> None:
    chain = named(alias("a.shop.test.", "b.shop.test."), alias("b.shop.test.", "c.shop.test."), plain("c.shop.test."))
    assert asked({}, chain) == [("CREATE", "c.{zone} A"), ("CREATE", "b.{zone} A"), ("CREATE", "a.{zone} A")]
    assert asked(chain, {}) == [("DELETE", "a.{zone} A"), ("DELETE", "b.{zone} A"), ("DELETE", "c.{zone} A")]


def test_an_alias_is_turned_away_before_its_later_target_goes() -> None:
    before = named(alias("a.shop.test.", "old.shop.test."), plain("old.shop.test."))
    after = named(alias("a.shop.test.", "new.shop.test."), plain("old.shop.test."), plain("new.shop.test."))
    assert asked(after, before) == [("UPSERT", "a.{zone} A"), ("DELETE", "new.{zone} A")]


def test_what_a_name_must_not_have_beside_the_new_goes_first() -> None:
    before = named(plain("www.shop.test."))
    for later in (plain("www.shop.test.", "CNAME", "x."), plain("www.shop.test.", SetIdentifier="s", Weight=1)):
        assert [act for act, _ in asked(named(later), before)] == ["DELETE", "CREATE"]


def test_records_that_answer_by_another_rule_all_go_before_any_comes() -> None:
    weighted = named(*(plain("api.shop.test.", SetIdentifier=side, Weight=1) for side in "ab"), plain("x.shop.test."))
    nearest = named(*(plain("api.shop.test.", SetIdentifier=side, Region=f"eu-west-{side}") for side in "abc"),
                    plain("x.shop.test."))  # fmt: skip
    assert [act for act, _ in asked(nearest, weighted)] == ["DELETE"] * 3 + ["CREATE"] * 2
    assert [act for act, _ in asked(weighted, nearest)] == ["DELETE"] * 2 + ["CREATE"] * 3
    heavier = named(*(plain("api.shop.test.", SetIdentifier=side, Weight=2) for side in "ab"), plain("x.shop.test."))
    assert [act for act, _ in asked(heavier, weighted)] == ["UPSERT"] * 2


@pytest.mark.parametrize("name", ["0/25.2.0.192.in-addr.arpa", "*.shop.test", "münchen.test", "a_b.test", "Shop.TEST."])
def test_a_zone_is_found_by_its_name_as_people_write_it(name: str) -> None:
    kept = "abcdefghijklmnopqrstuvwxyz0123456789-_."
    told = "".join(c if c in kept else "".join(f"\\{b:03o}" for b in c.encode()) for c in name.lower().rstrip("."))
    assert records.same_name(f"{told}.", name)
    assert not records.same_name(f"x{told}.", name)


def test_a_zone_that_is_called_by_a_star() -> None:
    star, copy = {"Id": "/hostedzone/Z9", "Name": "\\052.shop.test."}, {"Id": "/hostedzone/Z8", "Name": "scratch.test."}
    document = records.relative(plain("a.\\052.shop.test."), star, {})
    assert records.absolute(document, copy, {})["Name"] == "a.scratch.test."


@given(st.lists(st.tuples(st.sampled_from(["CREATE", "UPSERT", "DELETE"]), st.integers(0, 400), st.integers(1, 40)),
                max_size=60))  # fmt: skip
def test_batches_keep_the_order_and_the_limits_of_aws(sizes: list[tuple[str, int, int]]) -> None:
    requests = []
    for number, (action, count, length) in enumerate(sizes):
        values = [{"Value": "x" * length} for _ in range(count)]
        requests.append({"Action": action, "ResourceRecordSet": {"Name": str(number), "ResourceRecords": values}})
    found = list(records.batches(requests))
    assert [request for batch in found for request in batch] == requests
    for batch in found:
        times = [2 if request["Action"] == "UPSERT" else 1 for request in batch]
        values = [request["ResourceRecordSet"]["ResourceRecords"] for request in batch]
        elements = sum(t * max(1, len(v)) for t, v in zip(times, values, strict=True))
        characters = sum(t * sum(len(one["Value"]) for one in v) for t, v in zip(times, values, strict=True))
        assert len(batch) == 1 or (elements <= 1000 and characters <= 32_000)
