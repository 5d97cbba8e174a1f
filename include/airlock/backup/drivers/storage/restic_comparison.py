"""What lies in a place beside what was recorded when ``restic`` backed it up. Knows neither restic nor the store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from airlock.backup.drivers.storage.restic_record import unsettled
from airlock.backup.drivers.storage.restic_share import Parts
from airlock.backup.drivers.storage.tree import WORDS
from airlock.backup.drivers.storage.tree_lines import Comparison, Facts, beside, place_of

_NAME, _SORT, _TARGET, _TIME = (WORDS.index(one) for one in ("name", "sort", "hash or target", "time"))


@dataclass
class Beside:
    """A comparison of all, or of *parts*. What came or went while the backup was taken may be there or not."""

    parts: Parts | None = None
    comparison: Comparison = field(default_factory=Comparison)
    _busy: list[list[bytes]] = field(default_factory=list)

    def compare(self, recorded: Iterable[Facts], found: Iterable[Facts]) -> Comparison:
        """Look at all of both."""
        for one, other in beside(recorded, found):
            present = one or other or [""]
            self._step(one, place_of(present))
            if self.parts is not None and not self.parts.hold(str(present[_NAME])):
                continue
            if one is None and other is not None and self._came_and_went(other):
                continue
            if one is not None and unsettled(one):
                self._busy.append(place_of(one))  # whatever is in it came or went as well
                continue
            if one is not None and other is not None and self._named_elsewhere(one):
                continue
            self.comparison.look(one, other)
        return self.comparison

    def _step(self, recorded: Facts | None, place: list[bytes]) -> None:
        """Remember the folders around this place in which something came or went."""
        while self._busy and place[: len(self._busy[-1])] != self._busy[-1]:
            self._busy.pop()
        if recorded is not None and not unsettled(recorded) and recorded[_TIME] is None:
            self._busy.append(place)

    def _came_and_went(self, found: Facts) -> bool:
        """Whether something that nobody saw but restic lies in a folder that others were at work in."""
        place = place_of(found)
        if not self._busy or self._busy[-1] != place[:-1]:
            return False
        if found[_SORT] == "folder":
            self._busy.append(place)
        return True

    def _named_elsewhere(self, recorded: Facts) -> bool:
        """Whether this is one more name of a file whose first is in no part, so that it alone cannot be compared."""
        return self.parts is not None and recorded[_SORT] == "hard link" and not self.parts.hold(recorded[_TARGET])
