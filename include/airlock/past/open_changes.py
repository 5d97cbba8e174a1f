"""Every release that has not ended, of any service whose file lies beside a given one. Knows no rule of conflicts."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from airlock import last_good, service_file
from airlock.change.conflicts import OpenChange
from airlock.errors import EvidenceInvalid, InvalidInput
from airlock.evidence.open_releases import OpenReleases
from airlock.services import ServiceEnvironment, service_files

log = logging.getLogger(__name__)
_SAID = re.compile(r"ledger[^\n]*\n(?:(?![^\n]*:\s)[^\n]*\n)*[^\n]*")
"""What a file says of its ledgers: up to the next line with a key, for a value may go on in the lines after it."""
_KEY = re.compile(r"ledger[\"']?\s*:")
_VEILED = re.compile(r"\\|\*[A-Za-z]")
"""An escape may hide the word, and an alias stands for what is written elsewhere."""


def open_changes(environment: ServiceEnvironment) -> tuple[OpenChange, ...]:
    """Return every open release of the ledgers of *environment* and of all services beside it.

    :raises EvidenceInvalid: an entry of an index is damaged, so that nobody knows
    """
    found = []
    for root in _roots(environment):
        for said in OpenReleases(root).all():
            try:
                found.append(OpenChange.model_validate(said))
            except ValidationError as error:
                raise EvidenceInvalid(f"{root}: an entry of the open releases is damaged, so nobody knows what it "
                                      f"touches: {error.errors()[0]['msg']}") from error
    return tuple(found)


def _roots(environment: ServiceEnvironment) -> Iterable[str]:
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
    for path in paths:
        try:
            raw = service_file.content(path)
        except InvalidInput as error:
            log.warning("its ledger is not looked at: %s", error)
            continue
        text = raw.decode(errors="replace")
        said, plain = tuple(_SAID.findall(text)), not _VEILED.search(text)
        if plain and said in known:
            continue
        named = _ledgers(service_file.parse(raw, path, os.environ).data)
        roots.update(named)
        # Else some of what is said stands where it names no ledger, and in another file it may name one.
        if plain and len(named) == len(_KEY.findall(text)):
            known.add(said)
    return sorted(roots - {""})


def _ledgers(data: Any) -> list[str]:
    """Return the ledger of each environment that the *data* of a service file, right or wrong, has."""
    entries = data.get("environments") if isinstance(data, dict) else None
    found = (entry.get("ledger") for entry in (entries.values() if isinstance(entries, dict) else ())
             if isinstance(entry, dict))
    return [ledger for ledger in found if isinstance(ledger, str)]
