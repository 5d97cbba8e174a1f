"""What the driver ``manifests`` needs of an API server: the one source of its ClusterRole, of what the documents list
and of what is asked for by access reviews. Knows no cluster.

A resource is written ``plural.group``; ``*`` is every resource of a namespace.
"""

from __future__ import annotations

from airlock.models.needs import CONNECTION, ConnectionNeed, Needs, Permission, Stage, System

_ALL = (Stage.INSPECT, Stage.BACKUP, Stage.PROOF, Stage.RESTORE)
_WRITE = (Stage.PROOF, Stage.RESTORE)
EVERY = "*"
NAMESPACES = "namespaces"


def _kubernetes(stages: tuple[Stage, ...], on: str, *verbs: str, why: str = "", seldom: str = "") -> Permission:
    return Permission(system=System.KUBERNETES, actions=verbs, on=on, stages=stages, connection=CONNECTION, why=why,
                      seldom=seldom)


NEEDS = Needs(
    connections=(ConnectionNeed(sort="Kubernetes", stages=_ALL),),
    permissions=(
        _kubernetes(_ALL, NAMESPACES, "get"),
        _kubernetes(_ALL, "customresourcedefinitions.apiextensions.k8s.io", "get", "list",
                    why="what is defined and not served yet stops a backup"),
        _kubernetes(_ALL, "apiservices.apiregistration.k8s.io", "list",
                    why="what another server answers for is not tried by dry runs"),
        _kubernetes(_ALL, EVERY, "list"),
        _kubernetes(_WRITE, EVERY, "get", "create", "update", "patch", "delete",
                    why="in the namespace, and in scratch namespaces called airlock-...; dry runs need it too"),
        _kubernetes(_WRITE, NAMESPACES, "create", "update", "patch", "delete"),
        _kubernetes(_WRITE, "roles.rbac.authorization.k8s.io", "escalate", "bind",
                    seldom="no request of its own: the API server checks it where a Role or its binding is written"),
        _kubernetes(_WRITE, "clusterroles.rbac.authorization.k8s.io", "bind",
                    seldom="no request of its own: the API server checks it where a binding of one is written"),
    ),
)  # fmt: skip


def cluster_role() -> str:
    """Return the ClusterRole that grants all of it, as YAML."""
    by_resource: dict[str, list[str]] = {}
    for permission in NEEDS.permissions:
        held = by_resource.setdefault(permission.on, [])
        held.extend(verb for verb in permission.actions if verb not in held)
    every = by_resource[EVERY]
    lines = ["apiVersion: rbac.authorization.k8s.io/v1", "kind: ClusterRole", "metadata:", "  name: airlock-backup",
             "rules:", "  # Backup, restore test and way back of every kind, custom ones too."]  # fmt: skip
    for on in (EVERY, *(one for one in by_resource if one != EVERY)):
        verbs = [verb for verb in by_resource[on] if on == EVERY or verb not in every]
        plural, _, group = ("*", "", "*") if on == EVERY else on.partition(".")
        if verbs:
            lines += [f'  - apiGroups: ["{group}"]', f'    resources: ["{plural}"]', f"    verbs: [{', '.join(verbs)}]"]
    return "\n".join(lines) + "\n"
