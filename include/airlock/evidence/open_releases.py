"""Which releases of all services are open, and who holds which real resource: an index beside their ledgers.

Exists so that nobody reads all history to learn what is going on now. One object for each open release under
``<root>/.open/``, which is dropped when the release is found sealed: the seal decides, never the index. What a release
holds is an object of its own under ``<root>/.held/<what>/<number>``, created in one step that only one can win, also in
an object store, which has no locks. A hold ends with the seal of its holder; the next holder takes the next number, and
the newest number is never removed, so that nobody can take a place that another took a moment ago.

Neither is signed, and whoever can write the ledgers can remove both. So they only make things quick and first come,
first served: who holds what is told by the signed record ``HOLD`` in the ledger of each release that is not sealed,
which ``on_record`` reads. Knows ledgers and names; must not know what is held.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from upath import UPath

from airlock.errors import EvidenceInvalid, GateRefused, InvalidInput
from airlock.evidence import untrusted
from airlock.evidence.ledger import Ledger
from airlock.models import Record
from airlock.places import objects, paths
from airlock.places.paths import Location
from airlock.signing import Keyring

log = logging.getLogger(__name__)
_OPEN, _HELD = ".open", ".held"
_DIGITS = 8
HOLD = "hold_resources"
"""Type of the record that says what a release holds until its seal; its data holds ``touches``, a list of names."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True)
class Holder:
    """Who holds something."""

    service: str
    environment: str
    release: str


class OpenReleases:
    """The open releases of every service whose ledger lies in *root*."""

    def __init__(self, root: Location) -> None:
        """Point to the index; nothing is created before the first entry."""
        self._root = paths.root_path(root)

    def put(self, holder: Holder, data: Mapping[str, Any]) -> None:
        """Say that the release of *holder* is open, and what is to be known of it, over what was said before.

        :raises TemporaryError: the disk is full or the store cannot be reached
        """
        said = {"service": holder.service, "environment": holder.environment, "release": holder.release, **data}
        objects.replace(self._root / _OPEN / f"{holder.service}.{holder.environment}.{holder.release}.json",
                        json.dumps(said, sort_keys=True).encode())

    def all(self) -> tuple[Mapping[str, Any], ...]:
        """Return what is said of every release that is not sealed; entries of sealed ones are removed.

        :raises EvidenceInvalid: an entry is damaged: then nobody knows what goes on
        :raises TemporaryError: the store cannot be reached
        """
        found = []
        for name in objects.names(self._root / _OPEN):
            path = self._root / _OPEN / name
            data = objects.read(path)
            if data is None:
                continue  # its release ended in this moment
            said = untrusted.parse_json(data, f"{path}")
            holder = _holder(said, str(path))
            if self._is_over(holder):
                objects.withdraw(path)
                continue
            found.append(said)
        return tuple(found)

    def on_record(self, keyring: Callable[[Holder], Keyring] | None = None) -> Iterator[tuple[Holder, Record]]:
        """Yield every release in *root* that holds something by its own record, and that record.

        :param keyring: gives the keys that may have signed the records of a holder; ``None``: anybody may
        :raises EvidenceInvalid: such a record was altered, or not signed by a trusted key: then nobody knows
        """
        for service in self._folders(self._root):
            for environment in self._folders(self._root / service):
                names = Ledger(self._root, service, environment)
                for release in names.unsettled():
                    if not any(f"-{HOLD}-" in name for name in names.record_names(release)):
                        continue
                    holder = Holder(service, environment, release)
                    ledger = names if keyring is None else Ledger(
                        self._root, service, environment, keyring=functools.partial(keyring, holder))
                    record = ledger.latest(release, HOLD)
                    if record is not None:
                        yield holder, record

    def free(self, what: Iterable[str]) -> tuple[str, ...]:
        """Return those of *what* that nobody holds, as far as the index tells."""
        return tuple(one for one in what if self._holder_of(one)[1] is None)

    def give_back(self, holder: Holder, what: Iterable[str]) -> None:
        """Let go of what *holder* holds of *what*."""
        for one in what:
            number, present = self._holder_of(one)
            if present == holder:
                objects.replace(self._folder(one) / f"{number:0{_DIGITS}d}",
                                _text(Holder(holder.service, holder.environment, "")))

    def hold(self, holder: Holder, what: Iterable[str]) -> Mapping[str, Holder]:
        """Take everything in *what* for *holder*, or nothing; return who holds what is taken, empty if all was got.

        What is held already by *holder* stays held. Two that want the same at once never both get it; they may both
        get nothing, and try again.
        """
        taken: dict[str, Holder] = {}
        got: list[UPath] = []
        for one in sorted(set(what)):
            path, other = self._take(one, holder)
            if other is not None:
                taken[one] = other
                break
            if path is not None:
                got.append(path)
        if taken:
            for path in reversed(got):
                objects.replace(path, _text(Holder(holder.service, holder.environment, "")))
        return taken

    def holders(self, what: Iterable[str]) -> Mapping[str, Holder]:
        """Return who holds each of *what* now; what nobody holds is left out."""
        found = {one: self._holder_of(one)[1] for one in what}
        return {one: holder for one, holder in found.items() if holder is not None}

    def _take(self, what: str, holder: Holder) -> tuple[UPath | None, Holder | None]:
        """Return the object that was created, if it had to be, or who holds *what*."""
        folder = self._folder(what)
        number, present = self._holder_of(what)
        if present is not None:
            return None, None if present == holder else present
        path = folder / f"{number + 1:0{_DIGITS}d}"
        created = objects.create(path, _text(holder))
        newest, winner = self._holder_of(what)
        if not created or newest != number + 1:  # who was slow may create a number that others have left behind
            if created:
                objects.withdraw(path)
            return None, winner or Holder("another", "release", "which was quicker")
        for name in objects.names(folder):
            if name.isdigit() and int(name) < number:  # the one before stays a while, for who is just reading it
                objects.withdraw(folder / name)
        return path, None

    def _holder_of(self, what: str) -> tuple[int, Holder | None]:
        """Return the newest number of *what*, and its holder if that one's release is not over."""
        folder = self._folder(what)
        numbers = [int(name) for name in objects.names(folder) if name.isdigit()]
        if not numbers:
            return 0, None
        newest = max(numbers)
        path = folder / f"{newest:0{_DIGITS}d}"
        data = objects.read(path)
        if data is None:
            return newest, None
        holder = _holder(untrusted.parse_json(data, f"{path}"), str(path))
        return newest, None if not holder.release or self._is_over(holder) else holder

    @staticmethod
    def _folders(folder: UPath) -> tuple[str, ...]:
        return tuple(name for name in objects.names(folder)
                     if _NAME.fullmatch(name) and objects.is_folder(folder / name))

    def _folder(self, what: str) -> UPath:
        return self._root / _HELD / hashlib.sha256(what.encode()).hexdigest()[:32]

    def _is_over(self, holder: Holder) -> bool:
        """Return whether the release is sealed, or its records were archived: without them it can do nothing."""
        try:
            ledger = Ledger(self._root, holder.service, holder.environment)
            return ledger.sealed(holder.release) or not ledger.record_names(holder.release)
        except (InvalidInput, GateRefused) as error:
            raise EvidenceInvalid(f"an entry of the open releases names no release: {error}") from error


def _text(holder: Holder) -> bytes:
    return json.dumps(vars(holder), sort_keys=True).encode()


def _holder(said: Any, where: str) -> Holder:
    if not isinstance(said, dict) or not all(isinstance(said.get(name), str) for name in Holder.__dataclass_fields__):
        raise EvidenceInvalid(f"{where} does not say whose it is; look at it, and remove it when its release is over")
    return Holder(said["service"], said["environment"], said["release"])
