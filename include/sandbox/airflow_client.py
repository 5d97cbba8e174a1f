"""What a person can do through Airflow's REST API: log in, trigger, look, answer. Knows no release.

Every call is made as a named user with a log-in of their own, as the UI does it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from airlock.errors import PermanentError, TemporaryError

GET_ATTEMPTS = 5
PAGE = 100
LOG_IN = "/auth/token"


@dataclass(frozen=True)
class Run:
    """One DAG run. ``run_after`` is ISO 8601."""

    dag_id: str
    run_id: str
    run_after: str
    state: str


class AirflowClient:
    """One user's session."""

    def __init__(self, address: str, user: str, password: str) -> None:
        """Log in.

        :raises PermanentError: the log-in is refused
        :raises TemporaryError: the server does not answer
        """
        self.user = user
        self._http = httpx.Client(base_url=address, timeout=90)
        token = self._call("POST", LOG_IN, json={"username": user, "password": password})["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        """Call once; a question (GET) and the log-in again, for a while, when the server is busy."""
        attempts = GET_ATTEMPTS if method == "GET" or path == LOG_IN else 1
        for attempt in range(1, attempts + 1):
            try:
                return self._call_once(method, path, **arguments)
            except TemporaryError:
                if attempt == attempts:
                    raise
                time.sleep(attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _call_once(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            answer = self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise TemporaryError(
                f"Airflow does not answer {method} {path}: {error}; look at the api-server's log"
            ) from error
        if answer.status_code >= 500 or answer.status_code == 429:
            raise TemporaryError(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:300]}")
        if answer.status_code >= 400:
            raise PermanentError(
                f"Airflow refused {method} {path} for {self.user}: {answer.status_code} {answer.text[:300]}"
            )
        return answer.json() if answer.content else None

    def wait_for_dag(self, dag_id: str, seconds: float) -> None:
        """Wait until the DAG processor has read *dag_id*.

        :raises TemporaryError: it has not after *seconds*; import errors are named
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self._call("GET", "/api/v2/dags", params={"dag_id_pattern": dag_id, "limit": 100})["dags"]
            if any(dag["dag_id"] == dag_id for dag in found) and self._has_version(dag_id):
                return
            time.sleep(0.5)
        errors = self._call("GET", "/api/v2/importErrors")["import_errors"]
        reasons = (
            "; ".join(str(e["stack_trace"]).strip().splitlines()[-1] for e in errors) or "no import error is known"
        )
        raise TemporaryError(f"Airflow has not read the DAG {dag_id} after {seconds:.0f} s: {reasons}")

    def _has_version(self, dag_id: str) -> bool:
        """Return whether *dag_id* can be run: its name may be known before what is in it."""
        return bool(self._call("GET", f"/api/v2/dags/{dag_id}/dagVersions", params={"limit": 1})["dag_versions"])

    def trigger(self, dag_id: str, form: Mapping[str, Any]) -> Run:
        """Start a run with *form* as the answers of the trigger form."""
        return _run(
            self._call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": dict(form)})
        )

    def run(self, run: Run) -> Run:
        """Return *run* as it is now."""
        return _run(self._call("GET", f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}"))

    def note(self, run: Run) -> str | None:
        """Return the note of *run*."""
        found: str | None = self._call("GET", f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}")["note"]
        return found

    def log(self, run: Run, task_id: str, attempt: int = 1) -> str:
        """Return the log of one try of a task, as it is shown."""
        found = self._call(
            "GET", f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}/logs/{attempt}"
        )
        return "\n".join(str(line.get("event", line)) if isinstance(line, dict) else str(line)
                         for line in found["content"])

    def task_states(self, run: Run) -> dict[str, str]:
        """Return the state of every task of *run* (``none`` while it has none)."""
        found = self._call(
            "GET", f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances", params={"limit": 500}
        )
        return {task["task_id"]: task["state"] or "none" for task in found["task_instances"]}

    def pending_request(self, run: Run) -> Mapping[str, Any] | None:
        """Return the request for input of *run* that waits for an answer, if any."""
        waiting = (one for one in self.unanswered(run) if one["task_instance"]["state"] == "awaiting_input")
        return next(waiting, None)

    def unanswered(self, run: Run) -> Sequence[Mapping[str, Any]]:
        """Return the requests for input of *run* that nobody has answered, whether or not their task waits already."""
        found = self._call(
            "GET", f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/hitlDetails", params={"response_received": "false"}
        )
        return list(found["hitl_details"])

    def set_state(self, run: Run, task_id: str, state: str) -> None:
        """Set the state of a task by hand, as the UI's "mark as" does."""
        self._call(
            "PATCH",
            f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}",
            json={"new_state": state},
        )

    def task_instances(self, run: Run, state: str) -> dict[str, str]:
        """Return task id -> id of its instance, of every task of *run* that is in *state*."""
        found = self._call(
            "GET",
            f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances",
            params={"limit": 500, "state": state},
        )
        return {task["task_id"]: task["id"] for task in found["task_instances"]}

    def clear(self, run: Run, tasks: Sequence[str], *, downstream: bool = False) -> None:
        """Clear *tasks* of *run*, whatever state they are in, so that they run again."""
        self._call(
            "POST",
            f"/api/v2/dags/{run.dag_id}/clearTaskInstances",
            json={
                "dag_run_id": run.run_id,
                "task_ids": list(tasks),
                "include_downstream": downstream,
                "only_failed": False,
                "dry_run": False,
                "reset_dag_runs": True,
            },
        )

    def set_run_state(self, run: Run, state: str) -> None:
        """Set the state of the whole run by hand, as the UI's "mark run as" does."""
        self._call("PATCH", f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}", json={"state": state})

    def delete_run(self, run: Run) -> None:
        """Delete the run with all that Airflow knows of it."""
        self._call("DELETE", f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}")

    def approve(self, run: Run, option: str, reason: str) -> None:
        """Answer the request for approval of *run*."""
        self.answer(run, "change.approve", option, {"answer_reason": reason})

    def answer(self, run: Run, task_id: str, option: str, given: Mapping[str, Any]) -> None:
        """Answer what the task *task_id* of *run* asks."""
        self._call(
            "PATCH",
            f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}/-1/hitlDetails",
            json={"chosen_options": [option], "params_input": dict(given)},
        )

    def tasks_in(self, state: str, prefix: str) -> tuple[str, ...]:
        """Return the ids of the tasks in *state*, of all runs of DAGs whose id begins with *prefix*."""
        found: list[str] = []
        seen = total = 0
        while seen == 0 or seen < total:
            page = self._call(
                "GET",
                "/api/v2/dags/~/dagRuns/~/taskInstances",
                params={"state": state, "limit": PAGE, "offset": seen, "order_by": "id"},
            )
            tasks, total = page["task_instances"], page["total_entries"]
            if not tasks:
                break
            seen += len(tasks)
            found += [task["task_id"] for task in tasks if task["dag_id"].startswith(prefix)]
        return tuple(found)

    def runs(self, dag_id: str) -> tuple[Run, ...]:
        """Return the runs of *dag_id*."""
        found = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns", params={"limit": 100})
        return tuple(_run(one) for one in found["dag_runs"])


def _run(data: Mapping[str, Any]) -> Run:
    return Run(dag_id=data["dag_id"], run_id=data["dag_run_id"], run_after=data["run_after"], state=data["state"])
