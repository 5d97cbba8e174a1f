"""Asks again what may succeed in a moment. Knows no store."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from airlock.errors import TemporaryError

TRIES = 5
Result = TypeVar("Result")


def again(act: Callable[[], Result]) -> Result:
    """Return what *act* returns, asking ``TRIES`` times within about a second, with pauses that differ from those of
    others who ask for the same.

    :raises TemporaryError: as of the last try
    """
    for number in range(1, TRIES):
        try:
            return act()
        except TemporaryError:
            time.sleep(random.uniform(0.02, 0.06) * 2**number)  # noqa: S311 - no secret
    return act()
