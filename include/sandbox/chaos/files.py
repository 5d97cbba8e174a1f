"""A copy of the service files and DAG files that a campaign may spoil, and how it does so. Knows no release."""

from __future__ import annotations

import shutil
from pathlib import Path

from sandbox.layout import Layout

_WRONG = "service: [\n"


def services(layout: Layout) -> Path:
    """Return the folder of the copied service files."""
    return layout.home / "declared" / "services"


def _dags(layout: Layout) -> Path:
    return layout.home / "declared" / "dags"


def copy(layout: Layout) -> dict[str, str]:
    """Copy service files, policies and DAG files; return the settings by which Airflow reads the copies."""
    include = layout.repository / "include"
    for source in (include / "services", include / "policies", layout.repository / "dags"):
        shutil.copytree(source, layout.home / "declared" / source.name, dirs_exist_ok=True)
    return {"AIRLOCK_SERVICES": str(services(layout)), "AIRFLOW__CORE__DAGS_FOLDER": str(_dags(layout))}


def duplicate(layout: Layout) -> None:
    """Copy the shop's file for a new service, and forget to rename the service in it."""
    shutil.copy(services(layout) / "shop.yaml", services(layout) / "billing.yaml")


def spoil(layout: Layout) -> None:
    """Leave the shop's file half edited."""
    (services(layout) / "shop.yaml").write_text(_WRONG)


def drop_release_dags(layout: Layout) -> None:
    """Take away the file that builds the release DAGs."""
    (_dags(layout) / "releases.py").unlink()


def mend(layout: Layout) -> None:
    """Make all files what they were."""
    (services(layout) / "billing.yaml").unlink(missing_ok=True)
    copy(layout)
