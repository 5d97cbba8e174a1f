"""Metric source ``envoy``: counts per slot from Envoy's admin address. Knows no policy and shifts nothing.

Envoy's histograms lag behind its counters by its ``stats_flush_interval``. A 5xx that Envoy makes itself because a
version does not answer counts as an error of that version, so a version that dies is seen as failing, not as silent.
"""

from __future__ import annotations

import re
import time
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from airlock.analysis.metrics import MetricSource
from airlock.analysis.statistics import quantile
from airlock.errors import NoData, TemporaryError
from airlock.fetch import Address, fetch_json
from airlock.models import ArmSample, Name, Sample, utc_now
from airlock.options import Options

_COUNTERS = {"upstream_rq_completed": "requests", "upstream_rq_5xx": "errors"}
_HISTOGRAM = "upstream_rq_time"
# Exists from the start; the others appear with the first request that they count.
_ALWAYS = "upstream_rq_total"
# Envoy tells its uptime in whole seconds, and the two clocks are read at slightly different moments.
_RESTART_TOLERANCE_SECONDS = 5.0
# Longer than Envoy's default stats_flush_interval of 5 s.
_HISTOGRAM_LAG_SECONDS = 7.0


class SlotOptions(BaseModel):
    """Where a slot is asked which version it runs, and Envoy's name of its cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Address
    cluster: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$")]


class EnvoyOptions(Options):
    """Options of the source."""

    admin: Address
    slots: dict[Name, SlotOptions] = Field(min_length=2)
    health_path: str = Field("/health", pattern="^/")


class EnvoySource(MetricSource):
    """See the module."""

    Options = EnvoyOptions
    options: EnvoyOptions

    def online(self) -> str:
        """As ``MetricSource.online``."""
        info = fetch_json(self.options.admin, "/server_info")
        return f"Envoy {_release(info)} at {self.options.admin}, {len(self.options.slots)} slots"

    def begin(self, stable: str, canary: str) -> dict[str, Any]:
        """As ``MetricSource.begin``.

        :raises NoData: a version is in no slot, or in several
        """
        running = {name: self._version(name) for name in self.options.slots}
        mark: dict[str, Any] = {"started": self._started()}
        for arm, version in (("stable", stable), ("canary", canary)):
            slots = [name for name, found in running.items() if found == version]
            if len(slots) != 1:
                raise NoData(
                    f"version {version} answers in {len(slots)} slots of {running}, not in one: inspect the target"
                )
            cluster = self.options.slots[slots[0]].cluster
            mark[arm] = {"version": version, "slot": slots[0], "cluster": cluster, **self._settled_counts(cluster)}
        return mark

    def sample(self, mark: dict[str, Any], stable: str, canary: str, canary_share: float) -> Sample:
        """As ``MetricSource.sample``.

        :raises NoData: Envoy restarted since *mark*, or a slot has another version now
        """
        try:
            restarted = abs(self._started() - float(mark["started"])) > _RESTART_TOLERANCE_SECONDS
            arms = {arm: mark[arm] for arm in ("stable", "canary")}
            same = arms["stable"]["version"] == stable and arms["canary"]["version"] == canary
        except (KeyError, TypeError, ValueError) as error:
            raise NoData(f"the mark of the observation cannot be used ({error!r}): begin it again") from error
        if restarted:
            raise NoData(f"Envoy at {self.options.admin} restarted, its counts began anew: begin the observation again")
        if not same:
            raise NoData(f"the observation was begun for other versions than {stable} and {canary}: begin it again")
        return Sample(
            at=utc_now(),
            canary_share=canary_share,
            stable=self._arm(arms["stable"]),
            canary=self._arm(arms["canary"]),
        )

    def _arm(self, mark: dict[str, Any]) -> ArmSample:
        version = str(mark["version"])
        try:
            now_there = self._version(mark["slot"])
        except TemporaryError:
            # A version that died is judged by what Envoy counts for it: its failures.
            now_there = version
        if now_there != version:
            raise NoData(f"slot {mark['slot']} runs {now_there} now, not {version}: inspect the target")
        now = self._counts(mark["cluster"])
        requests, errors = (now[name] - int(mark[name]) for name in ("requests", "errors"))
        before = {float(bound): int(count) for bound, count in mark["buckets"]}
        buckets = tuple((bound, count - before.get(bound, 0)) for bound, count in now["buckets"])
        if requests < 0 or errors < 0 or any(count < 0 for _, count in buckets):
            raise NoData(f"counters of {mark['cluster']} went backwards: Envoy was reset; begin the observation again")
        return ArmSample(
            version=version,
            requests=requests,
            # The two counters are read at slightly different moments.
            errors=min(errors, requests),
            latency_p50_ms=quantile(buckets, 0.5),
            latency_p95_ms=quantile(buckets, 0.95),
            latency_buckets=buckets,
        )

    def _version(self, slot: str) -> str:
        """The version that the slot says it runs."""
        address = self.options.slots[slot].address
        told = fetch_json(address, self.options.health_path)
        try:
            return str(told["version"])
        except (KeyError, TypeError) as error:
            raise TemporaryError(
                f"slot {slot} at {address} does not tell its version: check what runs there"
            ) from error

    def _started(self) -> float:
        """When Envoy started, in seconds since the epoch, to about a second."""
        uptime = str(fetch_json(self.options.admin, "/server_info").get("uptime_current_epoch", ""))
        found = re.fullmatch(r"(\d+(?:\.\d+)?)s", uptime)
        if not found:
            raise TemporaryError(f"Envoy at {self.options.admin} does not tell its uptime: check the address")
        return time.time() - float(found[1])

    def _settled_counts(self, cluster: str) -> dict[str, Any]:
        """The counts now, with a histogram that has every request counted so far.

        What the slot answered before, perhaps as another version, would else be added later and be taken for the
        version that is watched.
        """
        first = self._counts(cluster)
        limit = time.monotonic() + _HISTOGRAM_LAG_SECONDS
        now = first
        while _timed(now) < first["requests"] and time.monotonic() < limit:
            time.sleep(0.2)
            now = self._counts(cluster)
        return {**first, "buckets": now["buckets"]}

    def _counts(self, cluster: str) -> dict[str, Any]:
        """Counters and the cumulative latency histogram of *cluster* since Envoy started."""
        wanted = "|".join((*_COUNTERS, _HISTOGRAM, _ALWAYS))
        pattern = quote(rf"^cluster\.{re.escape(cluster)}\.({wanted})$", safe="")
        answer = fetch_json(self.options.admin, f"/stats?format=json&histogram_buckets=cumulative&filter={pattern}")
        counts: dict[str, Any] = {"requests": 0, "errors": 0, "buckets": []}
        known = False
        try:
            for entry in answer["stats"]:
                for histogram in entry.get("histograms", ()):
                    counts["buckets"] = [[float(b["upper_bound"]), int(b["cumulative"])] for b in histogram["buckets"]]
                name = str(entry.get("name", "")).rpartition(".")[2]
                known = known or name == _ALWAYS
                if name in _COUNTERS:
                    counts[_COUNTERS[name]] = int(entry["value"])
        except (KeyError, TypeError, ValueError) as error:
            raise TemporaryError(f"Envoy at {self.options.admin} answers with unknown statistics: {error!r}") from error
        if not known:
            raise NoData(
                f"Envoy at {self.options.admin} counts nothing for cluster {cluster!r}: check the option cluster"
            )
        return counts


def _timed(counts: dict[str, Any]) -> int:
    """How many requests the histogram knows."""
    return int(counts["buckets"][-1][1]) if counts["buckets"] else 0


def _release(info: dict[str, Any]) -> str:
    """The release number in ``version``, which is ``<commit>/<release>/<state>/...``."""
    parts = str(info.get("version", "")).split("/")
    return parts[1] if len(parts) > 1 else "of unknown release"
