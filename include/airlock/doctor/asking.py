"""Asks questions at once, each within its own time, so that nothing hangs and no answer hides another.

A question runs in a thread of its own, which ends with the process if it never answers. Knows no question.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.errors import AirlockError

log = logging.getLogger(__name__)
SECONDS = 20.0
_AT_ONCE = 8


@dataclass(frozen=True)
class Question:
    """One thing to ask about *subject*: *ask* yields findings for as long as it takes, at most *seconds*.

    :param late: how bad it is when no answer came in time
    """

    subject: Subject
    what: str
    ask: Callable[[Subject], Iterable[Finding]]
    seconds: float = SECONDS
    late: Gravity = Gravity.FAULT


@dataclass
class _Asked:
    """A question under way."""

    question: Question
    found: list[Finding] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, ended: queue.Queue[_Asked]) -> None:
        """Collect the findings; an error is one of them, and never ends another question."""
        try:
            for one in self.question.ask(self.question.subject):
                self.found.append(one)
        except AirlockError as error:
            self.found.append(self._failed(str(error)))
        except Exception as error:
            log.debug("a question failed", exc_info=True)
            # without its words: nobody knows what a library puts into them
            self.found.append(self._failed(f"the question itself failed ({type(error).__name__}); look by hand"))
        self.over.set()
        ended.put(self)

    def _failed(self, words: str) -> Finding:
        # what is to be done next is part of every message of Airlock
        return self.question.subject.found(Gravity.FAULT, f"{self.question.what}: {words}",
                                           why="a release asks the same, and stops there")

    def answers(self) -> list[Finding]:
        """Return what was found, with what did not come in time."""
        if self.over.is_set():
            return self.found
        question = self.question
        late = question.subject.found(
            question.late, f"{question.what}: no answer within {question.seconds:g} s",
            why="a release asks the same, and waits longer for it",
            mend="see whether it is overloaded, or a firewall drops the packets",
        )  # fmt: skip
        return [*self.found, late]


def ask_all(questions: Iterable[Question]) -> Iterator[Finding]:
    """Ask all *questions*, some at once, and yield their findings in the order of the questions."""
    waiting, asked = list(questions), list[_Asked]()
    ended: queue.Queue[_Asked] = queue.Queue()
    while waiting or any(_running(one) for one in asked):
        while waiting and sum(_running(one) for one in asked) < _AT_ONCE:
            under_way = _Asked(waiting.pop(0))
            asked.append(under_way)
            threading.Thread(target=under_way.run, args=(ended,), daemon=True, name="airlock-doctor").start()
        left = [one.began + one.question.seconds - time.monotonic() for one in asked if _running(one)]
        try:
            ended.get(timeout=max(0.01, min(left, default=0.01)))
        except queue.Empty:
            continue
    for one in asked:
        yield from one.answers()


def failing(acts: Mapping[str, Callable[[], object]], seconds: float = SECONDS) -> dict[str, str]:
    """Do all *acts* at once, and return what those say that fail, or that do not end within *seconds*."""
    said: dict[str, str] = {}

    def attempt(name: str, act: Callable[[], object]) -> None:
        try:
            act()
        except AirlockError as error:
            said[name] = str(error)
        except Exception as error:  # noqa: BLE001 - the boundary of one question, as above; without the error's words
            said[name] = f"{name} could not be asked for ({type(error).__name__})"
        else:
            said[name] = ""

    threads = [threading.Thread(target=attempt, args=one, daemon=True) for one in acts.items()]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    late = {name: f"{name}: no answer within {seconds:g} s" for name in acts if name not in said}
    return {name: why for name, why in {**said, **late}.items() if why}


def _running(asked: _Asked) -> bool:
    return not asked.over.is_set() and time.monotonic() < asked.began + asked.question.seconds
