from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from airlock.deploy.targets.supervisord import SupervisordTarget
from airlock.deploy.targets.version_slots import Slot
from airlock.errors import PermanentError
from airlock.models import Artifact, digest_of
from tests.contracts.target_contract import TargetContract
from tests.shop_front import Front, front, running_front

__all__ = ["front", "running_front"]


class TestSupervisordTarget(TargetContract):
    old, new, other = "1.0", "1.1", "1.2"

    @pytest.fixture
    def target(self, front: Front) -> SupervisordTarget:
        self._front = front
        return SupervisordTarget(front.target_options())

    def artifact(self, version: str) -> Artifact:
        return self._front.artifact(version)

    def test_a_mark_on_a_slot_that_the_options_do_not_have_stops(self, target: SupervisordTarget) -> None:
        target.mark_stable("c")
        with pytest.raises(PermanentError, match="'c', which the options do not have"):
            target.stable()
        target.mark_stable(next(one.name for one in target.backends() if one.running))


def test_an_interrupted_install_leaves_the_former_version_current(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.pyz", tmp_path / "bad.pyz"
    good.write_bytes(b"good")
    bad.write_bytes(b"bad")
    slot = Slot("a", tmp_path / "a")
    slot.install("1.0", good, "sha256:" + hashlib.sha256(b"good").hexdigest())
    with pytest.raises(PermanentError, match="was approved"):
        slot.install("1.1", bad, digest_of("something else"))
    assert slot.installed == "1.0"
    assert slot.current.read_bytes() == b"good"
    shutil.rmtree(tmp_path / "a" / "versions")
    assert slot.digest() == ""
