"""Every release that has not ended, of any service whose file lies beside a given one. Knows no rule of conflicts."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from airlock.change.conflicts import UNDER_WAY, OpenChange
from airlock.errors import AirlockError, EvidenceInvalid, InvalidInput
from airlock.evidence.open_releases import Holder, OpenReleases
from airlock.places.address import Address, place_from
from airlock.service import file as service_file
from airlock.service import last_good
from airlock.service.defaults import ServiceDocument, merged
from airlock.service.find import ServiceEnvironment, find, service_files
from airlock.service.reading import read_company
from airlock.signing import Keyring, keyring_from_connection

log = logging.getLogger(__name__)
_SAID = re.compile(r"ledger[^\n]*\n(?:(?![^\n]*:\s)[^\n]*\n)*[^\n]*")
"""What a file says of its ledgers: up to the next line with a key, for a value may go on in the lines after it."""
_KEY = re.compile(r"ledger[\"']?\s*:")
_VEILED = re.compile(r"\\|\*[A-Za-z]|\$\{[a-z]|ledger[\"']?\s*:\s*([{#&!]|\n)")
"""An escape may hide the word, an alias stands for what is written elsewhere, a name differs from file to file, and an
address and its connection are in lines of their own."""


def open_changes(environment: ServiceEnvironment, keyring: Callable[[], Keyring] | None = None
                 ) -> tuple[OpenChange, ...]:
    """Return every open release of the ledgers of *environment* and of all services beside it. Those that are under way
    are told by what they have on record, whatever the index says.

    :param keyring: the keys that *environment* trusts; ``None`` says nothing about signatures
    :raises EvidenceInvalid: an entry of an index, or a record of what is held, is damaged, so that nobody knows
    """
    found: dict[tuple[str, str, str], OpenChange] = {}
    for root in _roots(environment):
        index = OpenReleases(root)
        try:
            said = [OpenChange.model_validate(one) for one in index.all()]
            found.update(((one.service, one.environment, one.release), one) for one in said)
            trusted = None if keyring is None else _Keys(environment, keyring)
            for holder, record in index.on_record(trusted):
                key = (holder.service, holder.environment, holder.release)
                known = found.get(key, OpenChange(service=holder.service, environment=holder.environment,
                                                  release=holder.release, since=record.at))
                held = {name: record.data[name] for name in ("touches", "version", "until") if name in record.data}
                found[key] = OpenChange.model_validate(
                    {**known.model_dump(), "state": UNDER_WAY, "since": record.data["at"], **held})
        except (ValidationError, KeyError) as error:
            raise EvidenceInvalid(f"{root}: what is said of an open release is damaged, so nobody knows what it "
                                  f"touches: {str(error)[:200]}") from error
    return tuple(found.values())


class _Keys:
    """Whose signature a holder's record must have: that of the service that asks, or of the holder's own service."""

    def __init__(self, environment: ServiceEnvironment, own: Callable[[], Keyring]) -> None:
        self._environment = environment
        self._own = own

    def __call__(self, holder: Holder) -> Keyring:
        own, here = self._own(), self._environment
        if (holder.service, holder.environment) == (here.service, here.environment):
            return own
        try:
            other = find(Path(here.source).parent, holder.service, holder.environment).signing_connection
            return own if other == here.signing_connection else keyring_from_connection(other)
        except AirlockError as error:
            log.warning("the keys of %s are not known, so those of %s count: %s", holder.service, here.service, error)
            return own


def _roots(environment: ServiceEnvironment) -> Iterable[str | Address]:
    """Return the roots of all ledgers: this one, and those that the service files name, or did when they were good.
    Only names are read, so that a fault in the file of another service does not matter here. A file that says of its
    ledgers to the letter what another one said is not parsed: most of a thousand files say the same."""
    folder = Path(environment.source).parent
    roots = {environment.ledger, *last_good.ledgers(folder)}
    known: set[tuple[str, ...]] = set()
    try:
        paths = service_files(folder)
    except InvalidInput as error:
        log.warning("only the ledgers that were known before are looked at: %s", error)
        paths = ()
    company = read_company(folder)
    named_for_each = company is not None and bool(_VEILED.search(str(company.data)))
    for path in paths:
        try:
            raw = service_file.content(path)
        except InvalidInput as error:
            log.warning("its ledger is not looked at: %s", error)
            continue
        text = raw.decode(errors="replace")
        said, plain = tuple(_SAID.findall(text)), not named_for_each and not _VEILED.search(text)
        if plain and said in known:
            continue
        document = merged(service_file.parse(raw, path, os.environ, named=True), company)
        roots.update(_ledgers(document.data))
        # Else some of what is said stands where it names no ledger, and in another file it may name one.
        if plain and _written(document) == len(_KEY.findall(text)):
            known.add(said)
    return sorted(roots, key=lambda root: (str(root), isinstance(root, Address), repr(root)))


def _written(document: ServiceDocument) -> int:
    """Return in how many places of its file alone *document* names the ledger of some environment."""
    found = (document.written(name, ("ledger",)) for name in document.environments)
    return len({one.place for one in found if one is not None and one.path == document.path})


def _ledgers(data: Any) -> list[str | Address]:
    """Return the ledger of each environment that the *data* of a service file, right or wrong, has."""
    entries = data.get("environments") if isinstance(data, dict) else None
    found = (entry.get("ledger") for entry in (entries.values() if isinstance(entries, dict) else ())
             if isinstance(entry, dict))
    return [ledger for ledger in map(place_from, found) if ledger is not None]
