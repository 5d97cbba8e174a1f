"""One service file, with what it takes from defaults, -> frozen service environments, with every fault at its file and
line. Cheap, because every parse of the DAGs does it: drivers, targets, routers and the like are known by name only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from airlock.errors import InvalidInput
from airlock.service import file as service_file
from airlock.service import rules as service_rules
from airlock.service.defaults import DEFAULTS_FILE, ServiceDocument, defaults_of, merged
from airlock.service.document import Document
from airlock.service.model import EnvironmentSettings, ServiceEnvironment, ServiceSettings
from airlock.service.named_files import NamedFiles
from airlock.service.validated import passwords, validated


def read_company(folder: Path | str) -> Document | None:
    """Return what all services in *folder* share, with the faults of that file in itself; ``None`` if there is none."""
    path = Path(folder) / DEFAULTS_FILE
    if not os.path.lexists(path):
        return None
    try:
        document = service_file.read(path, os.environ, named=True)
    except InvalidInput as error:
        document = Document(path)
        document.fault((), str(error).partition(": file: ")[2] or str(error))
    if document.data is None:
        document.data = {}
    if not document.faults and not isinstance(document.data, dict):
        document.fault((), "must be a mapping of fields; write 'defaults:' and the fields below it")
    if document.faults:
        return document
    for name in ("service", "environments"):
        if name in document.data:
            document.fault((name,), f"belongs to a service file; write what all environments share below 'defaults', "
                                    f"and remove {name!r} here")
    top = {name: value for name, value in document.data.items() if name not in ("service", "environments", "defaults")}
    validated(ServiceSettings, top, (), document, also=("defaults",), partly=True)
    _check_defaults(document)
    return document


def document_of(path: Path | str, company: Document | None = None) -> ServiceDocument:
    """Return the service file at *path* with the defaults in every environment, right or wrong.

    :param company: what ``read_company`` returned for the folder of the file, where that was read already
    :raises InvalidInput: the file cannot be read
    """
    place = Path(path)
    if place.stem == Path(DEFAULTS_FILE).stem:
        raise InvalidInput(f"{place}:1: file: is not read, because of its name; name it {DEFAULTS_FILE}")
    document = service_file.read(place, os.environ, named=True)
    named = isinstance(document.data, dict) and "service" in document.data
    if not named and get_close_matches(place.stem, [Path(DEFAULTS_FILE).stem], cutoff=0.8):
        document.fault((), "is read as the file of a service; what all services share is read from "
                           f"{DEFAULTS_FILE} only", 1)
    return merged(document, company or read_company(place.parent))


def load_file(
    path: Path | str, company: Document | None = None, sources: list[tuple[Path, str]] | None = None
) -> tuple[ServiceEnvironment, ...]:
    """Return the environments of one service file, at least one. Parameters as of ``document_of``.

    :param sources: takes which files were read, and the sha256 of what they held
    :raises InvalidInput: one line for each fault of the file, or of what all services share
    """
    document = document_of(path, company)
    if document.company is not None and document.company.faults:
        raise InvalidInput("\n".join(document.company.report()))
    named = NamedFiles(document)
    environments = () if document.faults and not isinstance(document.data, dict) else tuple(_build(document, named))
    if document.faults or named.faults:
        raise InvalidInput("\n".join((*document.report(), *named.faults)))
    if sources is not None:
        read = [one for one in (document.company, document.raw) if one is not None]
        sources += [*((one.path, one.sha256) for one in read), *named.sources]
    return environments


def _check_defaults(document: Document) -> None:
    """Note what is wrong with the ``defaults`` of *document* whoever takes them."""
    for place, text in passwords(document.data):
        document.fault(place, text)
    shared = document.data.get("defaults")
    if shared is not None and not isinstance(shared, dict):
        document.fault(("defaults",), "must be a mapping of fields; write 'field: value' lines below it")
    elif shared:
        validated(EnvironmentSettings, defaults_of(document), ("defaults",), document, partly=True)


def _build(document: ServiceDocument, named: NamedFiles) -> Iterator[ServiceEnvironment]:
    data = document.data
    if not isinstance(data, dict):
        document.fault((), "holds no service; begin with 'service: name'", 1)
        return
    _check_defaults(document.raw)
    entries = data.get("environments")
    top = {name: value for name, value in data.items() if name != "environments"}
    service = validated(ServiceSettings, top, (), document, also=("environments", "defaults"))
    if not isinstance(entries, dict) or not entries:
        document.fault(("environments",), "is missing or empty; declare at least one environment")
        return
    for place, text in service_rules.look_alikes(service) if service is not None else ():
        document.fault(place, text)
    found = named.people(service) if service is not None else {}
    shapes = {name: validated(EnvironmentSettings, value, ("environments", name), document)
              for name, value in entries.items()}
    afters = {name: after if isinstance(after := value.get("after"), str) else None
              for name, value in entries.items() if isinstance(value, dict)}
    for name, settings in shapes.items():
        if service is None or settings is None:
            continue
        for place, text in service_rules.faults_of(service, name, settings, afters):
            document.fault(("environments", name, *place), text)
        policy = named.policy(name, settings.approvals, service)
        if policy is None:
            continue
        raw = {**_attributes(service), **_attributes(settings), **found, "approval_policy": policy}
        try:
            yield ServiceEnvironment.model_validate({**raw, "environment": name, "source": str(document.path)})
        except ValidationError:
            document.fault(("environments", name), "is no name; use lower case letters, digits, - and _, at most 63")


def _attributes(model: BaseModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in type(model).model_fields}
