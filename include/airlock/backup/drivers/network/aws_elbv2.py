"""Back up load balancers (ELBv2) with listeners, rules and target groups, and prove it by making them again beside it.

The copy has no targets: it answers nobody with the service. Knows ELBv2 and the driver contract; the form of
documents lives in the module beside this one.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from airlock.backup import aws
from airlock.backup.driver import Capabilities, Place
from airlock.backup.drivers.network import elbv2_documents as forms
from airlock.errors import InvalidInput, PermanentError
from airlock.identity import aws_identity
from airlock.models import Kind

log = logging.getLogger(__name__)
_GROUP, _BALANCER, _LISTENER = "target-group/", "load-balancer/", "listener/"
_PROTECTED = "deletion_protection.enabled"


class AwsElbv2Options(aws.AwsOptions):
    """Options of the driver ``aws_elbv2``."""

    load_balancers: tuple[str, ...] = Field(min_length=1, description="names of the load balancers")

    def identities(self) -> tuple[str, ...]:
        return tuple(aws_identity(self.connection, "elbv2", name) for name in self.load_balancers)


class AwsElbv2Driver(aws.AwsDriver):
    """Load balancers, their listeners with rules, and every target group that they forward to; not the targets."""

    kind: ClassVar[Kind] = Kind.NETWORK
    service = "elbv2"
    Options = AwsElbv2Options
    options: AwsElbv2Options
    capabilities: ClassVar[Capabilities] = Capabilities(
        consistent="each load balancer at the moment it is read; targets, addresses and DNS names are not part of it. "
        "Proven: attributes, listeners, rules and target groups, made again under other names without targets"
    )

    def export(self, place: Place) -> Mapping[str, Any]:
        with aws.aws_errors(f"{self.label}: read load balancers {', '.join(self.options.load_balancers)}"):
            elbv2 = self.client
            documents: dict[str, Any] = {}
            balancers, groups = self._balancers(elbv2, place), self._groups(elbv2, place)
            names = {group["TargetGroupArn"]: name for name, group in groups.items()}
            for name, group in groups.items():
                arn = group["TargetGroupArn"]
                attributes = elbv2.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
                documents[_GROUP + name] = forms.group_document(group, attributes, aws.tags_of(self._tags(elbv2, arn)))
            for name, balancer in balancers.items():
                arn = balancer["LoadBalancerArn"]
                attributes = elbv2.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
                marks = aws.marks_of(self._tags(elbv2, arn))
                if not place.origin:  # a scratch copy is never protected: it has to go away again
                    attributes = [{**entry, "Value": marks.get("protected", "false")} if entry["Key"] == _PROTECTED
                                  else entry for entry in attributes]  # fmt: skip
                documents[_BALANCER + name] = forms.balancer_document(
                    balancer, attributes, aws.tags_of(self._tags(elbv2, arn))
                )
                for listener in self._listeners(elbv2, arn):
                    documents[f"{_LISTENER}{name}/{listener['Port']}"] = self._listener_document(elbv2, listener, names)
        log.info("%s: %d document(s) read", self.label, len(documents))
        return documents

    def load(self, documents: Mapping[str, Any], place: Place) -> None:
        with aws.aws_errors(f"{self.label}: restore load balancers into {place.name or 'the origin'}"):
            elbv2 = self.client
            held_groups = self._groups(elbv2, place)
            arns = {name: group["TargetGroupArn"] for name, group in held_groups.items()}
            for key in sorted(documents):
                if key.startswith(_GROUP):
                    name = key.removeprefix(_GROUP)
                    arns[name] = self._put_group(elbv2, name, documents[key], arns.get(name), place)
            balancers = {name: found["LoadBalancerArn"] for name, found in self._balancers(elbv2, place).items()}
            for key in sorted(documents):
                if key.startswith(_BALANCER):
                    name = key.removeprefix(_BALANCER)
                    balancers[name] = self._put_balancer(elbv2, name, documents[key], balancers.get(name), place)
            for name, arn in balancers.items():
                wanted = {int(key.rpartition("/")[2]): documents[key] for key in documents
                          if key.startswith(f"{_LISTENER}{name}/")}  # fmt: skip
                self._put_listeners(elbv2, arn, wanted, arns)
        log.info("%s: %d document(s) restored into %s", self.label, len(documents), place.name or "the origin")

    def discard(self, place: Place) -> None:
        if place.origin:
            raise InvalidInput(f"{self.label}: the origin is no scratch place and is never discarded")
        with aws.aws_errors(f"{self.label}: discard scratch place {place.name}"):
            elbv2 = self.client
            for balancer in self._balancers(elbv2, place).values():
                for listener in self._listeners(elbv2, balancer["LoadBalancerArn"]):
                    elbv2.delete_listener(ListenerArn=listener["ListenerArn"])
                elbv2.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])
                log.info("%s: scratch load balancer %s deleted", self.label, balancer["LoadBalancerArn"])
            for group in self._groups(elbv2, place).values():
                elbv2.delete_target_group(TargetGroupArn=group["TargetGroupArn"])
                log.info("%s: scratch target group %s deleted", self.label, group["TargetGroupArn"])

    # --- read ---------------------------------------------------------------------------------------------------------

    @staticmethod
    def _scratch_name(name: str, place: Place) -> str:
        # at most 32 characters, letters, digits and hyphens
        return f"airlock-{hashlib.sha256(f'{place.name}/{name}'.encode()).hexdigest()[:20]}"

    @staticmethod
    def _tags(elbv2: Any, arn: str) -> list[dict[str, str]]:
        found = elbv2.describe_tags(ResourceArns=[arn])["TagDescriptions"]
        return list(found[0]["Tags"]) if found else []

    def _copies(self, elbv2: Any, found: list[dict[str, Any]], arn_key: str, place: Place) -> dict[str, dict[str, Any]]:
        """Return those of *found* that were made for the scratch *place*, by their originals' names."""
        marked = [(aws.marks_of(self._tags(elbv2, item[arn_key])), item) for item in found]
        return {marks["name"]: item for marks, item in marked if marks.get("place") == place.name and "name" in marks}

    def _balancers(self, elbv2: Any, place: Place) -> dict[str, dict[str, Any]]:
        found = list(aws.pages(elbv2, "describe_load_balancers", "LoadBalancers"))
        if place.origin:
            return {item["LoadBalancerName"]: item for item in found
                    if item["LoadBalancerName"] in self.options.load_balancers}  # fmt: skip
        ours = [item for item in found if item["LoadBalancerName"].startswith("airlock-")]
        return self._copies(elbv2, ours, "LoadBalancerArn", place)

    def _groups(self, elbv2: Any, place: Place) -> dict[str, dict[str, Any]]:
        found = list(aws.pages(elbv2, "describe_target_groups", "TargetGroups"))
        if not place.origin:
            ours = [item for item in found if item["TargetGroupName"].startswith("airlock-")]
            return self._copies(elbv2, ours, "TargetGroupArn", place)
        used: set[str] = set()
        for balancer in self._balancers(elbv2, place).values():
            for listener in self._listeners(elbv2, balancer["LoadBalancerArn"]):
                rules = self._rules(elbv2, listener["ListenerArn"])
                actions = [*listener["DefaultActions"], *(action for rule in rules for action in rule["Actions"])]
                used |= {action["TargetGroupArn"] for action in actions if action.get("TargetGroupArn")}
                used |= {group["TargetGroupArn"] for action in actions
                         for group in action.get("ForwardConfig", {}).get("TargetGroups", [])}  # fmt: skip
        return {item["TargetGroupName"]: item for item in found if item["TargetGroupArn"] in used}

    @staticmethod
    def _listeners(elbv2: Any, balancer: str) -> list[dict[str, Any]]:
        return list(aws.pages(elbv2, "describe_listeners", "Listeners", LoadBalancerArn=balancer))

    @staticmethod
    def _rules(elbv2: Any, listener: str) -> list[dict[str, Any]]:
        return list(aws.pages(elbv2, "describe_rules", "Rules", ListenerArn=listener))

    def _listener_document(self, elbv2: Any, listener: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
        arn = listener["ListenerArn"]
        certificates: list[str] = []
        if listener.get("Certificates"):
            certificates = [
                found["CertificateArn"]
                for found in aws.pages(elbv2, "describe_listener_certificates", "Certificates", ListenerArn=arn)
            ]
        return forms.listener_document(listener, certificates, self._rules(elbv2, arn), names)

    # --- write --------------------------------------------------------------------------------------------------------

    def _put_group(self, elbv2: Any, name: str, document: Mapping[str, Any], arn: str | None, place: Place) -> str:
        settings = dict(document["settings"])
        if arn is None:
            actual = name if place.origin else self._scratch_name(name, place)
            marks = {} if place.origin else {"name": name, "place": place.name}
            tags = aws.tag_list(document["tags"], **marks)
            made = elbv2.create_target_group(Name=actual, **settings, **({"Tags": tags} if tags else {}))
            arn = str(made["TargetGroups"][0]["TargetGroupArn"])
            log.info("%s: target group %s made as %s", self.label, name, arn)
        else:
            held = elbv2.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]
            differing = [
                key for key in forms.FIXED_GROUP_FIELDS if held.get(key) != settings.get(key) and key in settings
            ]
            if differing:
                raise PermanentError(f"{self.label}: target group {name} cannot change its {', '.join(differing)}; "
                                     f"delete it (its listeners first), then restore again")  # fmt: skip
            health = {key: value for key, value in settings.items() if key not in forms.FIXED_GROUP_FIELDS}
            elbv2.modify_target_group(TargetGroupArn=arn, **health)
            self._retag(elbv2, arn, document)
        attributes = forms.attributes_request(document)
        if attributes:
            elbv2.modify_target_group_attributes(TargetGroupArn=arn, Attributes=attributes)
        return arn

    def _retag(self, elbv2: Any, arn: str, document: Mapping[str, Any]) -> None:
        stale = sorted(set(aws.tags_of(self._tags(elbv2, arn))) - set(document["tags"]))
        if stale:
            elbv2.remove_tags(ResourceArns=[arn], TagKeys=stale)
        if document["tags"]:
            elbv2.add_tags(ResourceArns=[arn], Tags=aws.tag_list(document["tags"]))

    def _put_balancer(self, elbv2: Any, name: str, document: Mapping[str, Any], arn: str | None, place: Place) -> str:
        attributes = forms.attributes_request(document)
        if arn is None:
            marks = {} if place.origin else {"name": name, "place": place.name,
                                             "protected": document["attributes"].get(_PROTECTED, "false")}  # fmt: skip
            groups = {"SecurityGroups": document["security_groups"]} if document["security_groups"] else {}
            tags = aws.tag_list(document["tags"], **marks)
            made = elbv2.create_load_balancer(
                Name=name if place.origin else self._scratch_name(name, place), Subnets=document["subnets"],
                Scheme=document["scheme"], Type=document["type"], IpAddressType=document["address_type"], **groups,
                **({"Tags": tags} if tags else {}),
            )  # fmt: skip
            arn = str(made["LoadBalancers"][0]["LoadBalancerArn"])
            log.info("%s: load balancer %s made as %s", self.label, name, arn)
        else:
            self._retag(elbv2, arn, document)
        if not place.origin:
            attributes = [entry for entry in attributes if entry["Key"] != _PROTECTED]
        if attributes:
            elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=attributes)
        return arn

    def _put_listeners(self, elbv2: Any, balancer: str, wanted: Mapping[int, Any], arns: Mapping[str, str]) -> None:
        held = {int(listener["Port"]): listener["ListenerArn"] for listener in self._listeners(elbv2, balancer)}
        for port in sorted(set(held) - set(wanted)):
            elbv2.delete_listener(ListenerArn=held[port])
        for port, document in sorted(wanted.items()):
            request = forms.listener_request(document, arns)
            if port in held:
                listener = held[port]
                elbv2.modify_listener(ListenerArn=listener, **request)
            else:
                listener = elbv2.create_listener(LoadBalancerArn=balancer, **request)["Listeners"][0]["ListenerArn"]
            if document["certificates"]["others"]:
                certificates = [{"CertificateArn": arn} for arn in document["certificates"]["others"]]
                elbv2.add_listener_certificates(ListenerArn=listener, Certificates=certificates)
            self._put_rules(elbv2, listener, document["rules"], arns)

    def _put_rules(self, elbv2: Any, listener: str, wanted: Mapping[str, Any], arns: Mapping[str, str]) -> None:
        """Make the rules of *listener* the *wanted* ones, by priority. Rules that are right already are not touched."""
        names = {arn: name for name, arn in arns.items()}
        for rule in self._rules(elbv2, listener):
            if rule["IsDefault"]:
                continue
            document = {"conditions": forms.conditions_document(rule["Conditions"]),
                        "actions": forms.actions_document(rule["Actions"], names)}  # fmt: skip
            if wanted.get(rule["Priority"]) == document:
                wanted = {priority: kept for priority, kept in wanted.items() if priority != rule["Priority"]}
            else:
                elbv2.delete_rule(RuleArn=rule["RuleArn"])
        for priority, document in sorted(wanted.items(), key=lambda item: int(item[0])):
            elbv2.create_rule(ListenerArn=listener, Priority=int(priority), Conditions=document["conditions"],
                              Actions=forms.actions_request(document["actions"], arns))  # fmt: skip
