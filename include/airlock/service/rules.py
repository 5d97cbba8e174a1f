"""Rules between the values of a service file. Pure; must not import a driver, read a file or know YAML.

Each rule yields ``(place, text)``: where in the file, and what is wrong with what to do about it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from zoneinfo import ZoneInfo

from airlock import registry
from airlock.models import Kind
from airlock.places.address import Address
from airlock.same_person import log_ins_of, look_alike, may_be_same, people_of, spelled
from airlock.service.approvals import ApprovalPolicy, People, Waiting
from airlock.service.calendar_rules import calendar_faults, freeze_bounds
from airlock.service.model import EnvironmentSettings, ServiceSettings, kind_of_driver
from airlock.service.values import LEVELS
from airlock.spelling import did_you_mean

Place = tuple[str | int, ...]
Fault = tuple[Place, str]
MIGRATED_DRIVERS = ("postgres",)
_LONGEST_NAMES = 90


def faults_of(
    service: ServiceSettings, name: str, settings: EnvironmentSettings, afters: Mapping[str, str | None]
) -> Iterator[Fault]:
    """Yield every fault of environment *name*; places begin below ``environments.<name>``.

    :param afters: every environment of the file -> the one it comes after
    """
    if len(service.service) + len(name) > _LONGEST_NAMES:
        yield (), (f"service and environment have {len(service.service) + len(name)} characters together, at most "
                   f"{_LONGEST_NAMES} are allowed, because every release is named after both; shorten one")
    yield from _approvals(service, settings)
    yield from _standard_changes(name, settings, afters)
    yield from _resources(settings)
    yield from _restored(settings)
    yield from _migrated(settings)
    yield from _kinds(settings)
    yield from _order(name, settings, afters)
    yield from _rollout(settings)
    for place, text in calendar_faults(settings.calendar):
        yield ("calendar", *place), text
    for group, text in seats_faults(settings.calendar.override_by, service):
        yield ("calendar", "override_by", group), text
    yield from _tickets(service, settings)
    if _same_place(settings.backup.store, settings.backup.replica):
        yield ("backup", "replica"), "is the same place as the store; name a second place, or leave it out"


def _same_place(one: str | Address, other: str | Address | None) -> bool:
    """Return whether both are the same; two connections may lead to two servers that have buckets of one name."""
    if isinstance(one, Address) and isinstance(other, Address) and one.connection != other.connection:
        return False
    return str(one).rstrip("/") == str(other).rstrip("/")


def _approvals(service: ServiceSettings, settings: EnvironmentSettings) -> Iterator[Fault]:
    given = settings.approvals
    for group, text in seats_faults(settings.rollback.seats if settings.rollback else None, service):
        yield ("rollback", "seats", group), text
    named = [level for level in LEVELS if getattr(given, level) is not None]
    if given.policy is not None:
        also = sorted(given.model_fields_set - {"policy"})
        if also:
            yield ("approvals", also[0]), "is said in the policy file; remove it here, or leave out 'policy'"
        return
    for level in LEVELS:
        if level not in named:
            yield ("approvals", level), "is missing; add its seats, or name a policy file with 'policy'"
    for name in (*LEVELS, "emergency"):
        for group, text in seats_faults(getattr(given, name), service):
            yield ("approvals", name, group), text
    if given.escalation is not None:
        for group, text in seats_faults(given.escalation.seats, service):
            yield ("approvals", "escalation", "seats", group), text
    for text in _waiting(given):
        yield ("approvals", "reminder_hours"), text


def seats_faults(seats: Mapping[str, int] | None, service: ServiceSettings) -> Iterator[tuple[str, str]]:
    """Yield each group of *seats* that *service* does not declare, or that is too small."""
    for group, quorum in (seats or {}).items():
        members = service.groups.get(group)
        if members is None:
            hint = did_you_mean(group, service.groups)
            yield group, f"unknown group {group!r}; {hint}declared are {', '.join(service.groups)}"
        elif quorum > (there := len(set(people_of(members).values()))):
            yield group, f"wants {quorum} of {there} member(s); lower the number or add people to the group"


def _waiting(given: Waiting) -> Iterator[str]:
    if any(hours >= given.timeout_hours for hours in given.reminder_hours):
        yield (f"a reminder comes before the end, so less than timeout_hours ({given.timeout_hours:g}) before it; "
               "write smaller numbers")


def policy_faults(policy: ApprovalPolicy) -> Iterator[Fault]:
    """Yield every fault of a policy in itself; places begin at the top of its file."""
    names = Counter(rule.name for rule in policy.rules)
    for index, rule in enumerate(policy.rules):
        place: Place = ("rules", index)
        last = index == len(policy.rules) - 1
        if names[rule.name] > 1:
            yield (*place, "name"), f"{rule.name!r} is used {names[rule.name]} times; rename one"
        if last and not rule.when.anything:
            yield (*place, "when"), "the last rule must fit every change; add one without 'when' below it"
        if not last and rule.when.anything:
            yield place, "fits every change, so the rules below it never count; move it to the end"
        if rule.evidence == (rule.seats is not None):
            yield place, ("asks nobody and has seats; remove 'evidence' or 'seats'" if rule.evidence else
                          "has no seats; add 'seats', or 'evidence: true' where nobody is asked")
        if rule.evidence and rule.escalation is not None:
            yield (*place, "escalation"), "asks nobody, so nothing can be escalated; remove it"
        if rule.evidence and (not rule.when.levels or set(rule.when.levels) - {"low"}):
            yield (*place, "evidence"), "may be said only of low risk; write when: {levels: [low]}"
        for text in _waiting(rule):
            yield (*place, "reminder_hours"), text


def policy_fits(policy: ApprovalPolicy, service: ServiceSettings) -> Iterator[str]:
    """Yield what *policy*, which is right in itself, asks of *service* that it cannot give."""
    for rule in policy.rules:
        for seats in (rule.seats, rule.escalation.seats if rule.escalation else None):
            for _, text in seats_faults(seats, service):
                yield f"rule {rule.name!r} of {policy.name!r}: {text}"


def people_faults(people: People) -> Iterator[Fault]:
    """Yield every fault of a people file: times, and delegates who would need a delegate themselves."""
    zone = ZoneInfo(people.timezone)
    spans = [(absence, *freeze_bounds(absence, zone)) for absence in people.absences]
    for index, (absence, start, end) in enumerate(spans):
        place: Place = ("absences", index)
        if end <= start:
            yield place, "ends before it begins; swap from and to"
        if absence.delegate is not None and may_be_same(absence.delegate, absence.person):
            yield (*place, "delegate"), (f"{absence.delegate!r} may be {absence.person!r} and would stand in for "
                                         "themselves; name another person")
        for number, (other, begin, stop) in enumerate(spans):
            if number == index or stop <= start or begin >= end:
                continue
            if may_be_same(other.person, absence.person) and number < index:
                yield place, f"{absence.person!r} is declared absent twice at the same time; remove or shorten one"
            if absence.delegate is not None and may_be_same(other.person, absence.delegate):
                yield (*place, "delegate"), (f"{absence.delegate!r} is away in that time too, and a delegate has no "
                                             "delegate; name a person who is there")


def known_people(people: People, service: ServiceSettings) -> Iterator[Fault]:
    """Yield each name of a people file that approvers could take for another one's, and each author of two names."""
    known = {person: f"{person!r}, who is in a group" for group in service.groups.values() for person in group}
    for index, absence in enumerate(people.absences):
        for name, person in (("person", absence.person), ("delegate", absence.delegate)):
            if person is None:
                continue
            twin = next((one for one in sorted(known) if one != person and look_alike(person, one)), None)
            if twin is not None:
                yield ("absences", index, name), f"{person!r} looks like {known[twin]}; write one name"
            known.setdefault(person, f"{person!r}, who is named in this file")
    for person, where in sorted(known.items()):
        if others := log_ins_of(person, people.authors):
            yield ("authors",), (f"gives {where}, the log-in name {others[0]!r}: a person has one name to vote with; "
                                 "write that one in its place")
    log_ins: dict[str, str] = {}
    for author, log_in in people.authors.items():
        if not spelled(author):
            yield ("authors", author), f"{author[:40]!a} is no name; write one as git does, or an address"
        elif log_ins.setdefault(spelled(author), log_in) != log_in:
            yield ("authors", author), (f"is {log_ins[spelled(author)]!r} in another line and {log_in!r} here; keep "
                                        "the right one")


def _tickets(service: ServiceSettings, settings: EnvironmentSettings) -> Iterator[Fault]:
    tickets = settings.tickets
    members = sorted({person for group in service.groups.values() for person in group})
    for account, person in (tickets.people if tickets else {}).items():
        twin = next((one for one in members if look_alike(person, one)), None)
        if twin is not None and person not in members:
            yield ("tickets", "people", account), f"{person!r} looks like {twin!r}, who is in a group; write one name"
    if tickets is not None and tickets.decides_approval and not tickets.people:
        yield ("tickets", "people"), ("is empty although approval is decided in tickets; say which account there is "
                                      "which log-in name here, because nobody else's approval counts")


def _standard_changes(
    environment: str, settings: EnvironmentSettings, afters: Mapping[str, str | None]
) -> Iterator[Fault]:
    for name, template in settings.standard_changes.items():
        place: Place = ("standard_changes", name, "may_vary")
        source = template.promoted_in
        if source is not None and (source not in afters or source == environment):
            yield ("standard_changes", name, "promoted_in"), (
                f"{source!r} is no other environment of this service; declared are {', '.join(sorted(afters))}")
        if "version" not in template.may_vary:
            yield place, "has no version, so the template could never be used; add version: {}"
        for field, variation in template.may_vary.items():
            if variation.step is not None and field != "version":
                yield (*place, field, "step"), "belongs to the version only; remove it"
            if variation.like and field == "start_after":
                yield (*place, field, "like"), "does not fit a moment; remove it"
    wanted = settings.cycle.template
    if wanted is not None and wanted not in settings.standard_changes:
        yield (("cycle", "template"), f"unknown template {wanted!r}; declared under standard_changes are "
               f"{', '.join(settings.standard_changes) or 'none'}")
    elif settings.cycle.automatic and wanted is None and len(settings.standard_changes) > 1:
        yield ("cycle",), "several templates are declared, so the cycle must name one; add template"


def look_alikes(service: ServiceSettings) -> Iterator[Fault]:
    """Yield each member of a group, at a place of the file, whom approvers could take for another one."""
    known: list[str] = []
    for group, members in service.groups.items():
        for index, person in enumerate(members):
            twin = next((other for other in known if other != person and look_alike(person, other)), None)
            if twin is not None:
                yield ("groups", group, index), (f"{person!r} looks like {twin!r}, who is in a group too; "
                                                 "write one person's name in one way, or rename an account")
            known.append(person)


def _resources(settings: EnvironmentSettings) -> Iterator[Fault]:
    names = Counter(resource.name for resource in settings.resources)
    for index, resource in enumerate(settings.resources):
        if names[resource.name] > 1:
            yield ("resources", index, "name"), f"{resource.name!r} is used {names[resource.name]} times; rename one"
        belongs = kind_of_driver(resource.driver)
        if belongs != resource.kind:
            yield ("resources", index, "kind"), (
                f"driver {resource.driver!r} is of kind {belongs.value!r}, not {resource.kind.value!r}; "
                f"write kind: {belongs.value}, or choose another driver"
            )


def _restored(settings: EnvironmentSettings) -> Iterator[Fault]:
    known = [resource.name for resource in settings.resources]
    for index, name in enumerate(settings.backup.restore_on_rollback):
        if name not in known:
            yield (("backup", "restore_on_rollback", index),
                   f"unknown resource {name!r}; declared are {', '.join(known)}")


def _migrated(settings: EnvironmentSettings) -> Iterator[Fault]:
    if settings.migrations is None:
        return
    name = settings.migrations.resource
    drivers = {resource.name: resource.driver for resource in settings.resources}
    if name not in drivers:
        yield (("migrations", "resource"),
               f"unknown resource {name!r}: what is migrated must be backed up; declared are {', '.join(drivers)}")
    elif drivers[name] not in MIGRATED_DRIVERS:
        yield (("migrations", "resource"), (f"resource {name!r} has driver {drivers[name]!r}; migrations can be run on "
                                            f"resources of driver {', '.join(MIGRATED_DRIVERS)}"))


def _kinds(settings: EnvironmentSettings) -> Iterator[Fault]:
    present = {resource.kind for resource in settings.resources}
    for kind in Kind:
        if kind in present and kind in settings.without_kinds:
            yield ("without_kinds", kind.value), "a resource of this kind is declared; remove one of the two"
        elif settings.production and kind not in present and kind not in settings.without_kinds:
            yield ("resources",), (
                f"a production environment has no resource of kind {kind.value!r}; "
                f"declare one, or say why there is none with without_kinds: {{{kind.value}: reason}}"
            )


def _order(name: str, settings: EnvironmentSettings, afters: Mapping[str, str | None]) -> Iterator[Fault]:
    if settings.after is not None:
        seen, at = {name}, settings.after
        while at in afters and at not in seen:
            seen.add(at)
            following = afters[at]
            if following is None:
                break
            at = following
        if settings.after not in afters:
            yield ("after",), f"unknown environment {settings.after!r}; declared are {', '.join(sorted(afters))}"
        elif at == name:
            yield ("after",), f"environment {name!r} would come after itself; remove one 'after' of the circle"
    if settings.cycle.automatic:
        if not settings.standard_changes:
            yield ("cycle",), "a scheduled cycle makes its request from a template; add standard_changes"
        if settings.after is None:
            yield ("cycle",), "a scheduled cycle takes the newest version of the environment before; add after"


def _rollout(settings: EnvironmentSettings) -> Iterator[Fault]:
    strategy = registry.resolve(registry.STRATEGIES, "strategy", settings.rollout.strategy)()
    yield from strategy.faults(settings.rollout, settings.analysis)
