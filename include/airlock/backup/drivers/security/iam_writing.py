"""Makes managed policies, roles and instance profiles what documents say, and removes those that came later.

One way for copies and for the origin. A copy of a role denies everything before it gets any other policy, so that a
test never widens what anyone may do. Knows IAM; which names belong to a place is told by ``Names``.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airlock.backup import aws
from airlock.backup.driver import Place
from airlock.errors import PermanentError

log = logging.getLogger(__name__)
DENY_ALL = "airlock-deny-all"
SCRATCH_PATH = "/airlock-scratch/"
STAND_IN_PATH = "/airlock-stand-in/"
_NOTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]})
NOBODY = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}]}
)
_ATTACHED_AT_MOST = 10


@dataclass(frozen=True)
class Names:
    """How what belongs to a place is called. The path of a copy holds the name of its original: names are cut."""

    place: Place

    def path(self, name: str, path: str) -> str:
        return path if self.place.origin else f"{SCRATCH_PATH}{self.place.name}/{name}{path}"

    def actual(self, name: str) -> str:
        # names of roles are unique in an account whatever their path, and have at most 64 characters
        tail = hashlib.sha256(f"{self.place.name}/{name}".encode()).hexdigest()[:12]
        return name if self.place.origin else f"airlock-{self.place.name}-{name[:18]}-{tail}"

    @staticmethod
    def original(path: str) -> tuple[str, str]:
        """Return the name and the path of the original that a copy's *path* tells; no name for an original."""
        parts = path.split("/", 4)
        return (parts[3], f"/{parts[4]}") if path.startswith(SCRATCH_PATH) and len(parts) == 5 else ("", path)


@dataclass(frozen=True)
class Writer:
    """Writes into the place of *names*; *label* names the resource in logs and errors."""

    iam: Any
    names: Names
    label: str

    # --- policies -----------------------------------------------------------------------------------------------------

    def refuse_boundaries(self, arns: Iterable[str]) -> None:
        """Refuse to remove what limits somebody: without it they could do more. Asked before anything is changed.

        :raises PermanentError: one of *arns* is the permissions boundary of a role or user
        """
        for arn in arns:
            held = [name for sort, name in self._used_by(arn, "PermissionsBoundary") if self._limits(arn, sort, name)]
            if held:
                raise PermanentError(
                    f"{self.label}: policy {arn} would have to be removed, but is the permissions boundary of "
                    f"{', '.join(held)}; nothing was changed; next: give them another boundary, then restore again"
                )

    def _limits(self, arn: str, sort: str, name: str) -> bool:
        told = getattr(self.iam, f"get_{sort}")(**{f"{sort.title()}Name": name}).get(sort.title(), {})
        return bool(told.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn") == arn)

    def _used_by(self, arn: str, usage: str) -> list[tuple[str, str]]:
        """Return the sort and name of all that uses the policy *arn* as *usage* says."""
        found = []
        for page in self.iam.get_paginator("list_entities_for_policy").paginate(
            PolicyArn=arn, PolicyUsageFilter=usage
        ):
            for sort in ("Role", "User", "Group"):
                found += [(sort.lower(), entry[f"{sort}Name"]) for entry in page.get(f"Policy{sort}s", ())]
        return found

    def put_policy(self, name: str, document: Mapping[str, Any], held: Mapping[str, Any] | None) -> str:
        """Make the managed policy *name* what *document* says and return its ARN; *held* is the document of the one
        that is there, with its ``arn``."""
        texts = [aws.policy_text(text) for text in (document["default"], *document["others"])]
        arn = str(held["arn"]) if held else ""
        if held and any(held[key] != document[key] for key in ("path", "description")):
            # neither can be changed: whoever it is attached to gets the new one
            self._put_stand_in(name, arn, texts[0])
            self.remove_policy(arn)
            held = None
        if held is None:
            made = self.iam.create_policy(
                PolicyName=self.names.actual(name), Path=self.names.path(name, document["path"]),
                PolicyDocument=texts[0], Description=document["description"], Tags=aws.tag_list(document["tags"]),
            )  # fmt: skip
            arn = str(made["Policy"]["Arn"])
        elif all(held[key] == value for key, value in document.items()):
            return arn
        else:
            self._replace_versions(arn, texts[0])
            told = aws.pages(self.iam, "list_policy_tags", "Tags", PolicyArn=arn)
            self._retag("policy", {"PolicyArn": arn}, told, document["tags"])
        for text in texts[1:]:
            self.iam.create_policy_version(PolicyArn=arn, PolicyDocument=text, SetAsDefault=False)
        log.info("%s: policy %s written as %s with %d version(s)", self.label, name, arn, len(texts))
        return arn

    def _put_stand_in(self, name: str, arn: str, text: str) -> None:
        """Give all that have the policy *arn* another one until it is made anew: nobody is without it meanwhile, and
        when the way back is cut short the next try knows by it who had it."""
        stand_in = self._stand_ins().get(name)
        if stand_in is None:
            actual = f"airlock-{hashlib.sha256(name.encode()).hexdigest()[:24]}"
            made = self.iam.create_policy(PolicyName=actual, Path=f"{STAND_IN_PATH}{name}/", PolicyDocument=text)
            stand_in = str(made["Policy"]["Arn"])
        self._hand_over(arn, stand_in)

    def settle_stand_ins(self, arns: Mapping[str, str]) -> None:
        """Give all that have a stand-in the policy that it stands for; *arns* tells those that are there by name."""
        for name, stand_in in self._stand_ins().items():
            if name in arns:
                self._hand_over(stand_in, arns[name])
                self.remove_policy(stand_in)

    def _stand_ins(self) -> dict[str, str]:
        listed = aws.pages(self.iam, "list_policies", "Policies", PathPrefix=STAND_IN_PATH, Scope="Local")
        held = [found for found in listed if found["Path"].startswith(STAND_IN_PATH)]
        return {found["Path"].split("/")[2]: found["Arn"] for found in held}

    def _hand_over(self, old: str, new: str) -> None:
        limited = [found for found in self._used_by(old, "PermissionsBoundary") if self._limits(old, *found)]
        for sort, user in limited:
            which = {f"{sort.title()}Name": user}
            getattr(self.iam, f"put_{sort}_permissions_boundary")(**which, PermissionsBoundary=new)
        for sort, user in self._used_by(old, "PermissionsPolicy"):
            which, attach = {f"{sort.title()}Name": user}, getattr(self.iam, f"attach_{sort}_policy")
            try:
                attach(**which, PolicyArn=new)
            except self.iam.exceptions.LimitExceededException:  # as many as one may have: one goes before one comes
                getattr(self.iam, f"detach_{sort}_policy")(**which, PolicyArn=old)
                attach(**which, PolicyArn=new)

    def _replace_versions(self, arn: str, text: str) -> None:
        """Make *text* the only version. The old default stays in force until the new one is there."""
        versions = list(aws.pages(self.iam, "list_policy_versions", "Versions", PolicyArn=arn))
        for version in versions:
            if not version["IsDefaultVersion"]:
                self.iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
        self.iam.create_policy_version(PolicyArn=arn, PolicyDocument=text, SetAsDefault=True)
        for version in versions:
            if version["IsDefaultVersion"]:
                self.iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])

    def remove_policy(self, arn: str) -> None:
        """Detach the managed policy *arn* from all that have it, and delete it."""
        for sort, user in self._used_by(arn, "PermissionsPolicy"):
            getattr(self.iam, f"detach_{sort}_policy")(**{f"{sort.title()}Name": user, "PolicyArn": arn})
            log.info("%s: policy %s detached from %s %s", self.label, arn, sort, user)
        for version in list(aws.pages(self.iam, "list_policy_versions", "Versions", PolicyArn=arn)):
            if not version["IsDefaultVersion"]:
                self.iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
        self.iam.delete_policy(PolicyArn=arn)
        log.info("%s: policy %s removed", self.label, arn)

    # --- roles --------------------------------------------------------------------------------------------------------

    def make_role(
        self, name: str, document: Mapping[str, Any], arns: Mapping[str, str], held_path: str | None
    ) -> None:
        """See that there is a role *name* at its path. A new one trusts nobody yet: whom it trusts may be new too."""
        actual, path = self.names.actual(name), self.names.path(name, document["path"])
        if held_path == path:
            return
        if held_path is not None:
            self.remove_role(actual)  # a path cannot be changed
        boundary = self.arn(document["boundary"], arns)
        self.iam.create_role(
            RoleName=actual, Path=path, Description=document["description"], AssumeRolePolicyDocument=NOBODY,
            MaxSessionDuration=document["max_session_seconds"], Tags=aws.tag_list(document["tags"]),
            **({"PermissionsBoundary": boundary} if boundary else {}),
        )  # fmt: skip

    def put_role(self, name: str, document: Mapping[str, Any], arns: Mapping[str, str]) -> None:
        """Make the role *name*, which is there, what *document* says; *arns* are those of the place's policies."""
        actual = self.names.actual(name)
        if not self.names.place.origin:
            self.iam.put_role_policy(RoleName=actual, PolicyName=DENY_ALL, PolicyDocument=_NOTHING)
        self._put_settings(actual, document, self.arn(document["boundary"], arns))
        for policy, text in document["inline"].items():
            self.iam.put_role_policy(RoleName=actual, PolicyName=policy, PolicyDocument=aws.policy_text(text))
        keep = {*document["inline"], *(() if self.names.place.origin else (DENY_ALL,))}
        for policy in set(aws.pages(self.iam, "list_role_policies", "PolicyNames", RoleName=actual)) - keep:
            self.iam.delete_role_policy(RoleName=actual, PolicyName=policy)
        wanted = {self.arn(reference, arns) for reference in document["attached"]}
        pages = aws.pages(self.iam, "list_attached_role_policies", "AttachedPolicies", RoleName=actual)
        held = {found["PolicyArn"] for found in pages}
        acts = [("attach", wanted - held), ("detach", held - wanted)]
        for act, policies in acts if len(wanted | held) <= _ATTACHED_AT_MOST else reversed(acts):
            for arn in sorted(policies):
                getattr(self.iam, f"{act}_role_policy")(RoleName=actual, PolicyArn=arn)
        log.info("%s: role %s written as %s", self.label, name, actual)

    def _put_settings(self, actual: str, document: Mapping[str, Any], boundary: str) -> None:
        self.iam.update_assume_role_policy(RoleName=actual, PolicyDocument=aws.policy_text(document["trust"]))
        self.iam.update_role(
            RoleName=actual, Description=document["description"], MaxSessionDuration=document["max_session_seconds"]
        )
        told = self.iam.get_role(RoleName=actual)["Role"]
        held = told.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", "")
        if boundary and boundary != held:
            self.iam.put_role_permissions_boundary(RoleName=actual, PermissionsBoundary=boundary)
        elif held and not boundary:
            self.iam.delete_role_permissions_boundary(RoleName=actual)
        tags = aws.pages(self.iam, "list_role_tags", "Tags", RoleName=actual)
        self._retag("role", {"RoleName": actual}, tags, document["tags"])

    def remove_role(self, actual: str) -> None:
        """Take the role *actual* out of its instance profiles, take its policies away, and delete it."""
        pages = aws.pages(self.iam, "list_instance_profiles_for_role", "InstanceProfiles", RoleName=actual)
        for profile in [found["InstanceProfileName"] for found in pages]:
            self.iam.remove_role_from_instance_profile(InstanceProfileName=profile, RoleName=actual)
        for found in list(aws.pages(self.iam, "list_attached_role_policies", "AttachedPolicies", RoleName=actual)):
            self.iam.detach_role_policy(RoleName=actual, PolicyArn=found["PolicyArn"])
        # the policy that denies everything goes last
        inline = list(aws.pages(self.iam, "list_role_policies", "PolicyNames", RoleName=actual))
        for policy in sorted(inline, key=lambda policy: policy == DENY_ALL):
            self.iam.delete_role_policy(RoleName=actual, PolicyName=policy)
        self.iam.delete_role(RoleName=actual)
        log.info("%s: role %s removed", self.label, actual)

    # --- instance profiles --------------------------------------------------------------------------------------------

    def put_profile(self, name: str, document: Mapping[str, Any], held: Mapping[str, Any] | None,
                    roles: Mapping[str, str]) -> None:  # fmt: skip
        """Make the instance profile *name* what *document* says. *roles* gives the actual name of each of the place's
        roles; a copy holds no role that is no copy: it would be a way to act as that role."""
        actual, path = self.names.actual(name), self.names.path(name, document["path"])
        if held is not None and held["Path"] != path:
            self.remove_profile(actual)
            held = None
        if held is None:
            outside = " ".join(role for role in document["roles"] if role not in roles)
            marks = {} if self.names.place.origin or not outside else {"outside": outside}
            made = self.iam.create_instance_profile(
                InstanceProfileName=actual, Path=path, Tags=aws.tag_list(document["tags"], **marks)
            )
            held = made["InstanceProfile"]
        else:
            which = {"InstanceProfileName": actual}
            self._retag("instance_profile", which, held.get("Tags", ()), document["tags"])
        wanted = {roles.get(role, role) for role in document["roles"] if self.names.place.origin or role in roles}
        there = {role["RoleName"] for role in held.get("Roles", ())}
        for role in sorted(there - wanted):  # first: a profile holds one role only
            self.iam.remove_role_from_instance_profile(InstanceProfileName=actual, RoleName=role)
        for role in sorted(wanted - there):
            self.iam.add_role_to_instance_profile(InstanceProfileName=actual, RoleName=role)
        log.info("%s: instance profile %s written as %s", self.label, name, actual)

    def remove_profile(self, actual: str) -> None:
        """Take the roles out of the instance profile *actual*, and delete it."""
        told = self.iam.get_instance_profile(InstanceProfileName=actual)["InstanceProfile"]
        for role in told.get("Roles", ()):
            self.iam.remove_role_from_instance_profile(InstanceProfileName=actual, RoleName=role["RoleName"])
        self.iam.delete_instance_profile(InstanceProfileName=actual)
        log.info("%s: instance profile %s removed", self.label, actual)

    # --- shared -------------------------------------------------------------------------------------------------------

    @staticmethod
    def arn(reference: str, arns: Mapping[str, str]) -> str:
        """Return the ARN that *reference* (``policy/NAME``, or an ARN of another account's or AWS's policy) means."""
        sort, _, name = reference.partition("/")
        return arns[name] if sort == "policy" and name in arns else reference

    def _retag(self, sort: str, which: Mapping[str, str], told: Iterable[dict[str, str]],
               wanted: Mapping[str, str]) -> None:  # fmt: skip
        held = aws.tags_of(list(told))
        if stale := sorted(set(held) - set(wanted)):
            getattr(self.iam, f"untag_{sort}")(**which, TagKeys=stale)
        if wanted and wanted != held:
            getattr(self.iam, f"tag_{sort}")(**which, Tags=aws.tag_list(wanted))
