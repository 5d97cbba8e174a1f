"""A campaign is reproducible, and covers every fault; what is strange is told in a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.errors import PermanentError
from sandbox.chaos.campaign import draw, named
from sandbox.chaos.faults import FAULTS
from sandbox.chaos.moments import MOMENTS


@given(st.integers(0, 10**6), st.integers(1, 60), st.booleans())
def test_the_same_seed_gives_the_same_campaign(seed: int, number: int, disk: bool) -> None:
    strikes = draw(seed, number, disk_at_hand=disk)
    assert len(strikes) == number
    assert strikes == draw(seed, number, disk_at_hand=disk)
    assert disk or all(strike.fault.name != "disk full" for strike in strikes)


@given(st.integers(0, 10**6))
def test_a_campaign_of_twenty_has_every_fault(seed: int) -> None:
    assert {strike.fault.name for strike in draw(seed, 20, disk_at_hand=True)} == {fault.name for fault in FAULTS}


def test_a_strike_can_be_named() -> None:
    strike = named("delete run@bake")
    assert (strike.fault.name, strike.moment.name) == ("delete run", "bake")
    assert len({moment.name for moment in MOMENTS}) == len(MOMENTS)
    with pytest.raises(PermanentError, match="faults: task, worker"):
        named("flood@bake")
