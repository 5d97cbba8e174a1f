"""Files that a service file names: the approval policy, and the people who are away. Each is read once for a service.

Their faults come with their own file and line. Knows service files; must not know what is decided by a policy.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from airlock.errors import InvalidInput
from airlock.models import Absence
from airlock.service import calendar_rules
from airlock.service import file as service_file
from airlock.service import rules as service_rules
from airlock.service.approvals import ApprovalPolicy, Approvals, People
from airlock.service.document import Document, Place
from airlock.service.model import ServiceSettings
from airlock.service.validated import validated

_SUFFIXES = (".yaml", ".yml")


class NamedFiles:
    """What the service file *document* names; ``faults`` are those of the named files themselves, and ``sources`` says
    which files were read, and what their content was."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._policies: dict[str, ApprovalPolicy | None] = {}
        self.faults: list[str] = []
        self.sources: list[tuple[Path, str]] = []

    def policy(self, environment: str, approvals: Approvals, service: ServiceSettings) -> ApprovalPolicy | None:
        """Return the approval policy of *environment*, or ``None`` when something about it is wrong."""
        name = approvals.policy
        if name is None:
            if None in (approvals.low, approvals.medium, approvals.high):
                return None
            return approvals.short_form()
        place = ("environments", environment, "approvals", "policy")
        if name not in self._policies:
            self._policies[name] = self._read_policy(name, place)
        found = self._policies[name]
        for text in service_rules.policy_fits(found, service) if found is not None else ():
            self._document.fault(place, text)
        return found

    def people(self, service: ServiceSettings) -> dict[str, Any]:
        """Return absences and authors of the people file that *service* names; empty if it names none."""
        if service.people is None:
            return {}
        document = self._open(service.people, ("people",))
        people = None if document is None else validated(People, document.data or {}, (), document)
        if document is None or people is None:
            self._report(document)
            return {}
        for place, text in (*service_rules.people_faults(people), *service_rules.known_people(people, service)):
            document.fault(place, text)
        self._report(document)
        zone = ZoneInfo(people.timezone)
        absences = []
        for one in people.absences:
            start, end = calendar_rules.freeze_bounds(one, zone)
            absences.append(Absence(person=one.person, start=start, end=end, delegate=one.delegate))
        return {"absences": tuple(absences), "authors": people.authors}

    def _read_policy(self, name: str, place: Place) -> ApprovalPolicy | None:
        document = self._open(name, place)
        if document is None:
            return None
        policy = validated(ApprovalPolicy, document.data, (), document) if not document.faults else None
        for where, text in service_rules.policy_faults(policy) if policy is not None else ():
            document.fault(where, text)
        self._report(document)
        return None if document.faults else policy

    def _open(self, name: str, place: Place) -> Document | None:
        """Return the document *name*, which is relative to the service file."""
        if not name.endswith(_SUFFIXES):
            self._document.fault(place, f"{name[:60]!r} is no YAML file; name a file that ends with .yaml")
            return None
        try:
            # No variables: what people approve by must read the same on every machine.
            document = service_file.read(Path(os.path.normpath(self._document.path.parent / name)), {})
        except InvalidInput as error:
            self._document.fault(place, str(error).partition(": file: ")[2] or str(error))
            return None
        self.sources.append((document.path, document.sha256))
        return document

    def _report(self, document: Document | None) -> None:
        if document is not None:
            self.faults.extend(document.report())
