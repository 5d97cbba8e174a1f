"""What every backup driver must do. A driver's test inherits ``DriverContract`` and gives a ``case``.

    class TestMyDriver(DriverContract):
        @pytest.fixture
        def case(self, store, scratch_root) -> Case: ...

The fixtures ``store``, ``scratch_root`` and ``place`` come with the class. The test of secrets runs when
``Case.secrets`` has any. What a case says of ``DAMAGES`` and ``FORMS`` is how to do it, or why it does not apply; a
name that it leaves out fails.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import logging
import os
import pprint
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyrage
import pytest
from upath import UPath

from airlock.backup.driver import Driver, Place
from airlock.backup.run import prove, restore_origin, scratch_place, take
from airlock.backup.store import BackupStore
from airlock.errors import AirlockError, BackupDamaged, InvalidInput, ProofFailed, TemporaryError
from airlock.models import Check, RecoveryPoint, Resource, utc_now
from airlock.recompute.verdicts import fits, stated, unlike, unproven
from tests.contracts import backup_attacks as attacks
from tests.contracts.backup_attacks import ATTACKS, Scene, flip_byte, flipped, replayed_streams
from tests.contracts.declared_needs import Use, undeclared
from tests.contracts.driver_forms import DAMAGES, FORMS, ActingStore, Damage, Form
from tests.contracts.killed import DyingStore, killed
from tests.contracts.recorded_calls import Recording, recording

TOKEN = "2026-01-01-0001.contract"
RELEASE = "contract"


@dataclass(frozen=True)
class Useless:
    """A stored backup that is intact, and of no use.

    content: what is stored as *stream* instead of what the driver wrote there, given that
    reason: a word that the refusal must hold
    before: done before the restore, and undone by *after*
    """

    name: str
    reason: str
    stream: str = ""
    content: Callable[[bytes], bytes] = lambda content: content
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None


def documents(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """Return what changes the documents of a stream of JSON by *change*."""

    def rewrite(content: bytes) -> bytes:
        stored = json.loads(content)
        change(stored["documents"] if "digest_key" in stored else stored)
        return json.dumps(stored).encode()

    return rewrite


def recorded_as_they_are(checks: Iterable[Check]) -> None:
    """Assert that whoever reads the *checks* years later comes to the same verdicts by what stands in them."""
    kept = [Check.model_validate_json(check.model_dump_json()) for check in checks]
    assert [check for check in kept if check.ok is not fits(check, utc_now())] == []


def digest(value: object) -> str:
    """Return a digest of what a server answered."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def without(value: Any, *names: str) -> Any:
    """Return what a server answered without the fields of these *names*, at any depth; lists in one order."""
    if isinstance(value, Mapping):
        return {key: without(one, *names) for key, one in value.items() if key not in names}
    if isinstance(value, list | tuple):
        found = [without(one, *names) for one in value]
        return sorted(found, key=lambda one: json.dumps(one, default=str, sort_keys=True))
    return value


def differing(before: object, now: object) -> str:
    """Return the lines in which two looks differ."""
    lines = difflib.unified_diff(pprint.pformat(before).splitlines(), pprint.pformat(now).splitlines(), lineterm="")
    return "\n".join(itertools.islice(lines, 40))


def digest_of_folder(folder: Path, *, times: bool = True) -> str:
    """Return a digest of all that is below *folder*: names, modes, owners, times, links, attributes and bytes."""
    found = []
    for path in sorted(folder.rglob("*")):
        seen = path.lstat()
        content = path.read_bytes().hex() if path.is_file() and not path.is_symlink() else ""
        target = str(path.readlink()) if path.is_symlink() else ""
        named = os.listxattr(path, follow_symlinks=False)
        attributes = sorted([name, os.getxattr(path, name, follow_symlinks=False).hex()] for name in named)
        about = [seen.st_mode, seen.st_uid, seen.st_gid, attributes, seen.st_mtime_ns if times else 0]
        found.append([ascii(path.relative_to(folder)), about, content, target])
    return digest(found)


@dataclass(frozen=True)
class Case:
    """One driver over one real resource.

    driver: over a resource that is there and has content
    change: changes the content of the origin, so that its fingerprint changes
    spoil: changes what was restored into a scratch place, so that a proof must fail
    origin: a digest of the origin, asked of the server or the file system and not of the driver
    useless: backups that are intact and yet must not be proven
    left_over: what a scratch place still holds (empty when all is gone); a look at its folder is done for every driver
    secrets: values that must never be in logs, facts or errors
    restored: ``origin`` without what a restore sets anew (versions, times, ids of the server), where there is any
    damages: for each of ``DAMAGES``, how to do it, or why it does not apply; ``changed`` is ``change`` when left out
    forms: for each of ``FORMS``, how to give it to the resource, or why it does not apply
    """

    driver: Driver
    change: Callable[[], None]
    spoil: Callable[[Place], None]
    origin: Callable[[], str]
    useless: tuple[Useless, ...]
    left_over: Callable[[Place], list[str]] = lambda place: []
    secrets: tuple[str, ...] = ()
    restored: Callable[[], object] | None = None
    damages: Mapping[str, Damage | str] = field(default_factory=dict)
    forms: Mapping[str, Form | str] = field(default_factory=dict)

    def look(self) -> object:
        """Return what the origin is, asked from outside, as far as a restore must bring it back."""
        return (self.restored or self.origin)()


def make_store(folder: Path) -> BackupStore:
    """Return a store with a replica and a fresh key below *folder*."""
    identity = pyrage.x25519.Identity.generate()
    return BackupStore(
        UPath(folder / "backups"), (str(identity.to_public()),), (str(identity),), UPath(folder / "replica")
    )


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
        found = scratch_place(scratch_root, RELEASE, case.driver.label)
        yield found
        case.driver.discard(found)

    @pytest.fixture(autouse=True)
    def nothing_undeclared(
        self, request: pytest.FixtureRequest, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Recording]:
        """What the driver asks for in every test is what it declares that it needs."""
        found = Recording()
        with recording(type(case.driver), found, monkeypatch):
            yield found
        needs, options = case.driver.needs, case.driver.options
        use = self.use()
        use.look(needs, options, found)
        use.tests.add(request.node.originalname)
        asked = undeclared(needs.bound(options), found)
        assert asked == [], f"asked for, and not declared: {asked}"

    def use(self) -> Use:
        """Return what the tests of this class made use of, of what its driver declares."""
        if "_use" not in type(self).__dict__:
            type(self)._use = Use()
        return type(self).__dict__["_use"]

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

    def test_two_takes_of_one_token_at_once_are_one_backup(self, case: Case, place: Place) -> None:
        """As when a scheduler takes a living task for dead and starts it again. Whoever ends first is the backup."""
        store, resource, sort = case.driver.store, case.driver.resource, type(case.driver)
        inner: list[RecoveryPoint] = []
        acting = ActingStore(store, lambda: inner.append(self.taken(case)))
        outer = take(sort(resource, acting), TOKEN, poll_seconds=0.05)
        assert inner == [outer]
        self.is_whole_in_both_places(store, outer)
        proof = prove(case.driver, outer, place)
        assert proof.ok, proof.reason

        both = threading.Barrier(2, timeout=60)
        token = "2026-01-03-0001.both"
        with ThreadPoolExecutor(2) as pool:
            drivers = [sort(resource, ActingStore(store, both.wait)) for _ in range(2)]
            first, second = pool.map(lambda driver: take(driver, token, poll_seconds=0.05), drivers)
        assert first == second == store.load_point(token)
        self.is_whole_in_both_places(store, first)
        proof = prove(case.driver, first, place)
        assert proof.ok, proof.reason

    def is_whole_in_both_places(self, store: BackupStore, point: RecoveryPoint) -> None:
        """Assert that both places hold all of *point*, and nothing beside it."""
        for root in (store.root, store.replica):
            names = {path.name for path in (Path(str(root)) / point.id).iterdir()}
            assert names == {"point.json", "README.txt", *(Path(stored.path).name for stored in point.objects)}

    def test_a_recovery_point_survives_json(self, case: Case) -> None:
        point = self.taken(case)
        assert RecoveryPoint.model_validate(json.loads(point.model_dump_json())) == point
        assert case.driver.store.load_point(TOKEN) == point

    # --- proving ------------------------------------------------------------------------------------------------------

    def test_an_intact_backup_is_proven_and_the_origin_untouched(self, case: Case, place: Place) -> None:
        before, seen = case.driver.inspect(), case.origin()
        point = self.taken(case)
        proof = prove(case.driver, point, place)
        assert proof.ok, proof.reason
        assert proof.checks
        assert proof.restore_seconds > 0
        assert case.origin() == seen
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
        recorded_as_they_are(first.checks)

    def test_what_a_proof_expects_is_what_its_recovery_point_states(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        facts = json.loads(point.model_dump_json())["facts"]
        proof = json.loads(prove(case.driver, point, place).model_dump_json())
        assert unlike(facts, proof) == unproven(facts, proof) == ()
        assert any(stated(facts, check["name"]) is not None for check in proof["checks"])

    def test_a_difference_in_the_scratch_place_is_found(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        case.driver.restore(point, place)
        case.spoil(place)
        assert not all(check.ok for check in case.driver.prove(point, place))

    # --- damage -------------------------------------------------------------------------------------------------------

    def test_every_attack_on_the_stored_backup_is_refused(self, case: Case, place: Place) -> None:
        store = case.driver.store
        older = take(case.driver, "2025-12-24-0001.contract", poll_seconds=0.05)
        case.change()
        point = self.taken(case)
        stranger = store.write("2026-01-01-0001.stranger", "stranger", [b"the backup of another resource"])
        recipient = str(store._recipients[0])
        seen = case.origin()
        for number in range(len(point.objects)):
            for attack in ATTACKS if number == 0 else (flipped, replayed_streams):
                scene = Scene(store, point, older, stranger, recipient, number)
                with scene.undone():
                    word = attack(scene)
                    reason = self.refused(case, point, place)
                assert word in reason, attack.__name__
                case.driver.discard(place)
                assert not Path(place.folder).exists(), attack.__name__
                assert case.left_over(place) == [], attack.__name__
        assert case.origin() == seen
        assert prove(case.driver, point, place).ok, "put back, it is proven"

    def test_a_planted_recovery_point_is_not_adopted(self, case: Case) -> None:
        """Tokens can be guessed: somebody may write a recovery point before, or between two tries of, a take."""
        point = self.taken(case)
        store = case.driver.store
        for forge in (attacks.metadata_altered, attacks.sealed_by_another_identity, attacks.replayed_whole):
            older = take(case.driver, "2025-12-24-0001.contract", poll_seconds=0.05)
            scene = Scene(store, point, older, point.objects[0], str(store._recipients[0]))
            with scene.undone():
                forge(scene)
                with pytest.raises(BackupDamaged, match=r"point\.json"):
                    case.driver.finish(case.driver.start(TOKEN))

    def test_another_record_than_the_stored_one_is_refused(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        older = take(case.driver, "2025-12-24-0001.contract", poll_seconds=0.05)
        for forged in (
            point.model_copy(update={"facts": {}}),
            point.model_copy(update={"objects": older.objects, "facts": older.facts}),
            older.model_copy(update={"id": point.id}),
        ):
            first = Path(str(case.driver.store.root)) / point.id / "point.json"
            assert f"{first} is not the recovery point on record" in self.refused(case, forged, place)
            assert not Path(place.folder).exists(), "nothing of it was restored"

    def test_what_is_intact_but_useless_is_refused(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        written = {stored.name: b"".join(case.driver.store.read(stored)) for stored in point.objects}
        seen = case.origin()
        for useless in case.useless:
            rewritten = self.rewritten(case, point, written, useless)
            useless.before()
            try:
                reason = self.refused(case, rewritten, place)
            finally:
                useless.after()
            assert useless.reason in reason, useless.name
            case.driver.discard(place)
            assert not Path(place.folder).exists(), useless.name
            assert case.left_over(place) == [], useless.name
        assert case.useless
        assert case.origin() == seen

    def rewritten(
        self, case: Case, point: RecoveryPoint, contents: dict[str, bytes], useless: Useless
    ) -> RecoveryPoint:
        """Return *point* with one of its *contents* replaced, by a tool that holds the keys and is wrong."""
        assert useless.stream in {"", *contents}
        store = case.driver.store
        for root in (store.root, store.replica):
            (root / point.id / "point.json").unlink()
        given = {**contents, **({useless.stream: useless.content(contents[useless.stream])} if useless.stream else {})}
        objects = tuple(store.write(point.id, name, [content]) for name, content in given.items())
        written = point.model_copy(update={"objects": objects})
        store.save_point(written)
        return written

    def test_a_wrong_key_is_said_clearly(self, case: Case, place: Place, tmp_path: Path) -> None:
        point = self.taken(case)
        stranger = pyrage.x25519.Identity.generate()
        ours = case.driver.store
        store = BackupStore(ours.root, (str(stranger.to_public()),), (str(stranger),), ours.replica)
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

    def test_a_killed_proof_is_cleared_away_by_the_next_process(
        self, case: Case, place: Place, scratch_root: Path
    ) -> None:
        point = self.taken(case)
        seen = case.origin()
        driver, store = case.driver, case.driver.store

        def begun() -> bool:
            folder = Path(place.folder)
            return bool(case.left_over(place)) or (folder.exists() and any(folder.iterdir()))

        for dying, when in ((DyingStore(store, reading=True), None), (store, begun)):
            killed(lambda dying=dying: prove(type(driver)(driver.resource, dying), point, place), when)
            # nothing but the release and the resource is known to who cleans up
            fresh = type(driver)(driver.resource, store)
            found = scratch_place(scratch_root, RELEASE, fresh.label)
            fresh.discard(found)
            assert not Path(found.folder).exists()
            assert case.left_over(found) == []
            fresh.discard(found)
        assert case.origin() == seen
        assert prove(driver, point, place).ok

    def test_a_killed_take_leaves_no_half_backup(self, case: Case, place: Place) -> None:
        driver, store = case.driver, case.driver.store
        for dying in (DyingStore(store, writing=True), DyingStore(store, saving=True)):
            killed(lambda dying=dying: take(type(driver)(driver.resource, dying), TOKEN, poll_seconds=0.05))
            assert store.load_point(TOKEN) is None
            assert store.list_points() == ()
        point = self.taken(case)
        self.is_whole_in_both_places(store, point)
        assert prove(driver, point, place).ok

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

    @pytest.mark.parametrize("name", DAMAGES)
    def test_the_way_back_undoes_damage(self, case: Case, name: str) -> None:
        given = case.damages.get(name, Damage(case.change) if name == "changed" else None)
        assert given is not None, f"the case says nothing of {name!r}"
        if isinstance(given, str):
            pytest.skip(f"{name}: {given}")
        if not case.driver.capabilities.restores_origin:
            pytest.skip("the driver says that it does not restore the origin")
        look = given.origin or case.look
        before, fingerprint = look(), case.driver.inspect().fingerprint
        point = self.taken(case)
        given.act()
        if given.origin is None:
            assert look() != before, "no damage was done"
        for _ in ("once", "and again"):
            proof = restore_origin(case.driver, point)
            assert proof.ok
            assert proof.place == "origin"
            checks = case.driver.prove(point, Place(origin=True))
            assert all(check.ok for check in checks)
            recorded_as_they_are(checks)
            now = look()
            assert now == before, differing(before, now)
        if given.origin is None and case.restored is None:
            assert case.driver.inspect().fingerprint == fingerprint

    def test_a_way_back_that_leaves_a_difference_says_so(self, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        """The restore itself reports success, as one does whose server keeps what was there."""
        if not case.driver.capabilities.restores_origin:
            pytest.skip("the driver says that it does not restore the origin")
        point = self.taken(case)
        case.change()
        monkeypatch.setattr(type(case.driver), "restore", lambda *_: None)
        with pytest.raises(ProofFailed, match=re.escape(case.driver.label)) as caught:
            restore_origin(case.driver, point)
        assert "the origin differs from recovery point" in str(caught.value)

    def test_a_scratch_place_is_replaced_as_the_origin_is(self, case: Case, place: Place) -> None:
        """One path for both: what is restored over something else is tested in every restore test's own place."""
        point = self.taken(case)
        case.driver.restore(point, place)
        case.spoil(place)
        case.driver.restore(point, place)
        failed = [check for check in case.driver.prove(point, place) if not check.ok]
        assert failed == []

    @pytest.mark.parametrize("name", FORMS)
    def test_every_form_is_proven_and_comes_back_or_is_refused(self, case: Case, place: Place, name: str) -> None:
        form = case.forms.get(name)
        assert form is not None, f"the case says nothing of {name!r}"
        if isinstance(form, str):
            pytest.skip(f"{name}: {form}")
        driver = case.driver
        form.make()
        if form.refused:
            with pytest.raises(AirlockError, match=re.escape(form.refused)) as caught:
                self.taken(case)
            assert driver.label in str(caught.value)
            return
        if form.during is not None:
            acting = type(driver)(driver.resource, ActingStore(driver.store, form.during))
            try:
                take(acting, "2026-01-02-0001.meanwhile", poll_seconds=0.05)
            except TemporaryError as error:
                assert driver.label in str(error)
            else:
                point = driver.store.load_point("2026-01-02-0001.meanwhile")
                assert point is not None
                proof = prove(driver, point, place)
                assert proof.ok, proof.reason
        point = self.taken(case)
        proof = prove(driver, point, place)
        assert proof.ok, proof.reason
        if not driver.capabilities.restores_origin:
            return
        before = case.look()
        case.change()
        restore_origin(driver, point)
        assert case.look() == before

    def test_the_way_back_uses_the_replica_and_nothing_damaged(self, case: Case) -> None:
        if not case.driver.capabilities.restores_origin:
            pytest.skip("the driver says that it does not restore the origin")
        before = case.driver.inspect().fingerprint
        point = self.taken(case)
        case.change()
        changed = case.origin()
        flip_byte(point.objects[0].path)
        flip_byte(point.objects[0].replicas[0])
        with pytest.raises(BackupDamaged, match="no copy of recovery point") as caught:
            restore_origin(case.driver, point)
        assert case.driver.label in str(caught.value)
        assert case.origin() == changed
        flip_byte(point.objects[0].replicas[0])
        restore_origin(case.driver, point)
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

    # --- needs --------------------------------------------------------------------------------------------------------

    def test_what_is_declared_is_asked_for(self, case: Case) -> None:
        """The last one: it looks at all that the tests before it recorded."""
        use, own = self.use(), "test_what_is_declared_is_asked_for"
        missing = {name for name in dir(DriverContract) if name.startswith("test_")} - use.tests - {own}
        if missing:
            pytest.skip(f"only the whole suite asks for everything; not run: {', '.join(sorted(missing))}")
        assert use.unused == [], f"declared, and never asked for: {use.unused}"
