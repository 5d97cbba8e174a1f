"""What a service file says of a place: a text, or an address with the Airflow connection that reaches it.

Knows no store. A plain text stays what it is, so that all that is made of it stays the same.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import StringConstraints, ValidationError

from airlock.connections import ConnectionId
from airlock.models import Frozen


class Address(Frozen):
    """A place in an object store, and who may reach it."""

    path: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9+]*://[^/\s]", max_length=1000)]
    """Its address, such as s3://bucket/folder."""
    connection: ConnectionId
    """Airflow connection of the object store."""

    def __str__(self) -> str:
        return self.path


def inside(place: str | Address, name: str) -> str | Address:
    """Return the folder *name* of *place*, reached in the same way."""
    if isinstance(place, Address):
        return place.model_copy(update={"path": f"{place.path.rstrip('/')}/{name}"})
    return f"{place}/{name}"


def place_from(data: Any) -> str | Address | None:
    """Return the place that the plain *data* of a file names; ``None`` if they name none."""
    if isinstance(data, str):
        return data or None
    try:
        return Address.model_validate(data)
    except ValidationError:
        return None
