"""One release that goes through the stages of the flow without Airflow and without servers: a target and metrics in
memory that fulfil their contracts, so that hundreds of releases take seconds. Everything that is recorded is real."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airlock.analysis.judge import judge
from airlock.analysis.metrics import MetricSource
from airlock.deploy.progress import CanaryProgress, Decision, Look, Move, after_look, look_policy
from airlock.deploy.resolution import resolve_artifact
from airlock.errors import AirlockError, NoData, PermanentError
from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import write_pack
from airlock.evidence.seal import seal
from airlock.evidence.stored import record_name, stored_bytes, tags
from airlock.flow.stages import approval, backup, change, close, conflicts, content, deploy, migrate, observe, rollback
from airlock.flow.stages.calendar_gate import ask
from airlock.flow.stages.release import Release
from airlock.models import (
    ArmSample,
    Handle,
    Plan,
    Record,
    Sample,
    Vote,
    utc_now,
)
from airlock.options import Options
from airlock.signing import Signer, generate_pem
from tests import service_data
from tests.memory_delivery import in_memory

KEY = generate_pem()
POLICIES = Path(__file__).resolve().parents[2] / "include/policies"
TARGET = (
    "{name: supervisord, options: {folder: FOLDER, supervisor_connection: s, "
    "slots: {a: {address: 'http://127.0.0.1:1', program: pa}, b: {address: 'http://127.0.0.1:2', program: pb}}}}"
)
ROUTER = (
    "{name: envoy, options: {admin: 'http://127.0.0.1:1', listener: 'http://127.0.0.1:1', fallback_folder: FOLDER, "
    "backends: {a: {runtime_key: k}, b: {runtime_key: l}}}}"
)
COUNTED = (
    "{name: envoy, options: {admin: 'http://127.0.0.1:1', slots: {a: {address: 'http://127.0.0.1:1', cluster: a}, "
    "b: {address: 'http://127.0.0.1:2', cluster: b}}}}"
)
CHECKS = "{wait_seconds: 0, bake: [{name: http, options: {paths: [/health]}}]}"
STEPS = "{bake_seconds: 4, steps: [{percent: 10, observe_seconds: 5}, {percent: 50, observe_seconds: 5}]}"


def delivered(folder: Path) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the changes of the small service file by which it has a target and a router with options."""
    return (("target: {name: supervisord}", f"target: {TARGET}".replace("FOLDER", str(folder))),
            ("router: {name: envoy}", f"router: {ROUTER}".replace("FOLDER", str(folder))))


class _None(Options):
    """No options."""


def _more(before: ArmSample | None, given: ArmSample, version: str) -> ArmSample:
    """The counts of *given* on top of *before*, as a counter has them; latencies are the newest."""
    held = {"requests": given.requests, "errors": given.errors, "version": version}
    if before is not None:
        held |= {"requests": before.requests + given.requests, "errors": before.errors + given.errors}
    return given.model_copy(update=held)


class GivenMetrics(MetricSource):
    """Answers with samples that were given to it, each what is new since the look before; then has no data."""

    Options = _None

    def __init__(self, samples: Sequence[tuple[ArmSample, ArmSample]]) -> None:
        super().__init__({})
        self.samples = iter(samples)
        self.alone: list[bool] = []
        self.arms: tuple[ArmSample | None, ArmSample | None] = (None, None)

    def online(self) -> str:
        return "given samples"

    def begin(self, stable: str, canary: str, *, alone: bool = False) -> dict[str, Any]:
        self.arms = (None, None)
        self.alone.append(alone)
        return {"counters": [1, 2, 3]}

    def sample(self, mark: dict[str, Any], stable: str, canary: str, canary_share: float) -> Sample:
        arms = next(self.samples, None)
        if arms is None:
            raise NoData("nobody asked for a page")
        one, other = _more(self.arms[0], arms[0], stable), _more(self.arms[1], arms[1], canary)
        self.arms = (one, other)
        return Sample(at=utc_now(), canary_share=canary_share, stable=one, canary=other)


@dataclass
class Flight:
    """A release on its way; ``now`` is moved on by each look."""

    release: Release
    answers: Sequence[tuple[str, str, str]]
    request: Callable[[Release, dict[str, str]], object] = lambda release, form: change.validate(release, form, "rita")
    now: datetime = field(default_factory=utc_now)

    def carry_out(self, form: dict[str, str]) -> Path:
        """Take the release through every stage; return its pack."""
        try:
            self._forward(form)
        except AirlockError as error:
            self.release.record("fault", "stage", error=type(error).__name__, message=str(error))
        if self.release.latest("permit"):
            deploy.decide(self.release)
        if why := rollback.needed(self.release):
            rollback.traffic(self.release, why)
            rollback.data(self.release)
            rollback.verify(self.release)
        return close.seal(self.release)

    def until_staged(self, form: dict[str, str]) -> Plan:
        """Take the release up to where its new version runs beside the stable one; return its plan."""
        release = self.release
        self.request(release, form)
        plan = change.assess(release)
        if plan.approvals:
            self._ask()
        change.permit(release)
        conflicts.begin(release, plan, self.now)
        content.look_again(release, self.now)
        release.record("window", **ask(release, self.now).as_record())
        if not plan.traffic_first:
            self.back_up()
            migrate.migrate(release)
        deploy.stage(release)
        return plan

    def _forward(self, form: dict[str, str]) -> None:
        plan, release = self.until_staged(form), self.release
        self._canary()
        deploy.validate(release)
        if deploy.decide(release) == "promote":
            deploy.promote(release)
            if plan.traffic_first:
                try:
                    self.back_up()
                except AirlockError as error:  # a task of its own, beside the bake
                    message = str(error)
                    self.release.record("fault", "backup.settings.prove", error=type(error).__name__, message=message)
            self._bake()

    def back_up(self) -> None:
        for resource in self.release.environment.resources:
            handle: Handle = backup.start(self.release, resource)
            backup.finish(self.release, resource, handle)
            backup.prove(self.release, resource)
        backup.restore_set(self.release)

    def _ask(self) -> None:
        release, plan = self.release, self.release.plan
        approval.opened(release, plan, utc_now())
        for person, choice, reason in self.answers:
            approval.cast(release, plan, Vote(person=person, choice=choice, at=utc_now(), reason=reason))
            if approval.look(release, plan, utc_now()).decided == "approved":
                return

    def _canary(self) -> None:
        self._looked(observe.canary, "canary")

    def _bake(self) -> None:
        self._looked(observe.bake, "bake")
        deploy.retire(self.release)

    def _looked(self, look: Callable[[Release, CanaryProgress, datetime], Decision], what: str) -> None:
        progress = CanaryProgress()
        self.now = utc_now()
        while True:
            decision = look(self.release, progress, self.now)
            progress = decision.progress
            if decision.move is Move.PASS:
                return
            if decision.move is Move.ROLL_BACK:
                raise PermanentError(f"the {what} failed: {decision.why}")
            self.now += timedelta(seconds=3)


def prepared(
    folder: Path,
    policy: str,
    samples: Sequence[tuple[ArmSample, ArmSample]],
    answers: Sequence[tuple[str, str, str]],
    identity: str = "cafe-live-1",
    calendar: str = "",
    steps: str = STEPS,
    checks: str = CHECKS,
) -> Flight:
    """Return a release of the coffee house from 1.0 to 1.1 in *folder*, with this analysis *policy* and these *checks*
    (YAML), and with *calendar* (lines of YAML) beside the window that is always open."""
    for version in ("1.0", "1.1"):
        (folder / f"cafe-{version}.bin").write_text(version)
    (folder / ".env").write_text("MILK=oat\n")
    changes = (
        *delivered(folder),
        ("metrics: {name: envoy}", f"metrics: {COUNTED}"),
        ("{steps: [{percent: 10, observe_seconds: 1}]}", f"{steps}\n    analysis: {policy}\n    checks: {checks}"),
        ('[mon, tue], from: "09:00", to: "17:00"', '[mon, tue, wed, thu, fri, sat, sun], from: "00:00", to: "24:00"'),
        ("      windows:", f"{calendar}      windows:"),
    )
    cafe = service_data.environment(folder, *changes)
    release = Release(cafe, identity, "test")
    release.delivery = in_memory(resolve_artifact(cafe, "1.0", returns=True))
    release.metrics = GivenMetrics(samples)
    return Flight(release, answers)


@contextmanager
def keys() -> Iterator[None]:
    """Airflow connections for signing and for backups."""
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    given = {
        "AIRFLOW_CONN_SIGNING": json.dumps({"conn_type": "generic", "password": KEY}),
        "AIRFLOW_CONN_KEY": json.dumps(
            {
                "conn_type": "generic",
                "password": str(identity),
                "extra": {"recipients": [str(identity.to_public())]},
            }
        ),
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


YES = (("olga", "approve", ""), ("bert", "approve", ""), ("cleo", "approve", "fine"))
FORM = {
    "version": "1.1",
    "change_type": "normal",
    "title": "Oat milk",
    "reason": "Guests ask for it.",
    "impact": "high",
    "rollback_plan": "All traffic goes back to 1.0.",
}
GOOD = (
    ArmSample(version="-", requests=900, errors=1, latency_p95_ms=20),
    ArmSample(version="-", requests=100, errors=0, latency_p95_ms=21),
)
BAD = (GOOD[0], ArmSample(version="-", requests=100, errors=60, latency_p95_ms=21))


def long_release(folder: Path, count: int) -> Path:
    """Write the pack of a release of *count* records, most of them looks at its canary, and ``key.pem`` beside it.

    The looks that are missing to *count* are put before those of a release that went through the flow, each decided on
    by the rules; the flow itself would read all records before each look.
    """
    patient = STEPS.replace("observe_seconds: 5", "observe_seconds: 1000000")
    with keys():
        prepared(folder, "{}", (GOOD, GOOD, BAD), YES, steps=patient).carry_out(FORM)
    records = list(Ledger(folder / "ledger", "cafe", "live").read("cafe-live-1"))
    place = next(number for number, one in enumerate(records) if one.type == "verdict")
    looks = _looks(records, place, count - len(records))
    later = [one.model_copy(update={"at": one.at + timedelta(seconds=1)}) for one in records[place:]]
    signer = Signer.from_pem(KEY)
    ledger = Ledger(folder / "long", "cafe", "live")
    home = Path(str(ledger.release_folder("cafe-live-1")))
    home.mkdir(parents=True)
    names: list[str] = []
    for record in (*records[:place], *looks, *later):
        (home / record_name(record)).write_bytes(stored_bytes(record, tags(names), signer))
        names.append(record_name(record))
    seal(ledger, "cafe-live-1", signer, later[-1].at)
    (folder / "key.pem").write_text(signer.public_pem)
    return Path(write_pack(ledger, "cafe-live-1", folder))


def _looks(records: list[Record], place: int, count: int) -> list[Record]:
    first = records[place]
    plan = Plan.model_validate(next(one for one in records if one.type == "plan").data["plan"])
    policy = look_policy(plan.rollout, plan.analysis)
    sample = Sample.model_validate(first.data["sample"])
    progress = CanaryProgress.model_validate(first.data["progress"])
    stable, canary, found = sample.stable, sample.canary, []
    for number in range(count):
        at = datetime.fromisoformat(first.data["at"]) + timedelta(seconds=3 * number)
        sample = sample.model_copy(update={"at": at, "stable": stable, "canary": canary})
        look = Look(at=at, verdict=judge(policy, sample), sample=sample, lost=first.data["lost"])
        decision = after_look(plan.rollout, plan.analysis, progress, look)
        data = {**first.data, "at": at.isoformat(), "look": progress.looks + 1, "move": decision.move,
                "progress": progress.model_dump(mode="json", exclude={"mark"}), "why": decision.why,
                "sample": sample.model_dump(mode="json"), "verdict": look.verdict.model_dump(mode="json")}
        written = records[place - 1].at + timedelta(microseconds=number + 1)
        found.append(first.model_copy(update={"at": written, "data": data}))
        progress = decision.progress
        stable, canary = _more(stable, GOOD[0], stable.version), _more(canary, GOOD[1], canary.version)
    return found
