"""Metric sources that count by backend: a proxy counts, and each backend says which version it runs.

Exists so that every proxy is watched by the same rules: a version is counted where it says that it runs, another one
there is no data, and a counter that was lost is never zero. Knows no policy and shifts nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Self

from pydantic import Field, ValidationError, model_validator

from airlock.analysis.metrics import MetricSource
from airlock.analysis.statistics import quantile
from airlock.errors import CountsLost, NoData, TemporaryError
from airlock.fetch import decoded, fetch
from airlock.models import ArmSample, Count, Frozen, Milliseconds, Sample, utc_now
from airlock.options import Options


class Counts(Frozen):
    """Since the proxy started: requests that were answered, those that failed, and the cumulative histogram in ms."""

    requests: Count = 0
    errors: Count = 0
    buckets: tuple[tuple[Milliseconds, Count], ...] = ()

    @property
    def timed(self) -> int:
        """How many requests the histogram knows."""
        return self.buckets[-1][1] if self.buckets else 0


class CountedOptions(Options):
    """Base of the options of such sources."""

    health_path: str = Field("/health", pattern="^/")
    """Path at which a version says which one it is."""

    @property
    def addresses(self) -> Mapping[str, str]:
        """Return where each backend is asked which version it runs."""
        raise NotImplementedError


class _Arm(Frozen):
    """Where one version is counted, and the counts when the observation began."""

    version: str
    slot: str
    counts: Counts


class _Mark(Frozen):
    """``stable`` is missing only where it runs nowhere, and the canary is ``alone``: it has all traffic."""

    started: str
    alone: bool
    stable: _Arm | None
    canary: _Arm

    @model_validator(mode="after")
    def _alone_without_stable(self) -> Self:
        if self.stable is None and not self.alone:
            raise ValueError("it has no counts of the stable version")
        return self


class CountedSource(MetricSource):
    """See the module."""

    Options: ClassVar[type[CountedOptions]]
    options: CountedOptions

    @property
    @abstractmethod
    def where(self) -> str:
        """Return the proxy for people, with its address."""

    @abstractmethod
    def started(self) -> str:
        """Return what tells one life of the proxy's process from any other; no clock of ours has a part in it."""

    @abstractmethod
    def counts(self, backend: str) -> Counts:
        """Return the counts of *backend* now, since the proxy started."""

    @abstractmethod
    def counted_as(self, backend: str) -> str:
        """Return what the proxy calls *backend*, for people."""

    def settled_counts(self, backend: str) -> Counts:
        """Return the counts now, with a histogram that has every request counted so far."""
        return self.counts(backend)

    def begin(self, stable: str, canary: str, *, alone: bool = False) -> dict[str, Any]:
        """As ``MetricSource.begin``.

        :raises NoData: a version is in no backend, or in several
        """
        running = self._running(canary, alone)
        mark: dict[str, Any] = {"started": self.started(), "alone": alone}
        for arm, version in (("stable", stable), ("canary", canary)):
            backends = [name for name, found in running.items() if found == version]
            if arm == "stable" and alone and not backends:
                mark[arm] = None
                continue
            if len(backends) != 1:
                raise NoData(
                    f"version {version} answers in {len(backends)} slots of {running}, not in one: inspect the target"
                )
            held = _Arm(version=version, slot=backends[0], counts=self.settled_counts(backends[0]))
            mark[arm] = held.model_dump(mode="json")
        return mark

    def sample(self, mark: dict[str, Any], stable: str, canary: str, canary_share: float) -> Sample:
        """As ``MetricSource.sample``.

        :raises NoData: a backend has another version now
        :raises CountsLost: the proxy restarted since *mark*, a counter went backwards, or the mark is not usable
        """
        try:
            marked = _Mark.model_validate(mark)
        except ValidationError as error:
            raise CountsLost(f"the mark of the observation cannot be used: {error.errors()[0]['msg']}") from error
        if (marked.stable.version if marked.stable else stable, marked.canary.version) != (stable, canary):
            raise CountsLost(f"the observation was begun for other versions than {stable} and {canary}")
        self._same_start(marked.started)
        nowhere = ArmSample(version=stable, requests=0, errors=0, ready=False)
        arms = {"stable": self._arm(marked.stable) if marked.stable else nowhere, "canary": self._arm(marked.canary)}
        # A restart while the counters were read leaves one arm from before and one from after it.
        self._same_start(marked.started)
        try:
            return Sample(at=utc_now(), canary_share=canary_share, **arms)
        except ValidationError as error:
            raise TemporaryError(f"the counts make no sample: {error.errors()[0]['msg']}") from error

    def _running(self, canary: str, alone: bool) -> dict[str, str]:
        """Return which version each backend runs; where *canary* is *alone*, another one that is silent is left out."""
        found: dict[str, str] = {}
        silent: list[TemporaryError] = []
        for name in self.options.addresses:
            try:
                found[name] = self._version(name)[0]
            except TemporaryError as error:
                silent.append(error)
        if silent and not (alone and canary in found.values()):
            raise silent[0]
        return found

    def _same_start(self, expected: str) -> None:
        found = self.started()
        if found != expected:
            raise CountsLost(f"{self.where} restarted ({expected} -> {found}), its counters began anew")

    def _arm(self, mark: _Arm) -> ArmSample:
        try:
            now_there, ready = self._version(mark.slot)
        except TemporaryError:
            # A version that died is judged by what Envoy counts for it: its failures. It cannot pass meanwhile.
            now_there, ready = mark.version, False
        if now_there != mark.version:
            raise NoData(f"slot {mark.slot} runs {now_there} now, not {mark.version}: inspect the target")
        before, now = mark.counts, self.counts(mark.slot)
        requests, errors = now.requests - before.requests, now.errors - before.errors
        earlier, present = dict(before.buckets), dict(now.buckets)
        buckets = tuple((bound, count - earlier.get(bound, 0)) for bound, count in now.buckets)
        gone = tuple((bound, -count) for bound, count in earlier.items() if bound not in present and count)
        timed = (("latency", count) for _, count in (*buckets, *gone))
        for name, value in (("requests", requests), ("errors", errors), *timed):
            if value < 0:
                raise CountsLost(
                    f"the counter of {name} of {mark.version} ({self.counted_as(mark.slot)}) went backwards by "
                    f"{-value}: it was reset"
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
        address = self.options.addresses[slot]
        reply = fetch(address, self.options.health_path)
        told = decoded(reply.body, f"slot {slot} at {address}")
        version = told.get("version") if isinstance(told, dict) else None
        if not isinstance(version, str):
            raise TemporaryError(f"slot {slot} at {address} does not tell its version: check what runs there")
        return version, reply.status == HTTPStatus.OK
