"""Whose debts count for a team, where the team stands in what all services share."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.errors import GateRefused
from airlock.past.debts import debts_of_team
from airlock.service.defaults import DEFAULTS_FILE
from tests.service_data import TEXT, write


def test_the_owner_that_a_company_shares_is_the_team_of_services_that_name_none(tmp_path: Path) -> None:
    write(tmp_path, "owner: everybody\n", DEFAULTS_FILE)
    folder = write(tmp_path, TEXT.replace("owner: cafe-team\n", "").replace("tier: 2", "tier: 9")).parent
    write(tmp_path, TEXT.replace("service: cafe", "service: bar"), "bar.yaml")
    assert debts_of_team(folder, "cafe-team") == (), "a file of another team does not matter, nor what is wrong with it"
    with pytest.raises(GateRefused, match="whether everybody owes an approval"):
        debts_of_team(folder, "everybody")
