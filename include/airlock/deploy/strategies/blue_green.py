"""Strategy ``blue_green``: the new version is staged beside the one that serves and tried there by the checks of the
smoke test and of the validation; then all traffic moves in one step. The version before stays warm while the new one
bakes, so that going back is one step too."""

from __future__ import annotations

from airlock.deploy.strategy import AtOnce
from airlock.models import Rollout


class BlueGreen(AtOnce):
    """See the module."""

    previews = True

    def sentences(self, rollout: Rollout) -> tuple[str, ...]:
        """As ``Strategy.sentences``."""
        return (
            "preview: the new version gets no traffic, and must pass the checks of smoke test and validation",
            f"switch: 100 % of the traffic in one step, watched for at least {rollout.observe_seconds:g} s by its own "
            "error rate and latency: no other version serves to compare with",
            f"{rollout.bake_seconds:g} s more with the version before kept warm; until then one step brings all back",
        )
