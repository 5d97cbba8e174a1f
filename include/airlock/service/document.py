"""Data of a YAML file that remember where they are written, and the faults found in them. Knows no YAML and no rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from airlock.plain_text import harmless

Place = tuple[str | int, ...]


class Unfilled(str):
    """A text with ``${service}`` or ``${environment}`` in it. ``parts`` are texts and names in turn."""

    __slots__ = ("parts",)
    parts: tuple[str, ...]

    @classmethod
    def of(cls, parts: Iterable[str]) -> Unfilled:
        """Return the text of *parts*, of which every second one is a name."""
        given = tuple(parts)
        made = cls("".join(f"${{{part}}}" if index % 2 else part for index, part in enumerate(given)))
        made.parts = given
        return made

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names in it."""
        return self.parts[1::2]

    def filled(self, names: Mapping[str, str]) -> str:
        """Return the text with what *names* says for each name."""
        return "".join(names[part] if index % 2 else part for index, part in enumerate(self.parts))


@dataclass(frozen=True)
class Origin:
    """Where a value is really written, and which environment it reaches from there, if that is another place."""

    path: Path
    line: int
    place: Place
    reaches: str = ""


@dataclass(frozen=True)
class Fault:
    """What is wrong at one line of one file. ``reaches`` as in ``Origin``."""

    path: Path
    line: int
    text: str
    reaches: str = ""


@dataclass
class Document:
    """Data of one file, the line of every value, the places of keys without a value, and the faults found so far."""

    path: Path
    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    blank: set[Place] = field(default_factory=set)
    sha256: str = field(default="", kw_only=True)
    """Of the content of the file."""

    def line(self, place: Place) -> int:
        """Return the line of *place*, or of the nearest thing around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def origin(self, place: Place) -> Origin:
        """Return where the value at *place* is written."""
        return Origin(self.path, self.line(place), place)

    def fault(self, place: Place, what: str, line: int | None = None) -> None:
        """Note a fault; *what* says what is wrong and what to do."""
        origin = self.origin(place)
        where = ".".join(map(str, origin.place)) or "file"
        self.faults.append(Fault(origin.path, line or origin.line, f"{where}: {what}", origin.reaches))

    def report(self) -> list[str]:
        """Return every fault as ``file:line: path: what; what to do``, in the order of lines, each once, with the
        environments that it reaches from defaults."""
        found: dict[Fault, set[str]] = {}
        for fault in self.faults:
            found.setdefault(replace(fault, reaches=""), set()).add(fault.reaches)
        lines = []
        for fault in sorted(found, key=lambda one: (one.path != self.path, str(one.path), one.line, one.text)):
            reached = ", ".join(sorted(found[fault] - {""}))
            text = f"{fault.text} (it reaches {reached})" if reached else fault.text
            lines.append(f"{fault.path}:{fault.line}: {' '.join(harmless(text).split())}")
        return lines
