"""A continuous cycle takes what the environment before promoted, to the byte, whatever events say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airlock.deploy.resolution import resolve_artifact
from airlock.errors import InvalidInput
from airlock.flow.stages import change
from airlock.flow.stages.cycle import form_of_cycle
from airlock.flow.stages.release import Release
from airlock.models import ArmSample
from airlock.schedule.promotion import Hint
from airlock.service.find import find
from tests.memory_delivery import in_memory
from tests.recompute import flown

GOOD = (
    ArmSample(version="-", requests=900, errors=1, latency_p95_ms=20),
    ArmSample(version="-", requests=100, errors=0, latency_p95_ms=21),
)


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Release]:
    """A release to ``main``, which comes after ``live``, where 1.1 was promoted."""
    with flown.keys():
        flight = flown.prepared(tmp_path, "{}", (GOOD,) * 12, ())
        flight.carry_out({"version": "1.1", "change_type": "standard"})
        path = Path(flight.release.environment.source)
        head, block = path.read_text().split("  live:\n")
        path.write_text(f"{head}  live:\n{block}  main:\n    after: live\n    cycle: continuous\n{block}")
        monkeypatch.setenv("AIRLOCK_SERVICES", str(path.parent))
        main = Release(find(path.parent, "cafe", "main"), "cafe-main-1", "test")
        main.delivery = in_memory(resolve_artifact(main.environment, "1.0"))
        yield main


def promoted(release: Release) -> Hint:
    digest = resolve_artifact(release.environment, "1.1").digest
    return Hint(version="1.1", digest=digest)


def test_exactly_the_promoted_content_is_asked_for(release: Release) -> None:
    form, why, digest = form_of_cycle(release, (promoted(release),))
    assert form is not None and form["change_type"] == "standard"
    assert "is new here" in why
    rfc = change.validate(release, form, "scheduler", digest)
    assert (rfc.version, rfc.digest) == ("1.1", promoted(release).digest)
    assert change.assess(release).artifact.digest == digest


def test_an_event_that_somebody_wrote_by_hand_releases_nothing(release: Release, tmp_path: Path) -> None:
    (tmp_path / "cafe-6.6.bin").write_text("evil")
    digest = resolve_artifact(release.environment, "6.6").digest
    for hint in (Hint(version="6.6", digest=digest), Hint(version="1.1", digest=digest)):
        form, why, _ = form_of_cycle(release, (hint,))
        assert form is None
        assert "nothing stands as promoted" in why
    assert form_of_cycle(release, ())[0] is None


def test_content_that_was_replaced_after_its_promotion_is_refused(release: Release, tmp_path: Path) -> None:
    form, _, digest = form_of_cycle(release, (promoted(release),))
    (tmp_path / "cafe-1.1.bin").write_text("something else under the same name")
    with pytest.raises(InvalidInput, match="somebody replaced the artifact"):
        change.validate(release, form, "scheduler", digest)


def test_a_scheduled_run_takes_the_newest_and_says_when_there_is_nothing_new(release: Release) -> None:
    assert form_of_cycle(release)[0] is not None
    release.environment = release.environment.model_copy(update={"after": "main"})
    form, why, _ = form_of_cycle(release)
    assert (form, why) == (None, "nothing new: nothing was promoted in the environment before")
    release.environment = release.environment.model_copy(update={"after": None})
    with pytest.raises(InvalidInput, match="name the environment before"):
        form_of_cycle(release)
