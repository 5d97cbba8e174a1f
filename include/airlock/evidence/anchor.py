"""What a second place knows of a ledger: which releases began, which records they have, and the newest seal.

Exists because whoever can write a ledger can also remove its end, or all of it: what is gone is told only by a place
that they cannot write. Objects are created and never removed, but for the one that points to the newest seal::

    <anchor>/<service>/<environment>.json                  the newest seal
    <anchor>/<service>/<environment>/<release>/<record>    one for each record, from the first on
    <anchor>/<service>/<environment>/<release>/seal.json   once the release is sealed

Knows names and digests. Must not know what a record means, nor where the ledger lies.
"""

from __future__ import annotations

import re

from pydantic import ValidationError
from upath import UPath

from airlock.errors import Damaged, EvidenceInvalid
from airlock.evidence import untrusted
from airlock.evidence.statement import PreviousSeal
from airlock.models import canonical_json
from airlock.places import objects, paths
from airlock.places.paths import Location

_SEAL = "seal.json"
_PART = re.compile(r"[a-z][a-z0-9_-]{0,62}")


class Anchor:
    """What is known of one service in one environment."""

    def __init__(self, root: Location, service: str, environment: str) -> None:
        """Point to it; nothing is created before the first record."""
        self._newest = paths.root_path(root) / service / f"{environment}.json"
        self._folder = paths.root_path(root) / service / environment

    def newest(self) -> PreviousSeal | None:
        """Return the newest seal, or ``None``.

        :raises EvidenceInvalid: it cannot be read
        """
        data = objects.read(self._newest)
        return None if data is None else _seal(data, self._newest)

    def move(self, newest: PreviousSeal) -> None:
        """Say that *newest* is the newest seal, and that its release is sealed."""
        objects.create(self._folder / newest.release / _SEAL, canonical_json(newest))
        known = self.newest()
        if known is None or known.sequence < newest.sequence:
            objects.replace(self._newest, canonical_json(newest))

    def mark(self, release: str, record: str) -> None:
        """Say that the *record* of *release*, an object's name, was written."""
        objects.create(self._folder / release / record, canonical_json({"release": release, "record": record}))

    def releases(self) -> tuple[str, ...]:
        """Return the releases that began.

        :raises EvidenceInvalid: something else lies in the place of the folder
        """
        return _entries(self._folder)

    def records(self, release: str) -> tuple[str, ...]:
        """Return the names of the records of *release* that were written.

        :raises EvidenceInvalid: something else lies in the place of the folder
        """
        return tuple(name for name in _entries(self._folder / release) if name != _SEAL)

    def sealed(self, release: str) -> bool:
        """Return whether *release* was sealed."""
        return objects.exists(self._folder / release / _SEAL)

    def contradicts(self, release: str, digest: str) -> list[str]:
        """Return a sentence if *release* was sealed with another seal than that of this *digest*, as far as is known.
        """
        path = self._folder / release / _SEAL
        try:
            data = objects.read(path) if objects.exists(path) else None
            if data is None:
                return []
            known = _seal(data, path)
        except Damaged as error:
            return [str(error)]
        if (known.release, known.digest) == (release, digest):
            return []
        return [f"replaced: the anchor knows another seal of the release {untrusted.shown(release)}, number "
                f"{known.sequence}, with the digest {known.digest}"]


def _seal(data: bytes, path: UPath) -> PreviousSeal:
    try:
        return PreviousSeal.model_validate(untrusted.parse_json(data, str(path)))
    except ValidationError as error:
        raise EvidenceInvalid(f"the anchor {path} was altered: it is not a seal's digest") from error


def _entries(folder: UPath) -> tuple[str, ...]:
    found = objects.names(folder)
    if not found and objects.exists(folder) and not objects.is_folder(folder):
        raise EvidenceInvalid(f"the anchor was altered: {untrusted.shown(str(folder))} is no folder")
    return found


def anchored(root: Location, service: str, environment: str) -> PreviousSeal | None:
    """Return the newest seal that the anchor folder *root* knows of, or ``None``.

    :raises EvidenceInvalid: the anchor cannot be read
    """
    return Anchor(root, service, environment).newest()


def known(root: Location) -> frozenset[tuple[str, str]]:
    """Return every service and environment that the anchor folder *root* knows something of."""
    folder = paths.root_path(root)
    return frozenset(
        (service, name.removesuffix(".json"))
        for service in objects.names(folder) if _PART.fullmatch(service)
        for name in objects.names(folder / service) if _PART.fullmatch(name.removesuffix(".json"))
    )
