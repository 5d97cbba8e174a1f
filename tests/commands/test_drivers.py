"""``airlock drivers``: what everything that is registered needs, by name, as JSON, and as the page of the documents."""

from __future__ import annotations

import argparse
import io
import json
from typing import Any

import pytest
from rich.console import Console

from airlock.commands.drivers import run_drivers
from airlock.commands.needs_text import section, tables
from airlock.errors import UnknownName
from airlock.models.needs import Address, ConnectionNeed, Needs, Permission, Program, Stage, System

STAGES = (Stage.BACKUP, Stage.PROOF)


def drivers(**given: Any) -> str:
    said = io.StringIO()
    arguments = argparse.Namespace(**{"name": None, "json": False, "markdown": False, **given})
    assert run_drivers(arguments, Console(file=said, width=200)) == 0
    return said.getvalue()


def test_one_name_shows_all_that_it_needs() -> None:
    said = drivers(name="vault_kv")
    assert "### `vault_kv`" in said
    assert "| vault | `list`, `read` | `{mount}/metadata/*` |" in said


def test_a_name_that_two_tables_have_shows_both() -> None:
    names = [name for _, table in tables() for name in table]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is None:
        pytest.skip("no two tables have a name in common")
    assert drivers(name=twice).count(f"### `{twice}` (") == names.count(twice)


def test_an_unknown_name_is_wrong_input() -> None:
    with pytest.raises(UnknownName, match=r"did you mean 'vault_kv'\? known are .*haproxy"):
        drivers(name="vault_vk")


def test_two_of_one_name_are_told_apart() -> None:
    said = drivers(name="haproxy")
    assert "### `haproxy` (router)" in said and "### `haproxy` (metric source)" in said


def test_the_list_names_all_that_is_registered() -> None:
    said = drivers()
    assert "databases: postgres" in said and "program pg_dump" in said
    assert "  routers: envoy, haproxy\n" in said and "  strategies: all_at_once, blue_green, canary\n" in said


def test_json_has_what_each_driver_declares() -> None:
    rows = {row["driver"]: row for row in json.loads(drivers(json=True))}
    assert "program pg_dump" in rows["postgres"]["needs"]
    declared = Needs.model_validate(rows["postgres"]["declares"])
    assert [one.name for one in declared.programs] == ["pg_dump", "pg_dumpall", "pg_restore", "psql"]


def test_every_part_of_a_declaration_is_on_the_page() -> None:
    needs = Needs(
        programs=(Program(name="tool", least="2.1", stages=STAGES, why="it reads"),),
        connections=(ConnectionNeed(sort="Vault", stages=STAGES, when="!local"),),
        permissions=(Permission(system=System.AWS, actions=("a:B",), on="*", stages=STAGES, seldom="once a year"),),
        addresses=(Address(url="{address}", stages=STAGES, when="address"),),
        also=("a quiet night",),
    )
    said = section("one", needs)
    for words in ("program `tool` from version 2.1 on (backup, proof: it reads)", "without `local`", "`a:B`",
                  "once a year", "address `{address}` (backup, proof: with `address`)", "- a quiet night"):  # fmt: skip
        assert words in said
    assert "- nothing" in section("two", Needs())
