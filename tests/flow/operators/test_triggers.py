"""A wait ends after its seconds, whatever the wall clock does meanwhile."""

from __future__ import annotations

import asyncio
import time

import pytest
from airflow.sdk.module_loading import import_string

from airlock.flow.operators.triggers import WaitTrigger


@pytest.mark.parametrize("hours", [-1, 1, 24 * 365])
def test_a_wait_does_not_look_at_the_wall_clock(monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    clock, begun = time.time, time.monotonic()
    monkeypatch.setattr(time, "time", lambda: clock() + hours * 3600 * (time.monotonic() - begun > 0.1))

    async def waited() -> object:
        return await asyncio.wait_for(anext(WaitTrigger(0.5).run()), 60)

    assert asyncio.run(waited()) is not None
    assert time.monotonic() - begun >= 0.5


def test_a_wait_survives_the_way_to_the_triggerer() -> None:
    path, arguments = WaitTrigger(21.5).serialize()
    assert import_string(path)(**arguments).seconds == 21.5
