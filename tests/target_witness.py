"""A witness that asks the targets themselves what was done to them, and believes nobody else: no ledger, no task log.

Envoy's record of its admin address and its runtime, supervisord's account of its programs, the files of the hosts,
moto's record of requests, the versions of secrets in OpenBao and of objects in the emulated Kubernetes.
"""

from __future__ import annotations

import hashlib
import json
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from sandbox import credentials, envoy, moto
from sandbox.layout import ENVIRONMENTS, Layout

Sighting = Mapping[str, str]
READS = ("Describe", "Get", "List", "Lookup")


@dataclass(frozen=True)
class Witness:
    """Sees everything that a release of *layout*'s sandbox could write to; ``see`` is thing -> its state."""

    layout: Layout

    def see(self) -> Sighting:
        return {**self.traffic(), **self.programs(), **self.hosts(), **self.cloud(), **self.vault(), **self.cluster()}

    def since(self, before: Sighting) -> list[str]:
        """What is not as it was, one line for each thing; empty when nothing was written."""
        now = self.see()
        return [
            f"{thing}: {before.get(thing, '(nothing)')} -> {now.get(thing, '(nothing)')}"
            for thing in sorted({*before, *now})
            if before.get(thing) != now.get(thing)
        ]

    def traffic(self) -> Sighting:
        """Every change that was asked of Envoy's admin address, in order, and the runtime that came of it."""
        log = envoy.admin_log(self.layout)
        asked = log.read_text().splitlines() if log.exists() else []
        runtime = httpx.get(f"{self.layout.url('envoy_admin')}/runtime?format=json", timeout=20).json()["entries"]
        seen = {f"envoy runtime {key}": json.dumps(value, sort_keys=True) for key, value in runtime.items()}
        return {**seen, **{f"envoy was asked, {number}": line for number, line in enumerate(asked)}}

    def programs(self) -> Sighting:
        """When supervisord started and stopped what, under which process id."""
        password = credentials.load(self.layout.sandbox).supervisor
        address = f"http://airlock:{password}@127.0.0.1:{self.layout.port('supervisor')}/RPC2"
        with xmlrpc.client.ServerProxy(address) as server:
            found = server.supervisor.getAllProcessInfo()
        kept = ("statename", "start", "stop", "pid")
        return {f"program {row['name']}": str([row[name] for name in kept]) for row in found}  # type: ignore[index,union-attr]

    def hosts(self) -> Sighting:
        """Every file of the hosts but their logs, which the running versions write."""
        seen = {}
        for environment in ENVIRONMENTS:
            for path in sorted(self.layout.host(environment).rglob("*")):
                if "logs" not in path.relative_to(self.layout.host(environment)).parts:
                    seen[f"file {path}"] = _state(path)
        state = self.layout.terraform_state
        return {**seen, f"file {state}": _state(state)}

    def cloud(self) -> Sighting:
        """Every request that moto answered and that may have changed something, in order."""
        lines = (self.layout.log / moto.REQUESTS).read_text().splitlines()
        writes = [line for line in lines if not _reads(*line.split(" ")[:3])]
        return {f"moto was asked, {number}": line for number, line in enumerate(writes)}

    def vault(self) -> Sighting:
        """The version of every secret of the shop, and all mounts."""
        headers = {"X-Vault-Token": credentials.load(self.layout.sandbox).vault}
        seen = {}
        with httpx.Client(base_url=self.layout.url("vault"), headers=headers, timeout=20) as client:
            for mount in client.get("/v1/sys/mounts").json()["data"]:
                seen[f"vault mount {mount}"] = "there"
            for environment in ENVIRONMENTS:
                folders = [""]
                while folders:
                    folder = folders.pop()
                    listed = client.request("LIST", f"/v1/shop-{environment}/metadata/{folder}").json()
                    for name in listed["data"]["keys"]:
                        if name.endswith("/"):
                            folders.append(folder + name)
                            continue
                        path = f"{environment}/metadata/{folder}{name}"
                        data = client.get(f"/v1/shop-{path}").json()["data"]
                        seen[f"secret {path}"] = f"{data['current_version']} {data['updated_time']}"
        return seen

    def cluster(self) -> Sighting:
        """The version counter of the emulated Kubernetes, which every write moves, and the count of its namespaces."""
        headers = {"Authorization": f"Bearer {credentials.load(self.layout.sandbox).kubernetes}"}
        listed = httpx.get(f"{self.layout.url('kubernetes')}/api/v1/namespaces", headers=headers, timeout=20).json()
        return {"kubernetes": f"{listed['metadata']['resourceVersion']}, {len(listed['items'])} namespaces"}


def _reads(method: str, path: str, action: str) -> bool:
    return action.startswith(READS) or (action == "-" and method in ("GET", "HEAD")) or path.startswith("/moto-api")


def _state(path: Path) -> str:
    told = path.lstat()
    if path.is_symlink():
        return f"link to {path.readlink()}"
    if path.is_dir():
        return f"folder {told.st_mode:o}"
    return f"{told.st_mode:o} {told.st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
