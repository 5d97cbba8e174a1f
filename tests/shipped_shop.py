"""The shipped service file of the shop for tests to change: each environment whole, variables as written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from airlock.service.defaults import DEFAULTS_FILE, merged
from airlock.service.document import Document
from airlock.service.file import parse

FOLDER = Path(__file__).resolve().parents[1] / "include" / "services"


def shipped_shop() -> dict[str, Any]:
    """Return the document, to be changed and written elsewhere."""
    data: dict[str, Any] = merged(_parsed("shop.yaml"), _parsed(DEFAULTS_FILE)).data
    return data


def _parsed(name: str) -> Document:
    raw = (FOLDER / name).read_bytes()
    variables = {found: f"${{{found}}}" for found in re.findall(r"AIRLOCK_[A-Z0-9_]+", raw.decode())}
    return parse(raw, FOLDER / name, variables, named=True)
