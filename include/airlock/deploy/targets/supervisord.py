"""Target ``supervisord``: version slots on one host, each a program of supervisord.

What is where is always read from the host: a version from what the slot's address says of itself, a digest from the
installed bytes, the stable slot from one link (see ``version_slots``). Knows no traffic, no approval and no metrics.
"""

from __future__ import annotations

import logging
import time
from functools import cached_property
from pathlib import Path

from airlock.deploy.effects import POLL_SECONDS, await_effect
from airlock.deploy.health import ask_health
from airlock.deploy.target import Target
from airlock.deploy.targets.supervisord_options import NEEDS, SupervisordOptions
from airlock.deploy.targets.supervisord_rpc import GIVEN_UP, RUNNING, Supervisor
from airlock.deploy.targets.version_slots import Slot, mark_stable, stable_slot
from airlock.errors import PermanentError, TemporaryError
from airlock.models import Artifact, Backend

logger = logging.getLogger(__name__)


class SupervisordTarget(Target):
    """See the module. A backend is a slot."""

    Options = SupervisordOptions
    options: SupervisordOptions
    needs = NEEDS

    def stable(self) -> str:
        """As ``Target.stable``."""
        name = stable_slot(self.options.folder)
        if name not in self.options.slots:
            raise PermanentError(f"{self.options.folder}/stable names slot {name!r}, which the options do not have")
        return name

    def mark_stable(self, backend: str) -> None:
        """As ``Target.mark_stable``."""
        mark_stable(self.options.folder, backend)

    def backends(self) -> tuple[Backend, ...]:
        """As ``Target.backends``."""
        return tuple(self._seen(name) for name in self.options.slots)

    def install(self, artifact: Artifact, backend: str) -> None:
        """As ``Target.install``."""
        seen, slot, program = self._seen(backend), self._slot(backend), self.options.slots[backend].program
        ready = seen.running and seen.version == artifact.version and seen.claimed == seen.digest == artifact.digest
        if not ready:
            self._supervisor.stop(program)
            slot.install(artifact.version, Path(artifact.path), artifact.digest)
            slot.purge(keep=artifact.version)
            logger.info("installed %s (%s) in slot %s", artifact.version, artifact.digest, backend)
            self._supervisor.start(program)
        self._await_healthy(backend, artifact.version, artifact.digest)

    def await_healthy(self, backend: str, version: str) -> None:
        """As ``Target.await_healthy``."""
        self._await_healthy(backend, version)

    def holds(self, backend: str, version: str) -> bool:
        """As ``Target.holds``."""
        return self._slot(backend).holds(version)

    def revive(self, backend: str, version: str) -> None:
        """As ``Target.revive``."""
        slot, program = self._slot(backend), self.options.slots[backend].program
        if slot.installed != version:
            self._supervisor.stop(program)
            slot.revive(version)
        self._supervisor.start(program)

    def stop(self, backend: str) -> None:
        """As ``Target.stop``."""
        self._slot(backend).empty()
        self._supervisor.stop(self.options.slots[backend].program)
        await_effect(lambda: not self._seen(backend).running, self.options.effect_seconds,
                     f"slot {backend} still answers after its program was stopped")

    def purge(self, backend: str) -> None:
        """As ``Target.purge``."""
        slot = self._slot(backend)
        slot.purge(keep=slot.installed)

    @cached_property
    def _supervisor(self) -> Supervisor:
        return Supervisor(self.options.supervisor_connection)

    def _slot(self, name: str) -> Slot:
        return Slot(name, self.options.folder / name)

    def _seen(self, name: str) -> Backend:
        options, slot = self.options.slots[name], self._slot(name)
        running = self._supervisor.state(options.program) in RUNNING
        told = ask_health(options.address, self.options.health_path)
        installed, claimed = slot.installed, told.digest if told else ""
        return Backend(
            name=name, version=told.version if told else installed, installed=installed,
            running=running or bool(claimed), healthy=told is not None and told.healthy,
            digest=slot.digest() or claimed, claimed=claimed, address=options.address,
        )

    def _await_healthy(self, name: str, version: str, digest: str = "") -> None:
        program = self.options.slots[name].program
        limit = time.monotonic() + self.options.start_seconds
        while True:
            seen = self._seen(name)
            if seen.healthy and seen.version == version and (not digest or seen.claimed == digest):
                return
            if (state := self._supervisor.state(program)) in GIVEN_UP:
                raise PermanentError(
                    f"version {version} does not start in slot {name}: supervisord says {state} of {program}; "
                    f"read {self._supervisor.log_of(program)}"
                )
            if time.monotonic() > limit:
                raise TemporaryError(
                    f"version {version} in slot {name} was not healthy within {self.options.start_seconds:.0f} s "
                    f"({program} is {state}, it answers as {seen.version}): read {self._supervisor.log_of(program)}"
                )
            time.sleep(POLL_SECONDS)
