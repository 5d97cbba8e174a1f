"""What text from strangers may hold: one answer for the form, service files, messages and the terminal.

Prose is for people of any language: letters, signs and emoji are welcome, what cannot be seen or moves other text is
not. Names of people are for comparing, so they are of one small alphabet. Knows Unicode; must not know where a text
comes from or is shown.
"""

from __future__ import annotations

import re
import unicodedata

_MAXIMUM_MARKS = 8
"""Accents on one letter. Real languages need up to five or so; towers of them cover the lines around."""
_TAGGED_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007e]{1,6}\U000e007f")
"""Flags such as that of Wales are spelled with tag characters, which are refused anywhere else."""
_CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff"
_HIDDEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff"
    "\uffa0\ufff0-\ufffc\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)
_PRIVATE = "\ue000-\uf8ff\ufdd0-\ufdef\ufffe\uffff\U000f0000-\U0010ffff"
_FAULTS = (
    (re.compile(f"[{_CONTROL}]"), "a control character"),
    (re.compile(f"[{_HIDDEN}]"), "an invisible or direction character"),
    (re.compile(f"[{_PRIVATE}]"), "a character without a meaning of its own"),
)
_HARMFUL = re.compile(f"[{_CONTROL}{_HIDDEN}{_PRIVATE}]+")
_NOT_SEEN = re.compile("[\\s\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]")
LOGIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+|\\-]{0,127}")
"""Names of people: ASCII, so that no other letter can pass for one of them."""
LOGIN_NAME_RULE = "1 to 128 ASCII letters, digits and . _ @ + | \\ -, with a letter or digit first"


def fault_in(text: str) -> str | None:
    """Return what *text* holds that no prose may hold, or ``None``. Line breaks and tabs are fine."""
    if text.isascii():
        return _FAULTS[0][1] if _FAULTS[0][0].search(text) else None
    bare = _TAGGED_FLAG.sub("", text)
    for pattern, what in _FAULTS:
        if pattern.search(bare):
            return what
    return "a tower of accents" if _most_marks(bare) > _MAXIMUM_MARKS else None


def harmless(text: str) -> str:
    """Return *text* with a space for whatever ``fault_in`` refuses, for showing what no rule has checked."""
    flags = _TAGGED_FLAG.findall(text)
    kept = [_HARMFUL.sub(" ", part) for part in _TAGGED_FLAG.split(text)]
    whole = kept[0] + "".join(flag + part for flag, part in zip(flags, kept[1:], strict=True))
    return whole if whole.isascii() or _most_marks(whole) <= _MAXIMUM_MARKS else _without_towers(whole)


def visible_length(text: str) -> int:
    """Return how many characters of *text* a reader sees."""
    return sum(1 for character in _NOT_SEEN.sub("", text) if not _is_mark(character))


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Me")


def _most_marks(text: str) -> int:
    most = run = 0
    for character in text:
        run = run + 1 if _is_mark(character) else 0
        most = max(most, run)
    return most


def _without_towers(text: str) -> str:
    kept, run = [], 0
    for character in text:
        run = run + 1 if _is_mark(character) else 0
        if run <= _MAXIMUM_MARKS:
            kept.append(character)
    return "".join(kept)
