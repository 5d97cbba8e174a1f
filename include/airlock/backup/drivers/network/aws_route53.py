"""Back up the records of one Route 53 hosted zone, and prove it in a hosted zone that nobody is delegated to.

The scratch zone has a name of its own below the origin's, so names in documents are written relative to their zone.
Knows Route 53 and the driver contract.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from airlock.backup import aws
from airlock.backup.driver import Capabilities, Place
from airlock.errors import BackupDamaged, InvalidInput, TemporaryError
from airlock.identity import aws_identity
from airlock.models import Kind, canonical_json

log = logging.getLogger(__name__)
_BATCH_CHANGES = 500  # AWS takes 1000 elements a request, and counts an UPSERT twice
_BATCH_BYTES = 15_000  # AWS takes 32000 characters of values a request, and counts an UPSERT twice
_INSYNC_SECONDS = 120
_HERE = "{zone}"


class AwsRoute53Options(aws.AwsOptions):
    """Options of the driver ``aws_route53``."""

    zone: str = Field(min_length=2, description="name of the hosted zone, or its id when several have the name")

    def identities(self) -> tuple[str, ...]:
        return (aws_identity(self.connection, "route53", self.zone.lower().rstrip(".")),)


class AwsRoute53Driver(aws.AwsDriver):
    """Every record of one hosted zone but the zone's own NS and SOA, which belong to AWS."""

    kind: ClassVar[Kind] = Kind.NETWORK
    service = "route53"
    Options = AwsRoute53Options
    options: AwsRoute53Options
    capabilities: ClassVar[Capabilities] = Capabilities(
        consistent="the moment of reading; the zone's own NS and SOA records are AWS's and stay out"
    )

    def export(self, place: Place) -> Mapping[str, Any]:
        with aws.aws_errors(f"{self.label}: read hosted zone {self.options.zone}"):
            route53 = self.client
            zone = self._zone_of(route53, place)
            if zone is None:
                return {}
            documents = {}
            for record in self._records(route53, zone):
                document = self._relative(record, zone)
                documents[self._key(document)] = document
        log.info(
            "%s: %d record set(s) read in hosted zone %s (%s)", self.label, len(documents), zone["Id"], zone["Name"]
        )
        return documents

    def load(self, documents: Mapping[str, Any], place: Place) -> None:
        if strange := sorted({f"{{zone}} {sort}" for sort in ("NS", "SOA")} & set(documents)):
            raise BackupDamaged(
                f"{self.label}: names of documents: {', '.join(strange)} belongs to AWS and is never taken; next: take "
                "the backup again"
            )
        with aws.aws_errors(f"{self.label}: restore records of {self.options.zone} into {place.name or 'the origin'}"):
            route53 = self.client
            zone = self._zone_of(route53, place) or self._create(route53, place)
            held = {
                self._key(document): document
                for document in (self._relative(record, zone) for record in self._records(route53, zone))
            }
            changes = []
            if place.origin:
                changes += [("DELETE", held[key]) for key in sorted(set(held) - set(documents))]
            # records go before aliases, which may point at them
            wanted = [document for key, document in sorted(documents.items()) if held.get(key) != document]
            changes += [
                ("UPSERT", document) for document in sorted(wanted, key=lambda document: "AliasTarget" in document)
            ]
            self._change(
                route53,
                zone,
                [
                    {"Action": action, "ResourceRecordSet": self._absolute(document, zone)}
                    for action, document in changes
                ],
            )
        log.info("%s: %d change(s) made in hosted zone %s (%s)", self.label, len(changes), zone["Id"], zone["Name"])

    def discard(self, place: Place) -> None:
        if place.origin:
            raise InvalidInput(f"{self.label}: the origin is no scratch place and is never discarded")
        with aws.aws_errors(f"{self.label}: discard scratch zone of {place.name}"):
            route53 = self.client
            zone = self._zone_of(route53, place)
            if zone is None:
                return
            # aliases go first: AWS refuses to delete what one points at
            records = sorted(self._records(route53, zone), key=lambda record: "AliasTarget" not in record)
            self._change(route53, zone, [{"Action": "DELETE", "ResourceRecordSet": record} for record in records])
            route53.delete_hosted_zone(Id=zone["Id"])
        log.info("%s: scratch hosted zone %s (%s) deleted", self.label, zone["Id"], zone["Name"])

    # --- zones --------------------------------------------------------------------------------------------------------

    def _zone_of(self, route53: Any, place: Place) -> dict[str, Any] | None:
        """Return the hosted zone of *place*; None when it does not exist.

        :raises InvalidInput: several zones have the origin's name
        """
        wanted = self.options.zone if place.origin else self._scratch_name(route53, place)
        if wanted is None:
            return None
        found = [
            zone
            for zone in aws.pages(route53, "list_hosted_zones", "HostedZones")
            if zone["Name"] == f"{wanted.rstrip('.').lower()}." or zone["Id"].rsplit("/", 1)[-1] == wanted
        ]
        if len(found) > 1:
            raise InvalidInput(
                f"{self.label}: {len(found)} hosted zones are called {wanted}: set the option 'zone' to one of "
                f"the ids {', '.join(zone['Id'].rsplit('/', 1)[-1] for zone in found)}"
            )
        return dict(found[0]) if found else None

    def _scratch_name(self, route53: Any, place: Place) -> str | None:
        if "." not in self.options.zone.rstrip("."):
            origin = self._zone_of(route53, Place(origin=True))
            return None if origin is None else f"airlock-{place.name}.{origin['Name']}"
        return f"airlock-{place.name}.{self.options.zone}"

    def _create(self, route53: Any, place: Place) -> dict[str, Any]:
        name = self.options.zone if place.origin else self._scratch_name(route53, place)
        if name is None or "." not in name.rstrip("."):
            raise InvalidInput(
                f"{self.label}: hosted zone {self.options.zone} is not there and its name cannot be told from "
                f"its id; create it, or set the option 'zone' to its name"
            )
        # the same reference for the same place: a request that is repeated does not make a second zone
        reference = f"airlock-{self.resource.name}-{place.name or int(time.time())}"
        made = route53.create_hosted_zone(
            Name=name,
            CallerReference=reference,
            HostedZoneConfig={
                "Comment": "restored by Airlock" if place.origin else "scratch place of a restore test",
                "PrivateZone": False,
            },
        )
        log.info("%s: hosted zone %s (%s) created", self.label, made["HostedZone"]["Id"], name)
        return dict(made["HostedZone"])

    # --- records ------------------------------------------------------------------------------------------------------

    @staticmethod
    def _records(route53: Any, zone: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for record in aws.pages(route53, "list_resource_record_sets", "ResourceRecordSets", HostedZoneId=zone["Id"]):
            if record["Name"] != zone["Name"] or record["Type"] not in ("NS", "SOA"):
                yield record

    @staticmethod
    def _key(document: Mapping[str, Any]) -> str:
        return " ".join(
            part for part in (document["Name"], document["Type"], document.get("SetIdentifier", "")) if part
        )

    @staticmethod
    def _relative(record: Mapping[str, Any], zone: Mapping[str, Any]) -> dict[str, Any]:
        """Return *record* in canonical form, with the zone's name and id replaced."""
        # Route 53 writes "*" of a wildcard as \052
        document = {**record, "Name": _shorten(record["Name"].replace("\\052", "*"), zone["Name"])}
        if "ResourceRecords" in record:
            values = {value["Value"] for value in record["ResourceRecords"]}
            document["ResourceRecords"] = [{"Value": value} for value in sorted(values)]
        if not document.get("ResourceRecords"):
            document.pop("ResourceRecords", None)
        if "AliasTarget" in record:
            target = dict(record["AliasTarget"])
            if target["HostedZoneId"] == zone["Id"].rsplit("/", 1)[-1]:
                target |= {"HostedZoneId": _HERE, "DNSName": _shorten(target["DNSName"], zone["Name"])}
            document["AliasTarget"] = target
        return document

    @staticmethod
    def _absolute(document: Mapping[str, Any], zone: Mapping[str, Any]) -> dict[str, Any]:
        record = {**document, "Name": document["Name"].replace(_HERE, zone["Name"])}
        if document.get("AliasTarget", {}).get("HostedZoneId") == _HERE:
            record["AliasTarget"] = {
                **document["AliasTarget"],
                "HostedZoneId": zone["Id"].rsplit("/", 1)[-1],
                "DNSName": document["AliasTarget"]["DNSName"].replace(_HERE, zone["Name"]),
            }
        return record

    def _change(self, route53: Any, zone: Mapping[str, Any], changes: list[dict[str, Any]]) -> None:
        for batch in batches(changes):
            answer = route53.change_resource_record_sets(
                HostedZoneId=zone["Id"], ChangeBatch={"Comment": f"Airlock {self.label}", "Changes": batch}
            )
            self._wait(route53, answer["ChangeInfo"])

    def _wait(self, route53: Any, change: Mapping[str, Any]) -> None:
        """Wait until AWS says that all of its servers know *change*."""
        deadline = time.monotonic() + _INSYNC_SECONDS
        while change["Status"] != "INSYNC":
            if time.monotonic() > deadline:
                raise TemporaryError(
                    f"{self.label}: change {change['Id']} is still {change['Status']} after "
                    f"{_INSYNC_SECONDS} s; look at the state of Route 53, then try again"
                )
            time.sleep(2)
            change = route53.get_change(Id=change["Id"])["ChangeInfo"]


def _shorten(name: str, zone: str) -> str:
    return name.removesuffix(zone) + _HERE if name == zone or name.endswith(f".{zone}") else name


def batches(changes: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield *changes* in their order, in lists that Route 53 takes in one request."""
    batch: list[dict[str, Any]] = []
    size = 0
    for change in changes:
        weight = len(canonical_json(change))
        if batch and (len(batch) >= _BATCH_CHANGES or size + weight > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(change)
        size += weight
    if batch:
        yield batch
