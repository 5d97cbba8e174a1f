"""Text out of iCalendar files as one harmless line, for people. Knows no rule."""

from __future__ import annotations

from typing import Any

from airlock.plain_text import harmless


def title_of(event: Any) -> str:
    """Return the title of *event*, for people."""
    return text_of(event.get("SUMMARY", ""))[:80] or "without a title"


def text_of(value: object) -> str:
    """Return a value of a file as one harmless line."""
    text = value.to_ical().decode("utf-8", "replace") if hasattr(value, "to_ical") and not isinstance(value, str) \
        else str(value)
    return " ".join(harmless(text).split())
