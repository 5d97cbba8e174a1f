"""Rules between the values of a service file. Pure; must not import a driver, read a file or know YAML.

Each rule yields ``(place, text)``: where in the file, and what is wrong with what to do about it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from difflib import get_close_matches
from zoneinfo import ZoneInfo

from airlock.models import Kind
from airlock.plain_text import look_alike
from airlock.service_model import (
    LEVELS,
    EnvironmentSettings,
    Freeze,
    ServiceSettings,
    kind_of_driver,
)

Place = tuple[str | int, ...]
Fault = tuple[Place, str]
STRATEGIES = ("canary",)
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
    yield from _resources(settings)
    yield from _restored(settings)
    yield from _kinds(settings)
    yield from _order(name, settings, afters)
    yield from _rollout(settings)
    yield from _calendar(settings)
    if settings.artifacts.count("{version}") != 1 or set("{}") & set(settings.artifacts.replace("{version}", "")):
        yield ("artifacts",), "must contain {version} once and no other braces; write such as /srv/app-{version}.pyz"
    if settings.backup.replica == settings.backup.store:
        yield ("backup", "replica"), "is the same place as the store; name a second place, or leave it out"


def _approvals(service: ServiceSettings, settings: EnvironmentSettings) -> Iterator[Fault]:
    for level in LEVELS:
        yield from _seats(service, settings.approvals.seats(level), ("approvals", level))
    if settings.rollback is not None:
        yield from _seats(service, settings.rollback.seats, ("rollback", "seats"))


def _seats(service: ServiceSettings, seats: Mapping[str, int], place: Place) -> Iterator[Fault]:
    for group, quorum in seats.items():
        members = service.groups.get(group)
        if members is None:
            near = get_close_matches(group, service.groups, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            yield (*place, group), f"unknown group {group!r}; {hint}declared are {', '.join(service.groups)}"
        elif quorum > len(set(members)):
            yield (*place, group), (
                f"wants {quorum} of {len(set(members))} member(s); lower the number or add people to the group"
            )


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
    if settings.cycle.cron is not None or settings.cycle.continuous:
        if settings.standard_change is None:
            yield ("cycle",), "a scheduled cycle makes its request from a template; add standard_change"
        if settings.after is None:
            yield ("cycle",), "a scheduled cycle takes the newest version of the environment before; add after"


def _rollout(settings: EnvironmentSettings) -> Iterator[Fault]:
    percents = [step.percent for step in settings.rollout.steps]
    if not percents:
        yield ("rollout", "steps"), "is empty, so no canary would be observed; add steps such as 5, 25 and 50 percent"
    if percents != sorted(set(percents)):
        yield ("rollout", "steps"), f"percents must rise, found {percents}; put them in rising order, each once"
    if settings.rollout.strategy not in STRATEGIES:
        yield ("rollout", "strategy"), (
            f"unknown strategy {settings.rollout.strategy!r}; known are {', '.join(STRATEGIES)}"
        )
    for index, path in enumerate(settings.rollout.smoke_paths):
        if not path.startswith("/") or any(character.isspace() for character in path):
            yield ("rollout", "smoke_paths", index), f"{path[:60]!r} is no path; begin it with / and use no spaces"


def _calendar(settings: EnvironmentSettings) -> Iterator[Fault]:
    for index, window in enumerate(settings.calendar.windows):
        if window.start in (window.end, "24:00"):
            yield ("calendar", "windows", index), "has no length; for a whole day write from 00:00 to 24:00"
    zone = ZoneInfo(settings.calendar.timezone)
    for index, freeze in enumerate(settings.calendar.freezes):
        start, end = freeze_bounds(freeze, zone)
        if end <= start:
            yield ("calendar", "freezes", index), "ends before it begins; swap from and to"


def freeze_bounds(freeze: Freeze, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return both ends of *freeze* as aware times; those without an offset are local times in *zone*."""
    start, end = (at if at.tzinfo else at.replace(tzinfo=zone) for at in (freeze.start, freeze.end))
    return start, end
