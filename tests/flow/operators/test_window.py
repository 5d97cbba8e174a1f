"""The task that waits for an open calendar: what it looks at last before a release begins."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import SkipDownstreamTasks
from airflow.sdk.execution_time.context import set_current_context

from airlock.deploy.resolution import resolve_artifact
from airlock.flow.dags.release import build
from airlock.flow.operators.stopping import Stopped
from airlock.flow.stages import approval, change
from airlock.flow.stages.release import Release, release_id
from airlock.models import Vote, utc_now
from tests.memory_delivery import in_memory
from tests.past.test_content import fly
from tests.recompute import flown
from tests.recompute.test_release import FORM, GOOD

RUN = SimpleNamespace(dag_id="release.cafe.live", run_id="1.1~x", run_after=datetime(2026, 11, 24, 12, tzinfo=UTC))


@pytest.fixture(scope="module", autouse=True)
def keys() -> Iterator[None]:
    with flown.keys():
        yield


@pytest.mark.parametrize("failed_meanwhile", [False, True])
def test_a_release_begins_unless_its_content_failed_while_it_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failed_meanwhile: bool
) -> None:
    told: list[Any] = []

    def send(msg: Any) -> None:
        told.append(msg)

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=send), raising=False)
    where = flown.prepared(tmp_path, "{}", (GOOD,) * 12, ()).release.environment
    release = Release(where, release_id(where, RUN.run_id, RUN.run_after), "test")
    release.delivery = in_memory(resolve_artifact(where, "1.0"))
    (tmp_path / "cafe-1.1.bin").write_text("1.1")
    change.validate(release, FORM, "rita")
    plan = change.assess(release)
    approval.opened(release, plan, utc_now())
    for person in ("olga", "bert", "cleo"):
        if approval.look(release, plan, utc_now()).decided != "approved":
            approval.cast(release, plan, Vote(person=person, choice="approve", at=utc_now()))
    change.permit(release)
    if failed_meanwhile:
        fly(tmp_path, "cafe-live-9", {"version": "1.1", "change_type": "standard"}, good=False)
    task = build(where).get_task("change.window")
    context = {"dag_run": RUN, "task": task,
               "ti": SimpleNamespace(task_id=task.task_id, try_number=1, max_tries=task.retries)}
    with set_current_context(context):
        if failed_meanwhile:
            with pytest.raises(Stopped, match=r"nobody who approved has read: 1\.1 was rolled back here"):
                task.execute(context)
        else:
            task.execute(context)
    assert len(release.recorded("window")) == (not failed_meanwhile)
    skipped = [one for one in told if isinstance(one, SkipDownstreamTasks)]
    assert ["deploy.stage" in one.tasks for one in skipped] == [True] * failed_meanwhile
