"""What the driver ``vault_kv`` needs: capabilities on paths, as a policy of Vault names them. Knows no
other code of the driver."""

from __future__ import annotations

from airlock.models.needs import CONNECTION, ConnectionNeed, Needs, Permission, Stage, System

_READ = (Stage.INSPECT, Stage.BACKUP, Stage.RESTORE)
_RESTORE, _PROOF = (Stage.RESTORE,), (Stage.PROOF,)
_PART, _WHOLE = "path", "!path"
"""Only secrets below a path of the mount, or all of it."""


def _vault(stages: tuple[Stage, ...], on: str, *capabilities: str, when: str = "", why: str = "",
           seldom: str = "") -> Permission:  # fmt: skip
    return Permission(system=System.VAULT, actions=capabilities, on=on, stages=stages, connection=CONNECTION,
                      when=when, why=why, seldom=seldom)


NEEDS = Needs(
    connections=(ConnectionNeed(sort="Vault", stages=(*_READ, *_PROOF)),),
    permissions=(
        _vault((*_READ, *_PROOF), "sys/mounts", "read"),
        _vault(_READ, "{mount}/metadata/{path}/*", "list", "read", when=_PART),
        _vault(_READ, "{mount}/metadata/{path}", "list", "read", when=_PART,
               why="whether a secret has the name of the path itself, which is left out; a path that is named wins "
                   "over patterns, so the list of the folder is granted here too"),
        _vault((Stage.INSPECT, Stage.BACKUP), "{mount}/data/{path}", "read", when=_PART),
        _vault(_READ, "{mount}/data/{path}/*", "read", when=_PART),
        _vault(_READ, "{mount}/metadata/*", "list", "read", when=_WHOLE),
        _vault(_READ, "{mount}/data/*", "read", when=_WHOLE),
        _vault(_READ, "{mount}/config", "read", when=_WHOLE),
        _vault(_RESTORE, "{mount}/metadata/*", "list", when=_PART, why="whether the mount is ready"),
        _vault(_RESTORE, "{mount}/data/{path}/*", "create", "update", "delete", when=_PART),
        _vault(_RESTORE, "{mount}/metadata/{path}/*", "create", "update", when=_PART),
        _vault(_RESTORE, "{mount}/data/*", "create", "update", "delete", when=_WHOLE),
        _vault(_RESTORE, "{mount}/metadata/*", "create", "update", when=_WHOLE),
        _vault(_RESTORE, "{mount}/config", "create", "update", when=_WHOLE),
        _vault(_RESTORE, "sys/mounts/{mount}/tune", "create", "update", when=_WHOLE,
               seldom="where the settings of the mount were changed since the backup"),
        _vault(_RESTORE, "sys/mounts/{mount}", "create", "update", seldom="where the mount is gone and is made anew"),
        _vault(_PROOF, "sys/mounts/airlock-scratch-*", "create", "update", "delete"),
        _vault(_PROOF, "airlock-scratch-*", "create", "read", "update", "list"),
    ),
)  # fmt: skip
