"""Waits, for a bounded time, until the effect of an act can be seen. Knows no target and no router."""

from __future__ import annotations

import time
from collections.abc import Callable

from airlock.errors import EffectMissing

POLL_SECONDS = 0.2


def await_effect(seen: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Return as soon as *seen* says so.

    :param otherwise: what is the case if it does not, for the message
    :raises EffectMissing: it was not seen within *seconds*
    """
    limit = time.monotonic() + seconds
    while not seen():
        if time.monotonic() > limit:
            raise EffectMissing(f"{otherwise} after {seconds:.0f} s: inspect the host")
        time.sleep(POLL_SECONDS)
