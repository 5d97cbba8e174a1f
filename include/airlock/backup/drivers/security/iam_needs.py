"""What the driver ``aws_iam`` needs, in the words of IAM. Knows no other code of the driver."""

from __future__ import annotations

from airlock.models.needs import CONNECTION, ConnectionNeed, Needs, Permission, Stage, System

_READ = (Stage.INSPECT, Stage.BACKUP, Stage.PROOF, Stage.RESTORE)
_WRITE = (Stage.PROOF, Stage.RESTORE)
_ACCOUNT = "arn:aws:iam::*"
_PROFILES = "where a role is in an instance profile"


def _iam(stages: tuple[Stage, ...], on: str, *actions: str, why: str = "", seldom: str = "") -> Permission:
    return Permission(system=System.AWS, actions=tuple(f"iam:{action}" for action in actions), on=on, stages=stages,
                      connection=CONNECTION, why=why, seldom=seldom)


NEEDS = Needs(
    connections=(ConnectionNeed(sort="AWS", stages=_READ),),
    permissions=(
        _iam(_READ, "*", "ListRoles", "ListPolicies", "ListInstanceProfiles"),
        _iam(_READ, f"{_ACCOUNT}:role/*", "GetRole", "GetRolePolicy", "ListRolePolicies", "ListAttachedRolePolicies",
             "ListRoleTags"),
        _iam(_READ, f"{_ACCOUNT}:policy/*", "GetPolicy", "GetPolicyVersion", "ListPolicyVersions", "ListPolicyTags"),
        _iam(_READ, f"{_ACCOUNT}:instance-profile/*", "GetInstanceProfile", seldom=_PROFILES),
        _iam(_WRITE, f"{_ACCOUNT}:policy/*", "CreatePolicy", "CreatePolicyVersion", "DeletePolicy",
             "DeletePolicyVersion", "ListEntitiesForPolicy",
             why="a restore test makes copies below the path /airlock-scratch/ only"),
        _iam(_WRITE, f"{_ACCOUNT}:role/*", "CreateRole", "DeleteRole", "UpdateRole", "UpdateAssumeRolePolicy",
             "PutRolePolicy", "DeleteRolePolicy", "AttachRolePolicy", "DetachRolePolicy",
             "ListInstanceProfilesForRole",
             why="a restore test makes copies below the path /airlock-scratch/ only, which may do nothing"),
        _iam(_WRITE, f"{_ACCOUNT}:instance-profile/*", "CreateInstanceProfile", "DeleteInstanceProfile",
             "AddRoleToInstanceProfile", "RemoveRoleFromInstanceProfile", seldom=_PROFILES),
        _iam(_WRITE, f"{_ACCOUNT}:role/*", "PassRole",
             seldom="no call of its own: IAM checks it where a role is put into an instance profile"),
        _iam(_WRITE, f"{_ACCOUNT}:*", "TagRole", "TagPolicy", "TagInstanceProfile",
             seldom="where they have tags: IAM checks it where one is made with them"),
        _iam((Stage.RESTORE,), f"{_ACCOUNT}:*", "UntagRole", "UntagPolicy", "UntagInstanceProfile",
             "PutRolePermissionsBoundary", "DeleteRolePermissionsBoundary",
             seldom="where tags or boundaries were added or taken away since the backup"),
        _iam((Stage.RESTORE,), f"{_ACCOUNT}:*", "GetUser", "GetGroup", "AttachUserPolicy", "DetachUserPolicy",
             "PutUserPermissionsBoundary", "AttachGroupPolicy", "DetachGroupPolicy",
             seldom="where a policy must be made anew: the users and groups that have it get the new one"),
    ),
    also=(
        "IAM itself is a way to every right: whoever may write roles may become them. Give the driver an account role "
        "of its own, limited by a permissions boundary, and the prefixes of its options in the ARNs above.",
    ),
)  # fmt: skip
