"""Snapshots of one folder in a ``restic`` repository: found by the tags that they carry, made, restored, forgotten.

The repository is its owner's: what does not carry our tags, our host and the path of this folder is never touched.
Knows no recovery point and no manifest.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from airlock.backup.attributes import KEPT
from airlock.backup.drivers.storage.restic_program import Restic
from airlock.backup.drivers.storage.tree import FRESH, OLD
from airlock.errors import BackupDamaged, PermanentError, TemporaryError

log = logging.getLogger(__name__)
OURS = "airlock"
_TOKEN, _RESOURCE = f"{OURS}-token=", f"{OURS}-resource="
_VERSION = re.compile(r"restic (\d+)\.(\d+)")
_SPARSE_FROM, _CHOOSES_FROM = (0, 15), (0, 18)
_GLOB = re.compile(r"([\\*?\[])")
_UNKNOWN = re.compile("\N{REPLACEMENT CHARACTER}+")
_TOLD_SECONDS = 10.0


@dataclass(frozen=True)
class Snapshot:
    """One snapshot that is ours."""

    id: str
    token: str
    time: datetime


@dataclass
class Told:
    """What restic says while it works: its progress goes to the log, what it says at the end is kept."""

    label: str
    act: str
    summary: dict[str, Any] = field(default_factory=dict)
    shown: float = field(default_factory=time.monotonic)

    def __call__(self, message: Mapping[str, Any]) -> None:
        """Take one message."""
        if message.get("message_type") == "summary":
            self.summary.update(message)
        elif message.get("message_type") == "status" and time.monotonic() - self.shown >= _TOLD_SECONDS:
            self.shown = time.monotonic()
            done = message.get("bytes_done", message.get("bytes_restored", 0))
            left = message.get("seconds_remaining")
            log.info("%s: restic %s: %d of %d bytes, %d of %d files, %d %%%s", self.label, self.act, done,
                     message.get("total_bytes", 0), message.get("files_done", message.get("files_restored", 0)),
                     message.get("total_files", 0), 100 * float(message.get("percent_done", 0)),
                     "" if left is None else f", about {left} s left")  # fmt: skip


@dataclass(frozen=True)
class Repository:
    """Where the snapshots of the folder *path* are.

    host: under which name of a machine they are kept, whatever worker makes them
    seconds: how long a call that moves data may take
    """

    restic: Restic
    path: Path
    host: str
    seconds: float

    @property
    def name(self) -> str:
        """Return what the folder is called in a snapshot."""
        return self.path.name

    def look(self) -> None:
        """See that the repository is there and is opened; errors as in ``Restic.run``."""
        self.restic.run("cat", "--no-lock", "config")

    def snapshots(self) -> tuple[Snapshot, ...]:
        """Return every snapshot that is ours, the oldest first."""
        printed = self.restic.run("snapshots", "--no-lock", "--json", "--tag", OURS, "--host", self.host)
        try:
            found = [self._snapshot(one) for one in json.loads(printed or "[]") or []]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise PermanentError(
                f"{self.restic.label}: restic's list of snapshots cannot be read ({type(error).__name__}); next: see "
                "what 'restic snapshots --json' prints"
            ) from error
        return tuple(sorted((one for one in found if one is not None), key=lambda one: (one.time, one.id)))

    def _snapshot(self, said: dict[str, Any]) -> Snapshot | None:
        tags = said.get("tags") or []
        token = next((tag.removeprefix(_TOKEN) for tag in tags if tag.startswith(_TOKEN)), None)
        at_home = said.get("hostname") == self.host and [_plain(one) for one in said["paths"]] == [_plain(self.path)]
        if OURS not in tags or token is None or not at_home:
            return None
        return Snapshot(str(said["id"]), token, datetime.fromisoformat(said["time"]))

    def of(self, token: str) -> tuple[Snapshot, ...]:
        """Return the snapshots of one token: one, or none; several where two attempts ran at once."""
        return tuple(one for one in self.snapshots() if one.token == token)

    def back_up(self, token: str, resource: str) -> dict[str, Any]:
        """Make a snapshot, and return what restic says of it.

        :raises Partial, Moving: there is one, in which something is missing
        """
        told = Told(self.restic.label, "backup")
        left_out = [f"--exclude={_literal(self.path / name)}" for name in (FRESH, OLD)]
        self.restic.run(
            "backup", "--json", "--host", self.host, "--tag", OURS, "--tag", f"{_TOKEN}{token}", "--tag",
            f"{_RESOURCE}{resource}", *left_out, "--", f"./{self.name}", folder=self.path.parent,
            seconds=self.seconds, heard=told,
        )  # fmt: skip
        return told.summary

    def measure(self, snapshot: Snapshot) -> tuple[int, int]:
        """Return how many entries a snapshot has, and the bytes of its files."""
        entries, size = 0, 0

        def count(message: Mapping[str, Any]) -> None:
            nonlocal entries, size
            if message.get("struct_type") == "node":
                entries, size = entries + 1, size + int(message.get("size") or 0)

        self.restic.run("ls", "--no-lock", "--json", snapshot.id, seconds=self.seconds, heard=count)
        return entries, size

    def restore(self, snapshot: str, folder: Path, parts: Sequence[str] | None) -> Path:
        """Restore a snapshot into *folder*, and return what then is the whole; errors as in ``Restic.run``.

        :param parts: names below it that alone are restored
        :raises BackupDamaged: the repository does not give all of it back
        """
        told = Told(self.restic.label, "restore")
        version = self.version()
        options = ["--sparse"] if version >= _SPARSE_FROM else []
        # of others, such as labels of SELinux, one that cannot be set would make the whole restore fail
        options += [f"--include-xattr={name}*" for name in KEPT] if version >= _CHOOSES_FROM else []
        options += [f"--include={_literal(Path('/') / self.name / part)}" for part in parts or ()]
        self.restic.run("restore", "--json", snapshot, "--target", str(folder), *options, seconds=self.seconds,
                        heard=told)  # fmt: skip
        content = folder / self.name
        if content.is_symlink() or not content.is_dir():
            raise BackupDamaged(
                f"{self.restic.label}: snapshot {snapshot} holds no folder {self.name!r}; next: look at it with "
                "'restic ls', and take the backup again"
            )
        return content

    def forget(self, snapshots: Sequence[Snapshot], *, prune: bool = False) -> None:
        """Remove *snapshots*, which are ours.

        :param prune: whether also the data is removed to which no snapshot leads any more
        """
        if snapshots:
            self.restic.run("forget", *(["--prune"] if prune else []), *(one.id for one in snapshots),
                            seconds=self.seconds)  # fmt: skip
            log.info("%s: forgot snapshot %s", self.restic.label, ", ".join(one.id[:8] for one in snapshots))

    def version(self) -> tuple[int, int]:
        """Return the version of restic, as far as it tells what it can do."""
        found = _VERSION.search(self.restic.run("version"))
        if found is None:
            raise TemporaryError(f"{self.restic.label}: restic does not say its version; next: see 'restic version'")
        return int(found[1]), int(found[2])


def _literal(path: Path) -> str:
    """Return a pattern of restic's that is this path alone."""
    return _GLOB.sub(r"\\\1", str(path))


def _plain(path: Path | str) -> str:
    """Return a path as restic's messages can hold it: bytes that are no text are one sign."""
    return _UNKNOWN.sub("\N{REPLACEMENT CHARACTER}", os.fsencode(path).decode(errors="replace"))
