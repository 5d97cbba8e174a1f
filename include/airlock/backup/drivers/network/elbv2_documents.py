"""Turns what ELBv2 answers into documents without ARNs, and documents into what ELBv2 is asked. Pure: no I/O.

ARNs of target groups become ``{target-group:NAME}``: they differ in every copy, and names are what people know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airlock.errors import PermanentError

_REFERENCE = re.compile(r"\{target-group:(.+)\}")
GROUP_FIELDS = (
    "Protocol", "ProtocolVersion", "Port", "VpcId", "TargetType", "IpAddressType", "HealthCheckProtocol",
    "HealthCheckPort",
    "HealthCheckEnabled", "HealthCheckPath", "HealthCheckIntervalSeconds", "HealthCheckTimeoutSeconds",
    "HealthyThresholdCount", "UnhealthyThresholdCount", "Matcher",
)  # fmt: skip
FIXED_GROUP_FIELDS = ("Protocol", "ProtocolVersion", "Port", "VpcId", "TargetType", "IpAddressType")
ACTING = ("deletion_protection.enabled", "access_logs.s3.enabled", "connection_logs.s3.enabled",
          "health_check_logs.s3.enabled")  # fmt: skip
"""Attributes that are off in a copy: it has to go away again, and must not write into anybody's bucket."""
KEPT_SECRET: Mapping[str, Any] = {"UseExistingClientSecret": True}
_LISTENER_FIELDS = ("Port", "Protocol", "SslPolicy", "AlpnPolicy", "MutualAuthentication")


def group_document(
    group: Mapping[str, Any], attributes: list[dict[str, str]], tags: Mapping[str, str]
) -> dict[str, Any]:
    """Return a target group as a document."""
    return {
        "settings": {key: group[key] for key in GROUP_FIELDS if group.get(key) not in (None, "", {})},
        "attributes": {entry["Key"]: entry["Value"] for entry in attributes},
        "tags": dict(tags),
    }


def balancer_document(
    balancer: Mapping[str, Any], attributes: list[dict[str, str]], tags: Mapping[str, str]
) -> dict[str, Any]:
    """Return a load balancer, without its listeners, as a document."""
    zones = balancer.get("AvailabilityZones", [])
    return {
        "type": balancer["Type"], "scheme": balancer["Scheme"], "address_type": balancer.get("IpAddressType", "ipv4"),
        "subnets": sorted(zone["SubnetId"] for zone in zones if zone.get("SubnetId")),
        "security_groups": sorted(balancer.get("SecurityGroups", [])),
        "attributes": {entry["Key"]: entry["Value"] for entry in attributes},
        "tags": dict(tags),
    }  # fmt: skip


def balancer_marks(name: str, place: str, document: Mapping[str, Any]) -> dict[str, str]:
    """Return the marks of a copy: of which load balancer, and what of it must not be so in a copy."""
    held = [key for key in ACTING if document["attributes"].get(key) == "true"]
    return {"name": name, "place": place, "scheme": document["scheme"], "acting": " ".join(held)}


def told_by_marks(document: dict[str, Any], marks: Mapping[str, str]) -> dict[str, Any]:
    """Return the *document* of a copy with what its *marks* say of the original."""
    acting = marks.get("acting", "").split()
    attributes = {key: ("true" if key in acting else "false") if key in ACTING else value
                  for key, value in document["attributes"].items()}  # fmt: skip
    return {**document, "scheme": marks.get("scheme", document["scheme"]), "attributes": attributes}


def port_of(listener: Mapping[str, Any]) -> str:
    """Return what tells a listener from its neighbours; those of a gateway have no port."""
    return str(listener.get("Port", 0))


def listener_document(
    listener: Mapping[str, Any], certificates: list[str], attributes: list[dict[str, str]], names: Mapping[str, str]
) -> dict[str, Any]:
    """Return a listener without its rules and tags; *names* gives the name of each target group by its ARN."""
    settings = {key: listener[key] for key in _LISTENER_FIELDS if listener.get(key)}
    if "MutualAuthentication" in settings:
        told = settings["MutualAuthentication"].items()
        settings["MutualAuthentication"] = {key: value for key, value in told if key != "TrustStoreAssociationStatus"}
    # AWS tells the default one here; an emulator adds the others behind it
    default = [entry["CertificateArn"] for entry in listener.get("Certificates", [])[:1]]
    return {
        **settings,
        "certificates": {"default": default, "others": sorted(set(certificates) - set(default))},
        "attributes": {entry["Key"]: entry["Value"] for entry in attributes},
        "default_actions": actions_document(listener["DefaultActions"], names),
    }


def rule_document(rule: Mapping[str, Any], names: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, Any]:
    """Return a rule, without its priority, as a document."""
    return {
        "conditions": conditions_document(rule["Conditions"]),
        "actions": actions_document(rule["Actions"], names),
        "tags": dict(tags),
        **({"transforms": rule["Transforms"]} if rule.get("Transforms") else {}),
    }


def groups_of(actions: list[dict[str, Any]]) -> set[str]:
    """Return the ARNs of the target groups that *actions* forward to."""
    groups = {group["TargetGroupArn"] for action in actions
              for group in action.get("ForwardConfig", {}).get("TargetGroups", [])}  # fmt: skip
    return groups | {action["TargetGroupArn"] for action in actions if action.get("TargetGroupArn")}


def refuse_secrets(actions: list[dict[str, Any]], label: str, where: object) -> None:
    """Refuse to make anew what needs a secret that AWS never tells.

    :raises PermanentError: one of *actions* logs people in
    """
    if any("AuthenticateOidcConfig" in action for action in actions):
        raise PermanentError(f"{label}: {where} logs people in with OpenID Connect, and AWS tells nobody the client "
                             "secret; next: make it by hand with its secret, then restore again")  # fmt: skip


def conditions_document(conditions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the conditions of a rule in one form; AWS takes plain values or a config object and tells both."""
    documents = []
    for condition in conditions:
        document = {key: value for key, value in condition.items() if value not in (None, [], {})}
        configs = [key for key in document if key.endswith("Config")]
        plain = document.pop("Values", [])
        if not configs:
            name = {"path-pattern": "PathPatternConfig", "host-header": "HostHeaderConfig"}.get(condition["Field"])
            if name is not None:
                document[name] = {"Values": sorted(plain)}
        for key in configs:
            config = dict(document[key])
            if all(isinstance(value, str) for value in config.get("Values", [])) and "Values" in config:
                config["Values"] = sorted(config["Values"])
            document[key] = config
        documents.append(document)
    return sorted(documents, key=str)


def actions_document(actions: list[dict[str, Any]], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return actions in the order in which they are carried out, with references for ARNs."""
    documents = []
    for action in sorted(actions, key=lambda action: int(action.get("Order", 0))):
        document = {key: value for key, value in action.items() if key not in ("Order", "TargetGroupArn") and value}
        groups = [dict(group) for group in action.get("ForwardConfig", {}).get("TargetGroups", [])]
        if not groups and action.get("TargetGroupArn"):
            groups = [{"TargetGroupArn": action["TargetGroupArn"]}]
        if groups:
            targets = {_name(group["TargetGroupArn"], names): int(group.get("Weight", 1)) for group in groups}
            # the weight of a single target group means nothing, and AWS does not always answer with it
            document["ForwardConfig"] = {"targets": targets if len(targets) > 1 else dict.fromkeys(targets, 1)}
            stickiness = action.get("ForwardConfig", {}).get("TargetGroupStickinessConfig", {})
            if stickiness.get("Enabled"):
                document["ForwardConfig"]["stickiness"] = dict(stickiness)
        if "AuthenticateOidcConfig" in document:  # AWS never tells the secret, an emulator may
            told = document["AuthenticateOidcConfig"].items()
            secret = ("ClientSecret", "UseExistingClientSecret")
            document["AuthenticateOidcConfig"] = {key: value for key, value in told if key not in secret}
        documents.append(document)
    return documents


def _name(arn: str, names: Mapping[str, str]) -> str:
    return f"{{target-group:{names[arn]}}}" if arn in names else arn


def actions_request(
    actions: list[dict[str, Any]], arns: Mapping[str, str], secret: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return what ELBv2 is asked for *actions*; *arns* gives the ARN of each target group by its name, *secret* says
    what the secret of a log-in is.

    :raises KeyError: a target group is not in *arns*
    """
    asked = []
    for order, action in enumerate(actions, start=1):
        request = {**action, **({"Order": order} if len(actions) > 1 else {})}
        if "targets" in action.get("ForwardConfig", {}):
            groups = [{"TargetGroupArn": _arn(reference, arns), "Weight": weight}
                      for reference, weight in sorted(action["ForwardConfig"]["targets"].items())]  # fmt: skip
            request["ForwardConfig"] = {"TargetGroups": groups}
            if "stickiness" in action["ForwardConfig"]:
                request["ForwardConfig"]["TargetGroupStickinessConfig"] = action["ForwardConfig"]["stickiness"]
        if "AuthenticateOidcConfig" in action:
            request["AuthenticateOidcConfig"] = {**action["AuthenticateOidcConfig"], **secret}
        asked.append(request)
    return asked


def _arn(reference: str, arns: Mapping[str, str]) -> str:
    found = _REFERENCE.fullmatch(reference)
    return arns[found.group(1)] if found else reference


def listener_request(
    document: Mapping[str, Any], arns: Mapping[str, str], secret: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what ELBv2 is asked for a listener, without its rules and its further certificates."""
    request = {key: document[key] for key in _LISTENER_FIELDS if key in document}
    if document["certificates"]["default"]:
        request["Certificates"] = [{"CertificateArn": arn} for arn in document["certificates"]["default"]]
    request["DefaultActions"] = actions_request(document["default_actions"], arns, secret)
    return request


def rule_request(document: Mapping[str, Any], arns: Mapping[str, str], secret: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ELBv2 is asked for a rule, without its tags."""
    return {
        "Conditions": document["conditions"],
        "Actions": actions_request(document["actions"], arns, secret),
        **({"Transforms": document["transforms"]} if "transforms" in document else {}),
    }


def attributes_request(attributes: Mapping[str, str], held: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return those *attributes* that differ from what is *held*: AWS refuses some where they do not apply, though it
    tells them. Empty ones it refuses always."""
    there = {entry["Key"]: entry["Value"] for entry in held}
    return [{"Key": key, "Value": value} for key, value in sorted(attributes.items())
            if value not in ("", there.get(key))]  # fmt: skip
