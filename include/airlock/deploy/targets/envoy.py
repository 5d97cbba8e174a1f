"""Target ``envoy``: version slots on one host, started by supervisord, behind weighted clusters of Envoy.

What is where is always read from the host: a version from what the slot's address says of itself, a digest from the
installed bytes, a weight from Envoy's runtime, the stable version from one link (see ``version_slots``). Nothing is
remembered, so a crash between any two acts leaves a state that every method can go on from. Knows no approval and no
metrics.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from airlock.deploy.target import Target
from airlock.deploy.targets.envoy_options import NEEDS, EnvoyOptions
from airlock.deploy.targets.envoy_runtime import Weights
from airlock.deploy.targets.supervisor import GIVEN_UP, RUNNING, Supervisor
from airlock.deploy.targets.version_slots import Slot, mark_stable, stable_slot
from airlock.errors import EffectMissing, NotReady, PermanentError, TemporaryError
from airlock.fetch import fetch
from airlock.models import Artifact, TargetState, VersionState

logger = logging.getLogger(__name__)
_POLL_SECONDS = 0.2
_WHOLE = 100


@dataclass(frozen=True)
class _View:
    """One slot as it is now. ``claimed`` is the digest that the running version says it has."""

    slot: Slot
    version: str | None
    digest: str
    claimed: str
    running: bool
    healthy: bool
    weight: int


class EnvoyTarget(Target):
    """See the module."""

    Options = EnvoyOptions
    options: EnvoyOptions
    needs = NEEDS

    def inspect(self) -> TargetState:
        """As ``Target.inspect``. ``canary`` is any version beside the stable one, also one that is only kept warm."""
        stable = stable_slot(self.options.folder)
        views = self._views()
        if stable not in views:
            raise PermanentError(f"{self.options.folder}/stable names slot {stable!r}, which the options do not have")
        present = {
            name: view
            for name, view in views.items()
            if name == stable or view.running or view.slot.installed or view.weight
        }
        others = [_name(view) for name, view in present.items() if name != stable]
        return TargetState(
            stable=_name(views[stable]),
            canary=others[0] if others else None,
            versions=tuple(self._state(view) for view in present.values()),
        )

    def stage(self, artifact: Artifact) -> TargetState:
        """As ``Target.stage``. What already runs from the same bytes keeps its traffic: a retry shifts nothing."""
        views = self._views()
        stable = stable_slot(self.options.folder)
        if views[stable].version == artifact.version:
            raise PermanentError(f"version {artifact.version} is the stable one already: there is nothing to stage")
        name = self._free_slot(views, stable, artifact.version)
        view, program = views[name], self.options.slots[name].program
        ready = view.running and view.version == artifact.version and view.claimed == view.digest == artifact.digest
        if not ready:
            if view.weight:
                raise PermanentError(
                    f"slot {name} has {view.weight} % of the traffic but not what was approved as {artifact.version}: "
                    "abort to the stable version first"
                )
            self._supervisor.stop(program)
            view.slot.install(artifact.version, Path(artifact.path), artifact.digest)
            view.slot.purge(keep=artifact.version)
            logger.info("installed %s (%s) in slot %s", artifact.version, artifact.digest, name)
            self._supervisor.start(program)
        self._await_healthy(name, artifact.version, artifact.digest)
        return self.inspect()

    def shift(self, version: str, percent: int) -> TargetState:
        """As ``Target.shift``. More traffic is given only to a healthy version."""
        if not 0 <= percent <= _WHOLE:
            raise PermanentError(f"{percent} % of the traffic was asked for: give 0 to 100")
        stable = stable_slot(self.options.folder)
        name, view = self._find(version)
        if name == stable:
            raise PermanentError(f"version {version} is the stable one: shift moves traffic to another version")
        if percent > view.weight and not view.healthy:
            raise NotReady(f"version {version} in slot {name} is not healthy: no traffic was shifted to it")
        self._set_weights({name: percent, stable: _WHOLE - percent})
        return self.inspect()

    def promote(self, version: str) -> TargetState:
        """As ``Target.promote``."""
        name, _ = self._find(version)
        self._await_healthy(name, version)
        self._make_stable(name, version)
        return self.inspect()

    def retire(self, version: str) -> TargetState:
        """As ``Target.retire``. Its artifact stays installed, for a way back, until the slot is needed."""
        stable = stable_slot(self.options.folder)
        for name, view in self._views().items():
            if view.version != version:
                continue
            if name == stable or view.weight:
                raise PermanentError(
                    f"version {version} in slot {name} {'is stable' if name == stable else 'still'} and has "
                    f"{view.weight} % of the traffic: promote another version first"
                )
            self._clear(name)
        return self.inspect()

    def abort(self, stable: str) -> TargetState:
        """As ``Target.abort``. Also removes what other versions had installed."""
        views = self._views()
        name = self._home(views, stable)
        view = views[name]
        if view.slot.installed != stable:
            self._supervisor.stop(self.options.slots[name].program)
            view.slot.revive(stable)
        self._supervisor.start(self.options.slots[name].program)
        try:
            self._await_healthy(name, stable)
        except TemporaryError as error:
            if self._view(name).version != stable or not self._view(name).running:
                raise
            # It runs but calls itself unhealthy: what ails it (a database...) ails the others too, so it still lands.
            logger.warning("%s gets all traffic although it is not healthy: %s", stable, error)
        self._make_stable(name, stable)
        for other in self.options.slots:
            if other != name:
                self._clear(other)
                self._slot(other).purge()
        return self.inspect()

    def smoke(self, version: str, paths: tuple[str, ...]) -> dict[str, int]:
        """As ``Target.smoke``."""
        name, _ = self._find(version)
        address = self.options.slots[name].address
        return {path: fetch(address, path, timeout=self.options.effect_seconds).status for path in paths}

    @cached_property
    def _supervisor(self) -> Supervisor:
        return Supervisor(self.options.supervisor_connection)

    def _slot(self, name: str) -> Slot:
        return Slot(name, self.options.folder / name)

    def _views(self) -> dict[str, _View]:
        weights = self._traffic.read()
        return {name: self._view(name, weights[name]) for name in self.options.slots}

    def _view(self, name: str, weight: int = 0) -> _View:
        options, slot = self.options.slots[name], self._slot(name)
        running = self._supervisor.state(options.program) in RUNNING
        try:
            reply = fetch(options.address, self.options.health_path)
            told = json.loads(reply.body)
            # Only what the version says of itself counts: a stranger on the port is no version.
            version: str | None = str(told["version"])
            claimed = str(told["digest"])
            healthy = reply.status == 200 and told.get("ok") is True
        except (TemporaryError, ValueError, KeyError, TypeError):
            version, claimed, healthy = slot.installed, "", False
        running = running or bool(claimed)
        return _View(slot, version, slot.digest() or claimed, claimed, running, healthy, weight)

    def _state(self, view: _View) -> VersionState:
        return VersionState(
            version=_name(view),
            running=view.running,
            healthy=view.healthy,
            weight=view.weight,
            digest=view.claimed or view.digest,
            address=self.options.slots[view.slot.name].address,
        )

    def _find(self, version: str) -> tuple[str, _View]:
        """The slot that has *version* now; of two, the one that is not stable."""
        stable = stable_slot(self.options.folder)
        found = [(name, view) for name, view in self._views().items() if view.version == version]
        if not found:
            raise PermanentError(f"version {version} is in no slot of {self.options.folder}: stage it first")
        return min(found, key=lambda pair: pair[0] == stable)

    def _home(self, views: dict[str, _View], version: str) -> str:
        """The slot to run *version* from: where it is stable, else where it is current, else where it is kept."""
        stable = stable_slot(self.options.folder)
        places: list[Callable[[str], bool]] = [
            lambda name: name == stable and views[name].slot.installed == version,
            lambda name: views[name].slot.installed == version,
            lambda name: views[name].slot.holds(version),
        ]
        for fits in places:
            for name in views:
                if fits(name):
                    return name
        raise PermanentError(
            f"version {version} is not installed on the host of {self.options.listener}: restore its artifact from the "
            "backup, then abort again"
        )

    def _free_slot(self, views: dict[str, _View], stable: str, version: str) -> str:
        free = [name for name in views if name != stable]
        return min(free, key=lambda name: (views[name].version != version, views[name].weight, views[name].running))

    @property
    def _traffic(self) -> Weights:
        return Weights(self.options.admin, {name: slot.runtime_key for name, slot in self.options.slots.items()})

    def _set_weights(self, wanted: dict[str, int]) -> None:
        full = self._traffic.write(wanted)
        self._await(lambda: self._traffic.read() == full, f"Envoy does not show the weights {full}")

    def _make_stable(self, name: str, version: str) -> None:
        """All traffic first, then the mark: a crash in between leaves the former stable version to go back to."""
        self._set_weights({name: _WHOLE})
        mark_stable(self.options.folder, name, self._traffic.keys)
        self._await(lambda: self._seen() == version, f"{self.options.listener} does not answer with version {version}")
        logger.info("version %s in slot %s is stable with 100 %% of the traffic", version, name)

    def _seen(self) -> str | None:
        """The version that answers a request through Envoy."""
        try:
            return str(json.loads(fetch(self.options.listener, self.options.health_path).body)["version"])
        except (TemporaryError, ValueError, KeyError, TypeError):
            return None

    def _clear(self, name: str) -> None:
        """Stop what runs in the slot and let nothing start there."""
        self._slot(name).empty()
        self._supervisor.stop(self.options.slots[name].program)
        self._await(lambda: not self._view(name).running, f"slot {name} still answers after its program was stopped")

    def _await_healthy(self, name: str, version: str, digest: str = "") -> None:
        program = self.options.slots[name].program
        limit = time.monotonic() + self.options.start_seconds
        while True:
            view = self._view(name)
            if view.healthy and view.version == version and (not digest or view.claimed == digest):
                return
            if (state := self._supervisor.state(program)) in GIVEN_UP:
                raise PermanentError(
                    f"version {version} does not start in slot {name}: supervisord says {state} of {program}; "
                    f"read {self._supervisor.log_of(program)}"
                )
            if time.monotonic() > limit:
                raise TemporaryError(
                    f"version {version} in slot {name} was not healthy within {self.options.start_seconds:.0f} s "
                    f"({program} is {state}, it answers as {view.version}): read {self._supervisor.log_of(program)}"
                )
            time.sleep(_POLL_SECONDS)

    def _await(self, seen: Callable[[], bool], otherwise: str) -> None:
        limit = time.monotonic() + self.options.effect_seconds
        while not seen():
            if time.monotonic() > limit:
                raise EffectMissing(f"{otherwise} after {self.options.effect_seconds:.0f} s: inspect the host")
            time.sleep(_POLL_SECONDS)


def _name(view: _View) -> str:
    return view.version or f"nothing-in-{view.slot.name}"
