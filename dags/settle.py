"""The safety net behind every release (see ``airlock.flow.settle_dag``)."""

from __future__ import annotations

from airlock.flow.settle_dag import build
from airlock.services import services_folder

dag = build(services_folder())
