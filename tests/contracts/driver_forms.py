"""What happens to real resources: damage that a way back must undo, and forms that a backup meets.

A driver's test says for every name below what it is for its resource, or why there is nothing of the kind. Knows no
driver.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airlock.backup.store import BackupStore
from airlock.models import StoredObject
from tests.contracts.recorded_calls import outside

DAMAGES = ("changed", "emptied", "added", "settings", "gone", "taken", "linked")
"""Content is changed; all content is taken away; things are added later; what lies around the content (modes, owners,
attributes, settings, labels) is changed; the whole resource is gone; something of another sort took its name, or that
of a part of it; a link to something else took its name."""

FORMS = (
    "text that is not UTF-8",
    "names at the edges",
    "modes and owners",
    "disappears while it is read",
    "grows while it is read",
    "empty",
    "huge",
    "deeply nested",
)
EDGE_NAMES = (
    "what?", "half#way", "two words", "new\nline", "-leading-dash", "n" * 200, "caf\u00e9", "cafe\u0301", "100%",
    "semi;colon", "'quoted\"", "back\\slash", "*", "~", "$HOME", " ", "\u202eabc", "\U0001f6a2",
)  # fmt: skip
"""NFC and NFD of one word are two names."""


@dataclass(frozen=True)
class Damage:
    """Something that befalls the origin after the backup.

    origin: how the origin looks from outside when it is back, where the case's own look does not fit
    """

    act: Callable[[], object]
    origin: Callable[[], object] | None = None


@dataclass(frozen=True)
class Form:
    """A form that the resource takes on before it is backed up, by *make*, or while it is read, by *during*.

    refused: words of the refusal, where it cannot be taken; empty where it must be proven and come back
    """

    make: Callable[[], object] = lambda: None
    during: Callable[[], object] | None = None
    refused: str = ""


def taken_by_a_folder(path: Path) -> Damage:
    """An empty folder took the name of the file *path*, as container engines make one. One that holds something is
    somebody's, and stops the way back."""

    def act() -> None:
        path.unlink()
        path.mkdir()

    return Damage(act)


def taken_by_a_link(path: Path, seen: Callable[[], object]) -> Damage:
    """A link to something of its own sort took the name of *path*, a file or a folder; what it leads to must stay.

    seen: how the resource looks from outside
    """
    elsewhere = path.parents[1] / f"elsewhere of {path.name}"

    def act() -> None:
        if path.is_dir():
            shutil.rmtree(path)
            elsewhere.mkdir()
            (elsewhere / "inside").write_text("somebody's")
        else:
            path.unlink()
            elsewhere.write_text("somebody's")
        path.symlink_to(elsewhere)

    def look() -> list[object]:
        inside = elsewhere / "inside" if elsewhere.is_dir() else elsewhere
        kept = inside.read_text() == "somebody's" if elsewhere.exists() else True
        return [kept, path.is_symlink(), seen()]

    return Damage(act, look)


class ActingStore(BackupStore):
    """A store in whose first written stream something happens once, as soon as its first bytes are there."""

    def __init__(self, store: BackupStore, act: Callable[[], object]) -> None:
        self.__dict__ |= {**store.__dict__, "_act": act}

    def write(self, point_id: str, name: str, chunks: Iterable[bytes], **options: Any) -> StoredObject:
        return super().write(point_id, name, self._acting(chunks), **options)

    def _acting(self, chunks: Iterable[bytes]) -> Any:
        for chunk in chunks:
            act, self.__dict__["_act"] = self.__dict__["_act"], lambda: None
            with outside():
                act()
            yield chunk
