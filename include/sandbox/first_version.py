"""Puts the version that runs before any release into the hosts of the sandbox. Knows no release."""

from __future__ import annotations

from airlock.deploy.targets.slots import Slot, mark_stable
from sandbox import envoy, shop
from sandbox.layout import ENVIRONMENTS, Layout

FIRST = "1.0"


def install(layout: Layout) -> dict[str, str]:
    """Build all artifacts, and make 1.0 stable in slot a of every environment that has no stable version yet.

    Call it before Envoy and supervisord start. Returns version -> digest.
    """
    digests = shop.build(layout.artifacts)
    for environment in ENVIRONMENTS:
        slots = layout.host(environment) / "slots"
        if (slots / "stable").is_symlink():
            continue
        Slot("a", slots / "a").install(FIRST, layout.artifacts / f"shop-{FIRST}.pyz", digests[FIRST])
        mark_stable(slots, "a", {slot: envoy.runtime_key(environment, slot) for slot in envoy.SLOTS})
    return digests
