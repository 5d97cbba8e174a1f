"""Driver ``env_file``: a ``.env`` file. Knows the file's syntax; its values are never logged or recorded."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from airlock.backup import driver as contract
from airlock.backup.driver import Place
from airlock.backup.files import discard_folder, read_whole, regular, replace_file, scratch_folder
from airlock.backup.secret_documents import SecretDocumentDriver
from airlock.errors import InvalidInput
from airlock.identity import file_identity
from airlock.models import Kind
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(.*)", re.DOTALL)
_LIMIT = 16 << 20


def parse_env(text: str) -> dict[str, str]:
    """Return the values of a ``.env`` file by key: comments, ``export``, quotes, and quoted values over several lines.

    :raises ValueError: a line is no assignment, or a quote does not end; names the line, never its content
    """
    values: dict[str, str] = {}
    for number, line in _statements(text):
        match = _ASSIGNMENT.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is no assignment KEY=value")
        key, value = match.groups()
        if value[:1] in {"'", '"'}:
            end = _closing(value)
            if end is None:
                raise ValueError(f"the quote that begins in line {number} does not end")
            value = value[1:end]
        else:
            value = re.split(r"\s#", value, maxsplit=1)[0].strip()
        values[key] = value
    return values


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each assignment with the number of its first line; comments and blank lines are left out."""
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, first in lines:
        if not first.strip() or first.lstrip().startswith("#"):
            continue
        line = first
        match = _ASSIGNMENT.fullmatch(line)
        while match is not None and match[2][:1] in {"'", '"'} and _closing(match[2]) is None:
            following = next(lines, None)
            if following is None:
                break
            line = f"{line}\n{following[1]}"
            match = _ASSIGNMENT.fullmatch(line)
        yield number, line


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
    capabilities = contract.Capabilities(consistent="one reading of the file")

    class Options(DriverOptions):
        path: str = Field(min_length=1, description="the file")

        def identities(self) -> tuple[str, ...]:
            return (file_identity(self.path),)

    options: Options
    _NAME: ClassVar[str] = "env"

    def export(self, place: Place) -> Mapping[str, Any]:
        path = self._path(place)
        if not path.exists():
            return {}
        seen = regular(path, self.label)
        if seen.st_size > _LIMIT:
            raise InvalidInput(f"{self.label}: {path} has {seen.st_size} bytes; that is no .env file")
        try:
            text = b"".join(read_whole(path, self.label)).decode()
            values = parse_env(text)
        except UnicodeDecodeError:
            raise InvalidInput(f"{self.label}: {path} is not UTF-8") from None
        except ValueError as error:
            raise InvalidInput(f"{self.label}: {path}: {error}") from None
        return {self._NAME: {"text": text, "mode": f"{seen.st_mode & 0o7777:04o}", "values": values}}

    def parts(self, name: str, document: Any) -> Mapping[str, Any]:  # noqa: ARG002 - part of the hook
        keys = {f"key {key}": value for key, value in document["values"].items()}
        return {**keys, "whole text": document["text"], "mode": document["mode"]}

    def load(self, documents: Mapping[str, Any], place: Place) -> None:
        if not place.origin:
            scratch_folder(place, self.label)
        document = documents[self._NAME]
        path = self._path(place)
        replace_file(path, [document["text"].encode()], int(document["mode"], 8), self.label)
        log.info("%s: wrote %s with %d key(s)", self.label, path, len(document["values"]))

    def discard(self, place: Place) -> None:
        discard_folder(place, self.label)

    def _path(self, place: Place) -> Path:
        return Path(self.options.path) if place.origin else Path(place.folder) / "restored.env"
