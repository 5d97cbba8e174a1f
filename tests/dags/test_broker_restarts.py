"""A task that cannot be handed to a worker, because the broker is away, fails at once: its tries outlast a restart.

Not those of ``doctor``: it answers a person, who asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from airflow.sdk import DAG

from airlock.flow.dags import follow_up, release, rollback, settle, watch
from tests.service_data import environment

RESTART_SECONDS = 60.0
BUILT: dict[str, Callable[[Path], Sequence[DAG]]] = {
    "release": lambda folder: (release.build(environment(folder)),),
    "rollback": lambda folder: (rollback.build(environment(folder)),),
    "settle": lambda folder: (settle.build(folder),),
    "watch": lambda folder: (watch.build(folder, folder),),
    "follow_up": follow_up.build,
}


def lasts(task) -> float:
    """Return how long after its first try the last try of *task* begins."""
    factor = float(task.retry_exponential_backoff or 1)
    longest = task.max_retry_delay.total_seconds() if task.max_retry_delay else float("inf")
    delay = task.retry_delay.total_seconds()
    return sum(min(delay * factor**number, longest) for number in range(task.retries or 0))


@pytest.mark.parametrize("name", BUILT)
def test_every_task_outlasts_a_broker_that_is_away_for_a_minute(name: str, tmp_path: Path) -> None:
    found = {task.task_id: lasts(task) for dag in BUILT[name](tmp_path) for task in dag.tasks}
    assert found
    assert {task: seconds for task, seconds in found.items() if seconds < RESTART_SECONDS} == {}
