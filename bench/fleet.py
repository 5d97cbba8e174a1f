"""What 300 service environments cost: a reading of all of them in the DAG processor, and of one on a worker.

``python -m bench.fleet all``, ``... files`` and ``... one`` each print one line of JSON. Service files are copies
of the shipped one.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import child
from bench.figure import Figure
from bench.parse import DAG_FILE, example_variables

SERVICES = 150
"""Each with the two environments of the shipped service file."""
ROUNDS = 5


def measure() -> list[Figure]:
    """Return the figures of a fleet."""
    with fleet() as folder:
        variables = {**example_variables(folder / "home"), "AIRLOCK_SERVICES": str(folder / "services")}
        whole = child.run("-m", "bench.fleet", "all", environment=variables)
        again = child.run("-m", "bench.fleet", "all", environment=variables)
        files = child.run("-m", "bench.fleet", "files", environment=variables)
        one = child.run("-m", "bench.fleet", "one", environment=variables)
    return [
        Figure(f"reading dags/releases.py with {whole['environments']} service environments", whole["seconds"], "s", 8,
               f"{whole['tasks']} tasks, resident {whole['mib']} MiB"),
        Figure("the same again, when no service file was changed", again["seconds"], "s"),
        Figure("reading these service files", files["first"], "s", note="after a change, once for all DAG files"),
        Figure("the same again, for each further DAG file", files["again"], "s", 0.5),
        Figure("the same on a worker, for the DAG of its task", one["seconds"], "s", 0.1, "modules imported before"),
    ]


@contextmanager
def fleet() -> Iterator[Path]:
    """Yield a folder with the service files in ``services``."""
    folder = child.ROOT / "include" / "services"
    shipped = (folder / "shop.yaml").read_text()
    with tempfile.TemporaryDirectory(prefix="airlock-fleet-") as name:
        services = Path(name) / "services"
        services.mkdir()
        shutil.copy(folder / "_defaults.yaml", services)
        for number in range(SERVICES):
            own = re.sub(r"^service: shop$", f"service: shop-{number:03d}", shipped, flags=re.MULTILINE)
            (services / f"shop-{number:03d}.yaml").write_text(own)
        yield Path(name)


def read_all() -> dict[str, object]:
    """Read the DAG file as the DAG processor does."""
    _import()
    seconds, found = _read()
    mib = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return {"seconds": round(seconds, 2), "environments": len(found), "tasks": sum(found.values()), "mib": mib}


def read_files() -> dict[str, object]:
    """Read the service files as the DAG processor does after a change, and as it does for each further DAG file."""
    from airlock.service.find import services_folder
    from airlock.service.last_good import kept_folder
    from airlock.service.unchanged import read_standing_once

    shutil.rmtree(kept_folder(services_folder()))
    taken = []
    for _ in range(1 + ROUNDS):
        begun = time.perf_counter()
        read_standing_once(services_folder())
        taken.append(time.perf_counter() - begun)
    return {"first": round(taken[0], 3), "again": round(sorted(taken[1:])[ROUNDS // 2], 3)}


def read_one() -> dict[str, object]:
    """Read the DAG file as a worker does, for the DAG of its task; the middle of several times."""
    _import()
    os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = f"release.shop-{SERVICES // 2:03d}.prod"
    taken = []
    for _ in range(ROUNDS):
        seconds, found = _read()
        taken.append(seconds)
        if len(found) != 1:
            raise SystemExit(f"one DAG was wanted, and {len(found)} were built")
    return {"seconds": round(sorted(taken)[ROUNDS // 2], 3)}


def _import() -> None:
    """Import what ``plugins/preloaded.py`` imports in the processes that fork."""
    importlib.import_module("airlock.flow.dags.release")
    importlib.import_module("airflow.dag_processing.dagbag")


def _read() -> tuple[float, dict[str, int]]:
    """Return the seconds, and DAG id -> number of tasks."""
    from airflow.dag_processing.dagbag import DagBag

    begun = time.perf_counter()
    bag = DagBag(str(DAG_FILE))
    seconds = time.perf_counter() - begun
    if bag.import_errors:
        raise SystemExit(str(bag.import_errors))
    return seconds, {name: len(dag.tasks) for name, dag in bag.dags.items()}


if __name__ == "__main__":
    print(json.dumps({"all": read_all, "files": read_files, "one": read_one}[sys.argv[1]]()))
