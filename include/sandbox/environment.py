"""The environment variables by which Airflow and the service files learn where the sandbox's servers are.

Pure: computes, starts nothing. The values hold secrets: hand them to a process, never to a log.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import postgres, shop_database
from sandbox.credentials import PEOPLE, Credentials
from sandbox.layout import OFFSETS, Layout


@dataclass(frozen=True)
class Seeded:
    """Ids that servers chose themselves when they were seeded."""

    vault_token: str
    zone_id: str
    load_balancers: Mapping[str, str]


def connections(layout: Layout, held: Credentials, seeded: Seeded) -> dict[str, dict[str, Any]]:
    """Airflow connections by id."""
    loopback = "127.0.0.1"
    aws = {"endpoint_url": layout.url("moto"), "region_name": "us-east-1"}
    return {
        "shop_database": {
            "conn_type": "postgres",
            "host": loopback,
            "port": layout.port("postgres"),
            "login": postgres.ADMIN,
            "password": held.postgres,
            "schema": "shop_prod",
        },
        "shop_migrations": {
            "conn_type": "postgres",
            "host": loopback,
            "port": layout.port("postgres"),
            "login": shop_database.OWNER,
            "password": held.shop_owner,
            "schema": "shop_prod",
        },
        "shop_vault": {
            "conn_type": "vault",
            "host": layout.url("vault"),
            "port": layout.port("vault"),
            "password": seeded.vault_token,
        },
        "shop_aws": {"conn_type": "aws", "login": "sandbox", "password": held.aws, "extra": aws},
        "shop_kubernetes": {"conn_type": "kubernetes", "extra": {"kube_config_path": str(layout.kubeconfig)}},
        "shop_supervisor": {
            "conn_type": "http",
            "host": loopback,
            "port": layout.port("supervisor"),
            "login": "airlock",
            "password": held.supervisor,
        },
        "airlock_signing": {
            "conn_type": "generic",
            "password": held.signing_key,
            "extra": {"trusted": [], "public_key_file": str(layout.trusted_keys)},
        },
        "airlock_backup_key": {
            "conn_type": "generic",
            "password": held.backup_identity,
            "extra": {"recipients": [held.backup_recipient]},
        },
    }


def airlock(layout: Layout, held: Credentials, seeded: Seeded) -> dict[str, str]:
    """``AIRLOCK_*`` variables for service files, and ``AIRFLOW_CONN_*`` as JSON."""
    ports = {f"AIRLOCK_{name.upper()}_PORT": str(layout.port(name)) for name in OFFSETS}
    balancers = {f"AIRLOCK_LOAD_BALANCER_{name.upper()}": arn for name, arn in seeded.load_balancers.items()}
    given = connections(layout, held, seeded)
    return {
        "AIRLOCK_HOME": str(layout.home),
        "AIRLOCK_PORT_BASE": str(layout.port_base),
        "AIRLOCK_HOSTED_ZONE": seeded.zone_id,
        **ports,
        **balancers,
        **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in given.items()},
    }


def celery(layout: Layout, held: Credentials) -> dict[str, str]:
    """What Airflow needs beside ``airflow`` to hand its tasks to workers through the broker."""
    database = f"airflow:{held.airflow_database}@127.0.0.1:{layout.port('postgres')}/airflow"
    settings = {
        "CORE__EXECUTOR": "CeleryExecutor",
        "CELERY__BROKER_URL": f"redis://:{held.broker}@127.0.0.1:{layout.port('broker')}/0",
        "CELERY__RESULT_BACKEND": f"db+postgresql+psycopg2://{database}",
        "CELERY__WORKER_CONCURRENCY": "4",
        # What a worker has fetched and not begun is lost with it, until the scheduler finds it queued for too long.
        "CELERY__EXTRA_CELERY_CONFIG": json.dumps({"worker_disable_prefetch": True}),
        "SCHEDULER__TASK_QUEUED_TIMEOUT": "120",
        "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "15",
    }
    return {"AIRLOCK_DOCTOR_WORKERS": "2", **{f"AIRFLOW__{key}": value for key, value in settings.items()}}


def airflow(layout: Layout, held: Credentials) -> dict[str, str]:
    """Airflow's settings. Everything listens on 127.0.0.1; two cores are enough."""
    database = f"postgresql+psycopg2://airflow:{held.airflow_database}@127.0.0.1:{layout.port('postgres')}/airflow"
    url = layout.url("airflow")
    settings = {
        "CORE__DAGS_FOLDER": str(layout.repository / "dags"),
        "CORE__PLUGINS_FOLDER": str(layout.repository / "plugins"),
        "CORE__LAZY_LOAD_PLUGINS": "False",
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "8",
        "CORE__MAX_ACTIVE_TASKS_PER_DAG": "8",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__FERNET_KEY": held.fernet,
        "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in PEOPLE.items()),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(layout.airflow_home / "passwords.json"),
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "DATABASE__SQL_ALCHEMY_CONN": database,
        "DATABASE__SQL_ALCHEMY_POOL_SIZE": "5",
        "API__HOST": "127.0.0.1",
        "API__PORT": str(layout.port("airflow")),
        "API__BASE_URL": url,
        "API__WORKERS": "1",
        "API__SECRET_KEY": held.api,
        "API_AUTH__JWT_SECRET": held.jwt,
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
        "SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "SCHEDULER__MAX_TIS_PER_QUERY": "16",
        # How soon a task whose process was killed is seen as dead and tried again (Airflow's own default: 5 minutes).
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "5",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
        # A task outlives an api-server that is away for a minute.
        "WORKERS__MAX_FAILED_HEARTBEATS": "12",
        "WORKERS__EXECUTION_API_RETRIES": "12",
        "WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "10",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "15",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "TRIGGERER__DEFAULT_CAPACITY": "100",
        "TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        "LOGGING__BASE_LOG_FOLDER": str(layout.airflow_home / "logs"),
        "LOGGING__WORKER_LOG_SERVER_PORT": str(layout.port("worker_log")),
        "LOGGING__TRIGGER_LOG_SERVER_PORT": str(layout.port("trigger_log")),
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    return {
        "AIRFLOW_HOME": str(layout.airflow_home),
        "PYTHONPATH": str(layout.repository / "include"),
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        **{f"AIRFLOW__{key}": value for key, value in settings.items()},
    }


def whole(layout: Layout, held: Credentials, seeded: Seeded) -> dict[str, str]:
    """What Airflow's processes and the command line get: the caller's environment without its own Airflow settings."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "AIRLOCK_"))}
    # Airflow takes a second to import and half a minute to compile: let Python keep what it compiled.
    own.pop("PYTHONDONTWRITEBYTECODE", None)
    compiled = Path(sys.prefix) / "bytecode"
    if compiled.is_dir():  # .ci/install compiled the environment into it
        own.setdefault("PYTHONPYCACHEPREFIX", str(compiled))
    path = os.pathsep.join((str(postgres.binaries()), own.get("PATH", os.defpath)))
    return {**own, **airflow(layout, held), **airlock(layout, held, seeded), "PATH": path}
