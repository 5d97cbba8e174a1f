from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from airlock.change.rfc import rfc_from_form
from airlock.errors import InvalidInput
from airlock.schedule.cycle import due_times, standard_form
from airlock.schedule.promotion import Candidate, NothingNew, Promotion, candidate
from airlock.service.calendar import Calendar, Cycle
from airlock.service.values import DAYS
from tests.service_data import TEXT, environment

DAY = datetime(2026, 11, 1, tzinfo=UTC)


def promoted(version, day):
    return Promotion(version=version, digest=f"sha256:{version}", at=DAY + timedelta(days=day))


@pytest.mark.parametrize(
    ("before", "here", "back", "expected"),
    [
        ([], [], [], "nothing was promoted in the environment before"),
        ([promoted("1.0", 0)], [], [], "1.0"),
        ([promoted("1.1", 1), promoted("1.0", 0)], [promoted("1.0", 2)], [], "1.1"),
        ([promoted("1.1", 1)], [promoted("1.1", 2)], [], "was promoted here on 03 Nov 2026"),
        ([promoted("1.1", 1)], [promoted("1.1", 2), promoted("1.0", 3)], [], "was promoted here"),
        ([promoted("1.2", 1)], [promoted("1.1", 0)], [promoted("1.2", 2)], "was rolled back here on 03 Nov 2026"),
        ([promoted("1.0", 5), promoted("1.1", 1)], [promoted("1.1", 2)], [], "1.0"),
    ],
)
def test_the_newest_version_of_the_environment_before_is_taken_once(before, here, back, expected):
    chosen = candidate(before, here, back)
    if isinstance(chosen, Candidate):
        assert (chosen.version, chosen.digest) == (expected, f"sha256:{expected}")
    else:
        assert isinstance(chosen, NothingNew)
        assert chosen.sentence.startswith("nothing new: ") and expected in chosen.sentence


def test_the_form_of_a_cycle_is_a_right_standard_change(tmp_path):
    cafe = environment(tmp_path)
    rfc = rfc_from_form(standard_form(cafe, Candidate("1.1", "sha256:x", "new")), "scheduler", cafe)
    assert (rfc.change_type, rfc.version, rfc.title) == ("standard", "1.1", "Regular release")
    block = TEXT[TEXT.index("    standard_changes:\n") : TEXT.index("    artifact:")]
    with pytest.raises(InvalidInput, match="has no template"):
        standard_form(environment(tmp_path, (block, "")), Candidate("1.1", "sha256:x", "new"))


ALWAYS = Calendar.model_validate(
    {"timezone": "Europe/Berlin", "windows": [{"days": DAYS, "from": "00:00", "to": "24:00"}]}
)


def test_a_cycle_keeps_its_local_hour_across_daylight_saving():
    berlin = ZoneInfo("Europe/Berlin")
    cycle = Cycle(cron="0 6 * * *", timezone="Europe/Berlin")
    times = due_times(cycle, ALWAYS, datetime(2026, 10, 23, 12, tzinfo=UTC), 4)
    assert [moment.astimezone(berlin).hour for moment in times] == [6, 6, 6, 6]
    assert [moment.astimezone(berlin).day for moment in times] == [24, 25, 26, 27]
    assert due_times(Cycle(), ALWAYS, DAY, 3) == ()
