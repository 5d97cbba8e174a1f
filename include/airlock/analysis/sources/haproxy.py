"""Metric source ``haproxy``: counts per server from HAProxy's runtime socket. Knows no policy and shifts nothing.

HAProxy has means of times only, over its last 1024 requests, and no histogram. So latencies come from a stick table, in
which HAProxy's own configuration counts the answers up to each bound (docs/strategies.md has its lines).

A request that a server did not answer counts as its error: connections that failed, requests that were given to another
server instead, and answers that broke off. Of the last HAProxy counts one or two for a request, so half of them count:
a version is never accused of more than it did.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from airlock.analysis.counted import CountedOptions, CountedSource, Counts
from airlock.errors import NoData, PermanentError, TemporaryError
from airlock.fetch import Address
from airlock.haproxy_socket import ProxyName, SocketAddress, ask, information, statistics
from airlock.models import Name
from airlock.models.needs import Address as Reached
from airlock.models.needs import Needs, Permission, Stage, System
from airlock.options import Options

_COUNTER = re.compile(r"\bgpc(\d+)=(\d+)")
_KEY = re.compile(r"\bkey=(\S+) ")
_ANSWERS = ("hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other")


def _rising(bounds: tuple[float, ...]) -> tuple[float, ...]:
    if any(following <= one for one, following in itertools.pairwise(bounds)):
        raise ValueError("bounds rise; write them from small to large")
    return bounds


class ServerOptions(Options):
    """One backend of the target."""

    address: Address
    """Where the version in it is reached, to ask which one it is."""
    server: ProxyName
    """Its server in HAProxy's backend section."""


class HaproxyOptions(CountedOptions):
    """Options of the source."""

    socket: SocketAddress
    """HAProxy's runtime socket: a path, or host:port."""
    proxy: ProxyName
    """Name of HAProxy's backend section."""
    table: ProxyName
    """Name of the stick table in which answers are counted by latency."""
    bounds_ms: Annotated[tuple[Annotated[float, Field(gt=0, le=10**7)], ...], Field(min_length=1, max_length=90),
                         AfterValidator(_rising)]
    """What its counters count up to, in milliseconds; one counter more has all answers."""
    backends: dict[Name, ServerOptions] = Field(min_length=1)
    """The places of versions: name -> where it is counted."""

    @property
    def addresses(self) -> Mapping[str, str]:
        return {name: one.address for name, one in self.backends.items()}


class HaproxySource(CountedSource):
    """See the module."""

    Options = HaproxyOptions
    options: HaproxyOptions
    needs = Needs(addresses=(
        Reached(url="{backends.*.address}", idle=True, stages=(Stage.ANALYSIS,),
                why="a server says which version it counts"),
    ), permissions=(
        Permission(system=System.FILES, actions=("read", "write"), on="{socket}", stages=(Stage.ANALYSIS,),
                   why="HAProxy's runtime socket; 'level operator' is enough to read"),
    ))  # fmt: skip

    @property
    def where(self) -> str:
        """As ``CountedSource.where``."""
        return f"HAProxy at {self.options.socket}"

    def online(self) -> str:
        """As ``MetricSource.online``."""
        told = information(self.options.socket)
        return f"HAProxy {told.get('Version', 'of unknown release')} at {self.options.socket}"

    def started(self) -> str:
        """As ``CountedSource.started``: the process, and the moment that it says it began at."""
        told = information(self.options.socket)
        if not told.get("Pid"):
            raise TemporaryError(f"{self.where} does not tell its process: check the address")
        return f"{told['Pid']} since {told.get('Start_time_sec', '-')}"

    def counted_as(self, backend: str) -> str:
        """As ``CountedSource.counted_as``."""
        return f"server {self.options.proxy}/{self.options.backends[backend].server}"

    def counts(self, backend: str) -> Counts:
        """As ``CountedSource.counts``.

        :raises NoData: HAProxy has no such server, counts no HTTP for it, or has no such table
        """
        server = self.options.backends[backend].server
        try:
            _, rows = statistics(self.options.socket, self.options.proxy)
        except PermanentError as error:
            raise NoData(str(error)) from error
        row = next((one for one in rows if one["svname"] == server), None)
        if row is None or not row.get("hrsp_2xx"):
            why = "has no such server" if row is None else "counts no HTTP for it: write 'mode http'"
            raise NoData(f"{self.counted_as(backend)} has no value: {self.where} {why}")
        try:
            answered = sum(int(row[name]) for name in _ANSWERS)
            lost = int(row["econ"]) + int(row["wredis"]) + (int(row["eresp"]) + 1) // 2
            return Counts(requests=answered + lost, errors=int(row["hrsp_5xx"]) + lost,
                          buckets=self._buckets(backend, server))
        except (KeyError, ValueError, ValidationError) as error:
            raise TemporaryError(f"statistics of {self.counted_as(backend)} are no counts: {error}") from error

    def _buckets(self, backend: str, server: str) -> Sequence[tuple[float, int]]:
        """Return the cumulative histogram; empty while nothing was answered."""
        said = ask(self.options.socket, f"show table {self.options.table}").strip()
        if not said.startswith("# table:"):
            raise NoData(f"latencies of {self.counted_as(backend)} have no value: {self.where} has no stick table "
                         f"{self.options.table!r}: add it as docs/strategies.md says")
        rows = [line for line in said.splitlines() if (key := _KEY.search(line)) and key[1] == server]
        if not rows:
            return ()
        counters = {int(index): int(value) for index, value in _COUNTER.findall(rows[0])}
        bounds = self.options.bounds_ms
        if len(rows) > 1 or set(counters) != set(range(len(bounds) + 1)):
            raise NoData(f"latencies of {self.counted_as(backend)}: the table {self.options.table!r} has "
                         f"{len(counters)} counters for {len(bounds)} bounds and one for all: make them agree")
        # The counters of one answer are raised one after the other.
        values = list(itertools.accumulate((counters[index] for index in range(len(bounds) + 1)), max))
        return (*zip(bounds, values, strict=False), (bounds[-1] * 2, values[-1]))
