"""Asks again what may succeed in a moment. Knows no store."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from airlock.errors import TemporaryError

TRIES = 5
Result = TypeVar("Result")


class Busy(TemporaryError):
    """Others are at work on the same object; in a moment they are not."""


def again(act: Callable[[], Result], on: type[TemporaryError] = TemporaryError) -> Result:
    """Return what *act* returns, asking ``TRIES`` times within about a second while it raises *on*, with pauses that
    differ from those of others who ask for the same.

    :raises TemporaryError: as of the last try
    """
    for number in range(1, TRIES):
        try:
            return act()
        except on:
            time.sleep(random.uniform(0.02, 0.06) * 2**number)  # noqa: S311 - no secret
    return act()
