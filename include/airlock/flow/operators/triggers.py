"""What tasks wait for in the triggerer. Knows no release."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent


class WaitTrigger(BaseTrigger):
    """Waits for *seconds*, by no wall clock: neither a jump of a clock nor another clock on the worker's machine makes
    it shorter or longer. A triggerer that restarts waits anew."""

    def __init__(self, seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seconds = seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{WaitTrigger.__module__}.{WaitTrigger.__qualname__}", {"seconds": self.seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.sleep(self.seconds)
        yield TriggerEvent(self.seconds)  # type: ignore[no-untyped-call]
