"""Which of two versions is newer, by their names alone. Pure; knows no source.

Names are of any scheme: semantic versions, Python's, dates, counts. A part that says it comes before the release (rc,
beta, nightly...) is older than the release; one that says it comes after (post, hotfix...) is newer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PARTS = re.compile(r"[0-9]{1,18}|[A-Za-z]+|[-]")
_BEFORE = ("dev", "snapshot", "nightly", "canary", "a", "alpha", "b", "beta", "m", "milestone", "pre", "preview", "c",
           "cr", "rc")
_AFTER = ("ga", "final", "release", "rev", "r", "p", "patch", "post", "sp", "hotfix")
_Key = tuple[tuple[int, int, str], ...]
_END = (2, 0, "")


def order(version: str) -> _Key:
    """Return a key by which older versions come first."""
    core = version.partition("+")[0]
    core = core[1:] if re.match(r"[vV][0-9]", core) else core
    key: list[tuple[int, int, str]] = []
    hyphen = False
    for part in _PARTS.findall(core):
        if part == "-":
            hyphen = True
            continue
        key.append(_rank(part.lower(), hyphen))
        hyphen = False
    return (*key, _END)


def _rank(part: str, hyphen: bool) -> tuple[int, int, str]:
    """Return the place of a part: before the end of a shorter name (0, 1), or after it (3, 4)."""
    if part.isdigit():
        return (4, int(part), "")
    if part in _BEFORE:
        return (0, _BEFORE.index(part), "")
    if part in _AFTER:
        return (3, _AFTER.index(part), "")
    return (1 if hyphen else 3, 0, part)


def newest_first(versions: Iterable[str]) -> tuple[str, ...]:
    """Return *versions*, each once, the newest first; those of one rank by name."""
    return tuple(sorted(sorted(set(versions)), key=order, reverse=True))
