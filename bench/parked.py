"""Releases that wait for people or for a window, in a real Airflow: what they hold of it.

``python -m bench.parked run --number 500`` starts a sandbox of its own with as many small services, parks one release
of each (half of them in ``change.approve``, half in ``change.window``), counts the worker slots they hold, and keeps
the result for ``python -m bench parked``. It takes about three seconds a release on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import yaml

from bench.child import ROOT
from bench.figure import Figure
from sandbox import credentials, processes, stack
from sandbox.airflow_client import AirflowClient
from sandbox.layout import Layout

ENVIRONMENT = "staging"
SUMMARY = Path("bench-parked.json")
REREAD = "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL"
"""Seconds; with so many files nobody reads all of them twice a minute, as the sandbox does with its one."""
PER_TEAM = 10
"""Services that a team has."""
HOLDING = ("queued", "running", "scheduled")


def measure() -> list[Figure]:
    """Return what the last run found."""
    path = _home() / SUMMARY
    if not path.exists():
        return [Figure("releases parked at once", None, "", note="run python -m bench.parked run first")]
    found = json.loads(path.read_text())
    return [
        Figure("releases parked at once", found["parked"], "", note=f"of {found['number']}, in {found['seconds']} s"),
        Figure("worker slots that they hold", found["slots"], "", 0),
        Figure("memory of the triggerer per release that waits in it", found["triggerer_kib"], "KiB",
               note=f"{found['deferred']} in change.window; {found['awaiting']} in change.approve are not in it"),
    ]


def main() -> None:
    """Park the releases, and keep what was found."""
    parser = argparse.ArgumentParser(prog="python -m bench.parked", description=__doc__)
    parser.add_argument("action", choices=["run"])
    parser.add_argument("--number", type=int, default=500)
    parser.add_argument("--port-base", type=int, default=27000)
    given = parser.parse_args()
    parent = "/var/tmp" if os.geteuid() == 0 else None  # where PostgreSQL's user can reach it
    with tempfile.TemporaryDirectory(prefix="airlock-parked-", dir=parent) as name:
        home = Path(name)
        home.chmod(0o711)
        _write_services(home / "services", given.number)
        layout = Layout(repository=ROOT, home=home, port_base=given.port_base)
        stack.start_all(layout, print, {"AIRLOCK_SERVICES": str(home / "services"), REREAD: "600"}, rates={})
        try:
            found = _park(layout, given.number)
        finally:
            stack.stop_all(layout)
    path = _home() / SUMMARY
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))


def _home() -> Path:
    return ROOT / (os.environ.get("AIRLOCK_HOME") or ".airlock")


def _write_services(folder: Path, number: int) -> None:
    """Write *number* services of one environment and one resource, whose calendar opens in most of a day: while the
    permit still holds, so that a release waits for it."""
    whole = yaml.safe_load((ROOT / "include/services/shop.yaml").read_text())
    settings = whole["environments"][ENVIRONMENT]
    settings["resources"] = [one for one in settings["resources"] if one["name"] == "env_file"]
    for name in ("migrations", "without_kinds"):
        settings.pop(name, None)
    then = datetime.now(UTC) + timedelta(hours=20)
    opens = {"days": [f"{then:%a}".lower()], "from": f"{then:%H}:00", "to": f"{then:%H}:59"}
    settings["calendar"] = {"timezone": "UTC", "windows": [opens]}
    folder.mkdir()
    for count in range(number):
        one = {**whole, "service": f"shop-{count:03d}", "owner": f"team-{count // PER_TEAM}",
               "environments": {ENVIRONMENT: settings}}
        (folder / f"shop-{count:03d}.yaml").write_text(yaml.safe_dump(one))


def _park(layout: Layout, number: int) -> dict[str, Any]:
    people = credentials.load(layout.sandbox).people
    client = AirflowClient(layout.url("airflow"), "admin", people["admin"])
    before, begun = _triggerer_kib(layout), time.monotonic()
    client.wait_for_dag(f"release.shop-{number - 1:03d}.{ENVIRONMENT}", 600)
    for count in range(number):
        client.trigger(f"release.shop-{count:03d}.{ENVIRONMENT}", _request(standard=count % 2 == 1))
    limit = time.monotonic() + 60 + 20 * number
    while (found := _states(client))["parked"] < number or found["slots"]:
        if ended := client.tasks_in("failed", "release."):
            raise SystemExit(f"{len(ended)} releases do not wait: {', '.join(sorted(set(ended)))} failed")
        if time.monotonic() > limit:
            raise SystemExit(f"not all are parked in time: {found}")
        print(f"{time.monotonic() - begun:.0f} s: {found}", flush=True)
        time.sleep(10)
    more = _triggerer_kib(layout) - before
    return {"number": number, **found, "seconds": round(time.monotonic() - begun),
            "triggerer_kib": round(more / max(1, found["deferred"]))}


def _request(*, standard: bool) -> dict[str, str]:
    if standard:
        return {"version": "1.1", "change_type": "standard"}
    return {"version": "1.1", "change_type": "normal", "title": "A release that waits", "reason": "It is measured.",
            "impact": "low", "rollback_plan": "Nothing is ever deployed."}


def _states(client: AirflowClient) -> dict[str, int]:
    """Count releases that wait, and their tasks that hold a worker slot or want one."""
    awaiting = client.tasks_in("awaiting_input", "release.").count("change.approve")
    deferred = client.tasks_in("deferred", "release.").count("change.window")
    slots = sum(len(client.tasks_in(state, "release.")) for state in HOLDING)
    return {"parked": awaiting + deferred, "awaiting": awaiting, "deferred": deferred, "slots": slots}


def _triggerer_kib(layout: Layout) -> int:
    server = processes.find(layout.run, "airflow-triggerer")
    if server is None:
        raise SystemExit("the triggerer does not run")
    whole = psutil.Process(server.pid)
    return int(sum(one.memory_info().rss for one in (whole, *whole.children(recursive=True))) / 1024)


if __name__ == "__main__":
    main()
