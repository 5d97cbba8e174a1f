"""What Airflow's long-lived processes import once, so that what they fork need not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
import airflow
heavy = ("kubernetes", "psycopg", "slack_sdk", "git")
known = ("airlock.flow.", "securesystemslib.dsse")
print(*sorted(name for name in sys.modules if name.startswith(known) or name in heavy))
"""


def test_every_dag_module_is_there_before_a_fork_and_no_client_of_a_server(tmp_path: Path) -> None:
    given = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
             "AIRFLOW__CORE__LAZY_LOAD_PLUGINS": "False"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=given, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    builders = {path.stem for path in (ROOT / "include/airlock/flow/dags").glob("*.py")} - {"__init__"}
    assert {"release", "settle"} < builders
    assert {f"airlock.flow.dags.{name}" for name in builders} | {"securesystemslib.dsse"} <= loaded
    assert not {name for name in loaded if not name.startswith(("airlock.", "securesystemslib."))}
