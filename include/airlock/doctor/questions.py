"""Which questions there are to ask for one service environment: everything that a release of it will need.

Made from what every implementation declares (``models.needs``) and from the service file. Asks nothing by itself, but
for Airflow's connections, on which all else depends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from airlock import registry
from airlock.backup.run import open_driver
from airlock.backup.store import BackupStore
from airlock.connections import connection, named, visible
from airlock.deploy.delivery import delivery_of
from airlock.doctor.asking import Question
from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.probes import addresses, aws, files, keys, kubernetes, postgresql, programs, slack, stores, vault
from airlock.doctor.probes import supervisord as supervisor
from airlock.doctor.probes import tickets as ticket_systems
from airlock.errors import AirlockError, UnknownConnection
from airlock.models import Checkpoint, Resource
from airlock.models.needs import Needs, Permission, System
from airlock.options import validated
from airlock.service.model import ServiceEnvironment

_LOOK_SECONDS, _REVIEW_SECONDS = 60.0, 90.0
_SETTINGS = (("target", "TARGETS"), ("router", "ROUTERS"), ("artifact", "ARTIFACT_SOURCES"),
             ("metrics", "METRIC_SOURCES"))  # fmt: skip
_SLACK = "airlock_slack"
_KNOWN_BY_AIRFLOW = "on a command line, connections in Airflow's own database cannot be seen; ask by the DAG 'doctor'"


def questions(environment: ServiceEnvironment) -> Iterator[Question]:
    """Yield every question for *environment*; those that need an unknown connection are one finding, and not asked."""
    wanted = list(_all(environment))
    names = [name for _, name in named(environment)] + [name for one in wanted for name in sorted(one.needs)]
    unknown = _unknown(dict.fromkeys(names))
    if unknown and not visible():
        yield _unseen(unknown)
    for name, why in unknown.items() if visible() else ():
        yield _missing(Subject("connections", name), why)
    for one in wanted:
        if not one.needs & unknown.keys():
            yield one.question


class Asking:
    """A question, with the connections that it *needs*."""

    def __init__(self, question: Question, *needs: str) -> None:
        """Bind them; an empty name is none."""
        self.question = question
        self.needs = frozenset(filter(None, needs))


def _unknown(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            connection(name)
        except UnknownConnection as error:
            found[name] = str(error)
    return found


def _missing(subject: Subject, why: str) -> Question:
    def ask(subject: Subject) -> Iterable[Finding]:
        yield subject.fault(why, "whatever needs it fails, and is not asked here", "add the connection")

    return Question(subject, "asked whether it is known", ask)


def _unseen(names: Iterable[str]) -> Question:
    def ask(subject: Subject) -> Iterable[Finding]:
        yield subject.not_asked("these connections, and all that needs one of them", _KNOWN_BY_AIRFLOW)

    return Question(Subject("connections", ", ".join(names)), "asked whether they are known", ask)


def _all(environment: ServiceEnvironment) -> Iterator[Asking]:
    yield from _keys(environment)
    yield from _places(environment)
    for resource in environment.resources:
        subject = Subject("resources", f"{resource.kind}.{resource.name}")
        yield from _each(subject, _resource(subject, environment, resource))
    for field, table in _SETTINGS:
        setting = getattr(environment, field, None)
        if setting is not None and hasattr(registry, table):
            subject = Subject(field, setting.name)
            yield from _each(subject, _setting(subject, getattr(registry, table), setting.name, setting.options))
    yield from _each(Subject("target", environment.target.name), _target(environment))
    for signal in environment.calendar.signals:
        subject = Subject("calendar", signal.name)
        yield from _each(subject, _setting(subject, registry.SIGNALS, signal.name, signal.options))
    for checkpoint in Checkpoint:
        for check in getattr(environment.checks, checkpoint):
            subject = Subject("checks", f"{checkpoint} {check.name}")
            yield from _each(subject, _setting(subject, registry.CHECKS, check.name, check.options))
    if environment.migrations is not None:
        name = environment.migrations.connection
        yield Asking(Question(Subject("migrations", name), "asked for the database",
                              partial(postgresql.connects, connection=name)), name)  # fmt: skip
    yield from _each(Subject("tickets", "setting"), _tickets(environment))
    yield from _notices()


def _each(subject: Subject, made: Iterator[Asking]) -> Iterator[Asking]:
    """Yield what is *made*; where a setting is wrong that is one finding, and hides no other."""
    try:
        yield from made
    except AirlockError as error:
        yield Asking(Question(subject, "read its settings", partial(_wrong, said=str(error))))


def _wrong(subject: Subject, said: str) -> Iterable[Finding]:
    yield subject.fault(said, "no release of it can begin", "correct the service file (airlock services check)")


def _keys(environment: ServiceEnvironment) -> Iterator[Asking]:
    for what, name, ask in (("signing key", environment.signing_connection, keys.signing),
                            ("backup key", environment.backup.key_connection, keys.backup)):  # fmt: skip
        yield Asking(Question(Subject("keys", what), f"asked for the {what}", partial(ask, connection=name)), name)


def _places(environment: ServiceEnvironment) -> Iterator[Asking]:
    policy = environment.backup
    kept = [("ledger", environment.ledger, True), ("evidence", environment.evidence, True),
            ("anchor", environment.anchor, True), ("backup store", policy.store, False),
            ("replica", policy.replica, False), ("scratch", policy.scratch, False)]  # fmt: skip
    for what, place, kept_for_good in kept:
        if place is None:
            continue
        subject = Subject("places", what)
        yield Asking(Question(subject, f"tried to write into {place}",
                              partial(stores.ask, place=place, kept_for_good=kept_for_good)))  # fmt: skip
        if not kept_for_good:
            plain = what == "scratch"
            ask = partial(_disk, environment=environment, place=place, plain=plain)
            yield Asking(Question(subject, f"asked for the room in {place}", ask), policy.key_connection)


def _disk(subject: Subject, environment: ServiceEnvironment, place: str, *, plain: bool) -> Iterable[Finding]:
    return stores.disk(subject, place, last_backup(store_of(environment), environment, plain=plain))


def store_of(environment: ServiceEnvironment) -> BackupStore:
    """Return the backup store of *environment*, with its keys."""
    from upath import UPath

    policy = environment.backup
    given = connection(policy.key_connection)
    return BackupStore(UPath(policy.store), tuple(given.extra_dejson.get("recipients", ())),
                       (given.password,) if given.password else (),
                       UPath(policy.replica) if policy.replica else None)  # fmt: skip


def last_backup(store: BackupStore, environment: ServiceEnvironment, *, plain: bool) -> int | None:
    """Return how many bytes the recovery points of the last release that took any have, *plain* or as they are
    stored; ``None`` where there are none yet."""
    begin = f"{environment.service}-{environment.environment}-"
    points = [one for one in store.list_points() if one.startswith(begin)]
    last = max((one.partition(".")[0] for one in points), default="")
    sizes = [one.plain_bytes if plain else one.cipher_bytes
             for point in points if point.partition(".")[0] == last
             for one in getattr(store.load_point(point), "objects", ())]  # fmt: skip
    return sum(sizes) if sizes else None


def _resource(subject: Subject, environment: ServiceEnvironment, resource: Resource) -> Iterator[Asking]:
    driver = registry.resolve(registry.DRIVERS, "driver", resource.driver)
    options = validated(driver.Options, resource.options, subject.where)
    bound = driver.needs.bound(options)
    names = [one.id for one in bound.connections]

    def look(subject: Subject) -> Iterable[Finding]:
        found = open_driver(resource, store_of(environment)).inspect()
        size = "" if found.size_bytes is None else f", {found.size_bytes} bytes"
        if found.present:
            yield subject.fine(f"it is there and can be read{size}")
        else:
            yield subject.fault("it is not there, or empty", "nobody is asked for a release that cannot be backed up",
                                "correct its options, or bring it back")  # fmt: skip

    yield Asking(Question(subject, "looked at it", look, _LOOK_SECONDS, Gravity.NOTE), *names,
                 environment.backup.key_connection)  # fmt: skip
    yield from of_needs(subject, bound, options.model_dump(mode="json"))


def _target(environment: ServiceEnvironment) -> Iterator[Asking]:
    names = []
    for what, table, setting in (("target", registry.TARGETS, environment.target),
                                 ("router", registry.ROUTERS, environment.router)):  # fmt: skip
        found = registry.resolve(table, what, setting.name)
        names += [one.id for one in found.needs.bound(validated(found.Options, setting.options, what)).connections]

    def look(subject: Subject) -> Iterable[Finding]:
        state = delivery_of(environment).inspect()
        stable = next((one for one in state.versions if one.version == state.stable), None)
        if stable is not None and not stable.healthy:
            yield subject.found(Gravity.WARNING, f"the stable version {state.stable} is not healthy",
                                "a canary is compared with it", "look at its log")  # fmt: skip
        else:
            yield subject.fine(f"version {state.stable} has the traffic and is healthy")

    yield Asking(Question(Subject("target", environment.target.name), "looked at it", look), *names)


def _setting(
    subject: Subject, table: Mapping[str, registry.Entry], name: str, given: Mapping[str, Any]
) -> Iterator[Asking]:
    found = registry.resolve(table, subject.area, name)
    options = validated(found.Options, given, f"{subject.area} {name}")
    yield from of_needs(subject, found.needs.bound(options), options.model_dump(mode="json"))


def _tickets(environment: ServiceEnvironment) -> Iterator[Asking]:
    setting = environment.tickets
    if setting is None:
        return
    system = registry.resolve(registry.TICKET_SYSTEMS, "ticket system", setting.system)
    options = validated(system.Options, setting.options, "tickets")
    bound = system.needs.bound(options, connection=setting.connection)
    yield from of_needs(Subject("tickets", setting.system), bound, options.model_dump(mode="json"))


def _notices() -> Iterator[Asking]:
    subject = Subject("notices", "slack")
    try:
        channel = str(connection(_SLACK).extra_dejson.get("channel") or "#releases")
    except UnknownConnection:
        yield Asking(Question(subject, "asked for Slack", _no_slack))
        return
    notifier = registry.resolve(registry.NOTIFIERS, "notifier", "slack")
    yield from of_needs(subject, notifier.needs.bound(None, connection=_SLACK, channel=channel), {"channel": channel})


def _no_slack(subject: Subject) -> Iterable[Finding]:
    if visible():
        yield subject.found(Gravity.NOTE, f"there is no connection {_SLACK}",
                            "nobody is told by chat what happens to a release")  # fmt: skip
    else:
        yield subject.not_asked("the chat", _KNOWN_BY_AIRFLOW)


def of_needs(subject: Subject, bound: Needs, options: Mapping[str, Any]) -> Iterator[Asking]:
    """Yield the questions for everything in *bound*, the permissions of one system and connection together."""
    for program in bound.programs:
        yield Asking(Question(subject, f"asked for the program {program.name}",
                              partial(programs.ask, program=program)))  # fmt: skip
    for address in bound.addresses:
        yield Asking(Question(subject, f"asked {addresses.shown(address.url)}",
                              partial(addresses.ask, address=address)))  # fmt: skip
    groups: dict[tuple[System, str], list[Permission]] = {}
    for permission in bound.permissions:
        groups.setdefault((permission.system, permission.connection), []).append(permission)
    for (system, name), permissions in groups.items():
        yield from _of_system(subject, system, name, permissions, bound, options)


def _of_system(
    subject: Subject, system: System, name: str, permissions: list[Permission], bound: Needs,
    options: Mapping[str, Any],
) -> Iterator[Asking]:  # fmt: skip
    if system is System.FILES:
        for path in dict.fromkeys(permission.on for permission in permissions):
            here = [permission for permission in permissions if permission.on == path]
            yield Asking(Question(subject, f"asked for the rights on {path}", partial(files.ask, permissions=here)))
        return
    of_vault_and_others: dict[System, Callable[[Subject], Iterable[Finding]]] = {
        System.AWS: partial(aws.ask, connection=name, permissions=permissions),
        System.VAULT: partial(vault.ask, connection=name, permissions=permissions),
        System.KUBERNETES: partial(kubernetes.ask, connection=name, namespace=str(options.get("namespace", "")),
                                   permissions=permissions),
        System.POSTGRESQL: partial(postgresql.ask, connection=name, database=str(options.get("database", "")),
                                   permissions=permissions, programs=bound.programs),
        System.SUPERVISORD: partial(supervisor.ask, connection=name, permissions=permissions),
        System.SLACK: partial(slack.ask, connection=name, channel=str(options.get("channel", "")),
                              permissions=permissions),
        System.JIRA: partial(ticket_systems.ask, connection=name, permissions=permissions, options=options),
        System.SERVICENOW: partial(ticket_systems.ask, connection=name, permissions=permissions, options=options),
    }  # fmt: skip
    ask = of_vault_and_others.get(system, partial(_nobody_asks, system=system))
    seconds = _REVIEW_SECONDS if system in (System.KUBERNETES, System.AWS) else 20.0
    late = Gravity.WARNING if system is System.SLACK else Gravity.FAULT
    yield Asking(Question(subject, f"asked {system} for rights", ask, seconds, late), name)


def _nobody_asks(subject: Subject, system: System) -> Iterable[Finding]:
    yield subject.not_asked(f"the rights at {system}", "there is no way to ask for them that changes nothing")
