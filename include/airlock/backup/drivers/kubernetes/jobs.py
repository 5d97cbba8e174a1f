"""What keeps a Job that is made again from running again. Pure: what the server would keep is asked by who calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from airlock.backup.drivers.kubernetes.cleaning import SUSPENDED

Document = dict[str, Any]


def kept_from_running(job: Document, try_out: Callable[[Document], Document]) -> Document:
    """Return *job* as it is made anew; *try_out* returns what the server would keep of it."""
    if job["spec"].get("suspend"):
        return job
    suspended = _with(job, suspend=True)
    # a server that is older than 'suspend' drops it without a word
    return suspended if try_out(suspended)["spec"].get("suspend") else _with(job, parallelism=0)


def _with(job: Document, **fields: Any) -> Document:
    """Return *job* with *fields* of its specification, and what they were in an annotation."""
    annotations = job["metadata"].get("annotations") or {}
    before = {name: job["spec"].get(name) for name in fields}
    metadata = {**job["metadata"], "annotations": {**annotations, SUSPENDED: json.dumps(before)}}
    return {**job, "metadata": metadata, "spec": {**job["spec"], **fields}}
