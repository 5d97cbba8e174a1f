"""A short campaign of faults against whole releases in a real Airflow: each lands, and its evidence tells."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from airlock.evidence.ledger import SEAL
from sandbox.chaos.campaign import Campaign, arena, named
from sandbox.layout import Layout
from tests.running_sandbox import ROOT, free_port_base

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def campaign(open_folder: Path) -> Iterator[Campaign]:
    layout = Layout(repository=ROOT, home=open_folder, port_base=free_port_base())
    with arena(layout, Console(file=io.StringIO())) as running:
        yield running


@pytest.mark.parametrize(
    ("strike", "outcomes"),
    [
        ("worker@first step", {"promoted", "rolled_back"}),
        ("delete run@promote", {"rolled_back"}),
        ("task@rollback", {"rolled_back"}),
        ("rotate key@second step", {"promoted"}),
        ("copied file@second step", {"promoted"}),
        ("broken file@first step", {"promoted"}),
        ("dropped dags@second step", {"rolled_back"}),
    ],
)
def test_a_release_that_is_struck_lands(campaign: Campaign, strike: str, outcomes: set[str]) -> None:
    result = campaign.strike(1, named(strike), random.Random(1))
    assert result.problems == []
    assert result.outcome in outcomes
    signers = {
        json.loads(path.read_bytes())["signature"]["keyid"]
        for path in Path(str(campaign.ledger.release_folder(result.release))).glob("*.json")
        if path.name != SEAL
    }
    assert len(signers) == (2 if strike.startswith("rotate key") else 1)
