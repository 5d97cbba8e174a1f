"""What Envoy's admin interface says of runtime values, and of the routes that split traffic by them. Knows no backend
of a target and sets nothing.

Exists because Envoy takes any value for any key: one that no route splits by, or a cluster of such a route that nobody
sets, makes other shares than those that were set.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from airlock.errors import PermanentError, TemporaryError
from airlock.fetch import Address, decoded, fetch, fetch_json
from airlock.models import Frozen

logger = logging.getLogger(__name__)
_ROUTES = ("static_route_configs", "dynamic_route_configs")


class Split(Frozen):
    """One route that splits by runtime values: key of each cluster -> its weight where the key has no value."""

    weights: dict[str, int]


def runtime(admin: Address) -> dict[str, str]:
    """Return every runtime key with the value that it has in all layers together.

    :raises TemporaryError: nobody answers, or somebody else
    """
    said = fetch_json(admin, "/runtime?format=json")
    entries = said.get("entries") if isinstance(said, dict) else None
    if not isinstance(entries, dict):
        raise TemporaryError(f"{admin}/runtime answers with something that is no list of runtime values: check that it "
                             "is the admin interface of Envoy")
    return {key: str(one.get("final_value", "")) for key, one in entries.items() if isinstance(one, dict)}


def splits(admin: Address) -> tuple[Split, ...] | None:
    """Return the routes that split by runtime values; ``None`` where the admin interface does not show its routes.

    :raises TemporaryError: nobody answers, or somebody else
    """
    found: list[Split] = []
    for kind in _ROUTES:
        reply = fetch(admin, f"/config_dump?resource={kind}")
        if reply.status != 200:
            logger.warning("Envoy at %s does not show its routes (status %d): whether they split by these weights "
                           "alone is not known", admin, reply.status)
            return None
        found += _in(decoded(reply.body, f"{admin}/config_dump"))
    return tuple(found)


def refuse(admin: Address, status: int, body: bytes) -> TemporaryError | PermanentError:
    """Return the error for a change of weights that Envoy did not accept."""
    if b"No admin layer" in body:
        return PermanentError(f"Envoy at {admin} takes no weights: No admin layer specified; its bootstrap needs one: "
                              "write {name: admin, admin_layer: {}} as the last of layered_runtime.layers")
    said = f"Envoy at {admin} refuses new weights with status {status}"
    if status >= 500:
        return TemporaryError(f"{said}: look at its log; it is tried again")
    return PermanentError(f"{said}: check that this is its admin interface, and that /runtime_modify is allowed there")


def _in(said: Any) -> Iterator[Split]:
    """Yield the splits in *said*, which is what Envoy is configured with, or a part of it."""
    if isinstance(said, list):
        for one in said:
            yield from _in(one)
    elif isinstance(said, dict):
        weighted = said.get("weighted_clusters")
        if isinstance(weighted, dict) and weighted.get("runtime_key_prefix"):
            named = [one for one in weighted.get("clusters", []) if one.get("name")]
            yield Split(weights={f"{weighted['runtime_key_prefix']}.{one['name']}": one.get("weight", 0)
                                 for one in named})
        for one in said.values():
            yield from _in(one)
