"""Router ``envoy``: weighted clusters, whose weights are runtime keys that are set through the admin address.

What was set there is lost when Envoy restarts: it then has the weights of a disk layer, whose root is the link
``current`` in ``fallback_folder``::

    current -> a                   who gets everything when Envoy restarts
    a/traffic/<runtime key>        100 for itself, 0 for the others

Every change of it is one rename. Knows no version.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import quote

from pydantic import Field, StringConstraints, model_validator

from airlock.deploy.effects import await_effect
from airlock.deploy.links import point_link
from airlock.deploy.router import WHOLE, Router, RouterOptions, checked, percentages
from airlock.deploy.routers.envoy_admin import refuse, runtime, splits
from airlock.errors import PermanentError
from airlock.fetch import Address, fetch
from airlock.identity import address_identity, file_identity
from airlock.models import Name
from airlock.models.needs import ACTING, Needs, Permission, Stage, System
from airlock.models.needs import Address as Reached
from airlock.options import Options
from airlock.places.paths import clear_faults

logger = logging.getLogger(__name__)


class ClusterOptions(Options):
    """One cluster."""

    runtime_key: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$")]
    """Which of Envoy's runtime keys is its weight (0 to 100)."""


class EnvoyOptions(RouterOptions):
    """Options of the router."""

    admin: Address
    """Address of Envoy's admin interface."""
    fallback_folder: Path
    """Folder whose link ``current`` is the root of Envoy's disk layer."""
    backends: dict[Name, ClusterOptions] = Field(min_length=2)
    """The clusters: name of the target's backend -> its weight."""

    @model_validator(mode="after")
    def _keys_are_distinct(self) -> Self:
        named = [one.runtime_key for one in self.backends.values()]
        if twice := sorted({key for key in named if named.count(key) > 1}):
            raise ValueError(f"the runtime_key {', '.join(twice)} belongs to two backends; name each once")
        return self

    def identities(self) -> tuple[str, ...]:
        envoy = f"envoy://{address_identity(self.admin)}"
        return (file_identity(self.fallback_folder), *(f"{envoy}/{one.runtime_key}" for one in self.backends.values()))


class EnvoyRouter(Router):
    """See the module."""

    Options = EnvoyOptions
    options: EnvoyOptions
    needs = Needs(
        permissions=(
            Permission(system=System.FILES, actions=("read", "search", "write"), on="{fallback_folder}", stages=ACTING,
                       why="it says who gets all traffic when Envoy restarts"),
        ),
        addresses=(
            Reached(url="{admin}", stages=ACTING,
                    why="weights are read and set here (/runtime, /runtime_modify), routes read (/config_dump)"),
            Reached(url="{listener}", stages=(Stage.DELIVERY, Stage.CHECK)),
        ),
    )  # fmt: skip

    def shares(self) -> dict[str, int]:
        """As ``Router.shares``.

        :raises PermanentError: a key has no value, so there is no disk layer
        """
        held, found = runtime(self.options.admin), {}
        for name, backend in self.options.backends.items():
            value = held.get(backend.runtime_key, "")
            if not (value.isascii() and value.isdigit()):
                raise PermanentError(
                    f"Envoy at {self.options.admin} has {value or 'no value'!r} as weight {backend.runtime_key}: its "
                    f"bootstrap needs a disk layer on {self.options.fallback_folder}/current"
                )
            found[name] = int(value)
        return percentages(found, sum(found.values()))  # weights are relative: somebody may have set others

    def set_shares(self, shares: Mapping[str, int]) -> dict[str, int]:
        """As ``Router.set_shares``. One request, so that Envoy never splits by half of a change.

        Routes that do not split by these weights alone are refused: before there are several shares, but only after one
        backend got everything, and never where that is the fallback: nothing may hold up a way back.
        """
        full, before = checked(shares, self.options.backend_names), self.shares()
        alone = next((name for name, share in full.items() if share == WHOLE), None)
        if alone is None:
            self._check_routes()
        if before != full:
            keys = {name: quote(backend.runtime_key) for name, backend in self.options.backends.items()}
            pairs = "&".join(f"{keys[name]}={weight}" for name, weight in full.items())
            reply = fetch(self.options.admin, f"/runtime_modify?{pairs}", method="POST")
            if reply.status != 200:
                raise refuse(self.options.admin, reply.status, reply.body)
            logger.info("Envoy %s: weights %s -> %s", self.options.admin, before, full)
        await_effect(lambda: self.shares() == full, self.options.effect_seconds,
                     f"Envoy does not show the weights {full}")
        if alone not in (None, self.fallback()):
            self._check_routes()
        return full

    def fallback(self) -> str | None:
        """As ``Router.fallback``."""
        try:
            name = str((self.options.fallback_folder / "current").readlink())
            held = {one: (self.options.fallback_folder / name / "traffic" / backend.runtime_key).read_text()
                    for one, backend in self.options.backends.items()}
        except OSError:
            return None
        return name if held == self._weights(name) else None

    def set_fallback(self, backend: str) -> None:
        """As ``Router.set_fallback``."""
        if self.fallback() == backend:
            return
        folder = self.options.fallback_folder
        traffic = folder / backend / "traffic"
        with clear_faults("written", folder):
            traffic.mkdir(parents=True, exist_ok=True)
            for name, weight in self._weights(backend).items():
                key = self.options.backends[name].runtime_key
                draft = folder / backend / f".{key}"
                draft.write_text(weight)
                draft.replace(traffic / key)
            point_link(folder / "current", backend)

    def _check_routes(self) -> None:
        """Refuse routes by which the shares would be others than those that are set."""
        mine = {backend.runtime_key for backend in self.options.backends.values()}
        found = splits(self.options.admin)
        if found is None:
            return
        relevant = [set(one.weights) & mine for one in found if set(one.weights) & mine]
        if not relevant or any(one != mine for one in relevant):
            raise PermanentError(
                f"Envoy at {self.options.admin} has {'a route that splits by some' if relevant else 'no route'} of the "
                f"weights {', '.join(sorted(mine))}: a runtime_key is the runtime_key_prefix of a route's "
                "weighted_clusters, a dot and the name of a cluster; correct the options, or the route"
            )
        held = runtime(self.options.admin)
        for one in found:
            strangers = {key: held.get(key) or str(weight) for key, weight in one.weights.items() if key not in mine}
            gets = [f"{key} has the weight {weight}" for key, weight in sorted(strangers.items()) if weight != "0"]
            if gets and mine <= set(one.weights):
                raise PermanentError(f"Envoy at {self.options.admin}: {', '.join(gets)} in the same route and is in no "
                                     "backend of the options: name it there, or take it out of the route")

    def _weights(self, backend: str) -> dict[str, str]:
        return {name: str(WHOLE) if name == backend else "0" for name in self.options.backends}
