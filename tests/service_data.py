"""A small, right service file for tests, and the environment that is made of it."""

from __future__ import annotations

from pathlib import Path

from airlock.services import ServiceEnvironment, load_file

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
    standard_change:
      title: Regular release
      reason: It is Tuesday.
      impact: "low: nobody notices"
      rollback_plan: All traffic goes back.
      maximum_risk: 60
    artifacts: FOLDER/cafe-{version}.bin
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
    target: {name: envoy}
    metrics: {name: envoy}
    rollout: {steps: [{percent: 10, observe_seconds: 1}]}
    resources:
      - name: settings
        kind: configuration
        driver: env_file
        options: {path: FOLDER/.env}
"""


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
