"""A value that a check found beside what it should be. Nothing of the value itself is ever kept: it may be anybody's
data; what is kept is how it stands to what the service file says. Knows no check."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from airlock.options import Options


class Relation(StrEnum):
    """How a value that was found stands to one that was given. ``missing``: there is none, or it is null."""

    EQUAL = "equal"
    LESS = "less"
    MORE = "more"
    DIFFERENT = "different"
    MISSING = "missing"


Number = StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)]
Value = StrictBool | Number | Annotated[StrictStr, Field(max_length=1000)]
_BOUNDS = ("equals", "not_equals", "at_least", "at_most")
_THERE = "there"
_FITS = {
    "equals": {Relation.EQUAL},
    "not_equals": {Relation.LESS, Relation.MORE, Relation.DIFFERENT},
    "at_least": {Relation.EQUAL, Relation.MORE},
    "at_most": {Relation.EQUAL, Relation.LESS},
    _THERE: {Relation.EQUAL},
}
_WORDS = {"equals": "equal to", "not_equals": "other than", "at_least": "at least", "at_most": "at most"}


class Comparison(Options):
    """What a value must be: all that is given. Without any, it must only be there. Null is no value and fits nothing;
    a number never equals a text, and true is no 1."""

    equals: Value | None = None
    """Exactly this."""
    not_equals: Value | None = None
    """Anything but this."""
    at_least: Number | None = None
    """A number from this one on."""
    at_most: Number | None = None
    """A number up to this one."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError("at_least is above at_most, so nothing could ever fit; correct one of them")
        return self

    def relations(self, value: Any) -> dict[str, Relation]:
        """Return how *value* stands to each bound that is given."""
        bounds = self._bounds()
        if not bounds:
            return {_THERE: Relation.MISSING if value is None else Relation.EQUAL}
        return {name: relation(value, bound) for name, bound in bounds.items()}

    def faults(self, relations: Mapping[str, Relation]) -> Iterator[str]:
        """Yield a few words for each bound that *relations*, which are kept of a value, do not fit."""
        bounds = self._bounds()
        for name in bounds or (_THERE,):
            found = relations.get(name, Relation.MISSING)
            if found not in _FITS[name]:
                wanted = f"{_WORDS[name]} {json.dumps(bounds[name])}" if bounds else "there"
                yield f"must be {wanted} and is {found.value}"

    def _bounds(self) -> dict[str, Any]:
        return {name: value for name in _BOUNDS if (value := getattr(self, name)) is not None}


def relation(value: Any, bound: bool | float | str) -> Relation:
    """Return how *value*, of a database or of JSON, stands to *bound*."""
    if value is None:
        return Relation.MISSING
    if isinstance(bound, bool) or isinstance(value, bool):
        same = isinstance(bound, bool) and isinstance(value, bool) and bound == value
        return Relation.EQUAL if same else Relation.DIFFERENT
    if isinstance(bound, str):
        return Relation.EQUAL if str(value) == bound and not _is_number(value) else Relation.DIFFERENT
    found, wanted = _exact(value), _exact(bound)
    if found is None or wanted is None:
        return Relation.DIFFERENT
    return Relation.EQUAL if found == wanted else Relation.LESS if found < wanted else Relation.MORE


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal)


def _exact(value: Any) -> Decimal | None:
    """Return a number as it is written: 0.1 of a file is the 0.1 of a database, and no binary neighbour of it. ``None``
    for what is no number, or none of a certain size."""
    if not _is_number(value):
        return None
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return number if number.is_finite() else None
