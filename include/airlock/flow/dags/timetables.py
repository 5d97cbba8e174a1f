"""The timetable of a release cycle, as Airflow's scheduler asks it. The rules are in ``schedule.cycle``.

The scheduler and the DAG processor ask it often, so it reads nothing but calendar files on a local disk, and asks no
live signal: a run that begins all the same waits in its task ``change.window``, which asks everything.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.timetables.base import DagRunInfo, DataInterval, Timetable

from airlock.errors import AirlockError
from airlock.models import utc_now
from airlock.schedule.asking import open_calendar
from airlock.schedule.cycle import described, next_run
from airlock.service.calendar import Calendar, Cycle

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.timetables.base import TimeRestriction
    from pendulum import DateTime

log = logging.getLogger(__name__)
FIRST_GRACE = timedelta(minutes=2)
"""How long after its time the first run of a DAG still begins: the scheduler needs a moment to create it, and whoever
adds a DAG must not be surprised by a run for a time that is over."""


class CycleTimetable(Timetable):
    """Runs at the times of a cycle while the calendar is open. Nothing is made up for, whatever ``catchup`` says."""

    def __init__(self, cycle: Cycle, calendar: Calendar) -> None:
        """Bind both; only what stands in the settings of *calendar* and in its local files counts."""
        local = tuple(one for one in calendar.files if "://" not in str(one.path))
        self.cycle = cycle
        self.calendar = calendar.model_copy(update={"signals": (), "override_by": None, "files": local})
        self.description = f"Releases {described(cycle, calendar)}; " + (
            "a time that the calendar closes moves to its next opening"
            if cycle.when_closed == "move" else "a time that the calendar closes is left out"
        )

    @property
    def summary(self) -> str:
        return described(self.cycle, self.calendar)

    def serialize(self) -> dict[str, Any]:
        return {
            "cycle": self.cycle.model_dump(mode="json", by_alias=True, exclude_defaults=True),
            "calendar": self.calendar.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Timetable:
        return cls(Cycle.model_validate(data["cycle"]), Calendar.model_validate(data["calendar"]))

    def infer_manual_data_interval(self, *, run_after: DateTime) -> DataInterval:
        return DataInterval.exact(run_after)

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Return the next run: of a time that is a little over, too, as the cycle allows, so that a parse between the
        time and the scheduler's look at it does not lose the run; of one that is long over, never."""
        now, last = utc_now(), last_automated_data_interval
        after = now - (FIRST_GRACE if last is None else timedelta(minutes=self.cycle.late_after_minutes))
        if last is not None:
            after = max(after, last.end)
        if restriction.earliest is not None:
            after = max(after, restriction.earliest - timedelta.resolution)
        due = self._next(after)
        if due is None or (restriction.latest is not None and due > restriction.latest):
            return None
        return DagRunInfo.exact(_as_airflow(due))

    def _next(self, after: datetime) -> datetime | None:
        opened = open_calendar(self.calendar)
        for fault in opened.faults:
            log.warning("%s does not count for the next run, which may have to wait: %s", fault.signal,
                        fault.unreadable)
        try:
            return next_run(self.cycle, self.calendar, after, opened.spelled)
        except AirlockError as error:
            log.warning("calendar files do not count for the next run, which may have to wait: %s", error)
            return next_run(self.cycle, self.calendar, after)


def _as_airflow(moment: datetime) -> DateTime:
    from pendulum import instance

    return instance(moment)
