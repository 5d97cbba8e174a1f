"""The first service file of a service: small, commented, right, and without what the whole company says already.

Knows what a service file needs; must not know who is asked for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from airlock.errors import InvalidInput
from airlock.service.deep_check import check_deep
from airlock.service.document import Document
from airlock.service.find import read_services, service_files
from airlock.service.reading import load_file, read_company
from airlock.service.schema import SCHEMAS

_LONGEST_LABEL = 60
"""Of a name in an address, so that a slot fits behind it."""
_SHARED = (
    ("ledger", "/var/lib/airlock/ledger", "Records of every decision; never changed, so keep them for long."),
    ("evidence", "/var/lib/airlock/evidence", "Sealed packs of these records, for auditors."),
    ("anchor", "/var/lib/airlock/anchor", "What finds records that were removed; best kept by somebody else."),
    ("signing_connection", "airlock_signing", "Airflow connection with the key that signs records and permits."),
)
_CALENDAR = (
    ("timezone", "UTC"),
    ("windows", '[{days: [mon, tue, wed, thu, fri], from: "08:00", to: "16:00"}]'),
)
_BACKUP = (
    ("store", "/var/lib/airlock/backups", "Folder or object store of the backups."),
    ("key_connection", "airlock_backup_key", "Airflow connection with the age keys that backups are encrypted to."),
    ("scratch", "/var/lib/airlock/scratch", "Where each backup is restored as a test."),
)


@dataclass(frozen=True)
class FirstAnswers:
    """What only people know of a new service."""

    service: str
    description: str
    owner: str
    tier: int
    approvers: tuple[str, ...]
    environment: str
    artifact: str
    folder: str


def refuse_known(folder: Path, service: str) -> None:
    """Refuse a *service* that *folder* has a file of, under whatever name.

    :raises InvalidInput: it has one, the folder cannot be read, or what all services share is wrong
    """
    company = read_company(folder)
    if company is not None and company.faults:
        raise InvalidInput("\n".join(company.report()))
    taken = [path for path in service_files(folder) if path.stem == service]
    taken += [Path(one.source) for one in read_services(folder, service).declared]
    if taken:
        raise InvalidInput(f"{taken[0]} is there already; change that file, or choose another name")


def write_first(folder: Path, answers: FirstAnswers) -> Path:
    """Write the file of a new service into *folder*, whole or not at all, and return its path.

    :raises InvalidInput: there is one already, or what would be written is wrong; one line for each fault
    """
    refuse_known(folder, answers.service)
    path = folder / f"{answers.service}.yaml"
    with NamedTemporaryFile("w", dir=folder, prefix=f".{answers.service}.", suffix=".yaml", encoding="utf-8") as draft:
        draft.write(text_of(answers, read_company(folder)))
        draft.flush()
        try:
            for environment in load_file(draft.name):
                check_deep(environment)
        except InvalidInput as error:
            raise InvalidInput(str(error).replace(draft.name, str(path))) from error
        Path(draft.name).chmod(0o644)
        try:
            os.link(draft.name, path)  # unlike a rename, never over another file
        except FileExistsError as error:
            raise InvalidInput(f"{path} is there already; change that file, or choose another name") from error
    return path


def text_of(answers: FirstAnswers, company: Document | None) -> str:
    """Return the text of the file; what the defaults of *company* say is left out."""
    shared = company.data.get("defaults") if company is not None and isinstance(company.data, dict) else None
    return "\n".join(_lines(answers, shared if isinstance(shared, dict) else {})) + "\n"


def _lines(answers: FirstAnswers, shared: dict[str, Any]) -> Iterator[str]:
    name, environment = answers.service, answers.environment
    yield f"# yaml-language-server: $schema={SCHEMAS['service']}"
    yield f"# How {name} is released. Defaults and merging: docs/service-files.md; an editor explains every field."
    yield "# ./airlock services check says what is wrong here, and what a release would do says"
    yield f"# ./airlock plan {name} {environment} --version ..."
    yield f"service: {_quoted(name)}"
    yield f"description: {_quoted(answers.description)}"
    yield f"owner: {_quoted(answers.owner)}"
    yield f"tier: {answers.tier}  # 1 matters most, 4 least"
    yield "groups:"
    yield "  # Log-in names as Airflow knows them. Nobody approves a release of their own, so name more than one."
    yield f"  service_owner: [{', '.join(map(_quoted, answers.approvers))}]"
    yield "# What all environments have in common; each may say otherwise."
    yield "defaults:"
    yield "  # Where versions are."
    yield "  artifact:"
    yield "    name: file"
    yield f"    options: {{path: {_quoted(answers.artifact)}}}"
    yield from (f"  {key}: {value}  # {why}" for key, value, why in _SHARED if key not in shared)
    approvals = _part(shared, "approvals")
    if levels := [level for level in ("low", "medium", "high") if not {level, "policy"} & set(approvals)]:
        yield "  # Who must agree: group -> how many of its people, by the risk of the change."
        yield "  approvals:"
        yield from (f"    {level}: {{service_owner: 1}}" for level in levels)
    if calendar := [line for line in _CALENDAR if line[0] not in _part(shared, "calendar")]:
        yield "  # When a release may act; it waits for that."
        yield "  calendar:"
        yield from (f"    {key}: {value}" for key, value in calendar)
    if backup := [line for line in _BACKUP if line[0] not in _part(shared, "backup")]:
        yield "  backup:"
        yield from (f"    {key}: {value}  # {why}" for key, value, why in backup)
    yield from _delivery(name, shared)
    yield "  # What a release could destroy. It is backed up, and restored as a test, before anything is deployed."
    yield "  # ./airlock drivers shows what else can be."
    yield "  resources:"
    yield "    - name: files"
    yield "      kind: storage"
    yield "      driver: directory"
    yield f"      options: {{path: {_quoted(answers.folder)}}}"
    yield "environments:"
    yield f"  {_quoted(environment)}:"
    yield "    # true where customers depend on it: then resources of all ten kinds are asked for, or for each kind"
    yield "    # that there is not, the reason (without_kinds)."
    yield "    production: false"


def _delivery(name: str, shared: dict[str, Any]) -> Iterator[str]:
    host = name[:_LONGEST_LABEL]
    yield "  # Where versions run. Addresses of .example are to be replaced."
    yield "  target:"
    yield "    name: supervisord"
    yield "    options:"
    yield f"      folder: /srv/{name}/${{environment}}/slots"
    yield f"      supervisor_connection: {name}_supervisor  # Airflow connection of supervisord"
    yield "      slots:"
    for slot in "ab":
        yield f"        {slot}:"
        yield f"          address: http://{host}-{slot}.${{environment}}.example:8080"
        yield f"          program: {name}-${{environment}}-{slot}"
    yield "  # Who splits the traffic between them."
    yield "  router:"
    yield "    name: envoy"
    yield "    options:"
    yield "      admin: http://envoy.${environment}.example:9901"
    yield f"      listener: http://{host}.${{environment}}.example"
    yield f"      fallback_folder: /srv/{name}/${{environment}}/router"
    yield "      backends:"
    for slot in "ab":
        yield f"        {slot}: {{runtime_key: \"routing.traffic_split.{name}.${{environment}}.{slot}\"}}"
    yield "  # Where errors and latencies of both versions are counted."
    yield "  metrics:"
    yield "    name: envoy"
    yield "    options:"
    yield "      admin: http://envoy.${environment}.example:9901"
    yield "      slots:"
    for slot in "ab":
        yield (f"        {slot}: {{address: \"http://{host}-{slot}.${{environment}}.example:8080\", "
               f"cluster: \"{name}_${{environment}}_{slot}\"}}")
    rollout = _part(shared, "rollout")
    if lines := list(_rollout(rollout)):
        yield "  rollout:"
        yield from lines
    if not _compares(rollout) and "max_latency_ms" not in _part(shared, "analysis"):
        yield "  analysis:"
        yield "    max_latency_ms: 500  # which p95 is too slow: no other version serves to compare with"
    yield "  # What a version must answer before it gets traffic (docs/checks.md)."
    yield "  checks:"
    yield "    smoke:"
    yield "      - {name: http, options: {paths: [/health]}}"


def _compares(rollout: dict[str, Any]) -> bool:
    """Return whether two versions serve at once, as they do but in a strategy that the company chose."""
    return str(rollout.get("strategy", "canary")) == "canary"


def _rollout(shared: dict[str, Any]) -> Iterator[str]:
    if not _compares(shared):
        if "observe_seconds" not in shared:
            yield "    observe_seconds: 300"
    elif "steps" not in shared:
        yield "    steps:"
        yield from (f"      - {{percent: {percent}, observe_seconds: 300}}" for percent in (5, 25, 50))
    if "bake_seconds" not in shared:
        yield "    bake_seconds: 600"


def _part(shared: dict[str, Any], name: str) -> dict[str, Any]:
    found = shared.get(name)
    return found if isinstance(found, dict) else {}


def _quoted(text: str) -> str:
    """Return *text* as YAML writes it in any place."""
    plain = text.replace("-", "_").isidentifier() and text[0] != "-" and text.lower() not in _WORDS
    return text if plain else json.dumps(text, ensure_ascii=False)


_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
