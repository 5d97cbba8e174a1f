"""What an operator needs of its running task: its release, what it kept, its last word, and a wait without a worker.

Exists so that the operators only name stages. Holds no rules.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import BaseOperator

from airlock.deploy.landing import acted
from airlock.errors import AirlockError, CalendarClosed, TemporaryError, Throttled
from airlock.flow.operators.stopping import Stopped, TriedAgain
from airlock.flow.operators.triggers import WaitTrigger
from airlock.flow.stages import attempts
from airlock.flow.stages.calendar_gate import held_until
from airlock.flow.stages.following_release import newest
from airlock.flow.stages.notices import notify
from airlock.flow.stages.outside_releases import StreamRun
from airlock.flow.stages.release import Attempt, Release, release_id
from airlock.models import utc_now
from airlock.service.find import ServiceEnvironment

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)
Done = TypeVar("Done")
LONGEST_SLEEP_SECONDS = 60.0
_BEFORE_ACTS = ("change.", "backup.restore_set")
DEFER_FROM_SECONDS = 20.0
"""Shorter waits are slept through: giving the worker back costs a new process, and a task that comes back within
seconds can overtake the executor's report of its first exit, which Airflow then counts as a failed try."""
_CONVERTED = frozenset(name.removeprefix("_convert_") for name in dir(BaseOperator) if name.startswith("_convert_"))


def release_of(environment: ServiceEnvironment, context: Context) -> Release:
    """Return the release that the running task belongs to."""
    identity = newest(environment, first_release(environment, context))
    return Release(environment, identity, f"task {context['ti'].task_id}", attempt_of(context))


def attempt_of(context: Context) -> Attempt:
    """Return the try of the task that runs."""
    run, task = context["dag_run"], context["ti"]
    # Whoever clears a task gives it all its retries again: Airflow counts the tries on, and raises their limit.
    first = task.max_tries - (context["task"].retries or 0) + 1
    return Attempt(dag_id=run.dag_id, run_id=run.run_id, airflow=own_address(), number=task.try_number,
                   retry=task.try_number > first)


def first_release(environment: ServiceEnvironment, context: Context) -> str:
    """Return the id of the first release of the run; when one was refused, the run may go on as another."""
    run = context["dag_run"]
    return release_id(environment, run.run_id, run.run_after)


def run_of(environment: ServiceEnvironment, stream: str, context: Context) -> StreamRun:
    """Return the run of *stream* that the running task belongs to."""
    run = context["dag_run"]
    identity = release_id(environment, f"{stream} {run.run_id}", run.run_after)
    return StreamRun(environment, stream, identity, f"task {context['ti'].task_id}", attempt_of(context))


def own_address() -> str:
    """Return the address of this Airflow, which tells it from another one that shares the ledger; empty if not set."""
    from airflow.sdk.configuration import conf

    return str(conf.get("api", "base_url", fallback=None) or "")


@contextmanager
def task_boundary(release: Release, task_id: str, *, after_seal: bool = False) -> Iterator[None]:
    """Record what went wrong, end with one sentence, and let Airflow retry only what may succeed later.

    :param after_seal: whether the task may run again when the release has ended and is sealed
    """
    try:
        attempts.begin(release, task_id, after_seal=after_seal)
        yield
    except TemporaryError as error:
        attempts.tell(release, "retry", task_id, str(error))
        if isinstance(error, Throttled):
            # The next try comes after Airflow's own pause, which knows nothing of what the server asked for.
            time.sleep(min(error.seconds, LONGEST_SLEEP_SECONDS))
        raise TriedAgain(f"{task_id}: temporary: {error}; next: this task is tried again") from error
    except AirlockError as error:
        attempts.tell(release, "fault", task_id, str(error), error=type(error).__name__)
        notify(release, "fault", f"{task_id} stopped", str(error))
        _skip_to_close(release, task_id)
        raise Stopped(f"{task_id}: stopped: {error}") from error


class AirlockOperator(BaseOperator):
    """Base of the operators of a release: has a last word in the log of its task, and costs little to build."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute. Airflow looks at each one for a converter, which is most of what building a DAG costs: here
        that is known beforehand. What it does besides is for templates and mapped tasks, which Airlock has none of."""
        if name in _CONVERTED:
            super().__setattr__(name, value)
        else:
            object.__setattr__(self, name, value)

    def on_kill(self) -> None:
        """Called by Airflow when the task's run was marked or cleared by hand, or the worker stops."""
        log.error("this task is ended from outside: it or its run was marked or cleared, or its worker stops; next: if "
                  "the run goes on, this task is tried again; if not, the DAG settle brings the release to its end "
                  "within a minute or so, and leaves the outcome, with a link to its log, as a note on this run")


def _skip_to_close(release: Release, task_id: str) -> None:
    """Skip all that would follow a refusal before anything was done, so that the run ends in seconds, and shows as
    failed only what refused."""
    from airflow.sdk import get_current_context
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.comms import SkipDownstreamTasks
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    if not task_id.startswith(_BEFORE_ACTS) or acted(release.ledger.read_undamaged(release.id)[0]):
        return
    following = get_current_context()["task"].get_flat_relatives(upstream=False)
    wanted = sorted(one.task_id for one in following if not one.task_id.startswith("close."))
    try:
        SUPERVISOR_COMMS.send(msg=SkipDownstreamTasks(tasks=list(wanted)))
    except AirflowRuntimeError as error:  # then they end one by one, which only takes longer
        log.warning("what follows could not be skipped at once: %s", error)


def pause(task: BaseOperator, seconds: float) -> None:
    """Wait: give the worker back and begin *task* again after *seconds*, or, when that is soon, sleep and return."""
    if seconds < DEFER_FROM_SECONDS:
        time.sleep(max(0.0, seconds))
        return
    task.defer(trigger=WaitTrigger(seconds), method_name="execute")


def wait_while_closed(task: BaseOperator, release: Release, act: str) -> None:
    """Wait, without a worker and without using up a retry, while the calendar keeps *act* from being done."""
    while (until := held_until(release, act, utc_now())) is not None:
        seconds = (until - utc_now()).total_seconds()
        if seconds > DEFER_FROM_SECONDS:
            # To a moment, not for a time: a triggerer that restarts must not begin to wait anew.
            task.defer(trigger=DateTimeTrigger(moment=until), method_name="execute")
        pause(task, seconds)


def when_open(task: BaseOperator, release: Release, act: str, do: Callable[[], Done]) -> Done:
    """Return what *do* returns, done while the calendar is open: it is waited for, again if it closes meanwhile."""
    while True:
        wait_while_closed(task, release, act)
        try:
            return do()
        except CalendarClosed as closed:
            log.info("%s; next: wait for it", closed)


class KeptProgress:
    """What a task keeps from try to try, for one plan: when the plan changed, the task begins anew."""

    def __init__(self, context: Context, release: Release) -> None:
        self._store = context["task_state_store"]
        self._plan = release.plan.digest.removeprefix("sha256:")[:16]

    def get(self, key: str) -> Any:
        return self._store.get(f"{key}.{self._plan}")

    def set(self, key: str, value: Any) -> None:
        self._store.set(f"{key}.{self._plan}", value)
