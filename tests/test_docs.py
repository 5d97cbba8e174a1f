"""What the documents promise: the driver of docs/writing-a-driver.md keeps the contract; links and commands exist."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def block(text: str, word: str) -> str:
    """Return the one fenced block whose opening line is ``python <word>``."""
    found = re.findall(rf"^```python {word}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"expected one block 'python {word}'"
    return str(found[0])


@pytest.fixture
def copy_with_the_example(tmp_path: Path) -> Path:
    """Return a copy of the tree with the example of the page put where the page says."""
    page = (ROOT / "docs/writing-a-driver.md").read_text()
    driver, test = re.findall(r"^File `([^`]+)`:$", page, re.MULTILINE)
    kept = shutil.ignore_patterns("__pycache__")
    for folder in ("include/airlock", "tests/contracts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=kept)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path, content in ((driver, block(page, "driver")), (test, block(page, "test"))):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    registry = tmp_path / "include/airlock/registry.py"
    opening = "DRIVERS: Mapping[str, Entry] = {\n"
    assert opening in registry.read_text()
    registry.write_text(registry.read_text().replace(opening, opening + block(page, "registry")))
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in *folder*, with the code of *folder*."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "include")}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True,
                          timeout=240, check=False)


@pytest.mark.campaign
def test_the_example_driver_keeps_the_contract(copy_with_the_example: Path) -> None:
    done = run(copy_with_the_example, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/backup")
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 15
    listed = run(copy_with_the_example, "-m", "airlock", "drivers", "--json")
    row = next(row for row in json.loads(listed.stdout) if row["driver"] == "flag_folder")
    written = run(copy_with_the_example, "-m", "airlock", "services", "schema", str(copy_with_the_example))
    assert written.returncode == 0, written.stderr
    offered = json.loads((copy_with_the_example / "service.schema.json").read_text())["$defs"]
    assert offered["driver.flag_folder.options"]["properties"]["folder"]["description"].startswith("The folder that")
    assert row["kind"] == "configuration"
    assert row["restore_proof"] is True


def test_the_example_keeps_the_style(copy_with_the_example: Path) -> None:
    done = run(copy_with_the_example, "-m", "ruff", "check", "--no-cache",
               "include/airlock/backup/drivers/configuration/flag_folder.py", "tests/backup")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_and_targets_that_documents_name_exist(document: Path) -> None:
    text = document.read_text()
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
    missing = [link for link in links if not (document.parent / link).exists()]
    assert not missing
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE))
    assert named <= targets


def test_there_are_documents() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in DOCUMENTS}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/writing-a-driver.md"} <= names
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_readme_lists_every_driver_with_its_kind() -> None:
    from airlock.registry import DRIVERS

    rows = re.findall(r"^\| `(\w+)` \|(.*?)\|", (ROOT / "README.md").read_text(), re.MULTILINE)
    listed = {(kind, driver) for kind, cell in rows for driver in re.findall(r"`(\w+)`", cell)}
    assert listed == {(entry.path.split(".")[3], name) for name, entry in DRIVERS.items()}


def test_the_page_of_least_rights_is_what_the_code_declares() -> None:
    from airlock.commands.needs_text import page

    written = (ROOT / "docs/least-rights.md").read_text()
    assert written == page(), "next: ./airlock drivers --markdown > docs/least-rights.md"


def test_every_test_that_the_threat_model_names_exists() -> None:
    text = (ROOT / "docs/threat-model.md").read_text()
    named = re.findall(r"`(tests/[a-z_/]+\.py)::(test_[a-z0-9_]+)`", text)
    assert len(named) > 30
    missing = [f"{path}::{test}" for path, test in named if f"def {test}(" not in (ROOT / path).read_text()]
    assert missing == []


def test_the_calendar_and_the_cycles_of_the_page_are_right() -> None:
    import yaml

    from airlock.registry import SIGNALS, resolve
    from airlock.service.calendar import Calendar, Cycle, cycle_from
    from airlock.service.calendar_rules import calendar_faults

    page = (ROOT / "docs/cycles.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    written = next(yaml.load(one, yaml.BaseLoader) for one in blocks if one.lstrip().startswith("calendar:"))
    calendar = Calendar.model_validate(written["calendar"])
    assert list(calendar_faults(calendar)) == []
    assert set(calendar.override_by or ()) == {"change_advisory_board"}
    for signal in calendar.signals:
        resolve(SIGNALS, "signal", signal.name)(signal.options)
    clock = next(one for one in blocks if "bi-weekly" in one)
    cycles = [yaml.load(f"cycle:{one}", yaml.BaseLoader)["cycle"] for one in clock.split("    cycle:")[1:]]
    assert [Cycle.model_validate(cycle_from(one)).timed for one in cycles] == [False, True, True, True]


def test_every_module_and_folder_that_the_map_of_the_tree_names_exists() -> None:
    named = 0
    for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines():
        paths = re.findall(r"`([a-z_][a-z_/.]*(?:\.py|/))`", line)
        within = [ROOT, ROOT / "include/airlock", *(ROOT / "include/airlock" / path for path in paths[:1])]
        for path in paths:
            named += 1
            assert any((folder / path).exists() for folder in within), path
    assert named > 40
