"""How a task ends that cannot go on: with one sentence as the last line of its log.

Airflow prints a stack trace of whatever exception ends a task, but for an exit of the process: so a task of Airlock
ends by one, and its sentence is written by a callback, after everything that Airflow has to say. Knows no release.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule

from airlock.errors import PermanentError

log = logging.getLogger(__name__)


class Ended(SystemExit):
    """The end of a try of a task; *sentence* says why, and what to do next."""

    def __init__(self, sentence: str) -> None:
        super().__init__(1)
        self.sentence = " | ".join(line.strip() for line in sentence.splitlines() if line.strip())

    def __str__(self) -> str:
        return self.sentence


class Stopped(Ended):
    """The task has failed, and another try cannot help."""


class TriedAgain(Ended):
    """The task is tried again, as long as it may."""


RETRY = ExceptionRetryPolicy(rules=[
    RetryRule(exception=Stopped, action=RetryAction.FAIL),
    RetryRule(exception=PermanentError, action=RetryAction.FAIL, reason="a retry cannot help"),
])


def last_word(context: Mapping[str, Any]) -> None:
    """Write the sentence of the task that has just ended."""
    error = context.get("exception")
    if isinstance(error, Ended):
        log.log(logging.ERROR if isinstance(error, Stopped) else logging.WARNING, "%s", error)


def endings() -> dict[str, Any]:
    """Return the default arguments of every DAG whose tasks end so."""
    return {"retry_policy": RETRY, "on_failure_callback": last_word, "on_retry_callback": last_word}


def endings_of_looks() -> dict[str, Any]:
    """Return the arguments of a task that only looks, and begins anew at its next run: it ends so, and is tried again
    for a minute when its worker died, or when the broker was away, to whom a scheduler could not hand it."""
    return {"retries": 6, "retry_delay": timedelta(seconds=10), **endings()}
