"""Metric source ``envoy``: counts per slot from Envoy's admin address. Knows no policy and shifts nothing.

Envoy's histograms lag behind its counters by its ``stats_flush_interval``. A 5xx that Envoy makes itself because a
version does not answer counts as an error of that version, so a version that dies is seen as failing, not as silent.
"""

from __future__ import annotations

import re
import time
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from airlock.analysis.metrics import MetricSource
from airlock.analysis.sources.envoy_counts import NAMES, Counts, counts
from airlock.analysis.statistics import quantile
from airlock.errors import CountsLost, NoData, TemporaryError
from airlock.fetch import Address, decoded, fetch, fetch_json
from airlock.models import ArmSample, Frozen, Name, Sample, utc_now
from airlock.models.needs import Address as Reached
from airlock.models.needs import Needs, Stage
from airlock.options import Options

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


class EnvoyOptions(Options):
    """Options of the source."""

    admin: Address
    """Address of Envoy's admin interface, where the counters are read."""
    slots: dict[Name, SlotOptions] = Field(min_length=2)
    """The places of versions: name -> where it is counted."""
    health_path: str = Field("/health", pattern="^/")
    """Path at which a version says which one it is."""


class _Arm(Frozen):
    """Where one version is counted, and the counts when the observation began."""

    version: str
    slot: str
    cluster: str
    counts: Counts


class _Mark(Frozen):
    started: str
    stable: _Arm
    canary: _Arm


class EnvoySource(MetricSource):
    """See the module."""

    Options = EnvoyOptions
    options: EnvoyOptions
    needs = Needs(addresses=(Reached(url="{admin}", stages=(Stage.ANALYSIS,), why="counters are read here (/stats)"),))

    def online(self) -> str:
        """As ``MetricSource.online``."""
        info = self._object("/server_info")
        return f"Envoy {_release(info)} at {self.options.admin}, {len(self.options.slots)} slots"

    def begin(self, stable: str, canary: str) -> dict[str, Any]:
        """As ``MetricSource.begin``.

        :raises NoData: a version is in no slot, or in several
        """
        running = {name: self._version(name)[0] for name in self.options.slots}
        mark: dict[str, Any] = {"started": self._started()}
        for arm, version in (("stable", stable), ("canary", canary)):
            slots = [name for name, found in running.items() if found == version]
            if len(slots) != 1:
                raise NoData(
                    f"version {version} answers in {len(slots)} slots of {running}, not in one: inspect the target"
                )
            cluster = self.options.slots[slots[0]].cluster
            held = _Arm(version=version, slot=slots[0], cluster=cluster, counts=self._settled_counts(cluster))
            mark[arm] = held.model_dump(mode="json")
        return mark

    def sample(self, mark: dict[str, Any], stable: str, canary: str, canary_share: float) -> Sample:
        """As ``MetricSource.sample``.

        :raises NoData: a slot has another version now
        :raises CountsLost: Envoy restarted since *mark*, a counter went backwards, or the mark is not usable
        """
        try:
            marked = _Mark.model_validate(mark)
        except ValidationError as error:
            raise CountsLost(f"the mark of the observation cannot be used: {error.errors()[0]['msg']}") from error
        if (marked.stable.version, marked.canary.version) != (stable, canary):
            raise CountsLost(f"the observation was begun for other versions than {stable} and {canary}")
        self._same_start(marked.started)
        arms = {"stable": self._arm(marked.stable), "canary": self._arm(marked.canary)}
        # A restart while the counters were read leaves one arm from before and one from after it.
        self._same_start(marked.started)
        try:
            return Sample(at=utc_now(), canary_share=canary_share, **arms)
        except ValidationError as error:
            raise TemporaryError(f"the counts make no sample: {error.errors()[0]['msg']}") from error

    def _same_start(self, expected: str) -> None:
        found = self._started()
        if found != expected:
            raise CountsLost(
                f"Envoy at {self.options.admin} restarted ({expected} -> {found}), its counters began anew"
            )

    def _arm(self, mark: _Arm) -> ArmSample:
        try:
            now_there, ready = self._version(mark.slot)
        except TemporaryError:
            # A version that died is judged by what Envoy counts for it: its failures. It cannot pass meanwhile.
            now_there, ready = mark.version, False
        if now_there != mark.version:
            raise NoData(f"slot {mark.slot} runs {now_there} now, not {mark.version}: inspect the target")
        before, now = mark.counts, self._counts(mark.cluster)
        requests, errors = now.requests - before.requests, now.errors - before.errors
        earlier = dict(before.buckets)
        buckets = tuple((bound, count - earlier.get(bound, 0)) for bound, count in now.buckets)
        for name, value in (("requests", requests), ("errors", errors), *(("latency", count) for _, count in buckets)):
            if value < 0:
                raise CountsLost(
                    f"the counter of {name} of {mark.version} (cluster {mark.cluster}) went backwards by {-value}: "
                    "it was reset"
                )
        try:
            return ArmSample(
                version=mark.version,
                requests=requests,
                # The two counters are read at slightly different moments.
                errors=min(errors, requests),
                latency_p50_ms=quantile(buckets, 0.5),
                latency_p95_ms=quantile(buckets, 0.95),
                latency_buckets=buckets,
                ready=ready,
            )
        except ValidationError as error:
            raise TemporaryError(
                f"the counts of {mark.version} contradict themselves: {error.errors()[0]['msg']}"
            ) from error

    def _version(self, slot: str) -> tuple[str, bool]:
        """The version that the slot says it runs, and whether it calls itself healthy.

        :raises TemporaryError: nothing answers there, or it does not tell
        """
        address = self.options.slots[slot].address
        reply = fetch(address, self.options.health_path)
        told = decoded(reply.body, f"slot {slot} at {address}")
        version = told.get("version") if isinstance(told, dict) else None
        if not isinstance(version, str):
            raise TemporaryError(f"slot {slot} at {address} does not tell its version: check what runs there")
        return version, reply.status == HTTPStatus.OK

    def _started(self) -> str:
        """Tells one life of Envoy's process from any other; no clock of ours has a part in it.

        It is the moment at which Envoy loaded its configuration, which stays the same until it ends.
        """
        dumps = self._object("/config_dump?mask=last_updated").get("configs")
        for dump in dumps if isinstance(dumps, list) else ():
            if isinstance(dump, dict) and str(dump.get("@type", "")).endswith(_BOOTSTRAP) and dump.get("last_updated"):
                return str(dump["last_updated"])
        raise TemporaryError(f"Envoy at {self.options.admin} does not tell when it started: check the address")

    def _settled_counts(self, cluster: str) -> Counts:
        """The counts now, with a histogram that has every request counted so far.

        What the slot answered before, perhaps as another version, would else be added later and be taken for the
        version that is watched.
        """
        first = self._counts(cluster)
        limit = time.monotonic() + _HISTOGRAM_LAG_SECONDS
        now = first
        while now.timed < first.requests and time.monotonic() < limit:
            time.sleep(0.2)
            now = self._counts(cluster)
        return first.model_copy(update={"buckets": now.buckets})

    def _counts(self, cluster: str) -> Counts:
        """Counters and the cumulative latency histogram of *cluster* since Envoy started."""
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
