"""A target and a router as one: versions with their share of the traffic, which is what stages act on.

Exists so that any target goes with any router: what must come first (all traffic, then the mark; healthy, then
traffic) is said once, here. Remembers nothing, so a crash between any two acts leaves a state that every method can go
on from. Knows no approval, permit or Airflow task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from airlock import registry
from airlock.deploy.effects import await_effect
from airlock.deploy.router import WHOLE, Router
from airlock.deploy.target import Target
from airlock.errors import InvalidInput, NotReady, PermanentError, TemporaryError
from airlock.models import Artifact, Backend, TargetState, VersionState
from airlock.service.model import ServiceEnvironment

logger = logging.getLogger(__name__)


class Delivery:
    """See the module. All methods are idempotent, and each act ends with an ``inspect`` of its effect."""

    def __init__(self, target: Target, router: Router) -> None:
        """Combine them.

        :raises InvalidInput: they do not have the same backends
        """
        mine, theirs = target.options.backend_names, router.options.backend_names
        if set(mine) != set(theirs):
            raise InvalidInput(f"the target has the backends {', '.join(mine)} and the router {', '.join(theirs)}: "
                               "name them alike")
        self.target = target
        self.router = router

    def inspect(self) -> TargetState:
        """Return versions, weights, health and digests as they are seen now. Changes nothing.

        ``canary`` is any version beside the stable one, also one that is only kept warm.
        """
        stable, shares = self.target.stable(), self.router.shares()
        present = {one.name: one for one in self.target.backends()
                   if one.name == stable or one.running or one.installed or shares[one.name]}
        others = [_name(one) for name, one in present.items() if name != stable]
        return TargetState(
            stable=_name(present[stable]),
            canary=others[0] if others else None,
            versions=tuple(_state(one, shares[one.name]) for one in present.values()),
        )

    def stage(self, artifact: Artifact) -> TargetState:
        """Install and start *artifact* beside the stable version with 0 % of the traffic, and wait until it is healthy.

        What already runs from the same bytes keeps its traffic: a retry shifts nothing.

        :raises PermanentError: its content does not have the digest that was approved; it does not start; it is stable
        """
        stable, shares, seen = self.target.stable(), self.router.shares(), self._seen()
        if seen[stable].version == artifact.version:
            raise PermanentError(f"version {artifact.version} is the stable one already: there is nothing to stage")
        free = [one for name, one in seen.items() if name != stable]
        place = min(free, key=lambda one: (one.version != artifact.version, shares[one.name], one.running))
        if shares[place.name] and not _runs(place, artifact):
            raise PermanentError(
                f"{place.name} has {shares[place.name]} % of the traffic but not what was approved as "
                f"{artifact.version}: abort to the stable version first"
            )
        self.target.install(artifact, place.name)
        return self.inspect()

    def shift(self, version: str, percent: int) -> TargetState:
        """Give *version* *percent* of the traffic and the stable version the rest.

        :raises NotReady: it would get more traffic, but is not healthy
        """
        if not 0 <= percent <= WHOLE:
            raise PermanentError(f"{percent} % of the traffic was asked for: give 0 to 100")
        stable, place = self.target.stable(), self._find(version)
        if place.name == stable:
            raise PermanentError(f"version {version} is the stable one: shift moves traffic to another version")
        if percent > self.router.shares()[place.name] and not place.healthy:
            raise NotReady(f"version {version} in {place.name} is not healthy: no traffic was shifted to it")
        self.router.set_fallback(stable)
        self.router.set_shares({place.name: percent, stable: WHOLE - percent})
        return self.inspect()

    def promote(self, version: str) -> TargetState:
        """Make *version* stable with 100 % of the traffic. The version before stays warm until ``retire``."""
        place = self._find(version)
        self.target.await_healthy(place.name, version)
        self._make_stable(place.name, version)
        return self.inspect()

    def retire(self, version: str) -> TargetState:
        """Stop *version*, which must have no traffic. It stays installed, for a way back, until its place is needed."""
        stable, shares = self.target.stable(), self.router.shares()
        for place in self.target.backends():
            if place.version != version:
                continue
            if place.name == stable or shares[place.name]:
                raise PermanentError(
                    f"version {version} in {place.name} {'is stable' if place.name == stable else 'still'} and has "
                    f"{shares[place.name]} % of the traffic: promote another version first"
                )
            self.target.stop(place.name)
        return self.inspect()

    def abort(self, stable: str) -> TargetState:
        """Give *stable* 100 % of the traffic (starting it if it is not running), stop every other version, and remove
        what others had installed."""
        home = self._home(stable)
        self.target.revive(home, stable)
        try:
            self.target.await_healthy(home, stable)
        except TemporaryError as error:
            found = self._seen()[home]
            if found.version != stable or not found.running:
                raise
            # It runs but calls itself unhealthy: what ails it (a database...) ails the others too, so it still lands.
            logger.warning("%s gets all traffic although it is not healthy: %s", stable, error)
        self._make_stable(home, stable)
        for name in self.target.options.backend_names:
            if name != home:
                self.target.stop(name)
                self.target.purge(name)
        return self.inspect()

    def _seen(self) -> dict[str, Backend]:
        return {one.name: one for one in self.target.backends()}

    def _find(self, version: str) -> Backend:
        """The backend that has *version* now; of two, the one that is not stable."""
        stable = self.target.stable()
        found = [one for one in self.target.backends() if one.version == version]
        if not found:
            raise PermanentError(f"version {version} is in none of the backends "
                                 f"{', '.join(self.target.options.backend_names)}: stage it first")
        return min(found, key=lambda one: one.name == stable)

    def _home(self, version: str) -> str:
        """Where to run *version*: where it is stable, else where it is current, else where it is kept."""
        stable, seen = self.target.stable(), self._seen()
        places: list[Callable[[str], bool]] = [
            lambda name: name == stable and seen[name].installed == version,
            lambda name: seen[name].installed == version,
            lambda name: self.target.holds(name, version),
        ]
        for fits in places:
            for name in seen:
                if fits(name):
                    return name
        raise PermanentError(
            f"version {version} is not installed in any of {', '.join(seen)}: restore its artifact from the backup, "
            "then abort again"
        )

    def _make_stable(self, name: str, version: str) -> None:
        """All traffic first, then the mark: a crash in between leaves the former stable version to go back to."""
        self.router.set_shares({name: WHOLE})
        self.router.set_fallback(name)
        self.target.mark_stable(name)
        path, listener = self.target.options.health_path, self.router.options.listener
        await_effect(lambda: (told := self.router.health(path)) is not None and told.version == version,
                     self.router.options.effect_seconds, f"{listener} does not answer with version {version}")
        logger.info("version %s in %s is stable with 100 %% of the traffic", version, name)


def open_delivery(target: Mapping[str, Any], router: Mapping[str, Any]) -> Delivery:
    """Return the delivery of two settings, each with ``name`` and ``options``, as service files and plans have them.

    :raises UnknownName: a name is not registered
    :raises InvalidInput: options are wrong, or the two do not fit together
    """
    runs = registry.resolve(registry.TARGETS, "target", target["name"])(dict(target["options"]))
    return Delivery(runs, registry.resolve(registry.ROUTERS, "router", router["name"])(dict(router["options"])))


def delivery_of(environment: ServiceEnvironment) -> Delivery:
    """Return the delivery that a service file names. Errors as in ``open_delivery``."""
    return open_delivery(environment.target.model_dump(), environment.router.model_dump())


def _runs(place: Backend, artifact: Artifact) -> bool:
    return place.running and place.version == artifact.version and place.claimed == place.digest == artifact.digest


def _name(place: Backend) -> str:
    return place.version or f"nothing-in-{place.name}"


def _state(place: Backend, weight: int) -> VersionState:
    return VersionState(version=_name(place), running=place.running, healthy=place.healthy, weight=weight,
                        digest=place.claimed or place.digest, address=place.address)
