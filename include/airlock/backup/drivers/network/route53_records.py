"""Turns Route 53's records into documents that are free of their zone, and documents into requests. Pure: no I/O.

Names are written relative to their zone, and health checks by what they check: ids are given anew when one is made.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any

from airlock.models import digest_of

HERE = "{zone}"
_HEALTH, _CHILDREN = "HealthCheckId", "ChildHealthChecks"
_ROUTING = ("Weight", "Region", "Failover", "GeoLocation", "GeoProximityLocation", "CidrRoutingConfig",
            "MultiValueAnswer")  # fmt: skip
_ELEMENTS = 1000  # what AWS takes in one request: values, and their characters; an UPSERT counts twice
_CHARACTERS = 32_000


def is_ours(record: Mapping[str, Any], zone: str) -> bool:
    """Return whether a record belongs to people: a zone's own NS and SOA are AWS's, others a traffic policy's."""
    apex = record["Name"] == zone and record["Type"] in ("NS", "SOA")
    return not apex and "TrafficPolicyInstanceId" not in record


def key_of(document: Mapping[str, Any]) -> str:
    """Return what tells a record set from every other one of its zone."""
    return " ".join(part for part in (document["Name"], document["Type"], document.get("SetIdentifier", "")) if part)


def relative(record: Mapping[str, Any], zone: Mapping[str, Any], checks: Mapping[str, str]) -> dict[str, Any]:
    """Return *record* in canonical form, with the zone's name and id replaced; *checks* gives the digest of each
    health check by its id."""
    document = {**record, "Name": _shorten(_plain(record["Name"]), zone["Name"])}
    if "ResourceRecords" in record:
        values = {value["Value"] for value in record["ResourceRecords"]}
        document["ResourceRecords"] = [{"Value": value} for value in sorted(values)]
    if not document.get("ResourceRecords"):
        document.pop("ResourceRecords", None)
    if "AliasTarget" in record:
        target = dict(record["AliasTarget"])
        if target["HostedZoneId"] == zone["Id"].rsplit("/", 1)[-1]:
            target |= {"HostedZoneId": HERE, "DNSName": _shorten(_plain(target["DNSName"]), zone["Name"])}
        document["AliasTarget"] = target
    if _HEALTH in record:
        document[_HEALTH] = checks.get(record[_HEALTH], record[_HEALTH])
    return document


def level_checks(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return *configs* of health checks by id, in which those that others count are told by their digests: a check that
    is made anew has another id."""

    def level(number: str, above: tuple[str, ...]) -> dict[str, Any]:
        config = dict(configs[number])
        if _CHILDREN in config:
            config[_CHILDREN] = sorted(
                digest_of(level(child, (*above, number))) if child in configs and child not in above else child
                for child in config[_CHILDREN]
            )
        return config

    return {number: level(number, ()) for number in configs}


def counted_first(named: Collection[str | None], configs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the digests that are *named* and are in *configs*, each behind those that it counts."""
    found: list[str] = []
    for digest in sorted(name for name in named if name is not None and name in configs):
        children = configs[digest].get(_CHILDREN, ())
        found += [one for one in (*counted_first(children, configs), digest) if one not in found]
    return found


def counting(config: Mapping[str, Any], numbers: Mapping[str, str]) -> dict[str, Any]:
    """Return what a health check is made of; *numbers* gives the id of each by its digest."""
    children = [numbers.get(child, child) for child in config.get(_CHILDREN, ())]
    return {**config, **({_CHILDREN: children} if children else {})}


def absolute(document: Mapping[str, Any], zone: Mapping[str, Any], checks: Mapping[str, str]) -> dict[str, Any]:
    """Return the record of *document* in *zone*; *checks* gives the id of each health check by its digest."""
    record = {**document, "Name": document["Name"].replace(HERE, zone["Name"])}
    if document.get("AliasTarget", {}).get("HostedZoneId") == HERE:
        record["AliasTarget"] = {
            **document["AliasTarget"],
            "HostedZoneId": zone["Id"].rsplit("/", 1)[-1],
            "DNSName": document["AliasTarget"]["DNSName"].replace(HERE, zone["Name"]),
        }
    if _HEALTH in document:
        record[_HEALTH] = checks.get(document[_HEALTH], document[_HEALTH])
    return record


def _plain(name: str) -> str:
    return name.replace("\\052", "*")  # Route 53 writes "*" of a wildcard so


def same_name(name: str, other: str) -> bool:
    """Return whether two names of zones are one: people write characters as they are, Route 53 most of them as octal
    numbers, and neither case nor the last dot count."""
    return _written_out(name) == _written_out(other)


def _written_out(name: str) -> str:
    found = re.sub(r"\\([0-3][0-7]{2})", lambda octal: chr(int(octal[1], 8)), name)
    with suppress(UnicodeError):
        found = found.encode("latin-1").decode()  # each octal number is a byte of UTF-8
    return found.rstrip(".").lower()


def _shorten(name: str, zone: str) -> str:
    zone = _plain(zone)
    return name.removesuffix(zone) + HERE if name == zone or name.endswith(f".{zone}") else name


def changes(held: Mapping[str, Any], wanted: Mapping[str, Any], *, remove: bool) -> list[tuple[str, dict[str, Any]]]:
    """Return what turns the documents *held* into those *wanted*, in an order that AWS takes.

    An alias is turned away from what goes before it goes; what a name must not have beside the new goes before the new
    comes; what aliases point at comes before them. The records of a name that answer by another rule than before all go
    first: AWS never takes two rules beside each other. With *remove* what is not wanted goes.
    """
    turned = _turned(held, wanted)
    wanted_again = {key for key, document in wanted.items() if (document["Name"], document["Type"]) in turned}
    staying = {key: document for key, document in held.items() if key not in wanted_again}
    differing = {key: document for key, document in wanted.items() if staying.get(key) != document}
    early = {key: document for key, document in differing.items()
             if key in staying and "AliasTarget" in document and not _pending(document, differing)}  # fmt: skip
    late = sorted((key for key in differing if key not in early), key=lambda key: (_depth(differing[key], wanted), key))
    leaving = {*wanted_again & set(held), *(set(held) - set(wanted) if remove else ())}
    gone = sorted(leaving, key=lambda key: (-_depth(held[key], held), key))
    return [
        *(("UPSERT", document) for _, document in sorted(early.items())),
        *(("DELETE", held[key]) for key in gone),
        *(("UPSERT" if key in staying else "CREATE", differing[key]) for key in late),
    ]


def _turned(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return name and type of the records that answer by one rule now, and by another one in *wanted*."""
    rules: dict[tuple[str, str], set[str]] = {}
    for document in (*held.values(), *wanted.values()):
        sort = next((part for part in _ROUTING if part in document), "")
        rules.setdefault((document["Name"], document["Type"]), set()).add(sort)
    return {which for which, sorts in rules.items() if len(sorts) > 1}


def _pending(alias: Mapping[str, Any], differing: Mapping[str, Any]) -> bool:
    return any(document["Name"] == alias["AliasTarget"]["DNSName"] for document in differing.values())


def _depth(document: Mapping[str, Any], documents: Mapping[str, Any], level: int = 0) -> int:
    """Return how many aliases lie between *document* and a record with values."""
    target = document.get("AliasTarget")
    if target is None or level > len(documents):
        return level
    behind = [other for other in documents.values()
              if (other["Name"], other["Type"]) == (target["DNSName"], document["Type"])]  # fmt: skip
    return max((_depth(other, documents, level + 1) for other in behind), default=level + 1)


def batches(requests: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield *requests* in their order, in lists that Route 53 takes in one request."""
    batch: list[dict[str, Any]] = []
    elements = characters = 0
    for request in requests:
        values = [value["Value"] for value in request["ResourceRecordSet"].get("ResourceRecords", ())]
        times = 2 if request["Action"] == "UPSERT" else 1
        more, longer = times * max(1, len(values)), times * sum(map(len, values))
        if batch and (elements + more > _ELEMENTS or characters + longer > _CHARACTERS):
            yield batch
            batch, elements, characters = [], 0, 0
        batch.append(request)
        elements, characters = elements + more, characters + longer
    if batch:
        yield batch
