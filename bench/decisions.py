"""What one decision of change management costs, with 1,000 services and 10,000 changes that wait.

``python -m bench.decisions`` prints one line of JSON. Nothing is read from disk while a decision is measured.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench import child
from bench.figure import Figure

SERVICES, PENDING = 1000, 10_000
LIMIT_MS = 50.0
FIRST = "first decision with a calendar file of 1,000 events, which is parsed"
NOW = datetime(2026, 11, 24, 11, tzinfo=UTC)


def measure() -> list[Figure]:
    """Return the figures of the decisions."""
    found = child.run("-m", "bench.decisions")
    size = f"{SERVICES} services, {PENDING} pending changes; middle {{:g}} ms"
    return [Figure(f"{name}, slowest of all", figures["slowest_ms"], "ms", None if name == FIRST else LIMIT_MS,
                   size.format(figures["middle_ms"])) for name, figures in found.items()]


def decisions() -> dict[str, dict[str, float]]:
    """Measure each sort of decision and return its middle and its slowest time."""
    from airlock.change.debt import Debt, refusal
    from airlock.change.history import PastChange
    from airlock.change.risk import assess
    from airlock.change.risk_policy import load_risk_policy
    from airlock.change.templates import Use, suspension
    from airlock.models import Category, Outcome, Rfc
    from tests.service_data import environment, known_facts

    chance = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        shape = environment(Path(folder))
    services = [shape.model_copy(update={"service": f"s{n}", "tier": 1 + n % 4, "production": n % 2 == 0})
                for n in range(SERVICES)]
    past = [PastChange(release=f"r{n}", outcome=Outcome.ROLLED_BACK if n % 9 == 0 else Outcome.PROMOTED,
                       at=NOW - timedelta(days=n), change_type="normal", score=n % 100).model_dump(mode="json")
            for n in range(50)]
    policy, facts = load_risk_policy(), {**known_facts(shape), "history": past}
    pending = [
        (chance.choice(services), Rfc(
            service="s", environment="live", version=f"1.{n}", change_type=chance.choice(("normal", "emergency")),
            title="t", reason="r", impact="low: x", rollback_plan="p", requester="rita",
            category=chance.choice(list(Category)),
        )) for n in range(PENDING)
    ]
    debts = [Debt(service=f"s{n % SERVICES}", environment="live", release=f"r{n}", incident="INC-1", landed_at=NOW,
                  due_at=NOW + timedelta(hours=n % 50 - 25), approvals=()) for n in range(PENDING)]
    uses = [Use(release=f"r{n}", outcome=Outcome.ROLLED_BACK if n % 40 == 0 else Outcome.PROMOTED,
                at=NOW - timedelta(hours=PENDING - n)) for n in range(PENDING)]
    template = shape.standard_changes["regular"]
    return {
        "risk of one change": timed(assess, ((rfc, service, facts, policy) for service, rfc in pending)),
        "debts of one team, all changes owed": timed(refusal, (("team", debts, NOW) for _ in range(50))),
        "one template, all changes its uses": timed(suspension, ((template, uses, None) for _ in range(50))),
        **calendars(),
        **conflicts_and_approvals(chance),
    }


def conflicts_and_approvals(chance: random.Random) -> dict[str, dict[str, float]]:
    """Measure who touches the same as one change among all that wait, the next free times, and a count of votes."""
    from airlock.change.approval import tally
    from airlock.change.conflicts import UNDER_WAY, WAITS, OpenChange, conflicts, free_slots
    from airlock.models import ApprovalRule, Vote

    def touched(service: int) -> tuple[str, ...]:
        own = [f"file:///srv/s{service}/{name}" for name in ("env", "uploads", "logs", "tls/key", "tls/crt", "slots")]
        shared = [f"postgresql://db{service % 40}:5432/s{service // 3}", f"vault://vault:8200/secret/s{service}",
                  f"aws://amazonaws.com/1/route53/z{service % 400}", f"kubernetes://k8s:6443/n{service // 2}",
                  f"envoy://proxy{service % 50}:9901/s{service}.a", f"envoy://proxy{service % 50}:9901/s{service}.b"]
        return (*own, *shared)

    waiting = [OpenChange(service=f"s{n % SERVICES}", environment="prod", release=f"r{n}", since=NOW,
                          until=NOW + timedelta(minutes=n % 90), state=UNDER_WAY if n % 20 == 0 else WAITS,
                          touches=touched(n % SERVICES)) for n in range(PENDING)]
    asked = [chance.randrange(PENDING) for _ in range(50)]
    found = [conflicts(waiting[n].touches, waiting[n].release, waiting) for n in asked]
    spans = [(NOW + timedelta(hours=9 * n), NOW + timedelta(hours=9 * n + 8)) for n in range(50)]
    people = [f"person-{n}" for n in range(100)]
    rules = tuple(ApprovalRule(group=f"g{n}", quorum=10, members=tuple(people[n * 10 : n * 10 + 20]))
                  for n in range(9))
    votes = [Vote(person=person, choice="approve", at=NOW) for person in people]
    return {
        "conflicts of one change": timed(conflicts, ((waiting[n].touches, waiting[n].release, waiting)
                                                     for n in asked)),
        "next free times after them": timed(free_slots, ((spans, (), one, NOW) for one in found)),
        "votes of one change, 100 of them for 90 seats": timed(tally, ((rules, votes, "rita") for _ in range(20))),
    }


def calendars() -> dict[str, dict[str, float]]:
    """Measure the calendars of all services: windows and freezes of their own, holidays, maintenance, and a file of
    1,000 events that ten of them share."""
    from airlock.schedule.asking import Opened, open_calendar
    from airlock.schedule.calendar import decide, next_slots
    from airlock.service.calendar import Calendar
    from airlock.service.values import DAYS

    chance, opened = random.Random(7), []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(10):
            (Path(folder) / f"{number}.ics").write_text(calendar_file(chance, 1000))
        for number in range(SERVICES):
            day = NOW + timedelta(days=number % 300)
            given: dict[str, Any] = {
                "timezone": ("Europe/Berlin", "America/New_York", "Asia/Kathmandu")[number % 3],
                "windows": [{"days": list(DAYS[:5]), "from": "08:00", "to": "18:00"}],
                "freezes": [{"name": "f", "from": f"{day:%Y-%m-%d}", "to": f"{day + timedelta(days=9):%Y-%m-%d}"}],
                "holidays": [{"country": ("DE", "US", "NP")[number % 3]}],
                "maintenance": {"weekly": [{"name": "m", "days": ["sun"], "from": "02:00", "to": "04:00"}]},
                "files": [{"name": "company", "path": f"{folder}/{number % 10}.ics"}],
            }
            opened.append(open_calendar(Calendar.model_validate(given)))

    def asked(one: Opened, moment: datetime) -> object:
        return decide(one.calendar, moment, one.spelled)

    def slots(one: Opened, moment: datetime) -> object:
        return next_slots(one.calendar, moment, 5, one.spelled)

    moments = [NOW + timedelta(minutes=chance.randrange(600)) for _ in opened]
    first = timed(asked, list(zip(opened, moments, strict=True))[:10])
    for one, moment in zip(opened, moments, strict=True):
        slots(one, moment)  # every worker spells a file out once for a month
    return {
        FIRST: first,
        "calendar of one service": timed(asked, zip(opened, moments, strict=True)),
        "next five slots of one service": timed(slots, zip(opened, moments, strict=True)),
    }


def calendar_file(chance: random.Random, events: int) -> str:
    """Return an iCalendar file: half of its events recur every month, each closes some hours."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:bench"]
    for number in range(events):
        begin = NOW + timedelta(hours=chance.randrange(-5000, 5000))
        lines += ["BEGIN:VEVENT", f"UID:{number}", f"SUMMARY:event {number}", f"DTSTART:{begin:%Y%m%dT%H%M%SZ}",
                  "DURATION:PT3H", *(["RRULE:FREQ=MONTHLY"] if number % 2 else []), "END:VEVENT"]
    return "\r\n".join([*lines, "END:VCALENDAR", ""])


def timed(decide: Callable[..., Any], given: Iterable[tuple[Any, ...]]) -> dict[str, float]:
    """Return the middle and the slowest time of *decide* with each of *given*, in milliseconds of the processor: a
    machine that is busy with something else says nothing about a decision."""
    seconds = []
    gc.collect()
    gc.disable()
    try:
        for arguments in given:
            begun = time.process_time()
            decide(*arguments)
            seconds.append(time.process_time() - begun)
    finally:
        gc.enable()
    return {"middle_ms": round(statistics.median(seconds) * 1000, 3), "slowest_ms": round(max(seconds) * 1000, 3)}


if __name__ == "__main__":
    print(json.dumps(decisions()))
