"""Resource quotas that count objects: what is used, and the refusal of what exceeds them. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.cluster.kinds import Document, Kind
from sandbox.cluster.refusal import Refused

_COUNTED = ("configmaps", "secrets", "services", "persistentvolumeclaims", "resourcequotas", "replicationcontrollers",
            "pods")  # fmt: skip


def check_room(kind: Kind, name: str, quotas: Iterable[Document], present: int) -> None:
    """Refuse one more object of *kind* beside the *present* ones.

    :raises Refused: 403, naming the first quota that is full
    """
    for quota in quotas:
        hard = (quota.get("spec") or {}).get("hard") or {}
        over = [key for key in sorted(hard) if key in counted_as(kind) and present + 1 > int(hard[key])]
        if over:
            numbers = [(key, present, int(hard[key])) for key in over]
            asked = ",".join(f"{key}=1" for key, _, _ in numbers)
            used = ",".join(f"{key}={count}" for key, count, _ in numbers)
            limited = ",".join(f"{key}={limit}" for key, _, limit in numbers)
            text = f'{kind.qualified} "{name}" is forbidden: exceeded quota: {quota["metadata"]["name"]}, '
            text += f"requested: {asked}, used: {used}, limited: {limited}"
            raise Refused(403, "Forbidden", text, {"name": name, "kind": kind.plural})


def counted_as(kind: Kind) -> tuple[str, ...]:
    """The names by which quotas count *kind*."""
    return (f"count/{kind.qualified}", *((kind.plural,) if not kind.group and kind.plural in _COUNTED else ()))
