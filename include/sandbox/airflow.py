"""Airflow itself: api-server, scheduler, dag-processor and triggerer, each a process of its own, from this venv; and,
for the CeleryExecutor, a second scheduler and triggerer, and two workers.

Schedulers, triggerers and workers would serve task logs on every interface of the machine; they are started without
(``--skip-serve-logs``), as the api-server reads the same log folder. Knows no DAG.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

from sandbox import processes, reach
from sandbox.credentials import Credentials
from sandbox.layout import Layout

COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
CELERY: Mapping[str, tuple[str, ...]] = {
    "scheduler-2": COMPONENTS["scheduler"],
    "triggerer-2": COMPONENTS["triggerer"],
    # A worker is known by its name, and two of one machine by names and files of their own.
    **{name: ("celery", "worker", "--skip-serve-logs", "--celery-hostname", f"{name}@127.0.0.1", "--pid",
              f"{name}.pid") for name in ("worker-1", "worker-2")},
}
"""What there is beside ``COMPONENTS`` with the CeleryExecutor."""
READY_SECONDS = 120.0


_SERVES = b"@127.0.0.1 ready"


def program() -> str:
    """The ``airflow`` command of the Python that runs this."""
    return str(Path(sys.executable).parent / "airflow")


def migrate(layout: Layout, environment: Mapping[str, str]) -> None:
    """Make or update Airflow's metadata tables.

    :raises TemporaryError: it failed; the message has the end of what it printed
    """
    marker = layout.data / "airflow-migrated"
    if marker.exists() and marker.read_text() == _state(layout, environment):
        return
    processes.complete(
        processes.Program(
            name="airflow-migrate",
            command=(program(), "db", "migrate"),
            log=layout.log / "airflow-migrate.log",
            ready=lambda: True,
            environment=environment,
            folder=layout.airflow_home,
            deadline=180,
        ),
        layout.run,
    )
    marker.write_text(_state(layout, environment))


def _state(layout: Layout, environment: Mapping[str, str]) -> str:
    """Airflow's version and the revision of its tables: while both stay, there is nothing to migrate."""
    import psycopg

    url = environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("postgresql+psycopg2", "postgresql")
    try:
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except psycopg.errors.UndefinedTable:
        row = None
    return f"{layout.airflow_home} {metadata.version('apache-airflow')} {row[0] if row else 'none'}"


def write_passwords(layout: Layout, held: Credentials) -> None:
    """Write the people's passwords where the simple auth manager reads them (mode 600)."""
    path = layout.airflow_home / "passwords.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(held.people, stream)


def start(layout: Layout, environment: Mapping[str, str], component: str) -> processes.Server:
    """Start one of ``COMPONENTS`` or ``CELERY`` and wait until it works; the tables must be there.

    :raises TemporaryError: it did not start; the message has the tail of its log
    """
    name = f"airflow-{component}"
    log = layout.log / f"{name}.log"
    return processes.start(
        processes.Program(
            name=name,
            command=(program(), *{**COMPONENTS, **CELERY}[component]),
            log=log,
            ready=_readiness(layout, component),
            environment=environment,
            folder=_folder(layout, component),
            deadline=READY_SECONDS,
            # The triggerer waits ten seconds for triggers, which all begin anew elsewhere.
            grace=3 if component.startswith("triggerer") else 15,
        ),
        layout.run,
    )


def _folder(layout: Layout, component: str) -> Path:
    """Return where *component* works: each of those that are there twice in a folder of its own."""
    folder = layout.airflow_home / component if component in CELERY else layout.airflow_home
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{component}.pid").unlink(missing_ok=True)  # of one that was killed
    return folder


def healthy(layout: Layout) -> dict[str, str]:
    """Component -> status, as Airflow's monitor reports it; empty when it does not answer."""
    try:
        answer = reach.call("GET", f"{layout.url('airflow')}/api/v2/monitor/health")
    except (OSError, ValueError):
        return {}
    return {name: str(row.get("status")) for name, row in answer.items() if isinstance(row, dict)}


def _readiness(layout: Layout, component: str) -> Callable[[], bool]:
    if component == "api-server":
        return lambda: bool(healthy(layout))
    if component.startswith("worker"):
        log = layout.log / f"airflow-{component}.log"
        before = log.stat().st_size if log.exists() else 0
        return lambda: log.exists() and _SERVES in log.read_bytes()[before:]
    # The others have no port: that they live is asked at once, that they work is asked of the api-server at the end.
    return lambda: True
