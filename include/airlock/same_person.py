"""Whether two names may belong to one person: the only place where names of people are compared.

Two questions, and they are not each other's opposite. *Who is it?* is answered by equality alone: nobody gets a vote,
a seat or a task because a name resembles theirs. *May it be the same person?* is answered widely, and whoever asks it
refuses on a yes: who asked for a change or wrote it does not approve it, and one person fills one seat, under whatever
name, address or account. Knows names; must not know what they are compared for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

_FILLERS = "\u2800\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0\ufe0e\ufe0f"
"""Characters that are not seen although Unicode counts them among letters and marks."""
_EDGES = " \t\r\n.,;:'\"`<>()[]{}"
_AROUND = " \t\r\n,;'\"`<>()[]{}-"
_ADDRESS = re.compile(r"[^\s<>()\[\]{},;:\"'`]+@[^\s<>()\[\]{},;:\"'`@]+")
_NO_REPLY = re.compile(r"(?:^|[.-])no-?reply(?:[.-]|$)")
_NUMBERED = re.compile(r"\{?(?:[0-9]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}?[-+](.+)")
"""``1234567+ann`` of GitHub, ``1234567-ann`` of GitLab, and the same with the UUID of a Bitbucket account."""
_REMARK = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}")
"""Beside a name, as ``Ann (contractor)`` or ``ann[bot]``."""
_AT = re.compile(r"\s*[(\[{<]\s*at\s*[)\]}>]\s*|\s+at\s+(?=[\w-]+(?:\.[\w-]+)+\s*$)|%40", re.IGNORECASE)
"""How addresses are written so that programs do not find them."""
_DIRECTORY = re.compile(r"(?:uid|cn|samaccountname|user|sub)=([^,;]+)", re.IGNORECASE)
_OUTSIDE = re.compile(r"^[\W_]+|[\W_]+$")
"""What is no letter or digit, at the ends of a name."""
_BETWEEN_WORDS = re.compile(r"[\s.,_-]+")
_WRITTEN_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae", "Ä": "Ae", "Ö": "Oe",
                              "Ü": "Ue", "Å": "Aa", "Ø": "Oe", "Æ": "Ae"})
_DOTS_ARE_NOTHING = ("gmail.com", "googlemail.com")
_GUEST = "#ext#"
"""In the address of a guest in Microsoft Entra ID: ``ann_corp.example#EXT#@house.onmicrosoft.com``."""
_SAME_GLYPH = str.maketrans({"I": "l", "1": "l", "|": "l", "0": "o", "O": "o"})
_OTHER_SCRIPTS = str.maketrans(
    # Cyrillic, Armenian and Greek letters that have the shape of a Latin one, and Latin ones that no form takes apart.
    "аеорсхуіјѕһԁԛԝвкмтнпгАЕОРСХУІЈЅҺԀԚԜВКМТНαοορνικτυχγεηβωΑΒΕΗΙΚΜΝΟΡΤΥΧΖոսօցıɡɑøłđØŁĐ",
    "aeopcxyijshdqwbkmthnrAEOPCXYIJSHDQWBKMTHaoopviktuxyenbwABEHIKMNOPTYXZnuogigaoldOLD",
)


def may_be_same(one: str, other: str) -> bool:
    """Return whether two names may belong to one person: whoever must not be the same person is refused then."""
    return one == other or not _readings(one).isdisjoint(_readings(other))


def among(name: str, others: Iterable[str]) -> str | None:
    """Return the first of *others* who may be the person called *name*."""
    return next((other for other in others if may_be_same(name, other)), None)


def people_of(names: Iterable[str]) -> dict[str, str]:
    """Return name -> the first name, in their order, of whoever it may belong to: as few people as there may be."""
    person: dict[str, str] = {}
    known: dict[tuple[str, str], str] = {}
    for name in sorted(set(names)):
        readings = _readings(name)
        met = {person[known[reading]] for reading in readings if reading in known}
        first = min({name, *met})
        person[name] = first
        person.update({one: first for one, was in person.items() if was in met})
        known.update(dict.fromkeys(readings, name))
    return person


def look_alike(one: str, other: str) -> bool:
    """Return whether a reader could take two names for each other: they differ by case or by letters of one shape."""
    return any(a == b for a, b in zip(_looks(one), _looks(other), strict=True))


def spelled(name: str) -> str:
    """Return the one spelling of *name* or address: composed, in lower case, without what nobody sees or means."""
    return _bare(name).casefold()


def parts_of(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the display name in *name*, empty if there is none, and every mail address, as they were typed."""
    text = _seen(name).replace("mailto:", " ")
    return " ".join(_ADDRESS.sub(" ", text).strip(_AROUND).split()), tuple(_ADDRESS.findall(text))


def mailbox(address: str) -> str:
    """Return the mailbox that *address* leads to: without the part behind a plus."""
    local, at, domain = address.partition("@")
    return f"{local.partition('+')[0] or local}{at}{domain}"


def log_ins_of(name: str, known: Mapping[str, str]) -> tuple[str, ...]:
    """Return the log-in names that the person called *name* is *known* to have (name -> log-in name), sorted, other
    than *name* itself: those that stand where the name is known, where these are known in their turn, and so on."""
    found = followed({name}, log_ins_by_name(known))
    return tuple(sorted(log_in for log_in in found if spelled(log_in) != spelled(name)))


def log_ins_by_name(known: Mapping[str, str]) -> dict[str, set[str]]:
    """Return spelled name or address -> the log-in names of whoever is *known* by it."""
    table: dict[str, set[str]] = {}
    for name, log_in in known.items():
        for key in {spelled(name), *map(spelled, parts_of(name)[1])}:
            table.setdefault(key, set()).add(log_in)
    return table


def followed(names: Iterable[str], table: Mapping[str, set[str]]) -> set[str]:
    """Return *names*, and all that stand in *table* where one of them does, and so on."""
    found = set(names)
    new = found
    while new:
        keys = {key for name in new for key in (spelled(name), *(spelled(mailbox(one)) for one in parts_of(name)[1]))}
        new = {log_in for key in keys for log_in in table.get(key, ())} - found
        found |= new
    return found


@lru_cache(maxsize=4096)
def _readings(name: str) -> frozenset[tuple[str, str]]:
    """Return everything that *name* can be read as, each as typed and by the shape of its letters."""
    written_out = _REMARK.sub(" ", name.translate(_WRITTEN_OUT))
    found = {pair for text in (name, _REMARK.sub(" ", name), written_out) for pair in _read(_bare(_at_sign(text)))}
    return frozenset(found)


def _read(plain: str) -> Iterator[tuple[str, str]]:
    shown, addresses = parts_of(plain)
    texts = {plain, shown, *addresses, *(local for address in addresses for local in _local_parts(address))}
    # The account behind a Windows domain, an identity provider or in a directory, and who is behind a second account.
    texts |= {text.rpartition(mark)[2] for text in texts for mark in "\\|/#"}
    texts |= {entry[1] for text in texts if (entry := _DIRECTORY.match(text))}
    texts |= {text.partition("+")[0] for text in texts if "@" not in text}
    kept = {text.strip(_EDGES) for text in texts} | {_OUTSIDE.sub("", text) for text in texts}
    for text in kept - {""}:
        yield from zip(("typed", "shape"), _looks(text), strict=True)
    for text in kept:
        words = _BETWEEN_WORDS.split(text.casefold())
        if len(words) > 1 and all(len(word) > 1 and word.isalpha() for word in words):
            yield "words", " ".join(sorted(words))


def _local_parts(address: str) -> set[str]:
    """Return the log-in names that the owner of *address* may have."""
    local, _, domain = address.casefold().partition("@")
    found = {address.partition("@")[0], mailbox(address).partition("@")[0]}
    if _NO_REPLY.search(domain):
        numbered = _NUMBERED.fullmatch(local)
        found.add(numbered[1] if numbered else local.rpartition("+")[2])
    if domain in _DOTS_ARE_NOTHING:
        found |= {one.replace(".", "") for one in found}
    before, guest, _ = local.partition(_GUEST)
    if guest:
        found |= {before, before.rpartition("_")[0]}
    return found


def _bare(name: str) -> str:
    """Return *name* without accents, other scripts' look-alikes, and everything that cannot be seen."""
    apart = unicodedata.normalize("NFKD", _seen(name))
    without_marks = "".join(one for one in apart if unicodedata.category(one) not in ("Mn", "Me"))
    return " ".join(without_marks.translate(_OTHER_SCRIPTS).split()).strip(_EDGES)


def _seen(name: str) -> str:
    """Return *name* composed, without characters that nobody sees."""
    return "".join(one for one in unicodedata.normalize("NFKC", name)
                   if one.isspace() or (one not in _FILLERS and unicodedata.category(one)[0] != "C"))


def _at_sign(name: str) -> str:
    return _AT.sub("@", name)


def _looks(name: str) -> tuple[str, str]:
    # Shapes first, then case: a capital I looks like a small l, a small i does not.
    shape = name.translate(_SAME_GLYPH).replace("rn", "m").replace("vv", "w")
    return name.casefold(), shape.casefold()
