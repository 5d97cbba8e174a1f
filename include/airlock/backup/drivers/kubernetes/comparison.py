"""Says where two documents differ: the paths of fields, never their values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_SHOWN = 8
_KEYS = ("name", "containerPort", "port", "mountPath", "key", "ip", "type", "host", "path")


def differences(expected: Any, found: Any) -> str:
    """Return the first paths at which *found* is not as *expected*, in words; empty when they are the same."""
    paths = list(_paths(expected, found, ""))
    more = f", and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(paths[:_SHOWN]) + more


def _paths(expected: Any, found: Any, path: str) -> Iterator[str]:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in sorted({*expected, *found}):
            below = f"{path}.{key}" if path else str(key)
            if key not in found:
                yield f"{below} is missing"
            elif key not in expected:
                yield f"{below} was added"
            else:
                yield from _paths(expected[key], found[key], below)
    elif isinstance(expected, list) and isinstance(found, list):
        for number, (one, other) in enumerate(zip(expected, found, strict=False)):
            yield from _paths(one, other, f"{path}[{_entry(one, number)}]")
        for number, one in list(enumerate(expected))[len(found) :]:
            yield f"{path}[{_entry(one, number)}] is missing"
        for number, one in list(enumerate(found))[len(expected) :]:
            yield f"{path}[{_entry(one, number)}] was added"
    elif expected != found:
        yield f"{path} differs"


def _entry(entry: Any, number: int) -> str:
    """Return how people find *entry* in its list: by a field that names it, or by its number."""
    if isinstance(entry, Mapping):
        return next((f"{key}={entry[key]}" for key in _KEYS if isinstance(entry.get(key), str | int)), str(number))
    return str(number)
