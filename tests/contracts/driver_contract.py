"""What every backup driver must do. A driver's test inherits ``DriverContract`` and gives a ``case``.

    class TestMyDriver(DriverContract):
        @pytest.fixture
        def case(self, store, scratch_root) -> Case: ...

The fixtures ``store``, ``scratch_root`` and ``place`` come with the class. The test of secrets runs when
``Case.secrets`` has any.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyrage
import pytest
from upath import UPath

from airlock.backup.driver import Driver, Place
from airlock.backup.run import prove, scratch_place, take
from airlock.backup.store import BackupStore
from airlock.errors import BackupDamaged, InvalidInput
from airlock.models import RecoveryPoint, Resource

TOKEN = "2026-01-01-0001.contract"


@dataclass(frozen=True)
class Case:
    """One driver over one real resource.

    driver: over a resource that is there and has content
    change: changes the content of the origin, so that its fingerprint changes
    spoil: changes what was restored into a scratch place, so that a proof must fail
    left_over: what a scratch place still holds (empty when all is gone); a look at its folder is done for every driver
    secrets: values that must never be in logs, facts or errors
    """

    driver: Driver
    change: Callable[[], None]
    spoil: Callable[[Place], None]
    left_over: Callable[[Place], list[str]] = lambda place: []
    secrets: tuple[str, ...] = ()


def make_store(folder: Path) -> BackupStore:
    """Return a store with a replica and a fresh key below *folder*."""
    identity = pyrage.x25519.Identity.generate()
    return BackupStore(
        UPath(folder / "backups"), (str(identity.to_public()),), (str(identity),), UPath(folder / "replica")
    )


def flip_byte(path: str, at: int = -1) -> None:
    """Change one byte of a file; in the middle when *at* is negative."""
    content = bytearray(Path(path).read_bytes())
    content[len(content) // 2 if at < 0 else at] ^= 1
    Path(path).write_bytes(content)


class DriverContract:
    """The suite."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> BackupStore:
        return make_store(tmp_path / "store")

    @pytest.fixture
    def scratch_root(self, tmp_path: Path) -> Path:
        return tmp_path / "scratch"

    @pytest.fixture
    def case(self) -> Case:
        raise NotImplementedError("a driver's test gives the fixture 'case'")

    @pytest.fixture
    def place(self, case: Case, scratch_root: Path):
        found = scratch_place(scratch_root, "contract", case.driver.label)
        yield found
        case.driver.discard(found)

    def taken(self, case: Case) -> RecoveryPoint:
        return take(case.driver, TOKEN, poll_seconds=0.05)

    def refused(self, case: Case, point: RecoveryPoint, place: Place) -> str:
        """Prove *point*, expect that it is not proven, and return the reason."""
        proof = prove(case.driver, point, place)
        assert not proof.ok
        assert case.driver.label in proof.reason
        assert proof.kind == case.driver.resource.kind
        assert proof.resource == case.driver.resource.name
        return proof.reason

    # --- looking ------------------------------------------------------------------------------------------------------

    def test_looking_changes_nothing_and_repeats(self, case: Case) -> None:
        first = case.driver.inspect()
        assert first.present
        assert first.fingerprint
        assert case.driver.plan() == case.driver.plan()
        assert case.driver.inspect() == first

    def test_fingerprint_changes_with_the_content(self, case: Case) -> None:
        before = case.driver.inspect().fingerprint
        case.change()
        assert case.driver.inspect().fingerprint != before

    def test_an_unknown_option_is_named(self, case: Case) -> None:
        resource = case.driver.resource
        wrong = Resource.model_validate({**resource.model_dump(), "options": {**resource.options, "no_such_option": 1}})
        with pytest.raises(InvalidInput, match="no_such_option"):
            type(case.driver)(wrong, case.driver.store)

    # --- taking -------------------------------------------------------------------------------------------------------

    def test_same_token_is_the_same_backup(self, case: Case) -> None:
        first = self.taken(case)
        case.change()
        assert case.driver.start(TOKEN).token == TOKEN
        assert self.taken(case) == first
        assert type(case.driver)(case.driver.resource, case.driver.store).finish(case.driver.start(TOKEN)) == first

    def test_a_recovery_point_survives_json(self, case: Case) -> None:
        point = self.taken(case)
        assert RecoveryPoint.model_validate(json.loads(point.model_dump_json())) == point
        assert case.driver.store.load_point(TOKEN) == point

    # --- proving ------------------------------------------------------------------------------------------------------

    def test_an_intact_backup_is_proven_and_the_origin_untouched(self, case: Case, place: Place) -> None:
        before = case.driver.inspect()
        point = self.taken(case)
        proof = prove(case.driver, point, place)
        assert proof.ok, proof.reason
        assert proof.checks
        assert proof.restore_seconds > 0
        assert case.driver.inspect() == before

    def test_the_backup_is_of_the_moment_it_was_taken(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        case.change()
        proof = prove(case.driver, point, place)
        assert proof.ok, proof.reason

    def test_proving_twice_gives_the_same(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        first, second = prove(case.driver, point, place), prove(case.driver, point, place)
        assert [check.model_dump() for check in first.checks] == [check.model_dump() for check in second.checks]

    def test_a_difference_in_the_scratch_place_is_found(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        case.driver.restore(point, place)
        case.spoil(place)
        assert not all(check.ok for check in case.driver.prove(point, place))

    # --- damage -------------------------------------------------------------------------------------------------------

    def test_a_flipped_byte_is_refused(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        for stored in point.objects:
            flip_byte(stored.path)
            reason = self.refused(case, point, place)
            assert "altered" in reason
            assert stored.path in reason
            flip_byte(stored.path)

    def test_a_truncated_object_is_refused(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        path = Path(point.objects[0].path)
        path.write_bytes(path.read_bytes()[:-7])
        assert "cut off" in self.refused(case, point, place)

    def test_a_deleted_object_is_refused(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        Path(point.objects[0].path).unlink()
        assert "missing" in self.refused(case, point, place)

    def test_another_object_in_its_place_is_refused(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        other = case.driver.store.write("other.point", point.objects[0].name, [b"something else"])
        Path(point.objects[0].path).write_bytes(Path(other.path).read_bytes())
        self.refused(case, point, place)

    def test_a_wrong_key_is_said_clearly(self, case: Case, place: Place, tmp_path: Path) -> None:
        point = self.taken(case)
        stranger = pyrage.x25519.Identity.generate()
        store = BackupStore(case.driver.store.root, (str(stranger.to_public()),), (str(stranger),))
        driver = type(case.driver)(case.driver.resource, store)
        with pytest.raises(BackupDamaged, match="wrong key"):
            driver.restore(point, place)
        proof = prove(driver, point, place)
        assert not proof.ok
        assert "wrong key" in proof.reason
        assert str(stranger) not in proof.reason

    # --- cleaning up --------------------------------------------------------------------------------------------------

    def test_discard_leaves_nothing_and_may_be_repeated(self, case: Case, place: Place) -> None:
        case.driver.discard(place)
        point = self.taken(case)
        case.driver.restore(point, place)
        case.driver.discard(place)
        assert not Path(place.folder).exists()
        assert case.left_over(place) == []
        case.driver.discard(place)

    def test_discarding_the_origin_is_refused(self, case: Case) -> None:
        before = case.driver.inspect()
        with pytest.raises(InvalidInput):
            case.driver.discard(Place(origin=True))
        assert case.driver.inspect() == before

    def test_expire_may_be_repeated(self, case: Case) -> None:
        point = self.taken(case)
        case.driver.expire(point)
        case.driver.expire(point)
        assert case.driver.store.load_point(point.id) is None
        assert not Path(point.objects[0].path).exists()

    # --- the way back -------------------------------------------------------------------------------------------------

    def test_restoring_the_origin_brings_the_content_back(self, case: Case) -> None:
        if not case.driver.capabilities.restores_origin:
            pytest.skip("the driver says that it does not restore the origin")
        before = case.driver.inspect().fingerprint
        point = self.taken(case)
        case.change()
        case.driver.restore(point, Place(origin=True))
        assert case.driver.inspect().fingerprint == before

    # --- secrets ------------------------------------------------------------------------------------------------------

    def test_no_secret_is_shown(self, case: Case, place: Place, caplog: pytest.LogCaptureFixture) -> None:
        if not case.secrets:
            pytest.skip("the resource holds no secret")
        caplog.set_level(logging.DEBUG)
        point = self.taken(case)
        shown = [case.driver.inspect().model_dump_json(), point.model_dump_json(), str(case.driver.plan())]
        shown.append(prove(case.driver, point, place).model_dump_json())
        case.driver.restore(point, place)
        case.spoil(place)
        shown += [check.model_dump_json() for check in case.driver.prove(point, place)]
        flip_byte(point.objects[0].path)
        shown += [prove(case.driver, point, place).model_dump_json(), caplog.text]
        everything = "\n".join(shown)
        for secret in case.secrets:
            assert secret not in everything
        for file in Path(str(case.driver.store.root)).rglob("*"):
            if file.is_file():
                assert not any(secret.encode() in file.read_bytes() for secret in case.secrets)
