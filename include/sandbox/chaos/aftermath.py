"""What must hold when the dust has settled, looked up on the servers themselves and in the evidence pack."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from airlock.deploy.delivery import delivery_of
from airlock.evidence.pack import pack_path, verify
from airlock.models import Outcome, Record
from airlock.service.find import ServiceEnvironment
from sandbox import credentials, postgres, reach, trusted_keys
from sandbox.layout import ENVIRONMENTS, Layout

TELLING = ("fault", "retry", "interrupted")
REQUESTS = 40


@dataclass(frozen=True)
class Expected:
    """The release that ended: which version was stable before, and which it brought."""

    identity: str
    before: str
    version: str


def outcome_of(records: Sequence[Record]) -> str:
    """Return the sealed outcome, or ``none``."""
    return next((str(record.data["outcome"]) for record in records if record.type == "outcome"), "none")


def told(records: Sequence[Record]) -> bool:
    """Return whether the evidence says that something went wrong."""
    return any(record.type in TELLING for record in records)


def problems(
    layout: Layout, environment: ServiceEnvironment, expected: Expected, records: Sequence[Record]
) -> list[str]:
    """Return what is not as it should be; empty when all is well."""
    found = [*_traffic(layout, environment, expected, outcome_of(records)), *_once(records)]
    pack = pack_path(environment.evidence, expected.identity)
    if not pack.exists():
        found.append(f"there is no evidence pack {pack.name}")
    else:
        found += verify(pack, trusted_keys.public_keys(layout)).problems
    return [*found, *leftovers(layout, environment)]


def _traffic(layout: Layout, environment: ServiceEnvironment, expected: Expected, outcome: str) -> Iterator[str]:
    """All traffic on one version, which is the right one and the only one that runs."""
    if outcome not in (Outcome.PROMOTED, Outcome.ROLLED_BACK, Outcome.REFUSED):
        yield f"the release ended as {outcome!r}"
        return
    right = expected.version if outcome == Outcome.PROMOTED else expected.before
    state = delivery_of(environment).inspect()
    running = [version.version for version in state.versions if version.running]
    if state.stable != right or state.weight_of(right) != 100:
        yield f"{outcome}, but {state.stable} is stable and {right} has {state.weight_of(right)} % of the traffic"
    if running != [right]:
        yield f"{outcome}, but these versions run: {', '.join(running) or 'none'}"
    answers = {_version(f"{layout.url('envoy_staging')}/health") for _ in range(REQUESTS)}
    if answers != {right}:
        yield f"{outcome}, but through Envoy answered {', '.join(sorted(map(str, answers)))}"


def _version(url: str) -> str:
    try:
        return str(reach.call("GET", url)["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"nothing ({type(error).__name__})"


def _once(records: Sequence[Record]) -> Iterator[str]:
    """No second backup, no second canary, and a plan for everything that was done."""
    points: dict[str, set[str]] = {}
    for record in records:
        if record.type == "recovery_point":
            points.setdefault(record.subject, set()).add(json.dumps(record.data["point"]["objects"], sort_keys=True))
    yield from (f"{name} was backed up {len(taken)} times" for name, taken in points.items() if len(taken) > 1)
    shares = [int(record.data["percent"]) for record in records if record.type == "act" and record.subject == "shift"]
    if shares != sorted(shares):
        yield f"the canary was shifted backwards: {shares}"
    acts = [record.subject for record in records if record.type == "act"]
    if "roll_back" in acts and not set(acts[acts.index("roll_back") :]) <= {"roll_back", "restore"}:
        yield f"something was done after the way back was begun: {acts}"


def leftovers(layout: Layout, environment: ServiceEnvironment) -> Iterator[str]:
    """What restore tests and versions may leave behind: folders, databases, mounts, processes."""
    scratch = Path(environment.backup.scratch)
    folders = (path for path in scratch.glob("*") if path.is_dir() and any(path.iterdir()))
    yield from (f"scratch folder {path.name}" for path in folders)
    yield from (f"scratch database {name}" for name in _databases(layout) if name.startswith("airlock_"))
    running = [path for process in psutil.process_iter(["cmdline"]) if (path := _artifact(process, layout))]
    if len(running) != len(ENVIRONMENTS):
        yield f"{len(running)} versions of the shop run, not {len(ENVIRONMENTS)}: {', '.join(sorted(running))}"


def _artifact(process: psutil.Process, layout: Layout) -> str:
    words = process.info["cmdline"] or []
    return next((word for word in words if word.startswith(str(layout.home)) and word.endswith(".pyz")), "")


def _databases(layout: Layout) -> list[str]:
    import psycopg

    password = credentials.load(layout.sandbox).postgres
    with psycopg.connect(
        host="127.0.0.1", port=layout.port("postgres"), user=postgres.ADMIN, password=password, dbname="postgres"
    ) as connection:
        return [str(row[0]) for row in connection.execute("SELECT datname FROM pg_database")]
