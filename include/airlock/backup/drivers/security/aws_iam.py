"""Back up IAM roles, managed policies and instance profiles, and prove it by making copies that can do nothing.

Knows IAM's answers and the driver contract; how it is written lives in the module beside this one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from pydantic import Field, model_validator

from airlock.backup import aws
from airlock.backup.driver import Capabilities, Place
from airlock.backup.drivers.security import iam_needs
from airlock.backup.drivers.security.iam_writing import (
    DENY_ALL,
    NOBODY,
    SCRATCH_PATH,
    STAND_IN_PATH,
    Names,
    Writer,
)
from airlock.errors import InvalidInput
from airlock.identity import aws_identity
from airlock.models import Kind

log = logging.getLogger(__name__)
_POLICY, _ROLE, _PROFILE = "policy/", "role/", "instance-profile/"
_GONE = re.compile(r"A[A-Z0-9]{15,}")  # an id, where a living principal is told by its ARN, its account or "*"
_RESERVED = ("/aws-service-role/", "/aws-reserved/")
# IAM takes a moment until all of it knows a change: what was just made is "not there", a role that was just made is
# "invalid" (but one that is told by its id is gone for good), what was just detached "conflicts".
_UNSETTLED = (r"^(NoSuchEntity|DeleteConflict|EntityAlreadyExists):|"
              r'Invalid principal in policy(?!: "AWS":"A[A-Z0-9]{15,}")')  # fmt: skip


class AwsIamOptions(aws.AwsOptions):
    """Options of the driver ``aws_iam``; the prefixes together say what belongs to the service."""

    name_prefix: str = Field("", pattern=r"^[\w+=,.@-]*$", description="only what has a name that begins so")
    path_prefix: str = Field("/", pattern=r"^/([!-~]*/)?$", description="only what is below this IAM path")

    @model_validator(mode="after")
    def _narrow(self) -> AwsIamOptions:
        if not self.name_prefix and self.path_prefix == "/":
            raise ValueError("give name_prefix or path_prefix: a restore removes what it finds beyond the backup, "
                             "so the whole account is never meant")
        return self

    def identities(self) -> tuple[str, ...]:
        return (aws_identity(self.connection, "iam", self.path_prefix, f"{self.name_prefix}*"),)


class AwsIamDriver(aws.AwsDriver):
    """Roles (trust, attached and inline policies, boundary, tags), managed policies with all their versions, and the
    instance profiles that hold such a role."""

    kind: ClassVar[Kind] = Kind.SECURITY
    service = "iam"
    Options = AwsIamOptions
    options: AwsIamOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        consistent="each role and policy at the moment it is read",
        leaves_out=(
            "users, groups, access keys, identity providers; roles that AWS makes itself (service-linked, reserved)",
            "ids of roles and of versions of policies, which are given anew",
            "principals that are gone, whose ids a trust still shows: AWS takes no such trust again",
        ),
    )
    needs = iam_needs.NEEDS

    def export(self, place: Place) -> Mapping[str, Any]:
        with self._answers("read roles and policies"):
            iam = self.client
            policies, roles = self._policies(place), self._roles(place)
            documents = {_POLICY + name: self._policy_document(iam, arn) for name, arn in policies.items()}
            names_by_arn = {arn: name for name, arn in policies.items()}
            for name, (actual, _) in roles.items():
                documents[_ROLE + name] = self._role_document(iam, actual, names_by_arn, place)
            originals = {actual: name for name, (actual, _) in roles.items()}
            for name, held in self._profiles(place, originals).items():
                documents[_PROFILE + name] = self._profile_document(held, originals, place)
        log.info("%s: %d role(s), policies and instance profiles read", self.label, len(documents))
        return documents

    def left_out(self) -> list[str]:
        with self._answers("read roles"):
            listed = list(self._listed("list_roles", "Roles", Place(origin=True)))
        trusts = {role["RoleName"]: aws.canonical_policy(role["AssumeRolePolicyDocument"]) for role in listed
                  if self._ours(role["RoleName"], role["Path"])}  # fmt: skip
        gone = sorted(name for name, trust in trusts.items() if _trust_of_living(trust) != trust)
        return [f"principals that are gone, in the trust of {', '.join(gone)}"] if gone else []

    def load(self, documents: Mapping[str, Any], place: Place) -> None:
        wanted = {sort: {key.removeprefix(sort): document for key, document in sorted(documents.items())
                         if key.startswith(sort)} for sort in (_POLICY, _ROLE, _PROFILE)}  # fmt: skip
        with self._answers(f"restore roles and policies into {place.name or 'the origin'}"):
            writer = Writer(self.client, Names(place), self.label)
            arns, roles = self._policies(place, wanted[_POLICY]), self._roles(place, wanted[_ROLE])
            later = {name: arn for name, arn in arns.items() if name not in wanted[_POLICY]}
            if place.origin:
                writer.refuse_boundaries(later.values())
            for name, document in wanted[_POLICY].items():
                held = None
                if name in arns:
                    held = self._policy_document(self.client, arns[name]) | {"arn": arns[name]}
                arns[name] = writer.put_policy(name, document, held)
            if place.origin:
                writer.settle_stand_ins({name: arns[name] for name in wanted[_POLICY]})
            for name, document in wanted[_ROLE].items():
                writer.make_role(name, document, arns, roles[name][1] if name in roles else None)
            for name, document in wanted[_ROLE].items():
                writer.put_role(name, document, arns)
            actual = {name: Names(place).actual(name) for name in wanted[_ROLE]}
            self._load_profiles(writer, wanted[_PROFILE], actual, place)
            if place.origin:
                for name in sorted(set(roles) - set(wanted[_ROLE])):
                    writer.remove_role(name)
                for arn in later.values():
                    writer.remove_policy(arn)
        log.info("%s: %d document(s) restored into %s", self.label, len(documents), place.name or "the origin")

    def _load_profiles(
        self, writer: Writer, wanted: Mapping[str, Any], roles: Mapping[str, str], place: Place
    ) -> None:
        held = self._profiles(place, {actual: name for name, actual in roles.items()}, wanted)
        for name in sorted(set(held) - set(wanted)) if place.origin else ():
            if self._ours(name, held[name]["Path"]):
                writer.remove_profile(name)
            else:  # somebody else's profile, that one of our roles was put into later
                writer.put_profile(name, self._profile_document(held[name], {}, place) | {"roles": []}, held[name], {})
        for name, document in wanted.items():
            writer.put_profile(name, document, held.get(name), roles)

    def discard(self, place: Place) -> None:
        if place.origin:
            raise InvalidInput(f"{self.label}: the origin is no scratch place and is never discarded")
        with self._answers(f"discard scratch place {place.name}"):
            writer = Writer(self.client, Names(place), self.label)
            for held in self._profiles(place, {}).values():
                writer.remove_profile(held["InstanceProfileName"])
            for actual, _ in self._roles(place).values():
                writer.remove_role(actual)
            for arn in self._policies(place).values():
                writer.remove_policy(arn)

    def _answers(self, what: str) -> AbstractContextManager[None]:
        """Put AWS errors of the body in our words."""
        return aws.aws_errors(f"{self.label}: {what}", _UNSETTLED)

    # --- names --------------------------------------------------------------------------------------------------------

    def _ours(self, name: str, path: str) -> bool:
        outside = path.startswith((SCRATCH_PATH, STAND_IN_PATH, *_RESERVED))
        return name.startswith(self.options.name_prefix) and path.startswith(self.options.path_prefix) and not outside

    def _listed(self, operation: str, key: str, place: Place, **more: Any) -> Iterator[dict[str, Any]]:
        below = "/" if place.origin else f"{SCRATCH_PATH}{place.name}/"
        for found in aws.pages(self.client, operation, key, PathPrefix=below, **more):
            if found["Path"].startswith(below):  # an emulator may not look at the prefix
                yield found

    def _roles(self, place: Place, named: Collection[str] = ()) -> dict[str, tuple[str, str]]:
        """Return the actual name and the path of each role by its original's name; those *named* wherever they are."""
        found = [(role["RoleName"], role["Path"]) for role in self._listed("list_roles", "Roles", place)]
        if place.origin:
            return {name: (name, path) for name, path in sorted(found) if name in named or self._ours(name, path)}
        return {Names.original(path)[0]: (name, path) for name, path in sorted(found)}

    def _policies(self, place: Place, named: Collection[str] = ()) -> dict[str, str]:
        """Return the ARN of each customer managed policy by its original's name; those *named* wherever they are."""
        listed = self._listed("list_policies", "Policies", place, Scope="Local")
        found = [(policy["PolicyName"], policy["Path"], policy["Arn"]) for policy in listed]
        if place.origin:
            return {name: arn for name, path, arn in sorted(found) if name in named or self._ours(name, path)}
        return {Names.original(path)[0]: arn for _, path, arn in sorted(found)}

    def _profiles(
        self, place: Place, originals: Mapping[str, str], named: Collection[str] = ()
    ) -> dict[str, dict[str, Any]]:
        """Return each instance profile by its original's name: ours, those *named*, and those that hold one of the
        roles whose actual names are in *originals*."""
        found = {}
        for profile in self._listed("list_instance_profiles", "InstanceProfiles", place):
            actual, path = profile["InstanceProfileName"], profile["Path"]
            holds = any(role["RoleName"] in originals for role in profile.get("Roles", ()))
            if place.origin and not (actual in named or self._ours(actual, path) or holds):
                continue
            whole = self.client.get_instance_profile(InstanceProfileName=actual)["InstanceProfile"]
            found[actual if place.origin else Names.original(path)[0]] = whole
        return found

    # --- read ---------------------------------------------------------------------------------------------------------

    @staticmethod
    def _policy_document(iam: Any, arn: str) -> dict[str, Any]:
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
            "path": Names.original(policy["Path"])[1],
            "description": policy.get("Description", ""),
            "tags": aws.tags_of(list(aws.pages(iam, "list_policy_tags", "Tags", PolicyArn=arn))),
            "default": texts[default],
            "others": [text for number, text in texts.items() if number != default],
        }

    @staticmethod
    def _role_document(iam: Any, actual: str, names_by_arn: Mapping[str, str], place: Place) -> dict[str, Any]:
        role = iam.get_role(RoleName=actual)["Role"]
        attached = [
            found["PolicyArn"]
            for found in aws.pages(iam, "list_attached_role_policies", "AttachedPolicies", RoleName=actual)
        ]
        inline = [
            name
            for name in aws.pages(iam, "list_role_policies", "PolicyNames", RoleName=actual)
            if place.origin or name != DENY_ALL
        ]
        boundary = role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", "")
        return {
            "path": Names.original(role["Path"])[1],
            "description": role.get("Description", ""),
            "max_session_seconds": role.get("MaxSessionDuration", 3600),
            "trust": _trust_of_living(aws.canonical_policy(role["AssumeRolePolicyDocument"])),
            "attached": sorted(_POLICY + names_by_arn[arn] if arn in names_by_arn else arn for arn in attached),
            "inline": {
                name: aws.canonical_policy(iam.get_role_policy(RoleName=actual, PolicyName=name)["PolicyDocument"])
                for name in sorted(inline)
            },
            "boundary": _POLICY + names_by_arn[boundary] if boundary in names_by_arn else boundary,
            "tags": aws.tags_of(list(aws.pages(iam, "list_role_tags", "Tags", RoleName=actual))),
        }

    def _profile_document(
        self, held: Mapping[str, Any], originals: Mapping[str, str], place: Place
    ) -> dict[str, Any]:
        marks = aws.marks_of(list(held.get("Tags", ())))
        roles = [originals.get(role["RoleName"], role["RoleName"]) for role in held.get("Roles", ())]
        return {
            "path": Names.original(held["Path"])[1],
            "tags": aws.tags_of(list(held.get("Tags", ()))),
            # a copy holds no role that is no copy, and says so
            "roles": sorted(roles if place.origin else [*roles, *marks.get("outside", "").split()]),
        }


def _trust_of_living(trust: Mapping[str, Any]) -> dict[str, Any]:
    """Return the canonical policy *trust* without principals that are gone. AWS shows such a one by its id, lets nobody
    act as it any more, and refuses the policy when it is written."""
    statements = []
    for statement in trust["Statement"]:
        principal = statement.get("Principal")
        names = principal.get("AWS") if isinstance(principal, Mapping) else None
        living = [name for name in names or () if not _GONE.fullmatch(name)]
        if names is not None and living != names:
            others = {sort: found for sort, found in principal.items() if sort != "AWS"}
            principal = {**others, **({"AWS": living} if living else {})}
            if not principal:
                continue
        statements.append({**statement, **({} if principal is None else {"Principal": principal})})
    return {**trust, "Statement": statements} if statements else aws.canonical_policy(NOBODY)
