"""The text of ``pg_dump --schema-only`` as one digest, so that two schemas can be compared. Pure: asks no server.

The same server writes the same schema in the same words, with four exceptions, which are levelled here: a random
token, the order of entries and of grants (older ``pg_dump`` sorts equal names by what the server numbers them), casts
of arrays, and the order of columns of a table that inherits (a restore puts those of its parents first).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

_TOKEN = re.compile(rb"\\(?:un)?restrict [0-9A-Za-z]+")
_ENTRY = b"-- Name: "
_GRANTS = re.compile(rb"-- Name: .*; Type: (?:DEFAULT )?ACL;")
_TABLE = re.compile(rb"-- Name: .*; Type: TABLE;")
_CAST = re.compile(r"::(?:character varying|text|bpchar)(?:\[\])?")
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_PLACE = re.compile("\x00(\\d+)\x00")
_LONE = re.compile("\\((\x00\\d+\x00)\\)")
_DOUBLE = re.compile(r"\((\(ARRAY\[[^\[\]]*\]\))\)")
ARGUMENTS = ("--schema-only", "--no-tablespaces", "--no-table-access-method")
"""Tablespaces and access methods are told by lines that depend on the entry before: they are compared as facts."""


def normal_expression(text: str) -> str:
    """Return *text* with the casts and brackets removed that the server writes differently after a dump and restore
    (``varchar IN (...)`` becomes another, equal expression). Text without an array, and every literal, stay as they
    are."""
    if "ARRAY[" not in text or "\x00" in text:
        return text
    literals: list[str] = []

    def put_away(found: re.Match[str]) -> str:
        literals.append(found[0])
        return f"\x00{len(literals) - 1}\x00"

    bare = _CAST.sub("", _LITERAL.sub(put_away, text))
    bare = _DOUBLE.sub(r"\1", _LONE.sub(r"\1", bare))
    return _PLACE.sub(lambda found: literals[int(found[1])], bare)


def schema_digest(dump: Iterable[bytes]) -> str:
    """Return the sha256 of the entries of a dump, whatever their order."""
    entries = sorted(hashlib.sha256(b"\n".join(entry)).digest() for entry in _entries(_lines(dump)))
    return "sha256:" + hashlib.sha256(b"".join(entries)).hexdigest()


def _lines(dump: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in dump:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    yield rest


def _entries(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    entry: list[bytes] = []
    for line in lines:
        if not line.strip() or line == b"--" or _TOKEN.fullmatch(line):
            continue
        if line.startswith(_ENTRY):
            yield _levelled(entry)
            entry = []
        entry.append(normal_expression(line.decode(errors="surrogateescape")).encode(errors="surrogateescape"))
    yield _levelled(entry)


def _levelled(entry: list[bytes]) -> list[bytes]:
    if entry and _TABLE.match(entry[0]) and any(line.startswith(b"INHERITS (") for line in entry):
        return sorted(line.rstrip(b",") for line in entry)
    return sorted(entry) if entry and _GRANTS.match(entry[0]) else entry
