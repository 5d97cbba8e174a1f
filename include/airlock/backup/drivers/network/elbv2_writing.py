"""Makes target groups, load balancers, listeners and rules what documents say: one way for copies and for the origin.

What is there is changed in place where ELBv2 can do that, so that a rule keeps its secret and traffic has no gap. Knows
ELBv2; the form of documents and requests lives in ``elbv2_documents``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airlock.backup import aws
from airlock.backup.driver import Place
from airlock.backup.drivers.network import elbv2_documents as forms
from airlock.errors import PermanentError

log = logging.getLogger(__name__)
_TAGGED_AT_ONCE = 20
NEW_GROUP = "airlock:new"


def scratch_name(name: str, place: Place) -> str:
    """Return the name of the copy of *name* in a scratch place: at most 32 characters, letters, digits, hyphens."""
    return f"airlock-{hashlib.sha256(f'{place.name}/{name}'.encode()).hexdigest()[:20]}"


def tags_of(elbv2: Any, arns: list[str]) -> dict[str, list[dict[str, str]]]:
    """Return the tags of each of *arns* as ELBv2 tells them."""
    found: dict[str, list[dict[str, str]]] = {}
    for at in range(0, len(arns), _TAGGED_AT_ONCE):
        told = elbv2.describe_tags(ResourceArns=arns[at : at + _TAGGED_AT_ONCE])["TagDescriptions"]
        found |= {entry["ResourceArn"]: list(entry.get("Tags", ())) for entry in told}
    return {arn: found.get(arn, []) for arn in arns}


def listeners(elbv2: Any, balancer: str) -> list[dict[str, Any]]:
    """Return the listeners of the load balancer with the ARN *balancer*."""
    return list(aws.pages(elbv2, "describe_listeners", "Listeners", LoadBalancerArn=balancer))


def rules(elbv2: Any, listener: str) -> list[dict[str, Any]]:
    """Return the rules of the listener with the ARN *listener*, its default among them."""
    return list(aws.pages(elbv2, "describe_rules", "Rules", ListenerArn=listener))


@dataclass(frozen=True)
class Writer:
    """Writes into one *place*; *label* names the resource in logs and errors."""

    elbv2: Any
    place: Place
    label: str

    def put_group(self, name: str, document: Mapping[str, Any], arn: str | None, balancers: list[str]) -> str:
        """Make the target group *name* what *document* says and return its ARN; *balancers* are those that may use
        the one that is there now."""
        settings = dict(document["settings"])
        if arn is not None and self._differs_for_good(arn, settings):
            self._free(arn, balancers)
            self.elbv2.delete_target_group(TargetGroupArn=arn)
            log.warning("%s: target group %s cannot be changed into what it was and is made anew", self.label, name)
            arn = None
        if arn is None:
            # a new one at the origin is marked until its targets are registered, whatever comes between
            marks = {"new": "yes"} if self.place.origin else {"name": name, "place": self.place.name}
            tags = aws.tag_list(document["tags"], **marks)
            actual = name if self.place.origin else scratch_name(name, self.place)
            made = self.elbv2.create_target_group(Name=actual, **settings, **({"Tags": tags} if tags else {}))
            arn = str(made["TargetGroups"][0]["TargetGroupArn"])
            log.info("%s: target group %s made as %s", self.label, name, arn)
        else:
            health = {key: value for key, value in settings.items() if key not in forms.FIXED_GROUP_FIELDS}
            self.elbv2.modify_target_group(TargetGroupArn=arn, **health)
            self._retag(arn, document["tags"])
        held = self.elbv2.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
        if attributes := forms.attributes_request(document["attributes"], held):
            self.elbv2.modify_target_group_attributes(TargetGroupArn=arn, Attributes=attributes)
        return arn

    def _differs_for_good(self, arn: str, settings: Mapping[str, Any]) -> bool:
        held = self.elbv2.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]
        return any(held.get(key) != settings[key] for key in forms.FIXED_GROUP_FIELDS if key in settings)

    def _free(self, group: str, balancers: list[str]) -> None:
        """Take away the listeners that use *group*; all listeners are made what they were afterwards."""
        using = []
        for listener in [found for balancer in balancers for found in listeners(self.elbv2, balancer)]:
            actions = [*listener["DefaultActions"]]
            for rule in rules(self.elbv2, listener["ListenerArn"]):
                actions += rule["Actions"]
            if group in forms.groups_of(actions):
                forms.refuse_secrets(actions, self.label, f"listener {forms.port_of(listener)}")
                using.append(str(listener["ListenerArn"]))
        for arn in using:  # only when none of them is refused
            self.elbv2.delete_listener(ListenerArn=arn)

    def put_balancer(self, name: str, document: Mapping[str, Any], held: Mapping[str, Any] | None) -> str:
        """Make the load balancer *name* what *document* says; *held* is the one that is there."""
        attributes = document["attributes"]
        if held is None:
            marks = {} if self.place.origin else forms.balancer_marks(name, self.place.name, document)
            tags = aws.tag_list(document["tags"], **marks)
            groups = {"SecurityGroups": document["security_groups"]} if document["security_groups"] else {}
            made = self.elbv2.create_load_balancer(
                Name=name if self.place.origin else scratch_name(name, self.place), Subnets=document["subnets"],
                # a copy is not for the world, whatever it is a copy of
                Scheme=document["scheme"] if self.place.origin else "internal", Type=document["type"],
                IpAddressType=document["address_type"], **groups, **({"Tags": tags} if tags else {}),
            )  # fmt: skip
            arn = str(made["LoadBalancers"][0]["LoadBalancerArn"])
            log.info("%s: load balancer %s made as %s", self.label, name, arn)
        else:
            arn = str(held["LoadBalancerArn"])
            if self.place.origin:
                self._change_balancer(arn, document, forms.balancer_document(held, [], {}))
            self._retag(arn, document["tags"])
        if not self.place.origin:
            attributes = {**attributes, **{key: "false" for key in forms.ACTING if key in attributes}}
        there = self.elbv2.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
        if request := forms.attributes_request(attributes, there):
            self.elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=request)
        return arn

    def _change_balancer(self, arn: str, wanted: Mapping[str, Any], held: Mapping[str, Any]) -> None:
        fixed = [key for key in ("type", "scheme") if wanted[key] != held[key]]
        if fixed:
            raise PermanentError(
                f"{self.label}: load balancer {arn} is another one than was backed up: its {' and '.join(fixed)} "
                "cannot be changed; next: delete it, then restore again"
            )
        if wanted["address_type"] != held["address_type"]:
            self.elbv2.set_ip_address_type(LoadBalancerArn=arn, IpAddressType=wanted["address_type"])
        if wanted["subnets"] != held["subnets"]:
            self.elbv2.set_subnets(LoadBalancerArn=arn, Subnets=wanted["subnets"])
        if wanted["security_groups"] != held["security_groups"] and wanted["security_groups"]:
            self.elbv2.set_security_groups(LoadBalancerArn=arn, SecurityGroups=wanted["security_groups"])

    def put_listeners(self, balancer: str, wanted: Mapping[str, Any], arns: Mapping[str, str]) -> None:
        """Make the listeners of *balancer* the *wanted* ones, by their ports; *arns* are those of target groups."""
        held = {forms.port_of(listener): listener for listener in listeners(self.elbv2, balancer)}
        for port in sorted(set(held) - set(wanted)):
            self.elbv2.delete_listener(ListenerArn=held[port]["ListenerArn"])
        for port, document in sorted(wanted.items()):
            if port in held:
                arn = str(held[port]["ListenerArn"])
                request = forms.listener_request(document, arns, forms.KEPT_SECRET)
                self.elbv2.modify_listener(ListenerArn=arn, **request)
                self._retag(arn, document["tags"])
            else:
                request = forms.listener_request(document, arns, self._new_secret(document["default_actions"], port))
                if tags := aws.tag_list(document["tags"]):
                    request["Tags"] = tags
                made = self.elbv2.create_listener(LoadBalancerArn=balancer, **request)
                arn = str(made["Listeners"][0]["ListenerArn"])
            there = self.elbv2.describe_listener_attributes(ListenerArn=arn)["Attributes"]
            if attributes := forms.attributes_request(document["attributes"], there):
                self.elbv2.modify_listener_attributes(ListenerArn=arn, Attributes=attributes)
            self._put_certificates(arn, document["certificates"])
            self._put_rules(arn, document["rules"], arns)

    def _new_secret(self, actions: list[dict[str, Any]], where: str) -> Mapping[str, Any]:
        if self.place.origin:
            forms.refuse_secrets(actions, self.label, where)
        return {} if self.place.origin else {"ClientSecret": "none: a copy asks nobody to log in"}

    def _put_certificates(self, listener: str, wanted: Mapping[str, list[str]]) -> None:
        if not wanted["default"]:
            return
        pages = aws.pages(self.elbv2, "describe_listener_certificates", "Certificates", ListenerArn=listener)
        held = {found["CertificateArn"] for found in pages if not found.get("IsDefault")} - set(wanted["default"])
        for act, certificates in (("add", set(wanted["others"]) - held), ("remove", held - set(wanted["others"]))):
            if certificates:
                request = [{"CertificateArn": arn} for arn in sorted(certificates)]
                getattr(self.elbv2, f"{act}_listener_certificates")(ListenerArn=listener, Certificates=request)

    def _put_rules(self, listener: str, wanted: Mapping[str, Any], arns: Mapping[str, str]) -> None:
        """Make the rules of *listener* the *wanted* ones, by priority. Rules that are right already are not touched."""
        names = {arn: name for name, arn in arns.items()}
        held = {rule["Priority"]: rule for rule in rules(self.elbv2, listener) if not rule["IsDefault"]}
        tags = tags_of(self.elbv2, [rule["RuleArn"] for rule in held.values()])
        for priority in sorted(set(held) - set(wanted)):
            self.elbv2.delete_rule(RuleArn=held[priority]["RuleArn"])
        for priority, document in sorted(wanted.items(), key=lambda item: int(item[0])):
            rule = held.get(priority)
            if rule is None:
                secret = self._new_secret(document["actions"], f"rule {priority}")
                labels = aws.tag_list(document["tags"])
                self.elbv2.create_rule(ListenerArn=listener, Priority=int(priority),
                                       **forms.rule_request(document, arns, secret),
                                       **({"Tags": labels} if labels else {}))  # fmt: skip
            elif forms.rule_document(rule, names, aws.tags_of(tags[rule["RuleArn"]])) != document:
                request = forms.rule_request(document, arns, forms.KEPT_SECRET)
                if rule.get("Transforms") and "Transforms" not in request:
                    request["ResetTransforms"] = True
                self.elbv2.modify_rule(RuleArn=rule["RuleArn"], **request)
                self._retag(rule["RuleArn"], document["tags"])

    def _retag(self, arn: str, wanted: Mapping[str, str]) -> None:
        held = aws.tags_of(tags_of(self.elbv2, [arn])[arn])
        if stale := sorted(set(held) - set(wanted)):
            self.elbv2.remove_tags(ResourceArns=[arn], TagKeys=stale)
        if wanted and wanted != held:
            self.elbv2.add_tags(ResourceArns=[arn], Tags=aws.tag_list(wanted))
