"""What the driver ``aws_iam`` needs, in the words of IAM. Knows no other code of the driver."""

from __future__ import annotations

from airlock.models.needs import CONNECTION, ConnectionNeed, Needs, Permission, Stage, System

_READ = (Stage.INSPECT, Stage.BACKUP, Stage.PROOF, Stage.RESTORE)
_WRITE = (Stage.PROOF, Stage.RESTORE)
_ACCOUNT = "arn:aws:iam::*"
_WAY_BACK_TESTS = "tests/backup/drivers/security/test_aws_iam_way_back.py"


def _iam(stages: tuple[Stage, ...], on: str, *actions: str, why: str = "", unused: str = "") -> Permission:
    return Permission(system=System.AWS, actions=tuple(f"iam:{action}" for action in actions), on=on, stages=stages,
                      connection=CONNECTION, why=why, unused=unused)


NEEDS = Needs(
    connections=(ConnectionNeed(sort="AWS", stages=_READ),),
    permissions=(
        _iam(_READ, "*", "ListRoles", "ListPolicies", "ListInstanceProfiles"),
        _iam(_READ, f"{_ACCOUNT}:role/*", "GetRole", "GetRolePolicy", "ListRolePolicies", "ListAttachedRolePolicies",
             "ListRoleTags"),
        _iam(_READ, f"{_ACCOUNT}:policy/*", "GetPolicy", "GetPolicyVersion", "ListPolicyVersions", "ListPolicyTags"),
        _iam(_READ, f"{_ACCOUNT}:instance-profile/*", "GetInstanceProfile"),
        _iam(_WRITE, f"{_ACCOUNT}:policy/*", "CreatePolicy", "CreatePolicyVersion", "DeletePolicy",
             "DeletePolicyVersion", "ListEntitiesForPolicy",
             why="a restore test makes copies below the path /airlock-scratch/ only"),
        _iam(_WRITE, f"{_ACCOUNT}:role/*", "CreateRole", "DeleteRole", "UpdateRole", "UpdateAssumeRolePolicy",
             "PutRolePolicy", "DeleteRolePolicy", "AttachRolePolicy", "DetachRolePolicy",
             "PutRolePermissionsBoundary", "ListInstanceProfilesForRole",
             why="a restore test makes copies below the path /airlock-scratch/ only, which may do nothing"),
        _iam(_WRITE, f"{_ACCOUNT}:instance-profile/*", "CreateInstanceProfile", "DeleteInstanceProfile",
             "AddRoleToInstanceProfile", "RemoveRoleFromInstanceProfile"),
        _iam(_WRITE, f"{_ACCOUNT}:role/*", "PassRole",
             unused="no call of its own: IAM checks it where a role is put into an instance profile"),
        _iam(_WRITE, _ACCOUNT + ":*", "TagRole", "TagPolicy", "TagInstanceProfile"),
        _iam((Stage.RESTORE,), _ACCOUNT + ":*", "UntagRole", "UntagPolicy", "UntagInstanceProfile",
             "DeleteRolePermissionsBoundary"),
        _iam((Stage.RESTORE,), _ACCOUNT + ":*", "GetUser", "AttachUserPolicy", "DetachUserPolicy",
             "PutUserPermissionsBoundary", "AttachGroupPolicy", "DetachGroupPolicy",
             why="users and groups that have a policy which must be made anew get the new one"),
    ),
    also=(
        "IAM itself is a way to every right: whoever may write roles may become them. Give the driver an account role "
        "of its own, limited by a permissions boundary, and the prefixes of its options in the ARNs above.",
    ),
)  # fmt: skip
