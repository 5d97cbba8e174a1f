"""The JSON Schemas that editors use: current, complete, and of one mind with the check of service files."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from airlock import registry
from airlock.commands.main import main
from airlock.service.model import EnvironmentSettings
from airlock.service.schema import SCHEMAS, schema, text_of
from tests.service_data import TEXT

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "include" / "services"


class Loader(yaml.SafeLoader):
    """Reads as editors do, by YAML 1.2, in which a date is a text."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith((":timestamp", ":merge"))]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@cache
def validator(which: str) -> Draft202012Validator:
    return Draft202012Validator(schema(which))


def faults(text: str, which: str = "service") -> list[str]:
    found = validator(which).iter_errors(yaml.load(text, Loader))
    return [f"{'.'.join(map(str, one.absolute_path))}: {one.message}" for one in _deepest(found)]


def _deepest(found: Any) -> Iterator[Any]:
    for one in found:
        yield from _deepest(one.context) if one.context else [one]


@pytest.mark.parametrize("which", SCHEMAS)
def test_the_schema_in_the_tree_is_the_one_that_the_models_give(which: str) -> None:
    kept = (FOLDER / SCHEMAS[which]).read_text(encoding="utf-8")
    assert kept == text_of(which), "write it anew with: ./airlock services schema"


@pytest.mark.parametrize("which", SCHEMAS)
def test_a_schema_is_one_of_the_standard(which: str) -> None:
    made = schema(which)
    Draft202012Validator.check_schema(made)
    assert not [name for name, model in made["$defs"].items() if "properties" in model and not model.get("description")]


def test_every_registered_implementation_offers_its_options() -> None:
    tables = {name: table for name, table in vars(registry).items() if isinstance(table, Mapping)
              and table and all(isinstance(one, registry.Entry) for one in table.values())}
    assert {"DRIVERS", "TARGETS", "METRIC_SOURCES", "SIGNALS", "TICKET_SYSTEMS"} <= set(tables)
    known = set(schema("service")["$defs"])
    for name, table in tables.items():
        if name in ("NOTIFIERS", "STORES", "STRATEGIES"):  # not chosen in a service file, or without options
            continue
        what = name.removesuffix("S").lower().replace("_", " ")
        missing = [each for each in table if not {f"{what}.{each}.options", f"{what}.{each}.options (whole)"} & known]
        assert not missing, f"no field of a service file chooses a {what}, or it is not declared with known()"


@pytest.mark.parametrize("name", ["shop.yaml", "_defaults.yaml"])
def test_shipped_files_are_right_and_name_their_schema(name: str) -> None:
    which = "defaults" if name.startswith("_") else "service"
    text = (FOLDER / name).read_text()
    assert text.splitlines()[0] == f"# yaml-language-server: $schema={SCHEMAS[which]}"
    assert faults(text, which) == []


def also(more: str) -> str:
    return TEXT.replace("  live:\n", f"  live:\n    {more}\n")


RIGHT = [
    TEXT,
    "service: a\nenvironments: {prod: }\n",
    "service: a\nenvironments: {prod: {calendar: null, analysis: {alpha: null}, standard_changes: {regular: null}}}\n",
    TEXT.replace("tier: 2", "tier: ${AIRLOCK_TIER}"),
    also("production: ${AIRLOCK_PRODUCTION}"),
    also("cycle: manual"), also("cycle: 0 6 * * 2"), also("cycle: {weekly: {day: tue, time: '06:00'}}"),
    TEXT.replace("signing_connection: signing", "signing_connection: ${service}_key"),
    TEXT.replace("{name: envoy}\n    metrics", "{options: {admin: 'http://h:1'}}\n    metrics"),
    TEXT.replace("timezone: Europe/Berlin", "freezes: [{name: a, from: 2026-12-20, to: 2026-12-24T06:00}]"),
    TEXT.replace("timezone: Europe/Berlin", "blackout_dates: [2026-12-24, {date: 2026-12-31, name: eve}]"),
    TEXT.replace("        kind: configuration\n        driver: env_file\n", ""),
]


@pytest.mark.parametrize("text", RIGHT)
def test_what_a_file_may_say_is_right(text: str) -> None:
    assert faults(text) == []


MISTAKES = [
    (TEXT.replace("owner: cafe-team", "ower: cafe-team"), "'ower' was unexpected"),
    (TEXT.replace("tier: 2", "tier: 9"), "tier: 9 is greater than the maximum of 4"),
    (TEXT.replace("driver: env_file", "driver: env_fil"), "resources.0.driver: 'env_fil' is not one of"),
    (TEXT.replace("router: {name: envoy}", "router: {name: envoi}"), "router.name: 'envoi' is not one of"),
    (TEXT.replace("router: {name: envoy}", "router: {name: envoy, options: {amdin: x}}"), "'amdin' was unexpected"),
    (TEXT.replace("{path: FOLDER/.env}", "{pth: /x}"), "resources.0.options: "),
    (TEXT.replace("      - name: settings\n        kind", "      - kind"), "'name' is a required property"),
    (TEXT.replace("percent: 10, ", ""), "'percent' is a required property"),
    (TEXT.replace("percent: 10", "percent: ten"), "percent: 'ten' does not match"),
    (TEXT.replace("days: [mon, tue]", "days: [mon, tuesday]"), "'tuesday' is not one of"),
    (TEXT.replace("  live:\n", "  Live:\n"), "'Live' does not match"),
    (TEXT.replace("kind: configuration", "kind: config"), "kind: 'config' is not one of"),
    (also("rollback: [1]"), "rollback: [1] is not of type 'object'"),
    (also("migrations: {resource: a, connection: c, on_rollback: maybe}"), "'maybe' is not one of"),
    (also("backups: {}"), "'backups' was unexpected"),
    ("service: a\n", "'environments' is a required property"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES, ids=[said for _, said in MISTAKES])
def test_mistakes_are_seen_while_writing(text: str, said: str) -> None:
    assert any(said in one for one in faults(text)), faults(text)


def test_options_follow_the_name_that_stands_beside_them() -> None:
    system = "tickets: {{name: {}, connection: c, options: {{project: ABC}}}}"
    assert faults(also(system.format("jira"))) == []
    assert any("'project' was unexpected" in one for one in faults(also(system.format("servicenow"))))


def test_defaults_of_a_company_have_a_schema_of_their_own() -> None:
    shared = "owner: everybody\ngroups: {board: [a, b]}\ndefaults: {ledger: 's3://x/${service}'}\n"
    assert faults(shared, "defaults") == []
    assert any("'service' was unexpected" in one for one in faults("service: a\n", "defaults"))
    assert faults("# nothing yet\ndefaults:\n", "defaults") == []


def test_the_command_writes_both_beside_the_service_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRLOCK_SERVICES", str(tmp_path))
    assert main(["services", "schema"]) == 0
    assert [path.name for path in sorted(tmp_path.iterdir())] == sorted(SCHEMAS.values())
    assert (tmp_path / SCHEMAS["service"]).read_text() == text_of("service")
    assert main(["services", "schema", str(tmp_path / "none")]) == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_no_parse_of_a_dag_loads_it() -> None:
    code = "import sys; import airlock.flow.dags.parsing; print('airlock.service.schema' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"


def documented_blocks() -> Iterator[tuple[str, str]]:
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]):
        for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.M | re.S)):
            yield f"{page.name}-{number}", textwrap.dedent(block)


def test_what_the_documents_show_of_service_files_is_right() -> None:
    made = {**schema("service"), "required": []}
    environment = {"$ref": "#/$defs/EnvironmentSettings", "$defs": made["$defs"]}
    seen = 0
    for name, block in documented_blocks():
        data = yaml.load(block, Loader)
        if not isinstance(data, dict):
            continue
        whole = bool({"environments", "defaults"} & set(data))
        if whole or set(data) <= set(EnvironmentSettings.model_fields) | set(EnvironmentSettings.FORMER_FIELDS):
            seen += 1
            wrong = Draft202012Validator(made if whole else environment).iter_errors(data)
            assert not [f"{name}: {one.message}" for one in wrong]
    assert seen > 5
