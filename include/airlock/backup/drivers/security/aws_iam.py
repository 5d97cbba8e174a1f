"""Back up IAM roles and customer managed policies, and prove it by making copies that can do nothing.

A copy of a role in a restore test carries an inline policy that denies everything before it gets any other policy, so
that a test never widens what anyone may do. Knows IAM and the driver contract.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator

from airlock.backup import aws
from airlock.backup.driver import Capabilities, Place
from airlock.errors import InvalidInput
from airlock.identity import aws_identity
from airlock.models import Kind

log = logging.getLogger(__name__)
_DENY_ALL = "airlock-deny-all"
_NOTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]})


class AwsIamOptions(aws.AwsOptions):
    """Options of the driver ``aws_iam``; the prefixes together say which roles and policies belong to the service."""

    name_prefix: str = Field("", pattern=r"^[\w+=,.@-]*$", description="only roles and policies whose names begin so")
    path_prefix: str = Field("/", pattern=r"^/([!-~]*/)?$", description="only roles and policies below this IAM path")

    @model_validator(mode="after")
    def _narrow(self) -> AwsIamOptions:
        if not self.name_prefix and self.path_prefix == "/":
            raise ValueError("give name_prefix or path_prefix: a restore removes what it finds beyond the backup, "
                             "so the whole account is never meant")
        return self

    def identities(self) -> tuple[str, ...]:
        return (aws_identity(self.connection, "iam", self.path_prefix, f"{self.name_prefix}*"),)


class AwsIamDriver(aws.AwsDriver):
    """Roles (trust, attached and inline policies, boundary, tags) and managed policies with all their versions."""

    kind: ClassVar[Kind] = Kind.SECURITY
    service = "iam"
    Options = AwsIamOptions
    options: AwsIamOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        consistent="each role and policy at the moment it is read; ids of policy versions are given anew"
    )

    def export(self, place: Place) -> Mapping[str, Any]:
        with aws.aws_errors(f"{self.label}: read roles and policies"):
            iam = self.client
            policies = self._policies(iam, place)
            documents = {f"policy/{name}": self._policy_document(iam, arn) for name, arn in policies.items()}
            names_by_arn = {arn: name for name, arn in policies.items()}
            for name, actual in self._roles(iam, place).items():
                documents[f"role/{name}"] = self._role_document(iam, actual, names_by_arn, place)
        log.info("%s: %d role(s) and policies read", self.label, len(documents))
        return documents

    def load(self, documents: Mapping[str, Any], place: Place) -> None:
        with aws.aws_errors(f"{self.label}: restore roles and policies into {place.name or 'the origin'}"):
            iam = self.client
            arns = self._policies(iam, place)
            for key, document in sorted(documents.items()):
                sort, _, name = key.partition("/")
                if sort == "policy":
                    arns[name] = self._put_policy(iam, name, document, arns.get(name), place)
            roles = self._roles(iam, place)
            for key, document in sorted(documents.items()):
                sort, _, name = key.partition("/")
                if sort == "role":
                    self._put_role(iam, (name, roles.get(name)), document, arns, place)
            if place.origin:
                self._remove(
                    iam,
                    {n: a for n, a in roles.items() if f"role/{n}" not in documents},
                    {n: a for n, a in arns.items() if f"policy/{n}" not in documents},
                )
        log.info("%s: %d document(s) restored into %s", self.label, len(documents), place.name or "the origin")

    def discard(self, place: Place) -> None:
        if place.origin:
            raise InvalidInput(f"{self.label}: the origin is no scratch place and is never discarded")
        with aws.aws_errors(f"{self.label}: discard scratch place {place.name}"):
            iam = self.client
            self._remove(iam, self._roles(iam, place), self._policies(iam, place))

    # --- names --------------------------------------------------------------------------------------------------------

    @staticmethod
    def _path(place: Place, path: str) -> str:
        return path if place.origin else f"/airlock-scratch/{place.name}{path}"

    def _scratch_name(self, name: str, place: Place) -> str:
        # names of roles are unique in an account whatever their path, and have at most 64 characters
        tail = hashlib.sha256(f"{place.name}/{name}".encode()).hexdigest()[:12]
        return name if place.origin else f"airlock-{place.name}-{name[:18]}-{tail}"

    def _roles(self, iam: Any, place: Place) -> dict[str, str]:
        """Return the actual name of each role by its original's name."""
        found = [
            role["RoleName"]
            for role in aws.pages(iam, "list_roles", "Roles", PathPrefix=self._path(place, self.options.path_prefix))
        ]
        if place.origin:
            return {name: name for name in sorted(found) if name.startswith(self.options.name_prefix)}
        marks = {name: aws.marks_of(list(aws.pages(iam, "list_role_tags", "Tags", RoleName=name))) for name in found}
        return {marks[name]["name"]: name for name in sorted(found) if "name" in marks[name]}

    def _policies(self, iam: Any, place: Place) -> dict[str, str]:
        """Return the ARN of each customer managed policy by its original's name."""
        found = {
            policy["PolicyName"]: policy["Arn"]
            for policy in aws.pages(
                iam, "list_policies", "Policies", Scope="Local", PathPrefix=self._path(place, self.options.path_prefix)
            )
        }
        if place.origin:
            return {name: arn for name, arn in sorted(found.items()) if name.startswith(self.options.name_prefix)}
        marks = {
            arn: aws.marks_of(list(aws.pages(iam, "list_policy_tags", "Tags", PolicyArn=arn))) for arn in found.values()
        }
        return {marks[arn]["name"]: arn for arn in sorted(found.values()) if "name" in marks[arn]}

    # --- read ---------------------------------------------------------------------------------------------------------

    def _original_path(self, path: str) -> str:
        parts = path.split("/", 3)
        return f"/{parts[3]}" if len(parts) == 4 and parts[1] == "airlock-scratch" else path

    def _policy_document(self, iam: Any, arn: str) -> dict[str, Any]:
        policy = iam.get_policy(PolicyArn=arn)["Policy"]
        versions = sorted(
            aws.pages(iam, "list_policy_versions", "Versions", PolicyArn=arn),
            key=lambda version: int(version["VersionId"].removeprefix("v")),
        )
        texts = {
            version["VersionId"]: aws.canonical_policy(
                iam.get_policy_version(PolicyArn=arn, VersionId=version["VersionId"])["PolicyVersion"]["Document"]
            )
            for version in versions
        }
        default = policy["DefaultVersionId"]
        return {
            "path": self._original_path(policy["Path"]),
            "description": policy.get("Description", ""),
            "tags": aws.tags_of(list(aws.pages(iam, "list_policy_tags", "Tags", PolicyArn=arn))),
            "default": texts[default],
            "others": [text for number, text in texts.items() if number != default],
        }

    def _role_document(self, iam: Any, actual: str, names_by_arn: Mapping[str, str], place: Place) -> dict[str, Any]:
        role = iam.get_role(RoleName=actual)["Role"]
        attached = [
            found["PolicyArn"]
            for found in aws.pages(iam, "list_attached_role_policies", "AttachedPolicies", RoleName=actual)
        ]
        inline = [
            name
            for name in aws.pages(iam, "list_role_policies", "PolicyNames", RoleName=actual)
            if place.origin or name != _DENY_ALL
        ]
        boundary = role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", "")
        return {
            "path": self._original_path(role["Path"]),
            "description": role.get("Description", ""),
            "max_session_seconds": role.get("MaxSessionDuration", 3600),
            "trust": aws.canonical_policy(role["AssumeRolePolicyDocument"]),
            "attached": sorted(f"policy/{names_by_arn[arn]}" if arn in names_by_arn else arn for arn in attached),
            "inline": {
                name: aws.canonical_policy(iam.get_role_policy(RoleName=actual, PolicyName=name)["PolicyDocument"])
                for name in sorted(inline)
            },
            "boundary": f"policy/{names_by_arn[boundary]}" if boundary in names_by_arn else boundary,
            "tags": aws.tags_of(list(aws.pages(iam, "list_role_tags", "Tags", RoleName=actual))),
        }

    # --- write --------------------------------------------------------------------------------------------------------

    def _marks(self, name: str, place: Place) -> dict[str, str]:
        return {} if place.origin else {"name": name, "place": place.name}

    def _put_policy(self, iam: Any, name: str, document: Mapping[str, Any], arn: str | None, place: Place) -> str:
        texts = [json.dumps(text) for text in (document["default"], *document["others"])]
        if arn is None:
            made = iam.create_policy(
                PolicyName=self._scratch_name(name, place),
                Path=self._path(place, document["path"]),
                PolicyDocument=texts[0],
                Description=document["description"],
                Tags=aws.tag_list(document["tags"], **self._marks(name, place)),
            )
            arn = str(made["Policy"]["Arn"])
        else:
            if self._policy_document(iam, arn) == document:
                return arn
            self._replace_versions(iam, arn, texts[0])
            stale = set(aws.tags_of(list(aws.pages(iam, "list_policy_tags", "Tags", PolicyArn=arn)))) - set(
                document["tags"]
            )
            if stale:
                iam.untag_policy(PolicyArn=arn, TagKeys=sorted(stale))
            if document["tags"]:
                iam.tag_policy(PolicyArn=arn, Tags=aws.tag_list(document["tags"]))
        for text in texts[1:]:
            iam.create_policy_version(PolicyArn=arn, PolicyDocument=text, SetAsDefault=False)
        log.info("%s: policy %s written as %s with %d version(s)", self.label, name, arn, len(texts))
        return arn

    @staticmethod
    def _replace_versions(iam: Any, arn: str, text: str) -> None:
        """Make *text* the only version. The old default stays in force until the new one is there."""
        versions = list(aws.pages(iam, "list_policy_versions", "Versions", PolicyArn=arn))
        for version in versions:
            if not version["IsDefaultVersion"]:
                iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=text, SetAsDefault=True)
        for version in versions:
            if version["IsDefaultVersion"]:
                iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])

    def _put_role(
        self, iam: Any, names: tuple[str, str | None], document: Mapping[str, Any], arns: Mapping[str, str],
        place: Place,
    ) -> None:  # fmt: skip
        name, actual = names[0], names[1] or self._scratch_name(names[0], place)
        boundary = self._arn(document["boundary"], arns)
        if names[1] is None:
            extra = {"PermissionsBoundary": boundary} if boundary else {}
            iam.create_role(
                RoleName=actual, Path=self._path(place, document["path"]), Description=document["description"],
                AssumeRolePolicyDocument=json.dumps(document["trust"]),
                MaxSessionDuration=document["max_session_seconds"],
                Tags=aws.tag_list(document["tags"], **self._marks(name, place)), **extra,
            )  # fmt: skip
        else:
            self._update_role(iam, actual, document, boundary)
        if not place.origin:
            iam.put_role_policy(RoleName=actual, PolicyName=_DENY_ALL, PolicyDocument=_NOTHING)
        for policy, text in document["inline"].items():
            iam.put_role_policy(RoleName=actual, PolicyName=policy, PolicyDocument=json.dumps(text))
        keep = {*document["inline"], *(() if place.origin else (_DENY_ALL,))}
        for policy in set(aws.pages(iam, "list_role_policies", "PolicyNames", RoleName=actual)) - keep:
            iam.delete_role_policy(RoleName=actual, PolicyName=policy)
        wanted = {self._arn(reference, arns) for reference in document["attached"]}
        pages = aws.pages(iam, "list_attached_role_policies", "AttachedPolicies", RoleName=actual)
        held = {found["PolicyArn"] for found in pages}
        for arn in sorted(wanted - held):
            iam.attach_role_policy(RoleName=actual, PolicyArn=arn)
        for arn in sorted(held - wanted):
            iam.detach_role_policy(RoleName=actual, PolicyArn=arn)
        log.info("%s: role %s written as %s", self.label, name, actual)

    @staticmethod
    def _arn(reference: str, arns: Mapping[str, str]) -> str:
        sort, _, name = reference.partition("/")
        return arns[name] if sort == "policy" and name in arns else reference

    @staticmethod
    def _update_role(iam: Any, actual: str, document: Mapping[str, Any], boundary: str) -> None:
        iam.update_assume_role_policy(RoleName=actual, PolicyDocument=json.dumps(document["trust"]))
        iam.update_role(
            RoleName=actual, Description=document["description"], MaxSessionDuration=document["max_session_seconds"]
        )
        held = iam.get_role(RoleName=actual)["Role"].get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", "")
        if boundary and boundary != held:
            iam.put_role_permissions_boundary(RoleName=actual, PermissionsBoundary=boundary)
        elif held and not boundary:
            iam.delete_role_permissions_boundary(RoleName=actual)
        stale = set(aws.tags_of(list(aws.pages(iam, "list_role_tags", "Tags", RoleName=actual)))) - set(
            document["tags"]
        )
        if stale:
            iam.untag_role(RoleName=actual, TagKeys=sorted(stale))
        if document["tags"]:
            iam.tag_role(RoleName=actual, Tags=aws.tag_list(document["tags"]))

    def _remove(self, iam: Any, roles: Mapping[str, str], policies: Mapping[str, str]) -> None:
        for actual in roles.values():
            for found in list(aws.pages(iam, "list_attached_role_policies", "AttachedPolicies", RoleName=actual)):
                iam.detach_role_policy(RoleName=actual, PolicyArn=found["PolicyArn"])
            # the policy that denies everything goes last
            inline = list(aws.pages(iam, "list_role_policies", "PolicyNames", RoleName=actual))
            for policy in sorted(inline, key=lambda policy: policy == _DENY_ALL):
                iam.delete_role_policy(RoleName=actual, PolicyName=policy)
            iam.delete_role(RoleName=actual)
            log.info("%s: role %s removed", self.label, actual)
        for arn in policies.values():
            for version in list(aws.pages(iam, "list_policy_versions", "Versions", PolicyArn=arn)):
                if not version["IsDefaultVersion"]:
                    iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
            iam.delete_policy(PolicyArn=arn)
            log.info("%s: policy %s removed", self.label, arn)
