"""Who must agree before a release may act although its calendar is closed. Pure; must not know what closes it."""

from __future__ import annotations

from collections.abc import Mapping

from airlock.errors import GateRefused
from airlock.models import Rfc
from airlock.service.calendar import Calendar


def override_seats(rfc: Rfc, calendar: Calendar) -> Mapping[str, int]:
    """Return group -> seats that an override needs beside all others; none when the request asks for no override.

    :raises GateRefused: it asks for one, and the calendar does not say who may grant it
    """
    if rfc.calendar_override is None:
        return {}
    if calendar.override_by is None:
        raise GateRefused("the request asks to act although the calendar is closed, but calendar.override_by of the "
                          "service file names nobody who may allow that; empty calendar_override, and wait")
    return calendar.override_by


def mended_incident(rfc: Rfc) -> str | None:
    """Return the open incident that the change mends, which therefore does not stop it: of an emergency change."""
    return rfc.incident if rfc.change_type == "emergency" else None
