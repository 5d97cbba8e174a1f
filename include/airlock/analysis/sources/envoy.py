"""Metric source ``envoy``: counts per slot from Envoy's admin address. Knows no policy and shifts nothing.

Envoy's histograms lag behind its counters by its ``stats_flush_interval``. A 5xx that Envoy makes itself because a
version does not answer counts as an error of that version, so a version that dies is seen as failing, not as silent.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from airlock.analysis.counted import CountedOptions, CountedSource, Counts
from airlock.analysis.sources.envoy_counts import NAMES, counts
from airlock.errors import TemporaryError
from airlock.fetch import Address, fetch_json
from airlock.models import Name
from airlock.models.needs import Address as Reached
from airlock.models.needs import Needs, Stage

# Longer than Envoy's default stats_flush_interval of 5 s.
_HISTOGRAM_LAG_SECONDS = 7.0
_BOOTSTRAP = ".BootstrapConfigDump"


class SlotOptions(BaseModel):
    """One slot."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Address
    """Where the version in it is reached, to ask which one it is."""
    cluster: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$")]
    """Envoy's name of its cluster."""


class EnvoyOptions(CountedOptions):
    """Options of the source."""

    admin: Address
    """Address of Envoy's admin interface, where the counters are read."""
    slots: dict[Name, SlotOptions] = Field(min_length=1)
    """The places of versions: name -> where it is counted."""

    @property
    def addresses(self) -> Mapping[str, str]:
        return {name: slot.address for name, slot in self.slots.items()}


class EnvoySource(CountedSource):
    """See the module."""

    Options = EnvoyOptions
    options: EnvoyOptions
    needs = Needs(addresses=(
        Reached(url="{admin}", stages=(Stage.ANALYSIS,), why="counters are read here (/stats)"),
        Reached(url="{slots.*.address}", idle=True, stages=(Stage.ANALYSIS,),
                why="a slot says which version it counts"),
    ))  # fmt: skip

    def online(self) -> str:
        """As ``MetricSource.online``."""
        info = self._object("/server_info")
        return f"Envoy {_release(info)} at {self.options.admin}, {len(self.options.slots)} slots"

    @property
    def where(self) -> str:
        """As ``CountedSource.where``."""
        return f"Envoy at {self.options.admin}"

    def counted_as(self, backend: str) -> str:
        """As ``CountedSource.counted_as``."""
        return f"cluster {self.options.slots[backend].cluster}"

    def started(self) -> str:
        """As ``CountedSource.started``.

        It is the moment at which Envoy loaded its configuration, which stays the same until it ends.
        """
        dumps = self._object("/config_dump?mask=last_updated").get("configs")
        for dump in dumps if isinstance(dumps, list) else ():
            if isinstance(dump, dict) and str(dump.get("@type", "")).endswith(_BOOTSTRAP) and dump.get("last_updated"):
                return str(dump["last_updated"])
        raise TemporaryError(f"Envoy at {self.options.admin} does not tell when it started: check the address")

    def settled_counts(self, backend: str) -> Counts:
        """As ``CountedSource.settled_counts``.

        What the slot answered before, perhaps as another version, would else be added later and be taken for the
        version that is watched.
        """
        first = self.counts(backend)
        limit = time.monotonic() + _HISTOGRAM_LAG_SECONDS
        now = first
        while now.timed < first.requests and time.monotonic() < limit:
            time.sleep(0.2)
            now = self.counts(backend)
        return first.model_copy(update={"buckets": now.buckets})

    def counts(self, backend: str) -> Counts:
        """As ``CountedSource.counts``: counters and the cumulative latency histogram of the cluster."""
        cluster = self.options.slots[backend].cluster
        pattern = quote(rf"^cluster\.{re.escape(cluster)}\.({'|'.join(NAMES)})$", safe="")
        return counts(self._object(f"/stats?format=json&histogram_buckets=cumulative&filter={pattern}"), cluster)

    def _object(self, path: str) -> dict[str, Any]:
        answer = fetch_json(self.options.admin, path)
        if not isinstance(answer, dict):
            raise TemporaryError(f"Envoy at {self.options.admin} answers {path[:40]} with no object: check the address")
        return answer


def _release(info: dict[str, Any]) -> str:
    """The release number in ``version``, which is ``<commit>/<release>/<state>/...``."""
    parts = str(info.get("version", "")).split("/")
    return parts[1] if len(parts) > 1 else "of unknown release"
