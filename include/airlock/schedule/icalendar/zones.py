"""Which time zones of an iCalendar file are surely known: those of the IANA database, those of Windows, and what the
file itself defines. Must not know what an event means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from airlock.errors import InvalidInput
from airlock.schedule.icalendar.text import text_of, title_of
from airlock.service.values import zone_named

_CONTRADICTIONS_FROM = 2010
"""Zones of older files often hold today's rules only, which differ from what was in force then."""
_UTC_NAMES = ("UTC", "Etc/UTC", "GMT", "Etc/GMT")


def refuse_zones(calendar: Any, events: Iterable[Any]) -> None:
    """Refuse a file with a time in a zone that is not surely known.

    :raises InvalidInput: an event names a zone that neither the file nor anybody else defines, or that the file defines
        otherwise than it is known
    """
    defined = {str(zone.get("TZID", "")): zone for zone in calendar.walk("VTIMEZONE")}
    if len(defined) < len(calendar.walk("VTIMEZONE")):
        raise InvalidInput("a calendar file defines a time zone twice; correct it, or give each a name of its own")
    _refuse_zone_of_file(calendar, events)
    for event in events:
        for name, value in event.property_items(recursive=False):
            zone = str(getattr(value, "params", {}).get("TZID", ""))
            if not zone or event.errors:
                continue
            times = [one for one in _times(value) if isinstance(one, datetime)]
            known = (zone in defined and bool(defined[zone].subcomponents)) or _is_known(zone)
            if not known or any(one.tzinfo is None for one in times):
                raise InvalidInput(f"the event {title_of(event)}: the time zone {text_of(zone)[:80]} of {name} is not "
                                   "known, and the file does not define it; write a name such as Europe/Berlin")
            both = _both(zone, defined[zone]) if zone in defined else None
            if both is not None and any(_contradicts(both, one.replace(tzinfo=None)) for one in times):
                raise InvalidInput(_contradiction(zone, event))


def zone_of_file(calendar: Any) -> ZoneInfo | None:
    """Return the zone of times without one that the file itself names (X-WR-TIMEZONE), if it does."""
    return _known(str(calendar.get("X-WR-TIMEZONE", "")))


class Definitions:
    """The zones that a file defines although they are known by their names."""

    def __init__(self, calendar: Any) -> None:
        zones = {str(zone.get("TZID", "")): zone for zone in calendar.walk("VTIMEZONE")}
        self._both = {name: both for name, zone in zones.items() if (both := _both(name, zone)) is not None}
        self._agreed: set[tuple[str, date]] = set()

    def refuse_contradiction(self, event: Any, start: date) -> None:
        """Refuse an occurrence of *event* at a *start* that the file's zone and the known one take for two moments.

        :raises InvalidInput: they do
        """
        zone = str(event["DTSTART"].params.get("TZID", ""))
        if zone not in self._both or not isinstance(start, datetime) or (zone, start.date()) in self._agreed:
            return
        if _contradicts(self._both[zone], start.replace(tzinfo=None)):
            raise InvalidInput(_contradiction(zone, event))
        self._agreed.add((zone, start.date()))


def _refuse_zone_of_file(calendar: Any, events: Iterable[Any]) -> None:
    given = calendar.get("X-WR-TIMEZONE")
    if given is None:
        return
    zone = None if isinstance(given, list) else _known(str(given))
    if zone is None:
        raise InvalidInput(f"the time zone {text_of(given)[:80]} of the file (X-WR-TIMEZONE) is not known; write a "
                           "name such as Europe/Berlin")
    for event in (one for one in events if not one.errors):
        start = event.decoded("DTSTART", None)
        if ("RRULE" in event and isinstance(start, datetime) and str(start.tzinfo) == "UTC"
                and str(zone) not in _UTC_NAMES):
            raise InvalidInput(f"the event {title_of(event)} recurs in UTC, and the file is of {zone} (X-WR-TIMEZONE), "
                               "so it is not sure whether it follows that clock; write its times with TZID")


def _both(name: str, definition: Any) -> tuple[Any, ZoneInfo] | None:
    known = _known(name)
    return None if known is None or not definition.subcomponents else (definition.to_tz(lookup_tzid=False), known)


def _contradiction(zone: str, event: Any) -> str:
    return (f"the time zone {text_of(zone)[:80]} is defined otherwise in the file than it is known, for "
            f"{title_of(event)}; correct it, or give the zone a name of its own")


def _is_known(zone: str) -> bool:
    return _known(zone) is not None


def _known(zone: str) -> ZoneInfo | None:
    from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

    if zone in WINDOWS_TO_OLSON:
        return ZoneInfo(WINDOWS_TO_OLSON[zone])
    parts = zone.strip("/").split("/")
    names: list[str] = ["/".join(parts[at:]) for at in range(len(parts))] if zone.startswith("/") else [zone]
    return next(filter(None, map(zone_named, names)), None)


def _contradicts(both: tuple[Any, ZoneInfo], wall: datetime) -> bool:
    own, known = both
    return (wall.year >= _CONTRADICTIONS_FROM
            and wall.replace(tzinfo=own).utcoffset() != wall.replace(tzinfo=known).utcoffset())


def _times(value: Any) -> Iterator[Any]:
    if hasattr(value, "dts"):
        for one in value.dts:
            yield from one.dt if isinstance(one.dt, tuple) else (one.dt,)
    elif hasattr(value, "dt"):
        yield value.dt
