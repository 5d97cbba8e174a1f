"""Questions are asked at once, each within its own time; none hides or delays another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from airlock.doctor.asking import Question, ask_all, failing
from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.errors import PermanentError


def question(
    name: str, ask: Callable[[Subject], Iterable[Finding]], seconds: float = 30.0, late: Gravity = Gravity.FAULT
) -> Question:
    return Question(Subject("area", name), f"asked {name}", ask, seconds, late)


def fine(subject: Subject) -> Iterable[Finding]:
    yield subject.fine("well")


def test_what_never_answers_is_a_finding_and_nothing_waits_for_it() -> None:
    never = threading.Event()

    def hangs(subject: Subject) -> Iterable[Finding]:
        yield subject.fine("the first part")
        never.wait()

    found = list(ask_all([question("slow", hangs, seconds=0.2), *(question(str(n), fine) for n in range(20))]))
    never.set()
    assert [one.what for one in found[:2]] == ["the first part", "asked slow: no answer within 0.2 s"]
    assert [one.where for one in found[2:]] == [str(n) for n in range(20)]


def test_more_hang_than_are_asked_at_once_and_the_rest_is_asked_still() -> None:
    never = threading.Event()

    def hangs(subject: Subject) -> Iterable[Finding]:
        never.wait()
        return ()

    found = list(ask_all([*(question(f"slow {n}", hangs, seconds=0.1) for n in range(30)), question("last", fine)]))
    never.set()
    assert len(found) == 31
    assert found[-1].gravity is Gravity.FINE


def test_an_error_is_a_finding_and_hides_none() -> None:
    def refused(subject: Subject) -> Iterable[Finding]:
        yield subject.fine("before")
        raise PermanentError("the token is refused; give it a policy")

    found = list(ask_all([question("a", refused), question("b", fine)]))
    assert [(one.where, one.gravity) for one in found] == [
        ("a", Gravity.FINE), ("a", Gravity.FAULT), ("b", Gravity.FINE)]  # fmt: skip
    assert found[1].what == "asked a: the token is refused; give it a policy"


def test_what_a_library_says_in_an_error_nobody_foresaw_is_not_repeated() -> None:
    def fails(subject: Subject) -> Iterable[Finding]:
        raise RuntimeError("login failed for password hunter2")

    (found,) = ask_all([question("a", fails)])
    assert found.gravity is Gravity.FAULT
    assert "RuntimeError" in found.what
    assert "hunter2" not in found.model_dump_json()


def test_what_is_slow_by_nature_is_no_fault() -> None:
    never = threading.Event()

    def hangs(subject: Subject) -> Iterable[Finding]:
        never.wait()
        return ()

    (found,) = ask_all([question("big", hangs, seconds=0.1, late=Gravity.NOTE)])
    never.set()
    assert found.gravity is Gravity.NOTE


def test_what_all_else_depends_on_is_asked_within_its_time_too() -> None:
    never = threading.Event()

    def refuses() -> None:
        raise PermanentError("there is none; add it")

    def breaks() -> None:
        raise RuntimeError("hunter2")

    said = failing({"good": lambda: None, "slow": never.wait, "none": refuses, "broken": breaks}, seconds=0.3)
    never.set()
    assert said == {"slow": "slow: no answer within 0.3 s", "none": "there is none; add it",
                    "broken": "broken could not be asked for (RuntimeError)"}  # fmt: skip


def test_there_may_be_nothing_to_ask() -> None:
    assert list(ask_all([])) == []
