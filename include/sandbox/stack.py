"""Starts and stops the whole sandbox in the right order, as much as possible at once. Knows no server's inside."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from airlock.errors import AirlockError, InvalidInput, TemporaryError
from sandbox import (
    airflow,
    broker,
    credentials,
    environment,
    environment_file,
    envoy,
    kubernetes_api,
    moto,
    openbao,
    postgres,
    preflight,
    processes,
    seed,
    shop_database,
    supervisor,
    traffic,
    trusted_keys,
)
from sandbox.layout import ENVIRONMENTS, Layout
from sandbox.steps import Progress, Step, carry_out

AIRFLOW = tuple(f"airflow-{component}" for component in airflow.COMPONENTS)
CELERY = ("broker", *(f"airflow-{component}" for component in airflow.CELERY))
"""What there is besides with the CeleryExecutor."""
# Ended in this order; each row at the same time. What uses others goes first, the database last.
STOP_ORDER = (
    ("traffic", "airflow-scheduler", "airflow-triggerer", "airflow-dag-processor", "airflow-migrate", *CELERY[1:]),
    # The API server after the scheduler: a task that is just ending tells it.
    ("airflow-api-server", "supervisor", "envoy", "kubernetes", "moto", "openbao", "broker"),
    ("postgres",),
)
SERVERS = tuple(name for row in STOP_ORDER for name in row if name not in ("airflow-migrate", *CELERY))
HEALTHY_SECONDS = 120.0


@dataclass
class _Found:
    """What servers chose when they were seeded, filled while the steps run; and the caller's settings."""

    database: postgres.Postgres | None = None
    vault_token: str = ""
    zone_id: str = ""
    load_balancers: dict[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    workers: bool = False


def start_all(
    layout: Layout,
    progress: Progress = lambda _: None,
    settings: Mapping[str, str] = MappingProxyType({}),
    rates: Mapping[str, float] = traffic.RATES,
    *,
    workers: bool = False,
) -> dict[str, str]:
    """Start everything; return the environment by which Airflow and the command line find it.

    *settings* are environment variables for Airflow beside, or instead of, the usual ones; *rates* are the requests per
    second that customers send, as in ``traffic.RATES``; *workers*: whether tasks are run by two workers of the
    CeleryExecutor, with two schedulers and triggerers. An earlier run that is dead or half dead is cleaned up first.
    If any step fails, all that was started is stopped.

    :raises InvalidInput: it runs already, a port is in use, or another command works on the same sandbox
    :raises PermanentError: the machine cannot carry it
    :raises TemporaryError: a server did not start
    """
    preflight.check_folder(layout)
    with _alone(layout):
        if running(layout):
            raise InvalidInput(f"the sandbox runs already: {layout.url('airflow')}")
        if processes.names(layout.run):
            progress("an earlier run did not end in order: cleaning up what it left")
            _stop(layout, progress)
        preflight.check_ports(layout)
        held = credentials.load(layout.sandbox)
        found = _Found(settings=settings, rates=rates, workers=workers)
        try:
            carry_out(_steps(layout, held, found), progress)
        except BaseException:
            progress("stopping what was started")
            _stop(layout, lambda _: None)
            raise
        given = _environment(layout, held, found)
        environment_file.keep(layout, given)
        trusted_keys.write(layout)
        return given


def stop_all(layout: Layout, progress: Progress = lambda _: None) -> bool:
    """Stop whatever of the sandbox runs. True if anything had been started.

    :raises InvalidInput: another command works on the same sandbox
    :raises TemporaryError: a process does not end
    """
    if not layout.run.exists():
        return False
    with _alone(layout):
        known = bool(processes.names(layout.run))
        _stop(layout, progress)
        return known


def status(layout: Layout) -> dict[str, str]:
    """Every server with ``running``, ``dead`` (it ended by itself), ``left over`` or ``stopped``; those of the
    CeleryExecutor only where they were started."""
    begun = processes.names(layout.run)
    return {name: _status(layout, name) for name in (*SERVERS, *(one for one in CELERY if one in begun))}


def running(layout: Layout) -> bool:
    """Whether every server of the sandbox runs."""
    return all(value == "running" for value in status(layout).values())


def has_workers(layout: Layout) -> bool:
    """Whether the sandbox was started with the workers of the CeleryExecutor."""
    return set(CELERY) <= set(processes.names(layout.run))


def _status(layout: Layout, name: str) -> str:
    server = processes.find(layout.run, name)
    if server is None:
        return "stopped"
    if server.alive():
        return "running"
    return "left over" if processes.remains(layout.run, name) else "dead"


def _steps(layout: Layout, held: credentials.Credentials, found: _Found) -> list[Step]:
    def start_postgres() -> None:
        names = ("airflow", *shop_database.DATABASES.values())
        found.database = postgres.start(layout.data, layout.port("postgres"), held.postgres, layout.run, names)
        shop_database.ensure_role(found.database, "airflow", held.airflow_database)
        shop_database.ensure_role(found.database, shop_database.ROLE, held.shop_app)
        shop_database.ensure_role(found.database, shop_database.OWNER, held.shop_owner)
        shop_database.give(found.database, "airflow", "airflow")

    def fill_databases() -> None:
        if found.database is not None:
            for name in ENVIRONMENTS:
                shop_database.seed(found.database, name)

    def start_openbao() -> None:
        folder = layout.data / "openbao"
        found.vault_token = openbao.start(folder, layout.port("vault"), held.vault, layout.run).backup_token

    def start_moto() -> None:
        server = moto.start(layout.data / "moto", layout.port("moto"), layout.run)
        found.zone_id, found.load_balancers = server.zone_id, dict(server.load_balancers)

    def start_kubernetes() -> None:
        folder, port = layout.data / "kubernetes", layout.port("kubernetes")
        kubernetes_api.start(folder, port, held.kubernetes, layout.run, layout.kubeconfig)

    def migrate() -> None:
        airflow.write_passwords(layout, held)
        airflow.migrate(layout, _environment(layout, held, found))

    def void(_: object) -> None:
        return None

    return [
        Step("postgres", (), start_postgres),
        Step("moto", (), start_moto),
        Step("openbao", (), start_openbao),
        Step("kubernetes", (), start_kubernetes),
        Step("files", (), lambda: seed.files(layout, held)),
        Step("migrate", ("postgres",), migrate),
        Step("shop databases", ("postgres",), fill_databases),
        Step("envoy", ("files",), lambda: void(envoy.start(layout))),
        Step(
            "supervisor",
            ("files", "shop databases"),
            lambda: void(supervisor.start(layout, "airlock", held.supervisor)),
        ),
        *_airflow_steps(layout, held, found),
        # Last: its requests would take the time that the others need to start.
        Step("traffic", ("airflow", "envoy", "supervisor"), lambda: void(traffic.start(layout, found.rates))),
    ]


def _airflow_steps(layout: Layout, held: credentials.Credentials, found: _Found) -> list[Step]:
    """Return the steps that start Airflow, and, for the CeleryExecutor, its broker."""

    def component(name: str) -> Callable[[], None]:
        def start() -> None:
            airflow.start(layout, _environment(layout, held, found), name)

        return start

    def start_broker() -> None:
        broker.start(layout.data / "broker", layout.port("broker"), held.broker, layout.run)

    needs = ("migrate", "openbao", "moto", "kubernetes", "files", *(("broker",) if found.workers else ()))
    components = (*airflow.COMPONENTS, *(airflow.CELERY if found.workers else ()))
    return [
        *((Step("broker", (), start_broker),) if found.workers else ()),
        *(Step(f"airflow-{name}", needs, component(name)) for name in components),
        Step("airflow", tuple(f"airflow-{name}" for name in components), lambda: _healthy(layout)),
    ]


def _healthy(layout: Layout) -> None:
    wanted = {"metadatabase", "scheduler", "dag_processor", "triggerer"}
    limit = time.monotonic() + HEALTHY_SECONDS
    while True:
        seen = airflow.healthy(layout)
        missing = sorted(name for name in wanted if seen.get(name) != "healthy")
        if not missing:
            return
        for name in AIRFLOW:
            server = processes.find(layout.run, name)
            if server is None or not server.alive():
                log = layout.log / f"{name}.log"
                raise TemporaryError(f"{name} ended by itself; read {log}. Its last lines:\n{processes.tail(log)}")
        if time.monotonic() > limit:
            raise TemporaryError(
                f"Airflow reports no health of {', '.join(missing)} after {HEALTHY_SECONDS:.0f} s: read the logs in "
                f"{layout.log}, then start again"
            )
        time.sleep(0.3)


def _stop(layout: Layout, progress: Progress) -> None:
    faults: list[AirlockError] = []
    known = set(processes.names(layout.run))
    rows = (*STOP_ORDER[:-1], tuple(known - {name for row in STOP_ORDER for name in row}), STOP_ORDER[-1])
    for row in rows:
        threads = []
        for name in row:
            server = processes.find(layout.run, name) if name in known else None
            if server is not None:
                threads.append(threading.Thread(target=_stop_one, args=(server, progress, faults)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if faults:
        raise faults[0]


def _stop_one(server: processes.Server, progress: Progress, faults: list[AirlockError]) -> None:
    try:
        server.stop()
        progress(f"{server.name}: stopped")
    except AirlockError as error:
        faults.append(error)


def _environment(layout: Layout, held: credentials.Credentials, found: _Found) -> dict[str, str]:
    seeded = environment.Seeded(found.vault_token, found.zone_id, found.load_balancers)
    queued = environment.celery(layout, held) if found.workers else {}
    return {**environment.whole(layout, held, seeded), **queued, **found.settings}


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    with (layout.sandbox / "lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInput(
                f"another command is starting or stopping the sandbox in {layout.home}: wait until it is done"
            ) from None
        yield
