"""Which questions there are to ask for one service environment: everything that a release of it will need.

Made from what every implementation declares (``models.needs``) and from the service file. Asks nothing by itself, but
for Airflow's connections, on which all else depends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import Any

from airlock import registry
from airlock.backup.configured import store_of
from airlock.backup.run import open_driver
from airlock.change.risk_policy import load_risk_policy
from airlock.connections import connection, named, visible
from airlock.deploy.artifact import CannotList
from airlock.deploy.delivery import delivery_of
from airlock.deploy.resolution import keys_of
from airlock.doctor.asking import Question, ask_all, failing
from airlock.doctor.declared import Asking, of_needs
from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.kept_backups import LastBackup, last_backup
from airlock.doctor.probes import keys, postgresql, stores
from airlock.errors import AirlockError
from airlock.models import Checkpoint, Resource
from airlock.options import validated
from airlock.places.address import Address
from airlock.schedule.asking import open_calendar
from airlock.service.checks import CheckSetting
from airlock.service.model import RequiredSignature, ServiceEnvironment

_LOOK_SECONDS = 60.0
_SETTINGS = (("target", "TARGETS"), ("router", "ROUTERS"), ("artifact", "ARTIFACT_SOURCES"),
             ("metrics", "METRIC_SOURCES"))  # fmt: skip
_DELIVERING = _SETTINGS[:2]
_SLACK = "airlock_slack"
_KNOWN_BY_AIRFLOW = "on a command line, connections in Airflow's own database cannot be seen; ask by the DAG 'doctor'"


def diagnose(environment: ServiceEnvironment) -> Iterator[Finding]:
    """Ask every question for *environment*, and yield what was found, each with whose it is."""
    whose = {"service": environment.service, "environment": environment.environment}
    yield from (one.model_copy(update=whose) for one in ask_all(questions(environment)))


def questions(environment: ServiceEnvironment) -> Iterator[Question]:
    """Yield every question for *environment*; those that need an unknown connection are one finding, and not asked."""
    wanted = list(_all(environment))
    names = [name for _, name in named(environment)] + [name for one in wanted for name in sorted(one.needs)]
    unknown = failing({name: partial(connection, name) for name in dict.fromkeys(names)})
    if unknown and not visible():
        yield _unseen(unknown)
    for name, why in unknown.items() if visible() else ():
        yield _missing(Subject("connections", name), why)
    for one in wanted:
        if not one.needs & unknown.keys():
            yield one.question


def of_wrong_files(faults: Iterable[str]) -> Iterator[Finding]:
    """Yield a finding for each fault of a service file: nothing else is asked for what it would declare."""
    for said in (line for fault in faults for line in fault.splitlines()):
        yield Subject("service files", said.partition(":")[0]).fault(
            said, "no release of what it would declare can begin", "correct the file (airlock services check)")


def _missing(subject: Subject, why: str) -> Question:
    def ask(subject: Subject) -> Iterable[Finding]:
        yield subject.fault(why, "whatever needs it fails, and is not asked here",
                            "add the connection, or see why where it is kept does not answer")  # fmt: skip

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
        setting, subject = getattr(environment, field), Subject(field, getattr(environment, field).name)
        yield from _each(subject, _setting(subject, getattr(registry, table), setting.name, setting.options))
    yield from _each(Subject("target", environment.target.name), _delivery(environment))
    yield from _each(Subject("artifact", environment.artifact.name), _artifacts(environment))
    yield from _rules(environment)
    for signal in environment.calendar.signals:
        subject = Subject("calendar", signal.name)
        yield from _each(subject, _setting(subject, registry.SIGNALS, signal.name, signal.options))
    for checkpoint in Checkpoint:
        for check in getattr(environment.checks, checkpoint):
            subject = Subject("checks", f"{checkpoint} {check.name}")
            yield from _each(subject, _setting(subject, registry.CHECKS, check.name, check.options))
            yield from _each(subject, _basis(subject, check))
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
    last = cache(partial(_last_backup, environment))  # three questions are about it, and it is read once
    for what, place, kept_for_good in kept:
        if place is None:
            continue
        subject = Subject("places", what)
        yield Asking(Question(subject, f"tried to write into {place}",
                              partial(stores.ask, place=place, kept_for_good=kept_for_good)))  # fmt: skip
        if not kept_for_good:
            ask = partial(_disk, last=last, what=what, place=place)
            yield Asking(Question(subject, f"asked for the room in {place}", ask), policy.key_connection)


def _last_backup(environment: ServiceEnvironment) -> LastBackup:
    return last_backup(store_of(environment.backup), environment)


def _disk(subject: Subject, last: Callable[[], LastBackup], what: str, place: str | Address) -> Iterable[Finding]:
    kept = last()
    yield from stores.disk(subject, place, kept.plain_bytes if what == "scratch" else kept.cipher_bytes)
    if kept.damaged and what == "backup store":
        yield subject.found(Gravity.WARNING, f"of the last backup {len(kept.damaged)} point(s) are damaged: "
                            + kept.damaged[0], "nothing can be brought back from them; a release takes new ones",
                            "look who wrote to the store")  # fmt: skip


def _resource(subject: Subject, environment: ServiceEnvironment, resource: Resource) -> Iterator[Asking]:
    driver = registry.resolve(registry.DRIVERS, "driver", resource.driver)
    options = validated(driver.Options, resource.options, subject.where)
    bound = driver.needs.bound(options)
    names = [one.id for one in bound.connections]

    def look(subject: Subject) -> Iterable[Finding]:
        found = open_driver(resource, store_of(environment.backup)).inspect()
        size = "" if found.size_bytes is None else f", {found.size_bytes} bytes"
        if found.present:
            yield subject.fine(f"it is there and can be read{size}")
        else:
            yield subject.fault("it is not there, or empty", "nobody is asked for a release that cannot be backed up",
                                "correct its options, or bring it back")  # fmt: skip

    if environment.production and not driver.capabilities.restore_proof:
        yield Asking(Question(subject, "asked for its proof", partial(_unproved, name=resource.driver)))
    yield Asking(Question(subject, "looked at it", look, _LOOK_SECONDS, Gravity.NOTE), *names,
                 environment.backup.key_connection)  # fmt: skip
    yield from of_needs(subject, bound, options.model_dump(mode="json"))


def _unproved(subject: Subject, name: str) -> Iterable[Finding]:
    yield subject.fault(f"driver {name} cannot prove a restore", "a production environment may not use it",
                        "choose a driver with a restore proof (airlock drivers)")  # fmt: skip


def _delivery(environment: ServiceEnvironment) -> Iterator[Asking]:
    def look(subject: Subject) -> Iterable[Finding]:
        state = delivery_of(environment).inspect()
        stable = next((one for one in state.versions if one.version == state.stable), None)
        if stable is not None and not stable.healthy:
            yield subject.found(Gravity.WARNING, f"the stable version {state.stable} is not healthy",
                                "a canary is compared with it", "look at its log")  # fmt: skip
        else:
            yield subject.fine(f"version {state.stable} is the stable one, and healthy")

    names = [one for field, _ in _DELIVERING for one in _connections(field, environment)]
    yield Asking(Question(Subject("target", environment.target.name), "looked at what has the traffic", look), *names)


def _artifacts(environment: ServiceEnvironment) -> Iterator[Asking]:
    setting = environment.artifact
    source = registry.resolve(registry.ARTIFACT_SOURCES, "artifact source", setting.name)(setting.options)

    def look(subject: Subject) -> Iterable[Finding]:
        try:
            found = source.versions()
        except CannotList as error:
            yield subject.not_asked("which versions there are", str(error))
            return
        if found:
            yield subject.fine(f"{len(found)} version(s) are there, the newest is {found[0]}")
        else:
            asked = ", ".join(f"{key}: {value}" for key, value in setting.options.items() if isinstance(value, str))
            yield subject.found(Gravity.WARNING, f"there is no version ({asked})", "nothing can be released",
                                "publish one, or correct the options")  # fmt: skip

    yield Asking(Question(Subject("artifact", setting.name), "asked for versions", look, _LOOK_SECONDS),
                 *_connections("artifact", environment))  # fmt: skip
    for demand in setting.signatures:
        yield Asking(Question(Subject("artifact", "signatures"), f"asked for the keys {', '.join(demand.keys)}",
                              partial(_signers, demand=demand)))  # fmt: skip


def _signers(subject: Subject, demand: RequiredSignature) -> Iterable[Finding]:
    wanted = demand.predicate_type or "signatures"
    for key in keys_of(demand):
        yield subject.fine(f"{wanted} by the key {key.id[:16]} are trusted")


def _connections(field: str, environment: ServiceEnvironment) -> list[str]:
    setting = getattr(environment, field)
    found = registry.resolve(getattr(registry, dict(_SETTINGS)[field]), field, setting.name)
    return [one.id for one in found.needs.bound(validated(found.Options, setting.options, field)).connections]


def _setting(
    subject: Subject, table: Mapping[str, registry.Entry], name: str, given: Mapping[str, Any]
) -> Iterator[Asking]:
    found = registry.resolve(table, subject.area, name)
    options = validated(found.Options, given, f"{subject.area} {name}")
    yield from of_needs(subject, found.needs.bound(options), options.model_dump(mode="json"))


def _basis(subject: Subject, setting: CheckSetting) -> Iterator[Asking]:
    check = registry.resolve(registry.CHECKS, "check", setting.name)(setting.options)

    def look(subject: Subject) -> Iterable[Finding]:
        check.basis()
        yield subject.fine("what decides beside its options allows it")

    yield Asking(Question(subject, "asked whether it is allowed", look))


def _rules(environment: ServiceEnvironment) -> Iterator[Asking]:
    """Yield the questions for what every assessment of a request reads."""

    def risk(subject: Subject) -> Iterable[Finding]:
        load_risk_policy()
        yield subject.fine("it can be read")

    def file(subject: Subject, number: int) -> Iterable[Finding]:
        one = environment.calendar.model_copy(update={"files": environment.calendar.files[number : number + 1]})
        for fault in open_calendar(one).faults:
            yield subject.fault(fault.unreadable, "the calendar counts as closed without it",
                                "correct the path, or bring the file back")  # fmt: skip
            return
        yield subject.fine("it can be read")

    yield Asking(Question(Subject("policies", "risk"), "read the risk policy", risk))
    for number, one in enumerate(environment.calendar.files):
        yield Asking(Question(Subject("calendar", one.name), "read the calendar file", partial(file, number=number)))


def _tickets(environment: ServiceEnvironment) -> Iterator[Asking]:
    setting = environment.tickets
    if setting is None:
        return
    system = registry.resolve(registry.TICKET_SYSTEMS, "ticket system", setting.name)
    options = validated(system.Options, setting.options, "tickets")
    bound = system.needs.bound(options, connection=setting.connection)
    yield from of_needs(Subject("tickets", setting.name), bound, options.model_dump(mode="json"))


def _notices() -> Iterator[Asking]:
    subject = Subject("notices", "slack")
    if failing({_SLACK: partial(connection, _SLACK)}):
        yield Asking(Question(subject, "asked for Slack", _no_slack))
        return
    channel = str(connection(_SLACK).extra_dejson.get("channel") or "#releases")
    notifier = registry.resolve(registry.NOTIFIERS, "notifier", "slack")
    yield from of_needs(subject, notifier.needs.bound(None, connection=_SLACK, channel=channel), {"channel": channel})


def _no_slack(subject: Subject) -> Iterable[Finding]:
    if visible():
        yield subject.found(Gravity.NOTE, f"there is no connection {_SLACK}",
                            "nobody is told by chat what happens to a release")  # fmt: skip
    else:
        yield subject.not_asked("the chat", _KNOWN_BY_AIRFLOW)
