"""What to say of a name that nobody knows: the one it is most like. Knows no table of names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the question whether the nearest of *known* was meant, with a space after it; empty if none is near."""
    near = get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""
