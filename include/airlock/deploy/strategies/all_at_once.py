"""Strategy ``all_at_once``: all traffic moves to the new version in one step, after its smoke test alone.

For what cannot be split and whose checks mean something only under traffic. Both versions run during the change, so it
is not for versions that must never run at the same time.
"""

from __future__ import annotations

from airlock.deploy.strategy import AtOnce
from airlock.models import Rollout


class AllAtOnce(AtOnce):
    """See the module."""

    def sentences(self, rollout: Rollout) -> tuple[str, ...]:
        """As ``Strategy.sentences``."""
        return (
            f"100 % of the traffic in one step, watched for at least {rollout.observe_seconds:g} s by its own error "
            "rate and latency: no other version serves to compare with",
            f"{rollout.bake_seconds:g} s more with the version before kept warm",
        )
