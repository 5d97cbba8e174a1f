"""A seeded campaign: releases of the shop to staging, each struck by one fault, and what became of it.

The same seed gives the same faults at the same moments; what happens between them is up to the machine.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from airlock.deploy.delivery import delivery_of
from airlock.errors import AirlockError, PermanentError, TemporaryError
from airlock.evidence.ledger import Ledger
from airlock.flow.stages.release import release_id
from airlock.models import Record, utc_now
from airlock.service.find import find
from sandbox import credentials, shop, stack
from sandbox.airflow_client import AirflowClient, Run
from sandbox.chaos import aftermath, disk, files, servers
from sandbox.chaos.doorway import Doorway
from sandbox.chaos.faults import FAULTS, Fault, Scene
from sandbox.chaos.moments import MOMENTS, Moment
from sandbox.layout import Layout

DAG = "release.shop.staging"
GOOD, FAILING = ("1.0", "1.1"), "1.2"
LONGEST_SECONDS = 600.0
SETTLE_SECONDS = 10
KEEPER_SECONDS = 5.0


@dataclass(frozen=True)
class Strike:
    """One fault at one moment."""

    fault: Fault
    moment: Moment


@dataclass(frozen=True)
class Result:
    """What became of one release. ``settle_s`` lies between the fault and the seal."""

    number: int
    moment: str
    fault: str
    what: str
    release: str
    version: str
    outcome: str
    settle_s: float
    told: bool
    problems: list[str]


def draw(seed: int, number: int, *, disk_at_hand: bool) -> list[Strike]:
    """Return *number* strikes: every fault in turn, in an order and at moments that *seed* chooses."""
    chance = random.Random(seed)  # noqa: S311 - a campaign must be reproducible
    strikes: list[Strike] = []
    while len(strikes) < number:
        faults = [fault for fault in FAULTS if disk_at_hand or fault.name != "disk full"]
        chance.shuffle(faults)
        strikes += [Strike(fault, chance.choice(MOMENTS)) for fault in faults]
    return strikes[:number]


def named(text: str) -> Strike:
    """Return the strike written as ``FAULT@MOMENT``, for example ``delete run@bake``.

    :raises PermanentError: there is no such fault or moment
    """
    fault, _, moment = text.partition("@")
    try:
        return Strike(
            next(one for one in FAULTS if one.name == fault.strip()),
            next(one for one in MOMENTS if one.name == moment.strip()),
        )
    except StopIteration:
        raise PermanentError(
            f"{text!r} is no FAULT@MOMENT; faults: {', '.join(one.name for one in FAULTS)}; moments: "
            f"{', '.join(one.name for one in MOMENTS)}"
        ) from None


@contextmanager
def arena(layout: Layout, console: Console) -> Iterator[Campaign]:
    """Start a sandbox whose ledger lies on a small disk and whose Envoy is managed through a door; stop it in the end.

    :raises AirlockError: the sandbox does not start
    """
    small = disk.mount(layout.home / "ledger")
    try:
        with Doorway(layout.port("envoy_admin")) as door:
            settings = {"AIRLOCK_SETTLE_SECONDS": str(SETTLE_SECONDS), "AIRLOCK_ENVOY_ADMIN_PORT": str(door.port),
                        **files.copy(layout)}
            given = stack.start_all(layout, lambda line: console.print(f"  {line}"), settings)
            before = dict(os.environ)
            os.environ.update({key: value for key, value in given.items() if key.startswith(("AIRLOCK_", "AIRFLOW"))})
            try:
                yield Campaign(layout, console, door, layout.home / "ledger" if small else None)
            finally:
                stack.stop_all(layout)
                os.environ.clear()
                os.environ.update(before)
    finally:
        if small:
            shutil.copytree(layout.home / "ledger", layout.home / "chaos" / "ledger", dirs_exist_ok=True)
            disk.unmount(layout.home / "ledger")


class Campaign:
    """Strikes one release after the other."""

    def __init__(self, layout: Layout, console: Console, door: Doorway, small_disk: Path | None) -> None:
        self.layout = layout
        self.console = console
        self.door = door
        self.disk = small_disk
        self.environment = find(files.services(layout), "shop", "staging")
        self.ledger = Ledger(self.environment.ledger, "shop", "staging")
        password = credentials.load(layout.sandbox).people["admin"]
        self.client = AirflowClient(layout.url("airflow"), "admin", password)

    def strike(self, number: int, strike: Strike, chance: random.Random) -> Result:
        """Carry out one release, strike it, wait until the dust has settled, and look.

        :raises TemporaryError: the moment was not reached, or nothing settled in time
        """
        self.client.wait_for_dag(DAG, 120)
        before = delivery_of(self.environment).inspect().stable
        version = FAILING if strike.moment.failing else next(one for one in GOOD if one != before)
        shop.build_again(self.layout.artifacts, version, f"strike {utc_now().isoformat()}")
        run = self.client.trigger(DAG, {"version": version, "change_type": "standard"})
        identity = release_id(self.environment, run.run_id, datetime.fromisoformat(run.run_after))
        self._await(
            lambda: strike.moment.reached(self.ledger.read(identity)), f"{identity}: {strike.moment.name}", 0.05
        )
        struck = time.monotonic()
        scene = Scene(self.layout, self.client, run, strike.moment, self.door, self.disk, chance)
        what = strike.fault.strike(scene)
        self.console.print(f"  {number:3} {identity} {version}, at {strike.moment.name}: {what}")
        time.sleep(strike.fault.lasts)
        strike.fault.mend(scene)
        self._await(lambda: self.ledger.sealed(identity), f"{identity} is sealed", 0.2)
        seconds = time.monotonic() - struck
        self._await(lambda: self._over(run), f"the run of {identity} is over", 0.5)
        records = self.ledger.read(identity)
        return self._result(
            Result(
                number,
                strike.moment.name,
                strike.fault.name,
                what,
                identity,
                version,
                aftermath.outcome_of(records),
                round(seconds, 1),
                aftermath.told(records),
                [],
            ),
            strike,
            before,
            records,
        )

    def _result(self, result: Result, strike: Strike, before: str, records: Sequence[Record]) -> Result:
        expected = aftermath.Expected(result.release, before, result.version)
        problems = aftermath.problems(self.layout, self.environment, expected, records)
        if strike.fault.felt and not result.told and "none ran" not in result.what:
            problems.append("the evidence does not tell of the fault")
        verdict = "all well" if not problems else "; ".join(problems)
        self.console.print(f"      {result.outcome} after {result.settle_s:.0f} s; {verdict}")
        return Result(**{**asdict(result), "problems": problems})

    def _over(self, run: Run) -> bool:
        try:
            return self.client.run(run).state not in ("queued", "running")
        except PermanentError:
            return True  # it was deleted
        except TemporaryError:
            return False

    def _await(self, seen: Callable[[], bool], what: str, every: float) -> None:
        limit = time.monotonic() + LONGEST_SECONDS
        last = ""
        looked = time.monotonic()
        while True:
            if time.monotonic() - looked > KEEPER_SECONDS:
                servers.keep_running(self.layout)
                looked = time.monotonic()
            try:
                if seen():
                    return
            except AirlockError as error:  # the ledger's disk is full, Airflow is away: that is what faults do
                last = f" ({error})"
            if time.monotonic() > limit:
                raise TemporaryError(f"not seen within {LONGEST_SECONDS:.0f} s: {what}{last}")
            time.sleep(every)


def run(layout: Layout, strikes: Sequence[Strike] | None, seed: int, number: int) -> int:
    """Run a campaign and print what became of it. Return 0 only if every release landed as it should.

    :raises AirlockError: the sandbox does not start, or a release did not settle at all
    """
    console = Console()
    results: list[Result] = []
    with arena(layout, console) as campaign:
        chosen = strikes or draw(seed, number, disk_at_hand=campaign.disk is not None)
        if campaign.disk is None:
            console.print("  no small disk can be mounted here (that needs root): the fault 'disk full' is left out")
        console.print(f"  seed {seed}, {len(chosen)} releases; again with: make chaos SEED={seed} N={len(chosen)}")
        chance = random.Random(seed)  # noqa: S311 - a campaign must be reproducible
        try:
            for position, strike in enumerate(chosen, start=1):
                results.append(campaign.strike(position, strike, chance))
        finally:
            report(layout, console, seed, results)
    return 0 if len(results) == len(chosen) and not any(result.problems for result in results) else 1


def report(layout: Layout, console: Console, seed: int, results: Sequence[Result]) -> None:
    """Print the table, and write it to ``<home>/chaos/summary.json``."""
    table = Table(title=f"Chaos, seed {seed}")
    for title in ("#", "fault", "at", "outcome", "settled", "told", "left over, or wrong"):
        table.add_column(title)
    for one in results:
        told = "yes" if one.told else "not felt"
        wrong = "; ".join(one.problems) or "nothing"
        row = (str(one.number), one.what, one.moment, one.outcome, f"{one.settle_s:.0f} s", told, wrong)
        table.add_row(*row)
    console.print(table)
    times = [one.settle_s for one in results] or [0.0]
    survived = sum(not one.problems for one in results)
    summary = {
        "seed": seed,
        "faults": len(results),
        "survived": survived,
        "settle_median_s": statistics.median(times),
        "settle_worst_s": max(times),
        "releases": [asdict(one) for one in results],
    }
    path = layout.home / "chaos" / "summary.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    console.print(
        f"{survived} of {len(results)} faults survived; from fault to settled release: median "
        f"{summary['settle_median_s']:.0f} s, worst {max(times):.0f} s; {path}"
    )
