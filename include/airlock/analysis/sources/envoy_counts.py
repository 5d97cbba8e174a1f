"""Reads the counters and the latency histogram of one cluster out of an answer of Envoy's ``/stats``. Pure.

Nothing of the answer is believed that is not exactly what was asked for: a whole number that is not negative, one value
for each name, a histogram that rises. A name that is missing has no value; it is not zero, unless it is one of those
that Envoy makes with the first request it counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from airlock.analysis.counted import Counts
from airlock.errors import NoData, TemporaryError

REQUESTS, ERRORS, HISTOGRAM = "upstream_rq_completed", "upstream_rq_5xx", "upstream_rq_time"
# Exists from the start; the others appear with the first request that they count.
ALWAYS = "upstream_rq_total"
NAMES = (REQUESTS, ERRORS, HISTOGRAM, ALWAYS)


def counts(answer: Any, cluster: str) -> Counts:
    """Return the counts of *cluster* in *answer*, decoded JSON of any shape.

    :raises NoData: Envoy counts nothing for the cluster, or has several values for one name
    :raises TemporaryError: the answer is of another shape, or a value is no count
    """
    prefix = f"cluster.{cluster}."
    entries = _list_of(answer, "stats")
    single = _single((entry for entry in entries if "histograms" not in entry), prefix)
    histograms = [each for entry in entries if "histograms" in entry for each in _list_of(entry, "histograms")]
    if prefix + ALWAYS not in single:
        raise NoData(f"{prefix}{ALWAYS} has no value: nothing is counted for cluster {cluster!r}; check the option")
    found: dict[str, Any] = {}
    try:
        for field, name in (("requests", REQUESTS), ("errors", ERRORS)):
            if prefix + name in single:
                found[field] = single[prefix + name]["value"]
        histogram = _single(histograms, prefix).get(prefix + HISTOGRAM)
        if histogram is not None:
            found["buckets"] = [(each["upper_bound"], each["cumulative"]) for each in _list_of(histogram, "buckets")]
        return Counts.model_validate(found)
    except (KeyError, ValidationError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else f"{error} is missing"
        raise TemporaryError(f"statistics of cluster {cluster!r} are no counts: {why}; check the server") from error


def _list_of(value: Any, key: str) -> list[Mapping[str, Any]]:
    found = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise TemporaryError(f"statistics of another shape than Envoy's: {key!r} is not a list of objects")
    return found


def _single(entries: Iterable[Mapping[str, Any]], prefix: str) -> dict[str, Mapping[str, Any]]:
    """The entries that were asked for, by their whole name."""
    wanted = {prefix + name for name in NAMES}
    found: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        name = entry.get("name")
        if not isinstance(name, str) or name not in wanted:
            continue
        if name in found:
            raise NoData(f"{name} has several values where one was asked for: check the server")
        found[name] = entry
    return found
