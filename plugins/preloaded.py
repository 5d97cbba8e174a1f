"""Imports, once in each long-lived process of Airflow, what every task and every reading of a DAG file needs.

Whatever these processes fork has it then, which saves each of them about a second of processor time. Works where
``core.lazy_load_plugins`` is off, and does no harm elsewhere. After an update of Airlock, Airflow is started again, as
after that of any plugin.
"""

from __future__ import annotations

import importlib
import pkgutil

from airlock.flow import dags
from airlock.registry import ARTIFACT_SOURCES, DRIVERS, METRIC_SOURCES, TARGETS

for builder in pkgutil.iter_modules(dags.__path__, "airlock.flow.dags."):
    importlib.import_module(builder.name)
for entry in (*DRIVERS.values(), *ARTIFACT_SOURCES.values(), *METRIC_SOURCES.values(), *TARGETS.values()):
    importlib.import_module(entry.path.partition(":")[0])
# What every task needs to read or sign a record; it imports the clients of all key services that it could use.
importlib.import_module("securesystemslib.dsse")
