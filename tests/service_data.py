"""A small, right service file for tests, and the environment that is made of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airlock.change.content import ContentPast
from airlock.service.find import ServiceEnvironment
from airlock.service.reading import load_file

TUESDAY_NOON = datetime(2026, 11, 24, 11, tzinfo=UTC)
DELIVERY = "target: {name: supervisord}\n    router: {name: envoy}\n    metrics: {name: envoy}"
"""What replaces this in a test has options."""
TEXT = """\
service: cafe
description: A coffee house.
owner: cafe-team
tier: 2
groups:
  service_owner: [olga]
  board: [bert, cleo, olga]
environments:
  live:
    standard_changes:
      regular:
        title: Regular release
        reason: It is Tuesday.
        impact: "low: nobody notices"
        rollback_plan: All traffic goes back.
        maximum_risk: 60
    artifact: {name: file, options: {path: "FOLDER/cafe-{version}.bin"}}
    ledger: FOLDER/ledger
    evidence: FOLDER/evidence
    signing_connection: signing
    approvals:
      low: {service_owner: 1}
      medium: {service_owner: 1}
      high: {service_owner: 1, board: 2}
    calendar:
      timezone: Europe/Berlin
      windows:
        - {days: [mon, tue], from: "09:00", to: "17:00"}
    backup: {store: FOLDER/backups, key_connection: key, scratch: FOLDER/scratch}
    DELIVERY
    rollout: {steps: [{percent: 10, observe_seconds: 1}]}
    resources:
      - name: settings
        kind: configuration
        driver: env_file
        options: {path: FOLDER/.env}
""".replace("DELIVERY", DELIVERY)


def write(folder: Path, text: str = TEXT, name: str = "cafe.yaml") -> Path:
    """Write *text* as a service file below *folder*; ``FOLDER`` in it becomes *folder*."""
    path = folder / "services" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.replace("FOLDER", str(folder)))
    return path


def environment(folder: Path, *changes: tuple[str, str]) -> ServiceEnvironment:
    """Return the environment of ``TEXT`` with *changes* (old text, new text)."""
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return load_file(write(folder, text))[0]


def known_facts(service: ServiceEnvironment) -> dict[str, Any]:
    """Return facts for a risk score in which everything is known and nothing is bad, on a Tuesday at noon."""
    return {
        "now": TUESDAY_NOON,
        "current_version": "1.0",
        "artifact_bytes": {"now": 1000, "wanted": 1001},
        "way_back": {"verdict": "reversible", "reason": "no schema changes"},
        "restore_drills": {f"{one.kind}.{one.name}": TUESDAY_NOON.isoformat() for one in service.resources},
        "history": [],
        "content": ContentPast(digest=f"sha256:{0:064}", here=service.environment).model_dump(mode="json"),
    }
