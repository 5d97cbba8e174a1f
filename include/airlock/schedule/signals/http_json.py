"""One field of a JSON document that a server gives: a number with a limit, or a list of what is open.

The remaining error budget of an SLO server is such a number, and so is the value of a Prometheus query
(``/api/v1/query?query=...``, field ``data.result.0.value.1``). Knows no particular server.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from airlock.errors import TemporaryError
from airlock.fetch import Address, fetch_json
from airlock.models.needs import Address as Reached
from airlock.models.needs import Needs, Stage
from airlock.options import Options as BaseOptions
from airlock.schedule.signal import Signal, Stop

_MOST = 200
Limit = Annotated[float, Field(allow_inf_nan=False)]


class _Options(BaseOptions):
    """Where a value is asked for, and when it closes the calendar."""

    address: Address
    """Address of the server; no log-in is sent."""
    path: Annotated[str, StringConstraints(pattern=r"^/[^\s\x00-\x1f]*$", max_length=2000)]
    """What it is asked for."""
    field: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    """Where in the answer the value is: names and positions with dots between."""
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)] = "value"
    """What the value is called in messages."""
    closed_below: Limit | None = None
    """A smaller value closes the calendar."""
    closed_above: Limit | None = None
    """A greater value closes the calendar."""
    identity: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(
        None, description="the field of each member of a list that names it; a list closes while it has members"
    )
    timeout_seconds: float = Field(5, gt=0, le=60)
    """How long an answer is waited for."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(one is not None for one in (self.closed_below, self.closed_above, self.identity)) != 1:
            raise ValueError("give one of closed_below, closed_above (for a number) and identity (for a list)")
        return self


class HttpJsonSignal(Signal):
    """See the module."""

    Options = _Options
    options: _Options
    needs = Needs(addresses=(Reached(url="{address}", stages=(Stage.CALENDAR,)),))

    def where(self) -> str:
        return f"{self.options.address}{self.options.path.partition('?')[0]} ({self.options.field})"

    def stops(self, service: str, environment: str) -> tuple[Stop, ...]:  # noqa: ARG002 - the path says which
        options = self.options
        found = self._found(fetch_json(options.address, options.path, timeout=options.timeout_seconds))
        if options.identity is not None:
            return self._members(found, options.identity)
        number = self._number(found)
        if options.closed_below is not None and number < options.closed_below:
            return (Stop(name=options.name, words=f"{number:g} is below {options.closed_below:g}"),)
        if options.closed_above is not None and number > options.closed_above:
            return (Stop(name=options.name, words=f"{number:g} is above {options.closed_above:g}"),)
        return ()

    def _found(self, document: Any) -> Any:
        at = document
        for step in self.options.field.split("."):
            if isinstance(at, dict) and step in at:
                at = at[step]
            elif isinstance(at, list) and step.isdecimal() and int(step[:9]) < len(at):
                at = at[int(step[:9])]
            else:
                raise TemporaryError(f"{self.where()}: the answer has no field {step!r}: no data is not good news")
        return at

    def _number(self, found: Any) -> float:
        try:
            number = math.nan if isinstance(found, bool) else float(found)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise TemporaryError(f"{self.where()}: the field is no number: no data is not good news")
        return number

    def _members(self, found: Any, identity: str) -> tuple[Stop, ...]:
        if not isinstance(found, list):
            raise TemporaryError(f"{self.where()}: the field is no list: no data is not good news")
        if any(not isinstance(one, dict) or one.get(identity) in (None, "") for one in found[:_MOST]):
            raise TemporaryError(f"{self.where()}: a member of the list has no field {identity!r}")
        return tuple(Stop(name=str(one[identity])[:200], words=str(one.get("title") or "listed as open")[:200])
                     for one in found[:_MOST])
