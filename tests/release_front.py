"""A release that is carried out by hand, stage by stage, on the shop's real Envoy and supervisord, without Airflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyrage
import pytest

from airlock.deploy.progress import CanaryProgress, Move
from airlock.evidence.pack import verify
from airlock.evidence.report import Report
from airlock.flow.stages import backup, change, deploy
from airlock.flow.stages.release import Attempt, Release
from airlock.signing import generate_pem
from tests.real_servers import set_connection
from tests.service_data import environment
from tests.shop_front import Front

AIRFLOW = "http://127.0.0.1:1"


class ReleaseFront:
    """Makes releases of the service ``cafe`` to its environment ``live``, whose target is the front."""

    def __init__(self, front: Front, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.front = front
        identity = pyrage.x25519.Identity.generate()
        set_connection(monkeypatch, "signing", conn_type="generic", password=generate_pem())
        set_connection(
            monkeypatch,
            "key",
            conn_type="generic",
            password=str(identity),
            extra={"recipients": [str(identity.to_public())]},
        )
        (folder / ".env").write_text("COLOUR=green\n")
        options = front.source().options.model_dump(mode="json")
        self.environment = environment(
            folder,
            ("FOLDER/cafe-{version}.bin", f"{front.layout.artifacts}/shop-{{version}}.pyz"),
            ("target: {name: supervisord}", f"target: {json.dumps(front.settings()['target'])}"),
            ("router: {name: envoy}", f"router: {json.dumps(front.settings()['router'])}"),
            ("metrics: {name: envoy}", f"metrics: {json.dumps({'name': 'envoy', 'options': options})}"),
            ("{days: [mon, tue], from: \"09:00\", to: \"17:00\"}",
             "{days: [mon, tue, wed, thu, fri, sat, sun], from: \"00:00\", to: \"24:00\"}"),
        )

    def release(self, name: str = "cafe-live-1", version: str = "1.1") -> Release:
        """Return a new release with a permit and a proved backup of every resource."""
        release = self.again(name)
        attempt = Attempt(dag_id="release.cafe.live", run_id=f"run of {name}", airflow=AIRFLOW, number=1)
        release.record("run", dag_id=attempt.dag_id, run_id=attempt.run_id, airflow=attempt.airflow)
        change.validate(release, {"version": version, "change_type": "standard"}, "rita")
        change.assess(release)
        change.permit(release)
        for resource in release.plan.resources:
            backup.finish(release, resource, backup.start(release, resource))
            backup.prove(release, resource)
        backup.restore_set(release)
        return release

    def again(self, name: str = "cafe-live-1") -> Release:
        """Return the release as another process sees it."""
        return Release(self.environment, name, "a test")

    def verified(self, release: Release) -> Report:
        """Return the report; each front signs with a key of its own."""
        return verify(Path(self.environment.evidence) / f"{release.id}.zip", any_signer=True)


def stage(release: Release) -> None:
    deploy.stage(release)


def first_step(release: Release) -> None:
    stage(release)
    deploy.shift(release, CanaryProgress())


def promoted(release: Release) -> None:
    first_step(release)
    deploy.promote(release)


def baked(release: Release) -> None:
    promoted(release)
    release.record("verdict", "bake", move=Move.PASS, why="it is quiet")
    deploy.retire(release)


STEPS: dict[str, Callable[[Release], None]] = {
    "nothing": lambda release: None,
    "stage": stage,
    "first step": first_step,
    "promoted": promoted,
    "baked": baked,
}
