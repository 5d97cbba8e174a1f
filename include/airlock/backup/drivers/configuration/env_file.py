"""Driver ``env_file``: a ``.env`` file. Knows the file's syntax; its values are never logged or recorded."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from airlock.backup import driver as contract
from airlock.backup import file_needs
from airlock.backup.driver import Place
from airlock.backup.files import (
    FILE_LEAVES_OUT,
    Owners,
    discard_folder,
    present,
    read_exactly,
    recorded,
    regular,
    replace_file,
    rights_of,
    scratch_folder,
)
from airlock.backup.secret_documents import SecretDocumentDriver
from airlock.errors import InvalidInput
from airlock.identity import file_identity
from airlock.models import Kind
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(.*)", re.DOTALL)
_BARE_NAME = re.compile(r"\s*(?:export\s+)?[A-Za-z_][A-Za-z0-9_.-]*\s*")
_ENCODED = re.compile(r"\s*[A-Za-z0-9+/]{16,}={1,2}\s*")
_QUOTES = frozenset("'\"`")
_AFTER_QUOTE = re.compile(r"[ \t]*(?:#.*)?", re.DOTALL)
_LINE_END = re.compile(r"\r\n|\n|\r")
_LIMIT = 16 << 20
_NO_NAME = "\ufeff"


def parse_env(text: str) -> dict[str, str]:
    """Return the values of a ``.env`` file by key: comments, ``export``, quotes, and quoted values over several lines.

    A name without a value, which takes it from the host, has none here either. Of a key that comes twice the last value
    counts.

    What readers understand each in their own way is refused: where one of them ends a value, another one goes on, and a
    line of a secret would be taken for a name.

    :raises ValueError: a line is no assignment, a quote does not end, or more follows it, or a line goes on in the next
        one; names the line, never its content
    """
    values: dict[str, str] = {}
    for number, line in _statements(text.removeprefix(_NO_NAME)):
        match = _ASSIGNMENT.fullmatch(line)
        if _ENCODED.fullmatch(line) or (match is None and not _BARE_NAME.fullmatch(line)):
            raise ValueError(f"line {number} is no assignment KEY=value")
        if match is None:
            continue
        key, value = match.groups()
        if value[:1] in _QUOTES:
            end = _closing(value)
            if end is None:
                raise ValueError(f"the quote that begins in line {number} does not end")
            if not _AFTER_QUOTE.fullmatch(value, end + 1):
                raise ValueError(f"more follows the quote that begins in line {number}")
            value = value[1:end]
        else:
            if value.endswith("\\") or value.startswith("-----BEGIN "):
                raise ValueError(f"line {number} goes on in the next one, without quotes")
            value = re.split(r"\s#", value, maxsplit=1)[0].strip()
        values[key] = value
    return values


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each assignment with the number of its first line; comments and blank lines are left out."""
    lines = _LINE_END.split(text)
    number = 0
    while number < len(lines):
        first, begun = lines[number], number
        number += 1
        if not first.strip() or first.lstrip().startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(first)
        if match is not None and match[2][:1] in _QUOTES:
            number = _end_of_quote(lines, begun, match[2])
        yield begun + 1, "\n".join(lines[begun:number])


def _end_of_quote(lines: Sequence[str], begun: int, value: str) -> int:
    """Return the number of the line after the one in which the quote that *value* begins with ends, or the next one
    where it never does."""
    quote, end = value[0], _closing(value)
    for number in range(begun + 1, len(lines)):
        if end is not None:
            return number
        end = _closing(quote + lines[number])
    return len(lines) if end is not None else begun + 1


def _closing(value: str) -> int | None:
    """Return where the quote that *value* begins with ends; a backslash protects a character in double quotes."""
    at = 1
    while at < len(value):
        if value[at] == "\\" and value[0] == '"':
            at += 1
        elif value[at] == value[0]:
            return at
        at += 1
    return None


class EnvFileDriver(SecretDocumentDriver):
    """One ``.env`` file, restored byte for byte; every key is compared by a keyed digest."""

    kind = Kind.CONFIGURATION
    capabilities = contract.Capabilities(consistent="one reading of the file", leaves_out=FILE_LEAVES_OUT)
    needs = file_needs.of_file("{path}")

    class Options(DriverOptions):
        path: str = Field(min_length=1, description="the file")
        owners: Owners = True

        def identities(self) -> tuple[str, ...]:
            return (file_identity(self.path),)

    options: Options
    _NAME: ClassVar[str] = "env"

    def export(self, place: Place) -> Mapping[str, Any]:
        path = self._path(place)
        if not present(path, self.label):
            return {}
        seen = regular(path, self.label)
        if seen.st_size > _LIMIT:
            raise InvalidInput(f"{self.label}: {path} has {seen.st_size} bytes; that is no .env file")
        content = b"".join(read_exactly(path, seen, self.label))
        if b"\0" in content:
            raise InvalidInput(
                f"{self.label}: {path} holds bytes of value 0, as UTF-16 does: no reader of .env files takes it; "
                "save it as UTF-8"
            )
        try:
            text, encoding = content.decode(), "utf-8"
        except UnicodeDecodeError:
            text, encoding = content.decode("latin-1"), "latin-1"  # any byte has a character there
        rights = rights_of(path, seen, self.label, owners=self.options.owners)
        return {self._NAME: {"text": text, "encoding": encoding, "rights": rights, "values": self._values(path, text),
                             "linked": path.is_symlink()}}  # fmt: skip

    def _values(self, path: Path, text: str) -> dict[str, str]:
        """Return the values by key, for a comparison one by one; none where the text is a dialect of its own, whose
        names cannot be told from values: then the whole text is compared only."""
        try:
            return parse_env(text)
        except ValueError as error:
            log.info("%s: %s: %s; it is compared as a whole, not key by key", self.label, path, error)
            return {}

    def parts(self, name: str, document: Any) -> Mapping[str, Any]:  # noqa: ARG002 - part of the hook
        keys = {f"key {key}": value for key, value in document["values"].items()}
        return {**keys, "whole text": [document["encoding"], document["text"]], **document["rights"]}

    def load(self, documents: Mapping[str, Any], place: Place) -> None:
        if not place.origin:
            scratch_folder(place, self.label)
        document = documents[self._NAME]
        path = self._path(place)
        content = document["text"].encode(document["encoding"])
        rights, linked = recorded(document["rights"], self.label), bool(document.get("linked", True))
        replace_file(path, [content], rights, self.label, linked=linked)
        log.info("%s: wrote %s with %d key(s)", self.label, path, len(document["values"]))

    def discard(self, place: Place) -> None:
        discard_folder(place, self.label)

    def _path(self, place: Place) -> Path:
        return Path(self.options.path) if place.origin else Path(place.folder) / "restored.env"
