"""Asks an API server, by access reviews, for each right that a backup, its proof and the way back will use.

Never about ``*``: some authorizers say yes to it when only something is granted. Who may do it with a resource that
nobody ever defined may do it with all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from airlock.backup.drivers.kubernetes import rights
from airlock.backup.drivers.kubernetes.cluster import Cluster
from airlock.backup.drivers.kubernetes.rights import Right
from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.measures import clock
from airlock.models import utc_now
from airlock.models.needs import Permission

_EVERY = "*"
_UNHEARD_OF = ("airlockdoctors", "airlock.invalid")


def ask(subject: Subject, connection: str, namespace: str, permissions: Sequence[Permission]) -> Iterator[Finding]:
    """Ask for every right of *permissions*, those on every resource of *namespace* one by one only if need be."""
    before = utc_now()
    cluster = Cluster(connection, f"{subject.area} {subject.where}")
    cluster.call("GET", "/api")
    yield subject.fine("the API server answers")
    if cluster.answered_at != datetime.min.replace(tzinfo=UTC):
        yield clock(subject, cluster.answered_at, before, utc_now())
    wanted = [(permission, right) for permission in permissions for right in _at_once(permission)]
    lacking = rights.missing(cluster, [right for _, right in wanted])
    always = {right for permission, right in wanted if not permission.seldom}
    seldom = {right for _, right in wanted} - always
    everywhere = [right for right in lacking if right.resource == _UNHEARD_OF[0]]
    if everywhere:
        verbs = {right.verb for right in everywhere}
        resources = cluster.served(_nothing_ignored).resources()
        each = [Right(verb, one.plural, one.group, place) for one in resources for verb in sorted(verbs)
                for place in (namespace, "") if one.plural != "pods"]  # fmt: skip
        lacking = [right for right in lacking if right not in everywhere] + rights.missing(cluster, each)
    grave = [right for right in lacking if right not in seldom]
    if grave:
        yield subject.fault(f"rights are missing: {rights.in_words(grave)}",
                            "backup, restore test or way back would stop at them",
                            "bind the ClusterRole of docs/kubernetes.md to the connection's user")  # fmt: skip
    if lacked := [right for right in lacking if right in seldom]:
        yield subject.found(Gravity.NOTE, f"not granted: {rights.in_words(lacked)}",
                            "only a user who holds every right that a Role grants can restore it without these")
    if not lacking:
        yield subject.fine(f"{len(wanted)} rights are granted")


def _at_once(permission: Permission) -> Iterator[Right]:
    plural, _, group = permission.on.partition(".")
    if permission.on == _EVERY:
        plural, group = _UNHEARD_OF
    for verb in permission.actions:
        yield Right(verb, plural, group, "")


def _nothing_ignored(_group: str) -> bool:
    return False
