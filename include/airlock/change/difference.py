"""Tell two plans apart in words that an approver understands. Knows no permit and no rule."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from airlock.models import Plan

_LINES = 20
_VALUE = 80
_PATH = 160
_BEFORE = 12
_DEPTH = 12
_ABSENT = object()
_NAMES = ("name", "group", "percent")


def difference(approved: Plan, present: Plan) -> tuple[str, ...]:
    """Return ``path: old -> new`` for what differs, sorted by path; at most 21 lines of bounded length; empty if equal.

    Members of lists are told apart by their name where they have one (``resources.shop_db.options.database``).
    """
    return differences(approved.model_dump(mode="json"), present.model_dump(mode="json"))


def differences(old: Any, new: Any) -> tuple[str, ...]:
    """Return the same for any two values of JSON data."""
    lines = sorted(_walk("", old, new, 0))
    if len(lines) > _LINES:
        return (*lines[:_LINES], f"... and {len(lines) - _LINES} further differences")
    return tuple(lines)


def _walk(path: str, old: Any, new: Any, depth: int) -> Iterator[str]:
    if _same(old, new):
        return
    lines: list[str] = []
    old_members, new_members = _members(old), _members(new)
    if depth < _DEPTH and old_members is not None and new_members is not None:
        for key in sorted({*old_members, *new_members}):
            lines += _walk(f"{path}.{key}" if path else key, old_members.get(key, _ABSENT),
                           new_members.get(key, _ABSENT), depth + 1)
    # No line for a member although the whole differs: the order of a list has changed, or a list became a mapping.
    yield from lines or [f"{_short(path, _PATH)}: {' -> '.join(_shown(old, new))}"]


def _same(old: Any, new: Any) -> bool:
    # As JSON text, because 1, 1.0 and True are equal to Python but give different digests.
    if old is _ABSENT or new is _ABSENT:
        return old is new
    return json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)


def _members(value: Any) -> dict[str, Any] | None:
    if isinstance(value, dict):
        return {str(key): member for key, member in value.items()}
    if not isinstance(value, list):
        return None
    for field in _NAMES:
        names = [str(member[field]) if isinstance(member, dict) and field in member else "" for member in value]
        if all(names) and len(set(names)) == len(names):
            return dict(zip(names, value, strict=True))
    return {str(position): member for position, member in enumerate(value)}


def _shown(old: Any, new: Any) -> tuple[str, str]:
    """Both values, cut so that the place where they begin to differ can be seen."""
    texts = [
        "(nothing)" if value is _ABSENT else json.dumps(value, sort_keys=True, ensure_ascii=False)
        for value in (old, new)
    ]
    shorter = min(map(len, texts))
    same = next((at for at in range(shorter) if texts[0][at] != texts[1][at]), shorter)
    begin = same - _BEFORE if same > _VALUE // 2 and max(map(len, texts)) > _VALUE else 0
    first, second = (("..." if begin else "") + _short(text[begin:], _VALUE) for text in texts)
    return first, second


def _short(text: str, limit: int) -> str:
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable if len(printable) <= limit else printable[: limit - 3] + "..."
