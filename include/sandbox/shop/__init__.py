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
TRAITS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "1.0": {"error_share": 0.0, "delay_seconds": 0.0},
        "1.1": {"error_share": 0.0, "delay_seconds": 0.0},
        "1.2": {"error_share": 0.05, "delay_seconds": 0.0},
        "1.3": {"error_share": 0.0, "delay_seconds": 0.15},
    }
)
"""1.0 runs, 1.1 is good, 1.2 fails in 5 % of its answers, 1.3 is slow."""


def artifact_bytes(version: str) -> bytes:
    """The zipapp of *version*, a key of ``TRAITS``."""
    parts = {path.name: path.read_bytes() for path in sorted(SOURCE.glob("*.py"))}
    parts["release.json"] = json.dumps({"version": version, **TRAITS[version]}, sort_keys=True).encode()
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
        content = artifact_bytes(version)
        digests[version] = "sha256:" + hashlib.sha256(content).hexdigest()
        path = folder / f"shop-{version}.pyz"
        if path.exists() and path.read_bytes() == content:
            continue
        draft = path.with_suffix(f".{os.getpid()}.draft")
        draft.write_bytes(content)
        draft.chmod(0o755)
        draft.replace(path)
        logger.info("built %s: %d bytes, %s", path, len(content), digests[version])
    return digests
