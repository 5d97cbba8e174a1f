"""Where everything of one sandbox lives: folders and ports. Exists so that no other module computes a path or a port.

Knows no server and starts nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from airlock.errors import InvalidInput

DEFAULT_PORT_BASE = 28000
ENVIRONMENTS = ("prod", "staging")
OFFSETS: Mapping[str, int] = MappingProxyType(
    {
        "envoy": 1,
        "envoy_admin": 2,
        "supervisor": 3,
        "vault": 4,
        "moto": 5,
        "kubernetes": 6,
        "envoy_staging": 7,
        "prod_a": 11,
        "prod_b": 12,
        "staging_a": 13,
        "staging_b": 14,
        "postgres": 32,
        "broker": 33,
        "airflow": 80,
        "worker_log": 81,
        "trigger_log": 82,
    }
)


@dataclass(frozen=True)
class Layout:
    """The folders and ports of one sandbox.

    ``repository`` is the checkout with ``dags/``, ``plugins/`` and ``include/``; ``home`` is ``$AIRLOCK_HOME``.
    """

    repository: Path
    home: Path
    port_base: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Layout:
        """Read ``AIRLOCK_HOME`` and ``AIRLOCK_PORT_BASE`` (of ``os.environ`` unless given).

        :raises InvalidInput: the port base is not a number, or leaves no room for the sandbox's ports
        """
        given = os.environ if environment is None else environment
        repository = Path(__file__).resolve().parents[2]
        home = Path(given.get("AIRLOCK_HOME") or repository / ".airlock").expanduser().absolute()
        text = given.get("AIRLOCK_PORT_BASE") or str(DEFAULT_PORT_BASE)
        highest = 65535 - max(OFFSETS.values())
        if not (text.isascii() and text.isdigit() and 1024 <= int(text) <= highest):
            raise InvalidInput(f"AIRLOCK_PORT_BASE is {text!r}: give a number from 1024 to {highest}")
        return cls(repository=repository, home=home, port_base=int(text))

    def port(self, name: str) -> int:
        """The TCP port called *name* (a key of ``OFFSETS``)."""
        return self.port_base + OFFSETS[name]

    def url(self, name: str) -> str:
        """``http://127.0.0.1:<port>`` of the server called *name*."""
        return f"http://127.0.0.1:{self.port(name)}"

    @property
    def sandbox(self) -> Path:
        return self.home / "sandbox"

    @property
    def run(self) -> Path:
        """Process files and sockets."""
        return self.sandbox / "run"

    @property
    def log(self) -> Path:
        """One log file per server."""
        return self.sandbox / "log"

    @property
    def data(self) -> Path:
        """What servers keep between two runs."""
        return self.sandbox / "data"

    @property
    def artifacts(self) -> Path:
        return self.sandbox / "artifacts"

    @property
    def git_repository(self) -> Path:
        """The bare repository."""
        return self.sandbox / "repository.git"

    @property
    def git_work_tree(self) -> Path:
        return self.sandbox / "repository"

    @property
    def terraform_state(self) -> Path:
        return self.sandbox / "terraform" / "shop.tfstate"

    @property
    def kubeconfig(self) -> Path:
        return self.sandbox / "kubeconfig.yaml"

    @property
    def trusted_keys(self) -> Path:
        """The public keys that the sandbox trusts, for whoever checks its evidence."""
        return self.home / "trusted-keys.pem"

    @property
    def airflow_home(self) -> Path:
        return self.home / "airflow"

    def host(self, environment: str) -> Path:
        """The folder that plays the host of *environment* (``prod``, ``staging``)."""
        return self.sandbox / "host" / environment

    def router(self, environment: str) -> Path:
        """The folder that says who gets all traffic of *environment* when its router restarts."""
        return self.host(environment) / "router"

    def slot(self, environment: str, slot: str) -> Path:
        """The folder of version slot ``a`` or ``b``."""
        return self.host(environment) / "slots" / slot

    def folders(self) -> tuple[Path, ...]:
        """Every folder that must exist before a server starts."""
        own = tuple(self.home / name for name in ("ledger", "backups", "backups-replica", "scratch", "evidence"))
        hosts = tuple(
            self.host(environment) / name
            for environment in ENVIRONMENTS
            for name in ("slots/a", "slots/b", "router", "tls", "uploads", "logs")
        )
        parts = (self.run, self.log, self.data, self.artifacts, self.terraform_state.parent, self.airflow_home)
        return (*own, *hosts, *parts)

    def create(self) -> None:
        """Make the folders. Safe to repeat."""
        for folder in self.folders():
            folder.mkdir(parents=True, exist_ok=True)
