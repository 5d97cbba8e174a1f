"""What a release DAG costs Airflow's DAG processor: its build time next to a bare DAG, and what importing it loads.

``python -m bench.parse build`` and ``python -m bench.parse imports`` each print one line of JSON.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import re
import runpy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import child
from bench.figure import Figure

ROUNDS = 31
HEAVY = ("boto3", "botocore", "kubernetes", "hvac", "scipy", "numpy", "slack_sdk", "psycopg", "moto")
DAG_FILE = child.ROOT / "dags" / "releases.py"


def measure() -> list[Figure]:
    """Return the figures of parsing."""
    with tempfile.TemporaryDirectory(prefix="airlock-parse-") as home:
        variables = example_variables(Path(home))
        build = child.run("-m", "bench.parse", "build", environment=variables)
        imports = child.run("-m", "bench.parse", "imports", environment=variables)
    loaded = imports["loaded"]
    return [
        Figure("build of one release DAG", build["release_ms"], "ms", note=f"{build['dag']}, {build['tasks']} tasks"),
        Figure("build of a bare DAG with as many tasks", build["bare_ms"], "ms"),
        Figure("build, release DAG over bare DAG", round(build["release_ms"] / build["bare_ms"], 2), "times", 1.25),
        Figure("heavy packages that dags/releases.py loads", len(loaded), "packages", 0, ", ".join(loaded)),
        Figure("import of dags/releases.py, first time", imports["seconds"], "s", note="Airflow itself included"),
    ]


def example_variables(home: Path) -> dict[str, str]:
    """Return a value for every variable that the shipped service files read and the caller has not set; what is read
    is kept below *home*."""
    texts = [path.read_text() for path in (child.ROOT / "include/services").glob("*.y*ml")]
    named = {name for text in texts for name in re.findall(r"\$\{(AIRLOCK_[A-Z0-9_]+)\}", text)}
    return {**{name: os.environ.get(name, "28000") for name in sorted(named)}, "AIRLOCK_HOME": str(home)}


def build_times() -> dict[str, object]:
    """Build both DAGs in turn, many times, and return the medians; turns, so that a busy machine slows both."""
    from airlock.flow.dags.release import build
    from airlock.service.find import load_services, services_folder

    environment = max(load_services(services_folder()), key=lambda found: len(found.resources))
    dag = build(environment)
    count = len(dag.tasks)
    bare, release = [], []
    for _ in range(ROUNDS):
        bare.append(timed(lambda: bare_dag(count)))
        release.append(timed(lambda: build(environment)))
    return {"dag": dag.dag_id, "tasks": count, "bare_ms": middle(bare), "release_ms": middle(release)}


def bare_dag(count: int) -> object:
    """Return a DAG of *count* operators that do nothing, one after the other."""
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG

    with DAG("bare", schedule=None) as dag:
        before = None
        for number in range(count):
            task = EmptyOperator(task_id=f"task_{number}")
            if before is not None:
                before >> task
            before = task
    return dag


def timed(act: Callable[[], object]) -> float:
    """Return the seconds that *act* takes, without a garbage collection in between."""
    gc.collect()
    gc.disable()
    try:
        begun = time.perf_counter()
        act()
        return time.perf_counter() - begun
    finally:
        gc.enable()


def middle(seconds: list[float]) -> float:
    """Return the median in milliseconds."""
    return round(statistics.median(seconds) * 1000, 2)


def imports() -> dict[str, object]:
    """Run the DAG file as the DAG processor does and return what of the heavy packages is loaded afterwards."""
    begun = time.perf_counter()
    importlib.import_module("airflow.providers.standard.operators.hitl")  # as any DAG does that asks people
    before = providers()
    runpy.run_path(str(DAG_FILE))
    seconds = round(time.perf_counter() - begun, 2)
    added = providers() - before - {"standard", "common.compat"}
    loaded = sorted({name for name in HEAVY if name in sys.modules} | added)
    return {"seconds": seconds, "loaded": loaded}


def providers() -> set[str]:
    """Return the provider packages of which code is loaded.

    Airflow itself loads every provider's ``get_provider_info``, and with it the packages around it: those hold no code.
    ``common.compat`` is what ``standard`` itself is built on.
    """
    prefix = "airflow.providers."
    code = [name.removeprefix(prefix).split(".") for name, module in list(sys.modules.items())
            if name.startswith(prefix) and not name.endswith(".get_provider_info") and not hasattr(module, "__path__")]
    return {".".join(parts[: 2 if parts[0] in ("cncf", "common", "apache", "microsoft") else 1]) for parts in code}


if __name__ == "__main__":
    print(json.dumps({"build": build_times, "imports": imports}[sys.argv[1]]()))
