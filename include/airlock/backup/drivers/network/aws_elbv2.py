"""Back up load balancers (ELBv2) with listeners, rules and target groups, and prove it by making them again beside it.

The copy has no targets and is internal: it answers nobody with the service. Knows ELBv2 and the driver contract; the
form of documents, and how they are written, live in the modules beside this one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from pydantic import Field

from airlock.backup import aws
from airlock.backup.driver import Capabilities, Place, Write
from airlock.backup.drivers.network import elbv2_documents as forms
from airlock.backup.drivers.network import elbv2_needs
from airlock.backup.drivers.network import elbv2_writing as writing
from airlock.errors import BackupDamaged, InvalidInput, TemporaryError
from airlock.identity import aws_identity
from airlock.models import Inspection, Kind, RecoveryPoint, canonical_json

log = logging.getLogger(__name__)
# Nothing here is asked for by a name that AWS did not just tell.
_UNSETTLED = r"^((LoadBalancer|TargetGroup|Listener|Rule)NotFound|ResourceInUse|PriorityInUse|Duplicate\w+):"
_GROUP, _BALANCER, _LISTENER = "target-group/", "load-balancer/", "listener/"


class AwsElbv2Options(aws.AwsOptions):
    """Options of the driver ``aws_elbv2``."""

    load_balancers: tuple[str, ...] = Field(min_length=1, description="names of the load balancers")

    def identities(self) -> tuple[str, ...]:
        return tuple(aws_identity(self.connection, "elbv2", name) for name in self.load_balancers)


class AwsElbv2Driver(aws.AwsDriver):
    """Load balancers, their listeners with rules, and every target group that they forward to. Targets are recorded,
    and registered again only with a target group that had to be made anew: else whoever registers them knows better."""

    kind: ClassVar[Kind] = Kind.NETWORK
    service = "elbv2"
    Options = AwsElbv2Options
    options: AwsElbv2Options
    capabilities: ClassVar[Capabilities] = Capabilities(
        consistent="each load balancer at the moment it is read. Proven: attributes, listeners, rules and target "
        "groups, made again under other names, internal, without targets and logs",
        leaves_out=(
            "addresses and DNS names of load balancers, capacity that is reserved for them, and secrets of log-ins",
            "security groups, certificates, trust stores, firewalls and target groups that nothing forwards to",
            "targets, but of a target group that has to be made anew",
        ),
    )
    needs = elbv2_needs.NEEDS

    def inspect(self) -> Inspection:
        self._refuse_missing_names()
        return super().inspect()

    def take(self, write: Write) -> dict[str, Any]:
        self._refuse_missing_names()
        facts = super().take(write)
        with self._answers("read the targets"):
            groups = self._groups(self.client, Place(origin=True), ())
            targets = {name: self._targets(group["TargetGroupArn"]) for name, group in groups.items()}
        write("targets.json", [canonical_json(targets)])
        return facts

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        targets = self._stored_targets(point)
        super().restore(point, place)
        if not place.origin:
            return
        with self._answers("register targets"):
            groups = self._groups(self.client, place, targets)
            tags = writing.tags_of(self.client, [group["TargetGroupArn"] for group in groups.values()])
            for name, group in groups.items():
                arn = group["TargetGroupArn"]
                if "new" in aws.marks_of(tags[arn]):
                    self._register(name, arn, targets.get(name, []))
                    self.client.remove_tags(ResourceArns=[arn], TagKeys=[writing.NEW_GROUP])

    def export(self, place: Place) -> Mapping[str, Any]:
        with self._answers(f"read load balancers {', '.join(self.options.load_balancers)}"):
            elbv2 = self.client
            documents: dict[str, Any] = {}
            balancers, groups = self._balancers(elbv2, place), self._groups(elbv2, place, ())
            names = {group["TargetGroupArn"]: name for name, group in groups.items()}
            tags = writing.tags_of(elbv2, [*names, *(found["LoadBalancerArn"] for found in balancers.values())])
            for name, group in groups.items():
                arn = group["TargetGroupArn"]
                attributes = elbv2.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
                documents[_GROUP + name] = forms.group_document(group, attributes, aws.tags_of(tags[arn]))
            for name, balancer in balancers.items():
                arn = balancer["LoadBalancerArn"]
                attributes = elbv2.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
                document = forms.balancer_document(balancer, attributes, aws.tags_of(tags[arn]))
                if not place.origin:
                    document = forms.told_by_marks(document, aws.marks_of(tags[arn]))
                documents[_BALANCER + name] = document
                for listener in writing.listeners(elbv2, arn):
                    key = f"{_LISTENER}{name}/{forms.port_of(listener)}"
                    documents[key] = self._listener_document(elbv2, listener, names)
        log.info("%s: %d document(s) read", self.label, len(documents))
        return documents

    def load(self, documents: Mapping[str, Any], place: Place) -> None:
        with self._answers(f"restore load balancers into {place.name or 'the origin'}"):
            elbv2 = self.client
            writer = writing.Writer(elbv2, place, self.label)
            wanted = {key.removeprefix(_GROUP): documents[key] for key in sorted(documents) if key.startswith(_GROUP)}
            held = self._balancers(elbv2, place)
            using = [found["LoadBalancerArn"] for found in held.values()]
            # a group that no listener uses any more is still the one that is meant: its name is its own
            arns = {name: str(group["TargetGroupArn"]) for name, group in self._groups(elbv2, place, wanted).items()}
            for name, document in wanted.items():
                arns[name] = writer.put_group(name, document, arns.get(name), using)
            for key in sorted(documents):
                if key.startswith(_BALANCER):
                    name = key.removeprefix(_BALANCER)
                    arn = writer.put_balancer(name, documents[key], held.get(name))
                    listeners = {other.rpartition("/")[2]: documents[other] for other in documents
                                 if other.startswith(f"{_LISTENER}{name}/")}  # fmt: skip
                    writer.put_listeners(arn, listeners, arns)
        log.info("%s: %d document(s) restored into %s", self.label, len(documents), place.name or "the origin")

    def discard(self, place: Place) -> None:
        if place.origin:
            raise InvalidInput(f"{self.label}: the origin is no scratch place and is never discarded")
        with self._answers(f"discard scratch place {place.name}"):
            elbv2 = self.client
            for balancer in self._balancers(elbv2, place).values():
                for listener in writing.listeners(elbv2, balancer["LoadBalancerArn"]):
                    elbv2.delete_listener(ListenerArn=listener["ListenerArn"])
                elbv2.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])
                log.info("%s: scratch load balancer %s deleted", self.label, balancer["LoadBalancerArn"])
            for group in self._groups(elbv2, place, ()).values():
                try:
                    elbv2.delete_target_group(TargetGroupArn=group["TargetGroupArn"])
                except elbv2.exceptions.ResourceInUseException as error:  # AWS takes a moment to see the listener gone
                    raise TemporaryError(f"{self.label}: scratch target group {group['TargetGroupArn']} is still in "
                                         "use; try again in a minute") from error  # fmt: skip
                log.info("%s: scratch target group %s deleted", self.label, group["TargetGroupArn"])

    def _answers(self, what: str) -> AbstractContextManager[None]:
        """Put AWS errors of the body in our words."""
        return aws.aws_errors(f"{self.label}: {what}", _UNSETTLED)

    # --- read ---------------------------------------------------------------------------------------------------------

    def _refuse_missing_names(self) -> None:
        with self._answers(f"read load balancers {', '.join(self.options.load_balancers)}"):
            found = self._balancers(self.client, Place(origin=True))
        missing = sorted(set(self.options.load_balancers) - set(found))
        if found and missing:
            raise InvalidInput(f"{self.label}: there is no load balancer {', '.join(missing)}; correct the option "
                               f"'load_balancers' (found: {', '.join(sorted(found))})")  # fmt: skip

    @staticmethod
    def _copies(elbv2: Any, found: list[dict[str, Any]], arn_key: str, place: Place) -> dict[str, dict[str, Any]]:
        """Return those of *found* that were made for the scratch *place*, by their originals' names."""
        tags = writing.tags_of(elbv2, [item[arn_key] for item in found])
        marked = [(aws.marks_of(tags[item[arn_key]]), item) for item in found]
        return {marks["name"]: item for marks, item in marked if marks.get("place") == place.name and "name" in marks}

    def _balancers(self, elbv2: Any, place: Place) -> dict[str, dict[str, Any]]:
        found = list(aws.pages(elbv2, "describe_load_balancers", "LoadBalancers"))
        if place.origin:
            return {item["LoadBalancerName"]: item for item in found
                    if item["LoadBalancerName"] in self.options.load_balancers}  # fmt: skip
        ours = [item for item in found if item["LoadBalancerName"].startswith("airlock-")]
        return self._copies(elbv2, ours, "LoadBalancerArn", place)

    def _groups(self, elbv2: Any, place: Place, named: Collection[str]) -> dict[str, dict[str, Any]]:
        """Return the target groups of *place* by name: at the origin those that are used, or are *named*."""
        found = list(aws.pages(elbv2, "describe_target_groups", "TargetGroups"))
        if not place.origin:
            ours = [item for item in found if item["TargetGroupName"].startswith("airlock-")]
            return self._copies(elbv2, ours, "TargetGroupArn", place)
        used: set[str] = set()
        for balancer in self._balancers(elbv2, place).values():
            for listener in writing.listeners(elbv2, balancer["LoadBalancerArn"]):
                used |= forms.groups_of(listener["DefaultActions"])
                for rule in writing.rules(elbv2, listener["ListenerArn"]):
                    used |= forms.groups_of(rule["Actions"])
        return {item["TargetGroupName"]: item for item in found
                if item["TargetGroupArn"] in used or item["TargetGroupName"] in named}  # fmt: skip

    @staticmethod
    def _listener_document(elbv2: Any, listener: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
        arn = listener["ListenerArn"]
        certificates: list[str] = []
        if listener.get("Certificates"):
            certificates = [
                found["CertificateArn"]
                for found in aws.pages(elbv2, "describe_listener_certificates", "Certificates", ListenerArn=arn)
            ]
        attributes = elbv2.describe_listener_attributes(ListenerArn=arn)["Attributes"]
        rules = [rule for rule in writing.rules(elbv2, arn) if not rule["IsDefault"]]
        tags = writing.tags_of(elbv2, [arn, *(rule["RuleArn"] for rule in rules)])
        document = forms.listener_document(listener, certificates, attributes, names)
        document["tags"] = aws.tags_of(tags[arn])
        document["rules"] = {
            rule["Priority"]: forms.rule_document(rule, names, aws.tags_of(tags[rule["RuleArn"]])) for rule in rules
        }
        return document

    # --- targets ------------------------------------------------------------------------------------------------------

    def _targets(self, group: str) -> list[dict[str, Any]]:
        told = self.client.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return [entry["Target"] for entry in told if entry.get("TargetHealth", {}).get("State") != "draining"]

    def _stored_targets(self, point: RecoveryPoint) -> dict[str, list[dict[str, Any]]]:
        stored = [one for one in point.objects if one.name == "targets.json"]
        try:
            found = json.loads(b"".join(self.store.read(stored[0]))) if stored else {}
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise BackupDamaged(f"{self.label}: targets.json of {point.id} holds no targets; next: take it again")
        return found

    def _register(self, name: str, group: str, targets: list[dict[str, Any]]) -> None:
        """Register *targets* with a group that was made anew; one that is gone meanwhile is said, and left out."""
        for target in targets:
            try:
                self.client.register_targets(TargetGroupArn=group, Targets=[target])
            except self.client.exceptions.InvalidTargetException:
                log.warning("%s: target %s of target group %s is not there any more", self.label, target["Id"], name)
        log.warning("%s: target group %s was made anew, with the %d target(s) on record; next: let what registers its "
                    "targets know its ARN %s", self.label, name, len(targets), group)  # fmt: skip
