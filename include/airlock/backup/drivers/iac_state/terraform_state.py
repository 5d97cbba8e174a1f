"""Driver ``terraform_state``: a Terraform or OpenTofu state file, local or in any object storage. Knows where it lies
and who may read it, not what is in it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field
from upath import UPath

from airlock.backup import driver as contract
from airlock.backup import file_needs
from airlock.backup.attributes import Attributes
from airlock.backup.driver import Place, StreamDriver, Write
from airlock.backup.drivers.iac_state.state_format import facts_of
from airlock.backup.files import (
    FILE_LEAVES_OUT,
    Owners,
    discard_folder,
    fault,
    present,
    recorded,
    regular,
    replace_file,
    rights_of,
    scratch_folder,
)
from airlock.connections import ConnectionId
from airlock.errors import InvalidInput, TemporaryError
from airlock.identity import file_identity
from airlock.models import Check, Inspection, Kind, RecoveryPoint
from airlock.models.needs import ConnectionNeed, Needs, Stage
from airlock.options import Options as DriverOptions
from airlock.places import objects, paths, streams
from airlock.places.remote import CONNECTION

log = logging.getLogger(__name__)
_LIMIT = 1 << 30
_PRIVATE = Attributes(0o600).facts()
"""Of an object that is restored into a file: it may hold secrets."""
_SHOWN = ("format", "lineage", "serial", "resource addresses", "bytes")


class TerraformStateDriver(StreamDriver):
    """One state file. It is read in one go, as Terraform does."""

    kind = Kind.IAC_STATE
    capabilities = contract.Capabilities(
        consistent="one reading of the state file, under the lock of Terraform where it is local",
        leaves_out=("other workspaces and the .backup beside the state", *FILE_LEAVES_OUT),
    )
    needs = file_needs.of_file("{path}") + Needs(
        connections=(ConnectionNeed(sort="object storage", when="connection",
                                    stages=(Stage.INSPECT, Stage.BACKUP, Stage.RESTORE)),),
    )

    class Options(DriverOptions):
        path: str = Field(min_length=1, description="local path, or URL of an object storage, of the state file")
        connection: ConnectionId | None = Field(None, description="Airflow connection of the object storage")
        owners: Owners = True

        def identities(self) -> tuple[str, ...]:
            return (file_identity(self.path),)

    options: Options

    def inspect(self) -> Inspection:
        local = self._local(Place(origin=True))
        there = local is None or present(local, self.label)
        size = objects.size(self._origin()) if there else None
        if size is None:
            return Inspection(present=False)
        facts = self._facts(Place(origin=True))
        return Inspection(
            present=True,
            size_bytes=size,
            fingerprint=str(facts["bytes"]),
            detail={"serial": facts["serial"], "resources": len(facts["resource addresses"] or ())},
        )

    def take(self, write: Write) -> dict[str, Any]:
        path = self._origin()
        content = self._read(path)
        local = self._local(Place(origin=True))
        facts = {**self._parse(path, content), "rights": self._rights(Place(origin=True)),
                 "linked": local is not None and local.is_symlink()}  # fmt: skip
        write("terraform.tfstate", [content])
        log.info(
            "%s: read %s: format %s, serial %s, %s resource(s)",
            self.label,
            path,
            facts["format"],
            facts["serial"],
            "unknown" if facts["resource addresses"] is None else len(facts["resource addresses"]),
        )
        return facts

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        content = b"".join(self.store.read(point.objects[0]))
        if not place.origin:
            scratch_folder(place, self.label)
        path = self._path(place)
        local = self._local(place)
        if local is None:
            objects.replace(path, content)
        else:
            rights = recorded(point.facts.get("rights") or _PRIVATE, self.label)
            with self._lock(local):
                replace_file(local, [content], rights, self.label, linked=point.facts.get("linked", True))
        log.info("%s: wrote %s, %d bytes", self.label, path, len(content))

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        try:
            found: dict[str, Any] = self._facts(place)
        except InvalidInput as error:
            return (Check(name="a Terraform state", expected="readable", found=str(error), ok=False),)
        rights = point.facts.get("rights")
        names = (*_SHOWN, "rights") if rights is not None and self._local(place) is not None else _SHOWN
        return tuple(
            Check(name=name, expected=point.facts.get(name), found=found[name], ok=point.facts.get(name) == found[name])
            for name in names
        )

    def discard(self, place: Place) -> None:
        discard_folder(place, self.label)

    def _facts(self, place: Place) -> dict[str, Any]:
        path = self._path(place)
        return {**self._parse(path, self._read(path)), "rights": self._rights(place)}

    def _rights(self, place: Place) -> dict[str, Any] | None:
        """Return who may do what with the file; ``None`` for an object, whose rights are its storage's."""
        local = self._local(place)
        if local is None:
            return None
        return rights_of(local, regular(local, self.label), self.label, owners=self.options.owners)

    def _local(self, place: Place) -> Path | None:
        """Return where the file is on this machine; ``None`` for an object."""
        path = self._path(place)
        return paths.local(path)

    @contextmanager
    def _lock(self, path: Path) -> Iterator[None]:
        """Keep away the lock that Terraform itself takes on a local state. It needs no right to write into the file.

        :raises TemporaryError: Terraform is at work on it
        """
        if not path.is_file():  # Terraform locks nothing else, and a pipe would be waited for
            yield
            return
        try:
            with path.open("rb") as held:
                fcntl.lockf(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
                yield
        except BlockingIOError as error:
            raise TemporaryError(f"{self.label}: Terraform is at work on {path} and holds its lock") from error
        except OSError as error:
            raise fault(error, self.label, "lock", path) from error

    def _parse(self, path: UPath, content: bytes) -> dict[str, Any]:
        try:
            return facts_of(content)
        except ValueError as error:
            raise InvalidInput(f"{self.label}: {path}: {error}; check 'path' in the service file") from None

    def _read(self, path: UPath) -> bytes:
        if paths.local(path):
            regular(Path(path.path), self.label)  # a pipe would be read for ever
        size = objects.size(path)
        if size is None:
            raise InvalidInput(f"{self.label}: {path} is not there; check 'path' in the service file")
        if size > _LIMIT:
            raise InvalidInput(f"{self.label}: {path} has {size} bytes; that is no Terraform state")
        with contextlib.ExitStack() as held:
            if paths.local(path):
                held.enter_context(self._lock(Path(path.path)))
            return held.enter_context(streams.opened(path)).read()

    def _path(self, place: Place) -> UPath:
        return self._origin() if place.origin else UPath(Path(place.folder) / "restored.tfstate")

    def _origin(self) -> UPath:
        where, connection = self.options.path, self.options.connection
        return paths.root_path(where if connection is None else UPath(where, **{CONNECTION: connection}))
