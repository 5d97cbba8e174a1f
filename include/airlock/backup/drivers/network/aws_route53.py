"""Back up the records of one Route 53 hosted zone, and prove it in a hosted zone that nobody asks.

The scratch zone lies below ``internal``, which the root of the DNS delegates to nobody; a private zone is proven in a
private one. So names in documents are relative to their zone. Knows Route 53 and the driver contract; the form of
records lives in the module beside this one.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from pydantic import Field

from airlock.backup import aws
from airlock.backup.driver import Capabilities, Place, Write
from airlock.backup.drivers.network import route53_needs
from airlock.backup.drivers.network import route53_records as records
from airlock.errors import BackupDamaged, InvalidInput, PermanentError, TemporaryError
from airlock.identity import aws_identity
from airlock.models import Check, Kind, RecoveryPoint, digest_of

log = logging.getLogger(__name__)
_INSYNC_SECONDS = 120
# Nothing here is asked for by a name or a value that AWS did not just tell.
_UNSETTLED = (r"^NoSuchHostedZone:|^NoSuchHealthCheck:|^InvalidChangeBatch: .*(but it already exists|but it was not "
              r"found|values provided do not match the current values)")  # fmt: skip
_SCRATCH_PARENT = "internal."
_ORIGIN = Place(origin=True)


class AwsRoute53Options(aws.AwsOptions):
    """Options of the driver ``aws_route53``."""

    zone: str = Field(min_length=2, description="name of the hosted zone, or its id when several have the name")

    def identities(self) -> tuple[str, ...]:
        return (aws_identity(self.connection, "route53", self.zone.lower().rstrip(".")),)


class AwsRoute53Driver(aws.AwsDriver):
    """Every record of one hosted zone but the zone's own NS and SOA, which belong to AWS; the zone's comment, tags and
    networks; the health checks that its records name."""

    kind: ClassVar[Kind] = Kind.NETWORK
    service = "route53"
    Options = AwsRoute53Options
    options: AwsRoute53Options
    capabilities: ClassVar[Capabilities] = Capabilities(
        consistent="the moment of reading",
        leaves_out=(
            "the zone's own NS and SOA records, which are AWS's: a zone that is made anew has other name servers",
            "records of traffic policies, DNSSEC keys, query logs, sets of CIDR blocks and alarms of health checks",
        ),
    )
    needs = route53_needs.NEEDS

    def export(self, place: Place) -> Mapping[str, Any]:
        with self._answers(f"read hosted zone {self.options.zone}"):
            zone = self._zone_of(self.client, place)
            if zone is None:
                return {}
            found = self._held(zone)
        log.info("%s: %d record set(s) read in hosted zone %s (%s)", self.label, len(found), zone["Id"], zone["Name"])
        return found

    def take(self, write: Write) -> dict[str, Any]:
        facts = super().take(write)
        with self._answers(f"read hosted zone {self.options.zone}"):
            zone = self._zone_of(self.client, _ORIGIN)
            if zone is None:
                raise TemporaryError(f"{self.label}: hosted zone {self.options.zone} went away while it was read")
            facts["zone"] = self._zone_facts(zone)
            facts |= self._health_checks(zone)
        return facts

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        if "zone" not in point.facts:
            raise PermanentError(f"{self.label}: recovery point {point.id} was taken by an earlier version of this "
                                 "driver; next: restore it with that version, or take the backup again")  # fmt: skip
        documents = self.stored_documents(point)
        if strange := sorted({f"{{zone}} {sort}" for sort in ("NS", "SOA")} & set(documents)):
            raise BackupDamaged(
                f"{self.label}: names of documents: {', '.join(strange)} belongs to AWS and is never taken; next: take "
                "the backup again"
            )
        with self._answers(f"make hosted zone of {place.name or 'the origin'}"):
            wanted = point.facts["zone"]
            zone = self._zone_of(self.client, place) or self._create(wanted, place)
            if place.origin:
                self._put_zone(zone, wanted)
                named = {document.get("HealthCheckId") for document in documents.values()}
                self._make_health_checks(point.facts, named)
        super().restore(point, place)

    def load(self, documents: Mapping[str, Any], place: Place) -> None:
        with self._answers(f"restore records of {self.options.zone} into {place.name or 'the origin'}"):
            zone = self._zone_of(self.client, place)
            if zone is None:
                raise TemporaryError(f"{self.label}: the hosted zone of {place.name or 'the origin'} is not seen yet")
            checks = {digest: number for number, digest in self._check_digests().items()}
            wanted = records.changes(self._held(zone), documents, remove=True)
            self._change(zone, [
                {"Action": action, "ResourceRecordSet": records.absolute(document, zone, checks)}
                for action, document in wanted
            ])  # fmt: skip
        log.info("%s: %d change(s) made in hosted zone %s (%s)", self.label, len(wanted), zone["Id"], zone["Name"])

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        checks = super().prove(point, place)
        with self._answers(f"read hosted zone of {place.name or 'the origin'}"):
            zone = self._zone_of(self.client, place)
            found = {} if zone is None else self._zone_facts(zone)
        # a copy is in one network only, and says itself what it is
        parts = ("private", "comment", "tags", "networks") if place.origin else ("private",)
        expected = point.facts["zone"]
        return (*checks, *(Check(name=f"zone {part}", expected=expected[part], found=found.get(part),
                                 ok=expected[part] == found.get(part)) for part in parts))  # fmt: skip

    def discard(self, place: Place) -> None:
        if place.origin:
            raise InvalidInput(f"{self.label}: the origin is no scratch place and is never discarded")
        with self._answers(f"discard scratch zone of {place.name}"):
            for zone in self._zones_of(place):
                held = [record for record in self._records(zone) if records.is_ours(record, zone["Name"])]
                # aliases go first: AWS refuses to delete what one points at
                held.sort(key=lambda record: "AliasTarget" not in record)
                self._change(zone, [{"Action": "DELETE", "ResourceRecordSet": record} for record in held])
                self.client.delete_hosted_zone(Id=zone["Id"])
                log.info("%s: scratch hosted zone %s (%s) deleted", self.label, zone["Id"], zone["Name"])

    def _answers(self, what: str) -> AbstractContextManager[None]:
        """Put AWS errors of the body in our words."""
        return aws.aws_errors(f"{self.label}: {what}", _UNSETTLED)

    # --- zones --------------------------------------------------------------------------------------------------------

    def _zones_of(self, place: Place) -> list[dict[str, Any]]:
        """Return the hosted zones that go by the name, or the id, of *place*."""
        # AWS writes an id with the sort of its resource before it
        origin = self.options.zone.removeprefix("/hostedzone/")
        wanted = origin if place.origin else f"airlock-{place.name}.{_SCRATCH_PARENT}"
        zones = list(aws.pages(self.client, "list_hosted_zones", "HostedZones"))
        found = [zone for zone in zones
                 if records.same_name(zone["Name"], wanted) or _id(zone) == wanted]  # fmt: skip
        # a zone that was made anew has another id, and knows the one that it stands for
        return found or [zone for zone in zones if zone.get("CallerReference", "").startswith(f"airlock for {wanted} ")]

    def _zone_of(self, route53: Any, place: Place) -> dict[str, Any] | None:  # noqa: ARG002 - of the place's own client
        """Return the hosted zone of *place*; None when it does not exist.

        :raises InvalidInput: several zones have the origin's name
        """
        found = self._zones_of(place)
        if len(found) > 1 and place.origin:
            raise InvalidInput(
                f"{self.label}: {len(found)} hosted zones are called {self.options.zone}: set the option 'zone' to one "
                f"of the ids {', '.join(map(_id, found))}"
            )
        return found[0] if found else None

    def _zone_facts(self, zone: Mapping[str, Any]) -> dict[str, Any]:
        told = self.client.get_hosted_zone(Id=zone["Id"])
        tags = self.client.list_tags_for_resource(ResourceType="hostedzone", ResourceId=_id(zone))
        return {
            "name": zone["Name"],
            "id": _id(zone),
            "private": bool(zone["Config"].get("PrivateZone")),
            "comment": zone["Config"].get("Comment", ""),
            "tags": aws.tags_of(tags["ResourceTagSet"]["Tags"]),
            "networks": sorted([vpc["VPCRegion"], vpc["VPCId"]] for vpc in told.get("VPCs", ())),
        }

    def _create(self, wanted: Mapping[str, Any], place: Place) -> dict[str, Any]:
        """Make the hosted zone of *place*, as public or as private as ``facts["zone"]`` says."""
        if wanted["private"] and not wanted["networks"]:
            raise PermanentError(
                f"{self.label}: hosted zone {wanted['name']} is private and was in no network, so that none like it "
                "can be made; next: associate it with one, then take the backup again"
            )
        name = wanted["name"] if place.origin else f"airlock-{place.name}.{_SCRATCH_PARENT}"
        # never the same twice: AWS remembers the reference of a zone that is gone
        reference = f"airlock for {wanted['id'] if place.origin else place.name} {uuid.uuid4().hex}"
        comment = wanted["comment"] if place.origin else "scratch place of a restore test"
        network = {}
        if wanted["private"]:
            region, number = wanted["networks"][0]
            network = {"VPC": {"VPCRegion": region, "VPCId": number}}
        made = self.client.create_hosted_zone(
            Name=name, CallerReference=reference, **network,
            HostedZoneConfig={"Comment": comment, "PrivateZone": wanted["private"]},
        )  # fmt: skip
        if place.origin:
            log.warning("%s: hosted zone %s was made anew as %s; next: delegate it to %s", self.label, name,
                        made["HostedZone"]["Id"], ", ".join(made.get("DelegationSet", {}).get("NameServers", ())) or
                        "nobody: it is private")  # fmt: skip
        return dict(made["HostedZone"])

    def _put_zone(self, zone: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        held = self._zone_facts(zone)
        if held["private"] != wanted["private"]:
            sort = "private" if held["private"] else "public"
            raise PermanentError(f"{self.label}: hosted zone {zone['Id']} is {sort} now, which cannot be changed; "
                                 "next: delete it, then restore again")  # fmt: skip
        if held["comment"] != wanted["comment"]:
            self.client.update_hosted_zone_comment(Id=zone["Id"], Comment=wanted["comment"])
        stale = sorted(set(held["tags"]) - set(wanted["tags"]))
        if held["tags"] != wanted["tags"]:
            self.client.change_tags_for_resource(
                ResourceType="hostedzone", ResourceId=_id(zone),
                **({"AddTags": aws.tag_list(wanted["tags"])} if wanted["tags"] else {}),
                **({"RemoveTagKeys": stale} if stale else {}),
            )  # fmt: skip
        acts = (("associate_vpc_with_hosted_zone", wanted["networks"], held["networks"]),
                ("disassociate_vpc_from_hosted_zone", held["networks"], wanted["networks"]))  # fmt: skip
        for act, these, those in acts if wanted["private"] else ():
            for region, number in these:
                if [region, number] not in those:
                    getattr(self.client, act)(HostedZoneId=zone["Id"], VPC={"VPCRegion": region, "VPCId": number})

    # --- health checks ------------------------------------------------------------------------------------------------

    def _all_health_checks(self) -> dict[str, dict[str, Any]]:
        """Return what each health check checks, by its id; another one that it counts is told by its digest."""
        found = aws.pages(self.client, "list_health_checks", "HealthChecks")
        return records.level_checks({check["Id"]: check["HealthCheckConfig"] for check in found})

    def _check_digests(self) -> dict[str, str]:
        return {number: digest_of(config) for number, config in self._all_health_checks().items()}

    def _health_checks(self, zone: Mapping[str, Any]) -> dict[str, Any]:
        """Return, as facts, the health checks that records of *zone* name, and those that these count."""
        held = self._all_health_checks()
        numbers = {digest_of(config): number for number, config in held.items()}
        named = {digest_of(held[record["HealthCheckId"]]) for record in self._records(zone)
                 if record.get("HealthCheckId") in held}  # fmt: skip
        wanted = records.counted_first(named, {digest: held[number] for digest, number in numbers.items()})
        tags = {}
        for digest in wanted:
            told = self.client.list_tags_for_resource(ResourceType="healthcheck", ResourceId=numbers[digest])
            tags[digest] = aws.tags_of(told["ResourceTagSet"]["Tags"])
        return {"health_checks": {digest: held[numbers[digest]] for digest in wanted}, "health_check_tags": tags}

    def _make_health_checks(self, facts: Mapping[str, Any], named: Collection[str | None]) -> None:
        """Make those that are *named* and are not there any more; in a restore test none is made, for it would ask."""
        configs, tags = facts["health_checks"], facts.get("health_check_tags", {})
        held = {digest: number for number, digest in self._check_digests().items()}
        for digest in records.counted_first(named, configs):
            if digest in held:
                continue
            made = self.client.create_health_check(
                CallerReference=uuid.uuid4().hex, HealthCheckConfig=records.counting(configs[digest], held)
            )
            held[digest] = made["HealthCheck"]["Id"]
            if tags.get(digest):
                self.client.change_tags_for_resource(ResourceType="healthcheck", ResourceId=held[digest],
                                                     AddTags=aws.tag_list(tags[digest]))  # fmt: skip
            log.warning("%s: health check %s made anew; next: point alarms at it", self.label, held[digest])

    # --- records ------------------------------------------------------------------------------------------------------

    def _records(self, zone: Mapping[str, Any]) -> list[dict[str, Any]]:
        return list(aws.pages(self.client, "list_resource_record_sets", "ResourceRecordSets", HostedZoneId=zone["Id"]))

    def _held(self, zone: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        ours = [record for record in self._records(zone) if records.is_ours(record, zone["Name"])]
        checks = {}
        if any("HealthCheckId" in record for record in ours):
            checks = self._check_digests()
        documents = [records.relative(record, zone, checks) for record in ours]
        return {records.key_of(document): document for document in documents}

    def _change(self, zone: Mapping[str, Any], requests: list[dict[str, Any]]) -> None:
        for batch in records.batches(requests):
            answer = self.client.change_resource_record_sets(
                HostedZoneId=zone["Id"], ChangeBatch={"Comment": f"Airlock {self.label}", "Changes": batch}
            )
            self._wait(answer["ChangeInfo"])

    def _wait(self, change: Mapping[str, Any]) -> None:
        """Wait until AWS says that all of its servers know *change*."""
        deadline = time.monotonic() + _INSYNC_SECONDS
        while change["Status"] != "INSYNC":
            if time.monotonic() > deadline:
                raise TemporaryError(
                    f"{self.label}: change {change['Id']} is still {change['Status']} after "
                    f"{_INSYNC_SECONDS} s; look at the state of Route 53, then try again"
                )
            time.sleep(2)
            change = self.client.get_change(Id=change["Id"])["ChangeInfo"]


def _id(zone: Mapping[str, Any]) -> str:
    return str(zone["Id"]).rsplit("/", 1)[-1]
