"""Builds the versions of the shop, the service under release of the sandbox. Knows no server and no release.

A version is one zipapp. Its bytes depend on its source and its traits only (fixed times, no compression), so that its
digest is the same on every machine.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from types import MappingProxyType

logger = logging.getLogger(__name__)
SOURCE = Path(__file__).parent / "application"
MIGRATIONS = Path(__file__).parent / "migrations"
TRAITS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "1.0": {"error_share": 0.0, "delay_seconds": 0.0},
        "1.1": {"error_share": 0.0, "delay_seconds": 0.0},
        "1.2": {"error_share": 0.05, "delay_seconds": 0.0},
        "1.3": {"error_share": 0.0, "delay_seconds": 0.15},
        "1.5": {"error_share": 0.0, "delay_seconds": 0.0},
        "1.6": {"error_share": 0.0, "delay_seconds": 0.0},
    }
)
"""1.0 runs, 1.1 is good, 1.2 fails in 5 % of its answers, 1.3 is slow. 1.5 and 1.6 are good and change the database's
schema: 1.5 so that 1.0 can live with it, 1.6 so that only a restore brings back what is gone."""
SCHEMA = MappingProxyType({"1.5": ("0001", "0002"), "1.6": ("0001", "0002", "0003")})
"""The migrations that a version carries, by number."""
ORDER_COLUMNS = MappingProxyType({"1.5": ("gift_note",), "1.6": ("gift_note",)})
"""Columns of ``orders`` that a version does without no more."""


def artifact_bytes(version: str, build: str = "") -> bytes:
    """The zipapp of *version*, a key of ``TRAITS``; another content of it for each *build*."""
    parts = {path.name: path.read_bytes() for path in sorted(SOURCE.glob("*.py"))}
    described = {"version": version, **TRAITS[version], "order_columns": ORDER_COLUMNS.get(version, ())}
    if build:
        described["build"] = build
    parts["release.json"] = json.dumps(described, sort_keys=True).encode()
    for number in SCHEMA.get(version, ()):
        parts |= {f"migrations/{path.name}": path.read_bytes() for path in MIGRATIONS.glob(f"{number}_*.sql")}
    stream = BytesIO()
    stream.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(parts):
            entry = zipfile.ZipInfo(name, date_time=(2026, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, parts[name])
    return stream.getvalue()


def build(folder: Path) -> dict[str, str]:
    """Write ``shop-<version>.pyz`` of every version into *folder*; return version -> ``sha256:<hex>``."""
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for version in TRAITS:
        digests[version] = _write(folder, version, artifact_bytes(version))
    return digests


def build_again(folder: Path, version: str, build: str) -> str:
    """Write *version* into *folder* with the content of another *build* that does the same; return its digest.

    What was rolled back is no standard change any more: whoever releases it again and again builds it anew.
    """
    return _write(folder, version, artifact_bytes(version, build))


def _write(folder: Path, version: str, content: bytes) -> str:
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    path = folder / f"shop-{version}.pyz"
    if path.exists() and path.read_bytes() == content:
        return digest
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.write_bytes(content)
    draft.chmod(0o755)
    draft.replace(path)
    logger.info("built %s: %d bytes, %s", path, len(content), digest)
    return digest
