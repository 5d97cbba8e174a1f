"""Driver ``artifact_file``: the file of the version that is in production now. A rollback version that cannot start is
no backup, so the proof starts the restored file and asks its health. Knows no target and no traffic."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import Field

from airlock.backup import driver as contract
from airlock.backup import file_needs
from airlock.backup.driver import Place, StreamDriver, Write
from airlock.backup.drivers.artifacts.smoke_start import Health, free_port, try_out
from airlock.backup.files import (
    FILE_LEAVES_OUT,
    Owners,
    discard_folder,
    end_of,
    present,
    read_exactly,
    recorded,
    regular,
    replace_file,
    rights_of,
    scratch_folder,
    sha256_of,
    shown,
)
from airlock.connections import ConnectionId, connection
from airlock.errors import InvalidInput
from airlock.identity import file_identity
from airlock.models import Check, Inspection, Kind, RecoveryPoint
from airlock.models.needs import ConnectionNeed, Needs, Program, Stage
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_OK = 200
_DIGEST = re.compile(r"[A-Za-z0-9:+/=._-]{1,200}")


class ArtifactFileDriver(StreamDriver):
    """One artifact file. Links in its path are followed, so ``.../stable/current`` names what runs now; a rollback
    writes to the end of those links as it was when the backup was taken."""

    kind = Kind.ARTIFACTS
    capabilities = contract.Capabilities(consistent="one reading of the file", leaves_out=FILE_LEAVES_OUT)
    needs = file_needs.of_file("{path}") + Needs(
        programs=(Program(name="{command.0}", stages=(Stage.PROOF,), why="the restored artifact is started with it"),),
        connections=(ConnectionNeed(id="{database_connection}", sort="PostgreSQL", stages=(Stage.PROOF,),
                                    when="database_connection", why="the artifact is given it as DATABASE_URL"),),
    )

    class Options(DriverOptions):
        path: str = Field(min_length=1, description="the installed artifact; links are followed")
        command: tuple[str, ...] = Field(
            ("{python}", "{artifact}"), min_length=1, description="starts it; {python}, {artifact}, {port} are replaced"
        )
        environment: dict[str, str] = Field(
            default_factory=lambda: {"PORT": "{port}"}, description="all that the process sees; {port} is replaced"
        )
        health_path: str = Field("/health", pattern="^/")
        """Path that the restored version must answer."""
        digest_field: str = Field("digest", description="field of the health answer that holds the artifact's digest")
        database_connection: ConnectionId | None = Field(None, description="Airflow connection, given as DATABASE_URL")
        database: str | None = Field(None, description="database name, instead of that of the connection")
        start_seconds: float = Field(30, gt=0, le=600)
        """How long it may take to start."""
        owners: Owners = True

        def identities(self) -> tuple[str, ...]:
            return (file_identity(self.path),)

    options: Options

    def inspect(self) -> Inspection:
        path = Path(self.options.path)
        if not present(path, self.label):
            return Inspection(present=False)
        seen = regular(path, self.label)
        return Inspection(
            present=True,
            size_bytes=seen.st_size,
            fingerprint=f"sha256:{sha256_of(path, self.label)}",
            detail={"path": shown(end_of(path, self.label))},
        )

    def take(self, write: Write) -> dict[str, Any]:
        path = Path(self.options.path)
        seen = regular(path, self.label)
        end = end_of(path, self.label)
        stored = write("artifact", read_exactly(end, seen, self.label))
        other = {} if shown(end) == str(end) else {"path_bytes": os.fsencode(end).hex()}
        return {
            "path": shown(end),
            **other,
            "digest": f"sha256:{stored.plain_sha256}",
            "size": seen.st_size,
            "rights": rights_of(end, seen, self.label, owners=self.options.owners),
        }

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        if not place.origin:
            scratch_folder(place, self.label)
        path = self._path(point, place)
        rights = recorded(point.facts.get("rights"), self.label)
        # what is on record is the end of all links
        replace_file(path, self.store.read(point.objects[0]), rights, self.label, linked=False)
        log.info("%s: wrote %s (%s)", self.label, shown(path), point.facts["digest"])

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        path = self._path(point, place)
        if not path.is_file():
            return (Check(name="the artifact", expected="present", found="missing", ok=False),)
        seen = regular(path, self.label)
        facts = point.facts
        rights = rights_of(path, seen, self.label, owners=self.options.owners)
        found = {"size": seen.st_size, "rights": rights, "digest": self._digest(path)}
        checks = [
            Check(name=name, expected=facts.get(name), found=value, ok=value == facts.get(name))
            for name, value in found.items()
        ]
        if not checks[-1].ok:
            return tuple(checks)  # never start what is not the file that was backed up
        # In the origin nothing is written beside the artifact; what a killed trial leaves in a scratch place goes too.
        folder = tempfile.TemporaryDirectory(prefix="airlock-trial-") if place.origin else nullcontext(str(path.parent))
        with folder as beside:
            health = self._start(path, Path(beside))
        checks.append(
            Check(
                name=f"starts and answers {self.options.health_path}",
                expected=_OK,
                found=health.status if health.status == _OK else f"{health.status}: {health.reason}",
                ok=health.status == _OK,
            )
        )
        stated = health.body.get(self.options.digest_field)
        if stated is not None:
            if not (isinstance(stated, str) and _DIGEST.fullmatch(stated)):
                stated = "something that is no digest"  # nobody knows whose data it is
            checks.append(
                Check(
                    name="digest that it states", expected=facts["digest"], found=stated, ok=stated == facts["digest"]
                )
            )
        return tuple(checks)

    def discard(self, place: Place) -> None:
        discard_folder(place, self.label)

    def _path(self, point: RecoveryPoint, place: Place) -> Path:
        facts = point.facts
        end = Path(os.fsdecode(bytes.fromhex(facts["path_bytes"])) if "path_bytes" in facts else facts["path"])
        return end if place.origin else Path(place.folder) / "artifact" / end.name

    def _digest(self, path: Path) -> str:
        digest = hashlib.sha256()
        for chunk in read_exactly(path, path.stat(), self.label):
            digest.update(chunk)
        return f"sha256:{digest.hexdigest()}"

    def _start(self, path: Path, folder: Path) -> Health:
        port = free_port()
        words = {"{python}": sys.executable, "{artifact}": str(path), "{port}": str(port)}
        # only what the options name: the environment of this process holds Airflow's own secrets
        environment = {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            **{key: _filled(value, words) for key, value in self.options.environment.items()},
        }
        if self.options.database_connection is not None:
            environment["DATABASE_URL"] = self._database_url(self.options.database_connection)
        command = [_filled(part, words) for part in self.options.command]
        log.info("%s: starting the restored artifact on 127.0.0.1:%d", self.label, port)
        return try_out(command, environment, (port, self.options.health_path), folder, self.options.start_seconds)

    def _database_url(self, connection_id: str) -> str:
        found = connection(connection_id)
        name = self.options.database or found.schema
        if not found.host or not name:
            raise InvalidInput(
                f"{self.label}: connection {connection_id!r} has no host or database; complete it, or "
                "give the option 'database'"
            )
        login = ":".join(quote(part, safe="") for part in (found.login, found.password) if part)
        return f"postgresql://{login}{'@' if login else ''}{found.host}:{found.port or 5432}/{quote(name, safe='')}"


def _filled(text: str, words: dict[str, str]) -> str:
    # in one go: a path may itself hold one of the words
    return re.sub("|".join(map(re.escape, words)), lambda match: words[match[0]], text)
