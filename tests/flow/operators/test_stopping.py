"""How tasks end: for good or to be tried again, by Airflow's own judgement, and with one sentence as the last line."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from airflow.sdk.definitions.retry_policy import RetryAction
from airflow.sdk.execution_time import task_runner

from airlock.errors import GateRefused, TemporaryError
from airlock.flow.dags.release import build
from airlock.flow.operators.stopping import RETRY, Stopped, TriedAgain, last_word
from airlock.flow.operators.task import task_boundary
from airlock.flow.stages.release import Attempt, Release
from tests.service_data import environment


@pytest.mark.parametrize(
    ("error", "action"),
    [(Stopped("x"), RetryAction.FAIL), (GateRefused("x"), RetryAction.FAIL), (TriedAgain("x"), RetryAction.DEFAULT),
     (ValueError("x"), RetryAction.DEFAULT)],
)
def test_airflow_tries_again_only_what_may_succeed_later(error: BaseException, action: RetryAction) -> None:
    assert RETRY.evaluate(error, 1, 3).action is action


def test_an_end_is_an_exit_which_airflow_prints_without_a_stack_trace() -> None:
    for end in (Stopped, TriedAgain):
        assert issubclass(end, SystemExit) and end("x").code == 1
    assert str(Stopped("two faults:\n  one\n\n  two\n")) == "two faults: | one | two"


def test_the_last_word_is_the_sentence_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    for error in (Stopped("a: stopped: because"), TriedAgain("b: temporary: down"), ValueError("not ours"), None):
        last_word({"exception": error})
    assert [(one.levelno, one.getMessage()) for one in caplog.records] == [
        (logging.ERROR, "a: stopped: because"), (logging.WARNING, "b: temporary: down")]
    assert all(one.exc_info is None for one in caplog.records)


@pytest.mark.parametrize(("error", "end", "said"), [
    (GateRefused("no window"), Stopped, "deploy.stage: stopped: no window"),
    (TemporaryError("away"), TriedAgain, "deploy.stage: temporary: away; next: this task is tried again"),
])
def test_errors_end_a_task_with_their_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, end: type[BaseException], said: str
) -> None:
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", None, raising=False)  # it has one in a running task only
    release = Release(environment(tmp_path), "cafe-live-1", "test", Attempt("release.cafe.live", "run", "", 1))
    with pytest.raises(end) as raised, task_boundary(release, "deploy.stage"):
        raise error
    assert str(raised.value) == said


def test_every_task_of_a_release_ends_so(tmp_path: Path) -> None:
    for task in build(environment(tmp_path)).tasks:
        assert list(task.on_failure_callback) == [last_word] and list(task.on_retry_callback) == [last_word]
        assert task.retry_policy is RETRY
