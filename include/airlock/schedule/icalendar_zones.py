"""Which time zones of an iCalendar file are surely known: those of the IANA database, those of Windows, and what the
file itself defines. Must not know what an event means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from airlock.errors import InvalidInput
from airlock.schedule.icalendar_text import text_of, title_of

_CONTRADICTIONS_FROM = 2010
"""Zones of older files often hold today's rules only, which differ from what was in force then."""


def refuse_zones(calendar: Any, events: Iterable[Any]) -> None:
    """Refuse a file with a time in a zone that is not surely known.

    :raises InvalidInput: an event names a zone that neither the file nor anybody else defines, or that the file defines
        otherwise than it is known
    """
    defined = {str(zone.get("TZID", "")): zone for zone in calendar.walk("VTIMEZONE")}
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
            if name == "DTSTART" and zone in defined and _contradicts(defined[zone], times):
                raise InvalidInput(f"the time zone {text_of(zone)[:80]} is defined otherwise in the file than it is "
                                   f"known, for {title_of(event)}; correct it, or give the zone a name of its own")


def _is_known(zone: str) -> bool:
    from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

    if zone in WINDOWS_TO_OLSON:
        return True
    parts = zone.strip("/").split("/")
    names: list[str] = ["/".join(parts[at:]) for at in range(len(parts))] if zone.startswith("/") else [zone]
    return any(map(_is_name, names))


def _is_name(zone: str) -> bool:
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _contradicts(definition: Any, times: Iterable[datetime]) -> bool:
    own = definition.to_tz(lookup_tzid=False)
    return any(one.replace(tzinfo=own).utcoffset() != one.utcoffset()
               for one in times if one.year >= _CONTRADICTIONS_FROM)


def _times(value: Any) -> Iterator[Any]:
    if hasattr(value, "dts"):
        for one in value.dts:
            yield from one.dt if isinstance(one.dt, tuple) else (one.dt,)
    elif hasattr(value, "dt"):
        yield value.dt
