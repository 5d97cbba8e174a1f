"""Options of the target ``supervisord``: where the slots and the process manager are found, and what is needed of them.
Contacts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from airlock.connections import ConnectionId
from airlock.deploy.target import TargetOptions
from airlock.fetch import Address
from airlock.identity import address_identity, file_identity
from airlock.models import Name
from airlock.models.needs import ACTING, ConnectionNeed, Needs, Permission, System
from airlock.models.needs import Address as Reached
from airlock.options import Options


class SlotOptions(Options):
    """One slot."""

    address: Address
    """Where the version in it is reached."""
    program: str = Field(min_length=1)
    """Which program of the process manager runs it."""


class SupervisordOptions(TargetOptions):
    """Options of the target."""

    folder: Path
    """Holds the slots' folders."""
    supervisor_connection: ConnectionId
    """Airflow connection of the process manager."""
    slots: dict[Name, SlotOptions] = Field(min_length=2)
    """The places of versions: name -> where it is."""
    health_path: str = Field("/health", pattern="^/")
    """Path at which a version says that it is healthy."""
    start_seconds: float = Field(30, gt=0, description="time for a version to become healthy")
    effect_seconds: float = Field(10, gt=0, description="time for a stop to be seen")

    @model_validator(mode="after")
    def _slots_are_distinct(self) -> Self:
        for key in ("program", "address"):
            named = [str(getattr(slot, key)) for slot in self.slots.values()]
            if twice := sorted({one for one in named if named.count(one) > 1}):
                raise ValueError(f"the {key} {', '.join(twice)} belongs to two slots; name each once")
        return self

    @property
    def backend_names(self) -> tuple[str, ...]:
        return tuple(self.slots)

    def identities(self) -> tuple[str, ...]:
        return (file_identity(self.folder),
                *(f"http://{address_identity(slot.address)}/" for slot in self.slots.values()))


NEEDS = Needs(
    connections=(ConnectionNeed(id="{supervisor_connection}", sort="supervisord", stages=ACTING),),
    permissions=(
        Permission(system=System.SUPERVISORD, connection="{supervisor_connection}", on="{slots.*.program}",
                   actions=("getProcessInfo", "startProcess", "stopProcess"), stages=ACTING),
        Permission(system=System.FILES, actions=("read", "search", "write"), on="{folder}", stages=ACTING,
                   why="versions are installed into it, and its link 'stable' says which one has the traffic"),
    ),
    addresses=(Reached(url="{slots.*.address}", idle=True, stages=ACTING,
                       why="the version that runs there says which one it is, and that it is healthy"),),
)  # fmt: skip
