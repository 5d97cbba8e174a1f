"""Driver ``terraform_state``: a Terraform or OpenTofu state file, local or in any object storage. Knows the state
format (version 4); its attributes may hold secrets, so only addresses and digests are shown."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any, cast

from pydantic import Field
from upath import UPath

from airlock.backup import driver as contract
from airlock.backup import objects
from airlock.backup.driver import Place, StreamDriver, Write
from airlock.backup.files import discard_folder, scratch_folder
from airlock.errors import InvalidInput
from airlock.identity import file_identity
from airlock.models import Check, Inspection, Kind, RecoveryPoint, digest_of
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_FORMAT = 4
_LIMIT = 1 << 30
_FACTS = ("lineage", "serial", "resource addresses", "JSON content", "bytes")


def addresses(state: dict[str, Any]) -> list[str]:
    """Return the address of every resource instance of a state, sorted, the way ``terraform state list`` shows them."""
    found: list[str] = []
    for resource in state.get("resources", []):
        parts = [resource["module"]] if resource.get("module") else []
        parts += ["data"] if resource.get("mode") == "data" else []
        base = ".".join([*parts, resource["type"], resource["name"]])
        found += [base + _index(instance.get("index_key")) for instance in resource.get("instances", [])]
    return sorted(found)


def _index(key: Any) -> str:
    return "" if key is None else f"[{json.dumps(key)}]"


def facts_of(content: bytes) -> dict[str, Any]:
    """Return what a proof compares of a state.

    :raises ValueError: it is no state; the message holds nothing of the content
    """
    try:
        state = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(state, dict) or state.get("version") != _FORMAT:
        raise ValueError(f"it is no Terraform state of format version {_FORMAT}")
    if not isinstance(state.get("lineage"), str) or not state["lineage"] or not isinstance(state.get("serial"), int):
        raise ValueError("it has no lineage and serial")
    try:
        values = (
            state["lineage"],
            state["serial"],
            addresses(state),
            digest_of(state),
            "sha256:" + hashlib.sha256(content).hexdigest(),
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ValueError("its list of resources is malformed") from None
    return dict(zip(_FACTS, values, strict=True))


class TerraformStateDriver(StreamDriver):
    """One state file. It is read in one go, as Terraform does."""

    kind = Kind.IAC_STATE
    capabilities = contract.Capabilities(consistent="one reading of the state file")

    class Options(DriverOptions):
        path: str = Field(min_length=1, description="local path, or URL of an object storage, of the state file")
        connection: str | None = Field(None, description="Airflow connection of the object storage")

        def identities(self) -> tuple[str, ...]:
            return (file_identity(self.path),)

    options: Options

    def inspect(self) -> Inspection:
        path = self._origin()
        size = objects.size(path)
        if size is None:
            return Inspection(present=False)
        facts = self._facts(path)
        return Inspection(
            present=True,
            size_bytes=size,
            fingerprint=str(facts["bytes"]),
            detail={"serial": facts["serial"], "resources": len(facts["resource addresses"])},
        )

    def take(self, write: Write) -> dict[str, Any]:
        path = self._origin()
        content = self._read(path)
        facts = self._parse(path, content)
        write("terraform.tfstate", [content])
        log.info(
            "%s: read %s: serial %d, %d resource(s)",
            self.label,
            path,
            facts["serial"],
            len(facts["resource addresses"]),
        )
        return facts

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        content = b"".join(self.store.read(point.objects[0]))
        if not place.origin:
            scratch_folder(place, self.label)
        path = self._path(place)
        objects.put(path, content)
        log.info("%s: wrote %s, %d bytes", self.label, path, len(content))

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        try:
            found: dict[str, Any] = self._facts(self._path(place))
        except InvalidInput as error:
            return (Check(name="a Terraform state", expected="readable", found=str(error), ok=False),)
        return tuple(
            Check(name=name, expected=point.facts.get(name), found=found[name], ok=point.facts.get(name) == found[name])
            for name in _FACTS
        )

    def discard(self, place: Place) -> None:
        discard_folder(place, self.label)

    def _facts(self, path: UPath) -> dict[str, Any]:
        return self._parse(path, self._read(path))

    def _parse(self, path: UPath, content: bytes) -> dict[str, Any]:
        try:
            return facts_of(content)
        except ValueError as error:
            raise InvalidInput(f"{self.label}: {path}: {error}; check 'path' in the service file") from None

    def _read(self, path: UPath) -> bytes:
        size = objects.size(path)
        if size is None:
            raise InvalidInput(f"{self.label}: {path} is not there; check 'path' in the service file")
        if size > _LIMIT:
            raise InvalidInput(f"{self.label}: {path} has {size} bytes; that is no Terraform state")
        with objects.opened(path) as source:
            return source.read()

    def _path(self, place: Place) -> UPath:
        return self._origin() if place.origin else UPath(Path(place.folder) / "restored.tfstate")

    def _origin(self) -> UPath:
        if self.options.connection is None:
            return UPath(self.options.path)
        from airflow.sdk import ObjectStoragePath

        # a UPath in all that is used here, though not by its type
        return cast(UPath, ObjectStoragePath(self.options.path, conn_id=self.options.connection))
