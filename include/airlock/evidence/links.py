"""Which records a new one must name, so that each is named by a later one whatever the clocks of the writers say.

Exists because names sort by the time that a writer's clock showed: a slow one sorts before what is there. A record
therefore says of which set of records it is the end (``reached``): those that it names, and all that these name, and so
on. Whoever writes next looks for an end that explains all but the few newest, and reads all records only where there
is none. Where it looks first is a guess that the set proves or not, so that nobody can mislead it. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

from airlock.evidence.stored import SEEN, StoredRecord, tag_of, tags

_ENDS = 4
"""How many records are tried as an end, of each order."""
_AFTER = (1, 8, SEEN)
"""Among how many of the newest those are looked for that an end does not reach: mostly there is but the end itself."""
Load = Callable[[str], StoredRecord | None]
"""Returns a record by its name, or ``None`` if it is damaged: then it names nothing."""


def links(names: Sequence[str], load: Load, latest: Callable[[], Sequence[str]]) -> tuple[tuple[str, ...], str]:
    """Return the tags that a new record must name, at most ``SEEN``, and the digest of the set that they reach, which
    is empty when more would have to be named: the next record names those.

    :param names: of the records that are there, sorted
    :param latest: the names that were written last, as far as the store can tell, the newest last
    """
    own = {name: tag for name in names if (tag := tag_of(name))}
    heads = _heads(own, load, latest)
    others = [tag for tag in tags(names) if tag not in heads]
    room = max(0, SEEN - len(heads))
    seen = (*others[len(others) - room:], *heads[:SEEN]) if room else heads[:SEEN]
    return tuple(seen), reached(own.values()) if own and len(heads) <= SEEN else ""


def reached(found: Iterable[str]) -> str:
    """Return the digest of the set of tags *found*."""
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()


def _heads(own: Mapping[str, str], load: Load, latest: Callable[[], Sequence[str]]) -> tuple[str, ...]:
    """Return the tags, in the order of the names, that no record names."""
    if not own:
        return ()
    orders = (cache(lambda: list(own)[-SEEN:]), cache(lambda: [name for name in latest() if name in own][-SEEN:]))
    for count in _AFTER:
        for order in orders:
            for end in order()[:-min(count, _ENDS) - 1:-1]:
                after = _after(end, order()[-count:], own, load)
                if after is not None:
                    return _unnamed(after, own, load)
    return _unnamed(list(own), own, load)


def _after(end: str, newest: Sequence[str], own: Mapping[str, str], load: Load) -> list[str] | None:
    """Return those of the *newest* that *end* does not reach, itself among them, if it reaches all that are not newest.
    """
    one = load(end)
    if one is None or not one.reached:
        return None
    seen = set(one.seen)
    for name in reversed(newest):
        if own[name] in seen and (inner := load(name)) is not None:
            seen.update(inner.seen)
    after = {end, *(name for name in newest if own[name] not in seen)}
    return sorted(after) if reached(tag for name, tag in own.items() if name not in after) == one.reached else None


def _unnamed(names: Iterable[str], own: Mapping[str, str], load: Load) -> tuple[str, ...]:
    found = list(names)
    named = {tag for name in found if (one := load(name)) is not None for tag in one.seen}
    return tuple(own[name] for name in found if own[name] not in named)
