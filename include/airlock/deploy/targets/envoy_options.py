"""Options of the target ``envoy``: where Envoy, the slots and the process manager are found, and what is needed
of them. Contacts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from airlock.connections import ConnectionId
from airlock.fetch import Address
from airlock.identity import address_identity, file_identity
from airlock.models import Name
from airlock.models.needs import Address as Reached
from airlock.models.needs import ConnectionNeed, Needs, Permission, Stage, System
from airlock.options import Options


class SlotOptions(Options):
    """One slot."""

    address: Address
    """Where the version in it is reached."""
    program: str = Field(min_length=1)
    """Which program of the process manager runs it."""
    runtime_key: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$")]
    """Which of Envoy's runtime keys is its weight (0 to 100)."""


class EnvoyOptions(Options):
    """Options of the target."""

    admin: Address
    """Address of Envoy's admin interface."""
    listener: Address
    """Address at which Envoy takes the traffic."""
    folder: Path
    """Holds the slots' folders, and is the root of Envoy's disk layer."""
    supervisor_connection: ConnectionId
    """Airflow connection of the process manager."""
    slots: dict[Name, SlotOptions] = Field(min_length=2)
    """The places of versions: name -> where it is."""
    health_path: str = Field("/health", pattern="^/")
    """Path at which a version says that it is healthy."""
    start_seconds: float = Field(30, gt=0, description="time for a version to become healthy")
    effect_seconds: float = Field(10, gt=0, description="time for a change of traffic to be seen")

    def identities(self) -> tuple[str, ...]:
        envoy = f"envoy://{address_identity(self.admin)}"
        slots = self.slots.values()
        return (file_identity(self.folder), *(f"{envoy}/{slot.runtime_key}" for slot in slots),
                *(f"http://{address_identity(slot.address)}/" for slot in slots))


_ACTING = (Stage.INSPECT, Stage.DELIVERY, Stage.RESTORE)
NEEDS = Needs(
    connections=(ConnectionNeed(id="{supervisor_connection}", sort="supervisord", stages=_ACTING),),
    permissions=(
        Permission(system=System.SUPERVISORD, connection="{supervisor_connection}", on="{slots.*.program}",
                   actions=("getProcessInfo", "startProcess", "stopProcess"), stages=_ACTING),
        Permission(system=System.FILES, actions=("read", "search", "write"), on="{folder}", stages=_ACTING,
                   why="versions are installed into it, and its link 'stable' says which one has the traffic"),
    ),
    addresses=(
        Reached(url="{admin}", stages=_ACTING, why="weights are read and set here (/runtime, /runtime_modify)"),
        Reached(url="{listener}", stages=(Stage.DELIVERY, Stage.CHECK)),
    ),
)  # fmt: skip
