"""Where each setting of a service environment comes from: the file and line that it is written in, or built in.

Knows how layers were merged; must not know what a setting is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from airlock.service.document import Origin, Place
from airlock.service.model import EnvironmentSettings, ServiceEnvironment, ServiceSettings
from airlock.service.reading import document_of


@dataclass(frozen=True)
class Setting:
    """One value that counts, and where it is written; ``None``: nowhere, it is built in."""

    place: Place
    value: Any
    origin: Origin | None

    @property
    def where(self) -> str:
        """Return the origin for people."""
        return "built in" if self.origin is None else f"{self.origin.path.name}:{self.origin.line}{_part(self.origin)}"


def settings_of(environment: ServiceEnvironment) -> tuple[Setting, ...]:
    """Return every setting of *environment*, which its file declares, in the order of the models.

    :raises InvalidInput: the file cannot be read any more
    """
    document, name = document_of(environment.source), environment.environment
    data = environment.model_dump(mode="json", by_alias=True)
    found = []
    for fields, owner in ((ServiceSettings.model_fields, None), (EnvironmentSettings.model_fields, name)):
        for place, value in _leaves({field: data[field] for field in fields}, ()):
            found.append(Setting(place, value, document.written(owner, place)))
    return tuple(found)


def summary(settings: tuple[Setting, ...]) -> dict[str, str]:
    """Return for each field of an environment which lines of which files it comes from."""
    found: dict[str, dict[str, list[int]]] = {}
    for one in settings:
        files = found.setdefault(str(one.place[0]), {})
        if one.origin is None:
            files.setdefault("", [])
        else:
            files.setdefault(f"{one.origin.path.name}:{{}}{_part(one.origin)}", []).append(one.origin.line)
    return {field: _sentence(files) for field, files in found.items()}


def _sentence(files: dict[str, list[int]]) -> str:
    written = [where.format(str(min(lines)) if min(lines) == max(lines) else f"{min(lines)}-{max(lines)}")
               for where, lines in sorted(files.items()) if lines]
    rest = ["the rest is built in" if written else "built in"] if "" in files else []
    return ", ".join((*written, *rest))


def _part(origin: Origin) -> str:
    return " (defaults)" if origin.place[:1] == ("defaults",) else ""


def _leaves(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    below = [leaf for key, inner in entries for leaf in _leaves(inner, (*place, key))]
    yield from below or [(place, value)]
