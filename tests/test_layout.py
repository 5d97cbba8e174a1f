"""Promises about the tree itself: what a reader may rely on when looking for something."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from airlock import registry
from airlock.models import Kind
from airlock.models.needs import Needs
from airlock.service.schema import schema

ROOT = Path(__file__).resolve().parents[1]
CODE = ("bench", "dags", "include", "plugins", "tests")
WRITTEN = (*CODE, "docs", ".ci")
VAGUE = {"util", "utils", "helper", "helpers", "manager", "misc", "common", "lib", "base", "stuff"}
TABLES = {
    "driver": registry.DRIVERS,
    "target": registry.TARGETS,
    "router": registry.ROUTERS,
    "strategy": registry.STRATEGIES,
    "check": registry.CHECKS,
    "artifact source": registry.ARTIFACT_SOURCES,
    "metric source": registry.METRIC_SOURCES,
    "notifier": registry.NOTIFIERS,
    "ticket system": registry.TICKET_SYSTEMS,
}
ENTRIES = [(what, name) for what, table in TABLES.items() for name in table]


def modules(*folders: str) -> list[Path]:
    """Return every Python file below *folders*."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def functions(module: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_module_says_why_it_exists() -> None:
    written = [path for path in modules("bench", "dags", "include", "plugins") if path.read_text().strip()]
    silent = [relative(path) for path in written if not ast.get_docstring(tree(path))]
    assert not silent


def test_no_file_has_a_vague_name() -> None:
    vague = [relative(path) for path in modules(*CODE) if VAGUE & set(re.split(r"[_./]", relative(path)))]
    assert not vague


def test_modules_and_functions_fit_on_a_few_screens() -> None:
    code = modules("include", "dags", "plugins", "bench")
    long = [f"{relative(path)}: {lines} lines" for path in code
            if (lines := len(path.read_text().splitlines())) > 300]
    long += [f"{relative(path)}: {node.name}: {lines} lines" for path in code
             for node in functions(tree(path)) if (lines := (node.end_lineno or 0) - node.lineno + 1) > 60]
    assert not long


def test_dag_files_read_build_and_do_nothing_else() -> None:
    files = modules("dags")
    assert "releases.py" in {path.name for path in files}
    for path in files:
        assert len(path.read_text().splitlines()) <= 40, relative(path)
        logic = [node for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef | ast.While | ast.Try)]
        assert not logic, relative(path)


@pytest.mark.parametrize(("what", "name"), ENTRIES)
def test_every_registered_name_has_its_class_and_its_test(what: str, name: str) -> None:
    entry = TABLES[what][name]
    found = registry.resolve(TABLES[what], what, name)
    module, _, attribute = entry.path.partition(":")
    assert found.__name__ == attribute
    assert found.__module__ == module
    folder, _, file = module.removeprefix("airlock.").replace(".", "/").rpartition("/")
    assert (ROOT / "tests" / folder / f"test_{file}.py").is_file(), f"no tests of {what} {name}"


@pytest.mark.parametrize("name", sorted(registry.DRIVERS))
def test_a_driver_lives_in_the_folder_of_its_kind_and_can_prove(name: str) -> None:
    driver = registry.resolve(registry.DRIVERS, "driver", name)
    assert driver.__module__.split(".")[-2] == driver.kind.value
    assert driver.capabilities.restore_proof


def test_each_of_the_ten_kinds_has_a_driver() -> None:
    kinds = {entry.path.partition(":")[0].split(".")[-2] for entry in registry.DRIVERS.values()}
    assert kinds == {kind.value for kind in Kind}


def tables() -> Iterator[tuple[str, str, str]]:
    """Every name of every table of the registry, also of tables that nothing else here knows."""
    for table, entries in vars(registry).items():
        if table.isupper() and isinstance(entries, Mapping):
            yield from ((table, what, name) for what, name in ((table.lower(), name) for name in entries))


@pytest.mark.parametrize(("table", "what", "name"), list(tables()))
def test_every_registered_name_declares_what_it_needs_by_options_that_it_has(
    table: str, what: str, name: str
) -> None:
    found = registry.resolve(getattr(registry, table), what, name)
    declared = [vars(one)["needs"] for one in found.__mro__ if "needs" in vars(one)]
    assert declared, f"{name} declares no needs; see airlock.models.needs"
    assert isinstance(declared[0], Needs)
    # Tickets and notices have their connection and channel beside their options.
    known = {"connection", "channel"} if not hasattr(found, "Options") else {"connection", *found.Options.model_fields}
    assert set(declared[0].options) <= known
    assert all(need.stages for need in declared[0].all)


def test_every_implementation_is_registered() -> None:
    registered = {entry.path.partition(":")[0] for table in TABLES.values() for entry in table.values()}
    contracts = {"Driver", "StreamDriver", "DocumentDriver", "SnapshotDriver", "Target", "Router", "ArtifactSource",
                 "Check", "MetricSource", "CountedSource", "Strategy", "AtOnce"}
    homes = ("include/airlock/backup/drivers", "include/airlock/deploy/targets", "include/airlock/deploy/routers",
             "include/airlock/deploy/strategies",
             "include/airlock/deploy/artifacts",
             "include/airlock/deploy/checks",
             "include/airlock/analysis/sources")
    lost = []
    for path in modules(*homes):
        bases = {base.id for node in tree(path).body if isinstance(node, ast.ClassDef)
                 for base in node.bases if isinstance(base, ast.Name)}
        dotted = relative(path).removeprefix("include/").removesuffix(".py").replace("/", ".")
        if bases & contracts and dotted not in registered:
            lost.append(dotted)
    assert not lost


def written_files() -> list[Path]:
    """Return every text file of the tree that people write."""
    kinds = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".html", ".sql", ".example", ""}
    top = [path for path in ROOT.iterdir() if path.name not in {".coverage", ".git"}]
    below = [path for folder in WRITTEN for path in (ROOT / folder).rglob("*")]
    return [path for path in top + below if path.is_file() and path.suffix in kinds]


@pytest.mark.parametrize("word", ["0.0." + "0.0", "/wo" + "rk/", "/ro" + "ot/.", "/ho" + "me/"])
def test_nothing_listens_everywhere_or_names_a_machine(word: str) -> None:
    found = [relative(path) for path in written_files() if re.search(rf"(?<![\w.]){re.escape(word)}", path.read_text())]
    assert not found


def asserts(node: ast.AST, module: ast.Module) -> bool:
    """Say whether *node* checks something: itself, with ``pytest.raises``, or in a function of its module.

    ``wait_for`` of ``tests/shop_front.py`` and ``refused`` of the drivers' contract assert.
    """
    called = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assert):
            return True
        if isinstance(inner, ast.Attribute) and inner.attr in {"raises", "fail"}:
            return True
        if isinstance(inner, ast.Call):
            called.add(inner.func.attr if isinstance(inner.func, ast.Attribute) else getattr(inner.func, "id", ""))
    return bool(called & {"wait_for", "refused"}) or any(
        isinstance(inner, ast.Assert)
        for function in functions(module) if function.name in called and function is not node
        for inner in ast.walk(function)
    )


def test_no_test_asserts_nothing() -> None:
    empty = [f"{relative(path)}: {node.name}" for path in modules("tests") for node in functions(tree(path))
             if node.name.startswith("test_") and not asserts(node, tree(path))]
    assert not empty


def test_the_checks_before_a_merge_are_the_commands_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "up", "down", "test", "lint", "bench", "help"} <= targets
    steps = re.findall(r"^make --no-print-directory (.+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    tiers = sorted(name for name in targets if name.startswith("test"))
    assert tiers == ["test", "test-campaigns", "test-releases"]
    assert steps[0] == "lint"
    assert sorted(steps[1:]) == [f"{tier} ARGS=--servers-required" for tier in tiers]


def test_every_test_is_in_a_tier() -> None:
    tiers = re.findall(r"^\t@\$\(PYTEST\) -n \d -m (.+) \$\(ARGS\)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    chosen = [tier.strip('"') for tier in tiers]
    for marks in ({}, {"campaign"}, {"end_to_end"}, {"end_to_end", "one_release"}, {"end_to_end", "campaign"}):
        names = {name: name in marks for name in ("campaign", "end_to_end", "one_release")}
        assert any(eval(tier, {}, names) for tier in chosen), marks


def test_every_field_of_a_service_file_and_every_option_says_what_it_is() -> None:
    made = schema("service")
    fields = {f"{name}.{key}": one for name, model in {"": made, **made["$defs"]}.items()
              for key, one in model.get("properties", {}).items()}
    assert len(fields) > 150
    bare = [name for name, one in fields.items() if len(one.get("description", "")) < 8]
    assert not bare, "write below each of these fields, as a docstring, what it is; then run ./airlock services schema"
