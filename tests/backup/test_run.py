from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.backup.driver import Driver, Place
from airlock.backup.run import open_driver, prove, restore_set, scratch_place, take, token_for
from airlock.errors import InvalidInput, TemporaryError, UnknownName
from airlock.models import Check, Kind, Progress, RecoveryPoint, Resource, utc_now
from airlock.registry import DRIVERS, resolve
from tests.contracts.backup_attacks import flip_byte
from tests.contracts.driver_contract import make_store


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "file").write_text("content")
    resource = Resource(name="uploads", kind=Kind.STORAGE, driver="directory", options={"path": str(tmp_path / "up")})
    return open_driver(resource, make_store(tmp_path / "store"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return scratch_place(tmp_path / "scratch", "r1", "storage.uploads")


def test_take_tells_progress_and_repeats(driver: Driver) -> None:
    told: list[Progress] = []
    first = take(driver, "r1.storage.uploads", told.append)
    assert [progress.done for progress in told] == [True]
    assert take(driver, "r1.storage.uploads") == first


def test_a_proof_has_a_time_and_checks(driver: Driver, place: Place) -> None:
    proof = prove(driver, take(driver, "t.1"), place)
    assert proof.ok
    assert (proof.kind, proof.resource, proof.place, proof.recovery_point) == ("storage", "uploads", place.name, "t.1")
    assert proof.restore_seconds > 0
    assert proof.reason == ""


def test_damage_is_a_proof_that_failed(driver: Driver, place: Place) -> None:
    point = take(driver, "t.1")
    flip_byte(point.objects[0].path)
    proof = prove(driver, point, place)
    assert not proof.ok
    assert proof.checks == ()
    assert proof.reason.startswith("storage.uploads: the backup t.1 is not proven: ")
    assert "altered" in proof.reason


def test_what_a_try_before_left_does_not_matter(driver: Driver, place: Place) -> None:
    point = take(driver, "t.1")
    (Path(place.folder) / "files").mkdir(parents=True)
    (Path(place.folder) / "files" / "left over").touch()
    assert prove(driver, point, place).ok


def test_the_origin_and_strange_points_are_refused(driver: Driver, place: Place) -> None:
    point = take(driver, "t.1")
    with pytest.raises(InvalidInput, match="origin"):
        prove(driver, point, Place(origin=True))
    other = point.model_copy(update={"resource": point.resource.model_copy(update={"name": "other"})})
    with pytest.raises(InvalidInput, match=r"storage\.other"):
        prove(driver, other, place)
    assert not Path(place.folder).exists()


def variant(driver: Driver, **methods: object) -> Driver:
    """Return the driver with other methods: an implementation that behaves in a way the contract allows."""
    return type("Variant", (type(driver),), methods)(driver.resource, driver.store)


def test_a_temporary_error_passes_through(driver: Driver, place: Place) -> None:
    def restore(self: Driver, point: RecoveryPoint, place: Place) -> None:
        raise TemporaryError("the server is down")

    point = take(driver, "t.1")
    with pytest.raises(TemporaryError, match="down"):
        prove(variant(driver, restore=restore), point, place)


def test_no_check_is_no_proof(driver: Driver, place: Place) -> None:
    proof = prove(variant(driver, prove=lambda self, point, place: ()), take(driver, "t.1"), place)
    assert not proof.ok
    assert "compared nothing" in proof.reason


def test_one_failing_check_is_enough(driver: Driver, place: Place) -> None:
    checks = (Check(name="rows", expected=1, found=1, ok=True), Check(name="hash", expected="a", found="b", ok=False))
    proof = prove(variant(driver, prove=lambda self, point, place: checks), take(driver, "t.1"), place)
    assert not proof.ok
    assert "1 of 2 checks failed: hash: expected a, found b" in proof.reason


def test_polling_goes_on_until_it_is_done(driver: Driver) -> None:
    told: list[float] = []
    steps = iter(
        [Progress(done=False, completed=1, total=2), Progress(done=False, completed=2, total=2), Progress(done=True)]
    )
    slow = variant(driver, poll=lambda self, handle: next(steps))
    take(slow, "t.1", lambda progress: told.append(progress.completed), poll_seconds=0.01)
    assert told == [1, 2, 0]


def test_kinds_and_names_must_fit(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with pytest.raises(InvalidInput, match=r"databases\.x: driver 'directory' backs up storage, not databases"):
        open_driver(Resource(name="x", kind=Kind.DATABASES, driver="directory", options={"path": "/x"}), store)
    with pytest.raises(UnknownName, match="did you mean 'directory'"):
        open_driver(Resource(name="x", kind=Kind.STORAGE, driver="directry"), store)
    with pytest.raises(InvalidInput, match="path"):
        open_driver(Resource(name="x", kind=Kind.STORAGE, driver="directory"), store)


@pytest.mark.parametrize(
    "name", ["artifact_file", "directory", "env_file", "git", "log_files", "terraform_state", "tls_certificate"]
)
def test_drivers_lie_in_the_folder_of_their_kind(name: str) -> None:
    found = resolve(DRIVERS, "driver", name)
    assert found.__module__.split(".")[3] == found.kind.value
    assert found.capabilities.restore_proof


LABELS = st.builds(
    "{}.{}".format,
    st.sampled_from([kind.value for kind in Kind]),
    st.from_regex(r"[a-z][a-z0-9_-]{0,62}", fullmatch=True),
)


@given(st.text(max_size=200), LABELS)
def test_tokens_and_places_are_safe_and_stable(release: str, label: str) -> None:
    token, place = token_for(release, label), scratch_place("/scratch", release, label)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", token)
    assert re.fullmatch(r"[a-z][a-z0-9]{0,23}", place.name)
    assert Path(place.folder) == Path("/scratch") / place.name
    assert (token_for(release, label), scratch_place("/scratch", release, label)) == (token, place)


@given(st.lists(st.tuples(st.text(max_size=150), LABELS), min_size=2, max_size=2, unique=True))
def test_two_resources_never_share(pairs: list[tuple[str, str]]) -> None:
    first, second = pairs
    if ".".join(first) != ".".join(second):
        assert token_for(*first) != token_for(*second)
    assert scratch_place("/s", *first).name != scratch_place("/s", *second).name


def test_skew(driver: Driver) -> None:
    point = take(driver, "t.1")
    now = utc_now()
    points = [point.model_copy(update={"id": f"p{n}", "taken_at": now + timedelta(seconds=n)}) for n in (7, 0, 2.5)]
    found = restore_set(points)
    assert found.skew_seconds == 7
    assert (found.earliest, found.latest) == (now, now + timedelta(seconds=7))
    assert found.points == ("p0", "p2.5", "p7")
    with pytest.raises(InvalidInput, match="empty"):
        restore_set([])


@pytest.mark.parametrize(
    ("expected", "found", "good"),
    [
        ({"any_of": ["a", "b"]}, "b", True),
        ({"any_of": ["a", "b"]}, "c", False),
        ({"any_of": []}, None, False),
        ({"any_of": "ab"}, "a", False),
        ({"any_of": ["a"], "least": 1}, "a", False),
        ({"any_of": ["a"]}, {"any_of": ["a"]}, True),
        ({"holds": ["a"]}, ["b", "a"], True),
        ({"holds": ["a", "c"]}, ["b", "a"], False),
        ({"holds": ["a"]}, "a", False),
        ({"holds": ["a"]}, None, False),
        ({"least": 1, "most": 3}, 3, True),
        ({"least": 1, "most": 3}, 4, False),
        ({"least": 1}, True, False),
        ({}, {}, True),
    ],
)
def test_what_a_check_found_is_what_it_expected_by_the_values_alone(expected, found, good):
    assert Check(name="n", expected=expected, found=found, ok=True).fits is good
