"""Runs one measurement in a process of its own, so that imports, caches and memory of one do not blur another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class MeasurementFailed(Exception):
    """A measurement ended with an error; the message is its last line."""


def run(*arguments: str, environment: Mapping[str, str] | None = None, timeout: float = 900) -> dict[str, Any]:
    """Run ``python *arguments*`` and return the JSON of its last line.

    :raises MeasurementFailed: it ended with an error, or printed no JSON
    """
    with tempfile.TemporaryDirectory(prefix="airlock-bench-") as home:
        given = {**os.environ, "AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                 "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR", "PYTHONPATH": f"{ROOT / 'include'}{os.pathsep}{ROOT}",
                 **(environment or {})}
        done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=given, capture_output=True, text=True,
                              timeout=timeout, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise MeasurementFailed(lines[-1])
    try:
        result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise MeasurementFailed(f"no result was printed: {error}") from error
    return result
