"""Places in a local folder keep the contract of all places."""

from __future__ import annotations

from pathlib import Path

import pytest
from upath import UPath

from tests.contracts.places_contract import PlacesContract
from tests.object_stores import folder_place


@pytest.fixture
def place(tmp_path: Path) -> UPath:
    return folder_place(tmp_path)


class TestContract(PlacesContract):
    """The contract, on this machine's file system."""
