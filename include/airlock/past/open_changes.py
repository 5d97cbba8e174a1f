"""Every release that has not ended, of any service whose file lies beside a given one. Knows no rule of conflicts."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from airlock import service_file
from airlock.change.conflicts import OpenChange
from airlock.errors import EvidenceInvalid, InvalidInput
from airlock.evidence.open_releases import OpenReleases
from airlock.services import ServiceEnvironment, service_files

log = logging.getLogger(__name__)
_SAID = re.compile(r"ledger[^\n]*\n(?:[^\n:]*\n)*[^\n]*")
"""What a file says of its ledgers: up to the next line with a colon, for a value may go on in the lines after it."""
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
    """Return the roots of all ledgers: this one, and those that the service files name. Only names are read, so that a
    fault in the file of another service does not matter here. A file that says of its ledgers to the letter what
    another one said is not parsed: most of a thousand files say the same."""
    roots = {environment.ledger}
    known: set[tuple[str, ...]] = set()
    for path in service_files(Path(environment.source).parent):
        try:
            raw = service_file.content(path)
        except InvalidInput as error:
            log.warning("its ledger is not looked at: %s", error)
            continue
        text = raw.decode(errors="replace")
        said = tuple(_SAID.findall(text))
        if said in known and not _VEILED.search(text):
            continue
        data = service_file.parse(raw, path, os.environ).data
        if isinstance(data, dict):
            known.add(said)
        entries = data.get("environments") if isinstance(data, dict) else None
        for entry in entries.values() if isinstance(entries, dict) else ():
            if isinstance(entry, dict) and isinstance(entry.get("ledger"), str):
                roots.add(entry["ledger"])
    return sorted(roots - {""})
