"""One measured figure, and what the project wants it to be. Knows nothing of what is measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """``value`` is ``None`` when it is not known, and ``note`` says why. A figure without a limit is a fact."""

    name: str
    value: float | None
    unit: str
    limit: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Return whether the value is within its limit; ``None`` when there is no value or no limit."""
        return None if self.value is None or self.limit is None else self.value <= self.limit

    def as_json(self) -> dict[str, Any]:
        """Return the figure as plain JSON data."""
        return {**asdict(self), "met": self.met}
