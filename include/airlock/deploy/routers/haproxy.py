"""Router ``haproxy``: weights of the servers of one backend section, through HAProxy's runtime socket.

A server without a share is put into maintenance: with a weight of 0 it would still get the requests of customers whose
session sticks to it. What a backend gets is read as HAProxy deals it out: a server that is down, or is ramped up
slowly, counts with what it gets now, so that a share which others take over is never read as given.

What is set there is lost when HAProxy restarts or reloads; it then reads the file of server states, in which everything
goes to the fallback. Knows no version.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from airlock.deploy.effects import await_effect
from airlock.deploy.router import WHOLE, Router, RouterOptions, checked, percentages
from airlock.errors import EffectMissing, PermanentError
from airlock.haproxy_socket import ProxyName, SocketAddress, server_identity, server_states, statistics, tell
from airlock.identity import file_identity
from airlock.models import Name
from airlock.models.needs import ACTING, Needs, Permission, Stage, System
from airlock.models.needs import Address as Reached
from airlock.options import Options
from airlock.places.paths import clear_faults

logger = logging.getLogger(__name__)
_LARGEST_WEIGHT = 256
_EXACT = "roundrobin"
"""The one way to balance by which shares come out exactly, and can be set at run time."""
_NAME, _SERVER, _OPERATION, _ADMINISTRATION, _WEIGHT, _CONFIGURED = 1, 3, 5, 6, 7, 8
"""Columns of HAProxy's file of server states."""
_IN_MAINTENANCE, _RUNNING = "1", "2"


class ServersOptions(Options):
    """The servers of one backend of the target."""

    servers: tuple[ProxyName, ...] = Field(min_length=1, max_length=100)
    """Their names in HAProxy's backend section; they share evenly."""


class HaproxyOptions(RouterOptions):
    """Options of the router."""

    socket: SocketAddress
    """HAProxy's runtime socket (``stats socket ... level admin``): a path, or host:port."""
    proxy: ProxyName
    """Name of HAProxy's backend section."""
    state_file: Path
    """File that HAProxy reads server states from when it starts (``load-server-state-from-file``)."""
    backends: dict[Name, ServersOptions] = Field(min_length=2)
    """Who gets traffic: name of the target's backend -> its servers in HAProxy."""

    @model_validator(mode="after")
    def _servers_are_distinct(self) -> Self:
        named = [server for one in self.backends.values() for server in one.servers]
        if len(named) > len(set(named)):
            raise ValueError("a server belongs to two backends, or is named twice; name each once")
        return self

    def identities(self) -> tuple[str, ...]:
        servers = (server for one in self.backends.values() for server in one.servers)
        return (file_identity(self.state_file),
                *(server_identity(self.socket, self.proxy, server) for server in servers))


class HaproxyRouter(Router):
    """See the module."""

    Options = HaproxyOptions
    options: HaproxyOptions
    needs = Needs(
        permissions=(
            Permission(system=System.FILES, actions=("read", "write"), on="{socket}", stages=ACTING,
                       why="HAProxy's runtime socket, of 'level admin'; or it is host:port"),
            Permission(system=System.FILES, actions=("read", "replace"), on="{state_file}", stages=ACTING,
                       why="it says who gets all traffic when HAProxy restarts"),
        ),
        addresses=(Reached(url="{listener}", stages=(Stage.DELIVERY, Stage.CHECK)),),
    )  # fmt: skip

    def shares(self) -> dict[str, int]:
        """As ``Router.shares``.

        :raises PermanentError: a server is not there, or another one than those of the options gets traffic
        """
        weights = self._weights(statistics(self.options.socket, self.options.proxy)[1])
        self._refuse_strangers(weights)
        return self._shares_of(weights)

    def set_shares(self, shares: Mapping[str, int]) -> dict[str, int]:
        """As ``Router.set_shares``: first who gets more, then who gets less. A server that no backend names holds up
        no way to one backend alone: it is refused when that is done."""
        full = checked(shares, self.options.backend_names)
        weights = self._weights(statistics(self.options.socket, self.options.proxy)[1])
        if max(full.values()) < WHOLE:
            self._refuse_strangers(weights)
        before = self._shares_of(weights)
        if before != full:
            tell(self.options.socket, tuple(self._commands(before, full)))
            logger.info("HAProxy %s: shares %s -> %s", self._where, before, full)
        try:
            await_effect(lambda: self.shares() == full, self.options.effect_seconds,
                         f"{self._where} does not deal out {full}")
        except EffectMissing as error:
            raise EffectMissing(f"{error}; it deals out {self.shares()}: {self._conditions()}") from error
        return full

    def fallback(self) -> str | None:
        """As ``Router.fallback``."""
        rests = {server: row[_ADMINISTRATION] != "0" for server, row in self._kept_states().items()}
        awake = {owner for server, owner in self._owners().items() if not rests.get(server)}
        (name,) = awake if len(awake) == 1 else (None,)
        return name if name and not any(rests.get(one) for one in self.options.backends[name].servers) else None

    def set_fallback(self, backend: str) -> None:
        """As ``Router.set_fallback``. What the file says of other sections stays.

        Of who gets everything it says nothing where it need not: HAProxy would take the ports of such servers from it,
        whatever its configuration says by then.
        """
        if self.fallback() == backend:
            return
        version, head, rows = server_states(self.options.socket, self.options.proxy)
        owners = self._owners()
        lines = [version, head, *self._lines_of_others(head)]
        for row in rows:
            owner = owners.get(row[_SERVER])
            if owner == backend and row[_CONFIGURED] != "0":
                continue
            if owner is not None:
                row[_ADMINISTRATION] = "0" if owner == backend else _IN_MAINTENANCE
                row[_OPERATION] = _RUNNING
                row[_WEIGHT] = row[_CONFIGURED] if row[_CONFIGURED] != "0" else str(WHOLE)
            lines.append(" ".join(row))
        path = self.options.state_file
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with clear_faults("written", path):
            draft.write_text("\n".join(lines) + "\n")
            draft.replace(path)

    @property
    def _where(self) -> str:
        return f"{self.options.proxy} at {self.options.socket}"

    def _owners(self) -> dict[str, str]:
        return {server: name for name, one in self.options.backends.items() for server in one.servers}

    def _shares_of(self, weights: Mapping[str, int]) -> dict[str, int]:
        mine = {name: sum(weights.get(server, 0) for server in one.servers)
                for name, one in self.options.backends.items()}
        return percentages(mine, sum(mine.values()))

    def _refuse_strangers(self, weights: Mapping[str, int]) -> None:
        owners, whole = self._owners(), sum(weights.values())
        theirs = {server: weight for server, weight in weights.items() if weight and server not in owners}
        if theirs:
            raise PermanentError(
                f"{self._where}: {', '.join(sorted(theirs))} gets {sum(theirs.values()) / whole:.0%} of the traffic "
                "and is in no backend of the options: name it there, or take it out of HAProxy's section"
            )

    def _weights(self, rows: list[dict[str, str]]) -> dict[str, int]:
        """Server -> the weight that it is dealt requests by now. Where none of those with a weight is up, what was set
        counts: requests fail there and go to nobody else."""
        present = {row["svname"]: row for row in rows}
        if missing := sorted(set(self._owners()) - set(present)):
            raise PermanentError(f"{self._where} has no server {', '.join(missing)}: correct the option")
        awake = {name: row for name, row in present.items() if not row["status"].startswith(("MAINT", "DRAIN"))}
        active = {name: row for name, row in awake.items() if row["bck"] in ("", "0")}
        for group in (active, awake):
            up = {name: int(row["weight"] or 0) for name, row in group.items()
                  if row["status"].startswith(("UP", "no check"))}
            if any(up.values()):
                return up
        return {name: int(row["uweight"] or row["weight"] or 0) for name, row in active.items()}

    def _commands(self, before: Mapping[str, int], wanted: Mapping[str, int]) -> Iterator[str]:
        """Yield what HAProxy is told: who grows, then who shrinks, so that no state between is outside both."""
        whole, _ = statistics(self.options.socket, self.options.proxy)
        shared = [name for name, share in wanted.items() if share]
        if len(shared) > 1 and whole["algo"] != _EXACT:
            raise PermanentError(
                f"{self._where} balances by {whole['algo']!r}, so {dict(wanted)} would not come out: write 'balance "
                f"{_EXACT}' in that section, or release blue-green, which gives everything to one"
            )
        if whole["cookie"] and len(shared) > 1:
            logger.warning("%s: sessions stick by cookie %s: new customers follow the shares, others stay with their "
                           "server", self._where, whole["cookie"])
        weights = self._weights_for(wanted)
        if whole["algo"] == _EXACT:
            # Who has everything keeps it at any weight; at a small one of the configuration, a newcomer with a small
            # share would get much of the traffic until the last command is carried out.
            for server in (one for name, share in before.items() if share == WHOLE
                           for one in self.options.backends[name].servers):
                yield f"set weight {self.options.proxy}/{server} {_LARGEST_WEIGHT}"
        for name in sorted(wanted, key=lambda name: wanted[name] <= before[name]):
            for server in self.options.backends[name].servers:
                path = f"{self.options.proxy}/{server}"
                if not wanted[name]:
                    yield f"set server {path} state maint"
                    continue
                if whole["algo"] == _EXACT:
                    yield f"set weight {path} {weights[name]}"
                yield f"set server {path} state ready"

    def _weights_for(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """Return the weight of each server, so that the shares come out whatever the number of servers.

        :raises PermanentError: no weights up to 256 give these shares
        """
        sizes = {name: len(self.options.backends[name].servers) for name in wanted}
        common = math.lcm(*sizes.values())
        exact = {name: share * common // sizes[name] for name, share in wanted.items()}
        found = exact
        if max(exact.values()) > _LARGEST_WEIGHT:
            scale = max(exact.values()) / _LARGEST_WEIGHT
            found = {name: max(1, round(weight / scale)) if weight else 0 for name, weight in exact.items()}
        dealt = {name: weight * sizes[name] for name, weight in found.items()}
        if percentages(dealt, sum(dealt.values())) != dict(wanted):
            raise PermanentError(f"{self._where}: weights up to {_LARGEST_WEIGHT} cannot give {dict(wanted)} to "
                                 f"{sizes} servers: choose another share, or as many servers for each backend")
        return found

    def _conditions(self) -> str:
        """What its servers are in, for people who look why shares are not as they were set."""
        _, rows = statistics(self.options.socket, self.options.proxy)
        mine = [row for row in rows if row["svname"] in self._owners()]
        said = ", ".join(f"{row['svname']} {row['status']} with weight {row['weight']}" for row in mine)
        also = "; an agent check sets weights too" if any(row["agent_status"] for row in mine) else ""
        return f"{said}{also}; look at its health checks and at 'slowstart'"

    def _kept_states(self) -> dict[str, list[str]]:
        """Server -> its row in the file of states."""
        return {row[_SERVER]: row for row in self._kept_rows() if row[_NAME] == self.options.proxy}

    def _kept_rows(self) -> Iterator[list[str]]:
        lines: list[str] = []
        with clear_faults("read", self.options.state_file), suppress(FileNotFoundError):
            lines = self.options.state_file.read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines[1:]:
            row = line.split(" ")
            if not line.startswith("#") and len(row) > _CONFIGURED:
                yield row

    def _lines_of_others(self, head: str) -> list[str]:
        """The rows of other sections; HAProxy of another version wrote other columns, which are left out."""
        columns = len(head.removeprefix("# ").split(" "))
        return [" ".join(row) for row in self._kept_rows()
                if row[_NAME] != self.options.proxy and len(row) == columns]
