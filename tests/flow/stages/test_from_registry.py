"""A release whose version is a signed image in a real registry, on the shop's real servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airlock.errors import GateRefused, PermitInvalid, TemporaryError
from airlock.flow.stages import close, deploy
from tests.contracts.artifact_contract import sha256
from tests.deploy.test_resolution import attach_bundle
from tests.faulty_proxy import Fault, faulty_proxy
from tests.oci_registry import (
    Registry,
    Repository,
    registry,  # noqa: F401 - a fixture
)
from tests.release_front import ReleaseFront, baked
from tests.service_data import load_file
from tests.shop_front import Front, front, running_front  # noqa: F401 - fixtures
from tests.signing_keys import IMAGE_SIGNATURE, publisher


@pytest.fixture
def house(front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReleaseFront:  # noqa: F811
    return ReleaseFront(front, tmp_path, monkeypatch)


def pushed(house: ReleaseFront, shelf: Registry, folder: Path) -> tuple[Repository, str, str]:
    """Push the shop's versions as images; return the repository, the digest of 1.1, and that of its file."""
    repository, digest, content = shelf.repository(f"shop/{folder.name.lower()}"), "", b""
    for version in ("1.0", "1.1"):
        content = (house.front.layout.artifacts / f"shop-{version}.pyz").read_bytes()
        image = repository.push_image("", [{"etc/motd": b"x"}, {"srv/shop.pyz": content}])
        digest = repository.push_index(version, {"linux/amd64": image})
    return repository, digest, sha256(content)


def from_registry(house: ReleaseFront, repository: Repository, url: str, folder: Path) -> None:
    """Let the house's versions come from *repository*, signed, as it is reached at *url*."""
    (folder / "keys.pem").write_text(publisher().pem)
    options = {"registry": url.partition("://")[2], "repository": repository.name, "plain_http": True,
               "file": "/srv/shop.pyz"}
    setting = {"name": "oci", "options": options, "signatures": [{"keys": [str(folder / "keys.pem")]}]}
    path = Path(house.environment.source)
    lines = [f"    artifact: {json.dumps(setting)}" if one.startswith("    artifact:") else one
             for one in path.read_text().splitlines()]
    path.write_text("\n".join(lines))
    house.environment = load_file(path)[0]


def test_a_signed_image_is_released_and_what_runs_is_the_file_in_it(
    house: ReleaseFront, registry: Registry, tmp_path: Path  # noqa: F811
) -> None:
    repository, digest, file_digest = pushed(house, registry, tmp_path)
    from_registry(house, repository, registry.url, tmp_path)
    with pytest.raises(GateRefused, match="has no signature"):
        house.release("cafe-live-0")
    attach_bundle(repository, digest, publisher().attested(digest, IMAGE_SIGNATURE))
    release = house.release()
    baked(release)
    release.record("outcome", outcome="promoted", why="it is quiet")
    state = release.delivery.inspect()
    assert state.stable == "1.1"
    assert [one.digest for one in state.versions if one.version == "1.1"] == [file_digest]
    plan = release.plan
    assert (plan.artifact.digest, plan.artifact.file_digest) == (digest, file_digest)
    assert plan.artifact.path == f"{repository.reference}@{digest}"
    assert [one.subject for one in plan.artifact.signatures] == [digest]
    assert close.seal(release)


def test_a_registry_that_is_down_or_a_tag_that_moves_stops_the_next_act_and_no_way_back(
    house: ReleaseFront, registry: Registry, tmp_path: Path  # noqa: F811
) -> None:
    repository, digest, _ = pushed(house, registry, tmp_path)
    attach_bundle(repository, digest, publisher().attested(digest, IMAGE_SIGNATURE))
    with faulty_proxy(registry.url) as proxy:
        from_registry(house, repository, proxy.url, tmp_path)
        release = house.release("cafe-live-2")
        proxy.always(Fault(status=503))
        with pytest.raises(TemporaryError):
            deploy.stage(release)
        proxy.decide = lambda method, path: None
        deploy.stage(release)
        content = (house.front.layout.artifacts / "shop-1.0.pyz").read_bytes()
        moved = repository.push_image("1.1", [{"srv/shop.pyz": content}])
        attach_bundle(repository, moved, publisher().attested(moved, IMAGE_SIGNATURE))
        with pytest.raises(PermitInvalid):
            house.again("cafe-live-2").permitted("shift")
        proxy.always(Fault(drop=True))
        assert release.delivery.abort("1.0").stable == "1.0"
