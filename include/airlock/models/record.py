"""One entry of the ledger."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime

from airlock.models.frozen import Frozen


class Record(Frozen):
    """One entry of the ledger. ``subject`` tells records of one ``type`` apart (a resource, a step); may be empty."""

    release: str
    type: str
    subject: str = ""
    at: AwareDatetime
    actor: str
    data: dict[str, Any]
