"""What a service environment demands of its artifacts, asked of both sources in one way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airlock import registry as registry_of_names
from airlock.deploy.artifacts.file import FileSource
from airlock.deploy.resolution import Resolved, installable, resolve, resolve_artifact
from airlock.errors import GateRefused, InvalidInput, PermanentError
from airlock.models import Artifact, Plan, SignedContent
from airlock.service.model import ServiceEnvironment
from tests.contracts.artifact_contract import sha256
from tests.deploy.artifacts.test_oci import NAMES
from tests.faulty_proxy import Fault, faulty_proxy
from tests.oci_registry import (
    INDEX,
    MANIFEST,
    Registry,
    Repository,
    registry,  # noqa: F401 - a fixture
)
from tests.service_data import environment
from tests.signing_keys import BUNDLE, IMAGE_SIGNATURE, PROVENANCE, Publisher, publisher

SOURCE = '{name: file, options: {path: "FOLDER/cafe-{version}.bin"}}'
SIGNATURE = "{keys: [FOLDER/keys.pem]}"
ATTESTATION = f"{{keys: [FOLDER/keys.pem], predicate_type: '{PROVENANCE}'}}"


def demanding(folder: Path, *demands: str, source: str = "", keys: tuple[Publisher, ...] = ()) -> ServiceEnvironment:
    """Return an environment with these demands on its artifacts."""
    (folder / "keys.pem").write_text("".join(one.pem for one in keys or (publisher(),)))
    name = source or SOURCE
    return environment(folder, (SOURCE, f"{name[:-1]}, signatures: [{', '.join(demands)}]}}"))


@pytest.fixture
def cafe(tmp_path: Path) -> Path:
    (tmp_path / "cafe-1.1.bin").write_bytes(b"coffee")
    return tmp_path


def write(folder: Path, said: object, name: str = "cafe-1.1.bin.sigstore.json") -> None:
    (folder / name).write_text(json.dumps(said))


def frozen(found: Resolved, where: ServiceEnvironment) -> Plan:
    """Return as much of a plan as ``resolve`` looks at."""
    return Plan.model_construct(artifact=found.artifact, settings={"artifact": where.artifact.model_dump(mode="json")})


def test_without_a_demand_nothing_is_looked_for(cafe: Path) -> None:
    write(cafe, publisher().signed(b"coffee"))
    assert resolve(demanding(cafe), "1.1").artifact.signatures == ()


@pytest.mark.parametrize("sort", ["p-256", "ed25519"])
def test_a_file_is_signed_by_a_bundle_beside_it(cafe: Path, sort: str) -> None:
    one = publisher(sort)
    where = demanding(cafe, SIGNATURE, ATTESTATION, keys=(publisher("rsa"), one))
    with pytest.raises(GateRefused, match=r"has no signature of sha256:.*nothing that is signed was found"):
        resolve(where, "1.1")
    write(cafe, one.signed(b"coffee"))
    with pytest.raises(GateRefused, match=f"has no attestation {PROVENANCE} of .*: it is a signature"):
        resolve(where, "1.1")
    write(cafe, one.attested(sha256(b"coffee")), "cafe-1.1.bin.provenance.sigstore.json")
    found = resolve(where, "1.1")
    assert [(one.key, one.predicate_type) for one in found.artifact.signatures] == [(one.id, ""), (one.id, PROVENANCE)]
    assert [one.verified for one in found.evidence] == list(found.artifact.signatures)
    assert resolve_artifact(where, "1.1") == found.artifact


@pytest.mark.parametrize(
    "said",
    [
        publisher("p-256 other").signed(b"coffee"),
        publisher().signed(b"tea"),
        publisher().attested(sha256(b"coffee")),
        {"mediaType": "x"},
        "rubbish",
    ],
    ids=["stranger", "other content", "attestation", "no bundle", "text"],
)
def test_what_does_not_fit_is_no_signature_and_stops_no_other(cafe: Path, said: object) -> None:
    write(cafe, said)
    where = demanding(cafe, SIGNATURE)
    with pytest.raises(GateRefused, match="has no signature"):
        resolve(where, "1.1")
    write(cafe, publisher().signed(b"coffee"), "cafe-1.1.bin.other.sigstore.json")
    assert len(resolve(where, "1.1").artifact.signatures) == 1


class _Exchanged(FileSource):
    """A folder whose file somebody exchanges once it was looked at: what is signed comes after what is released."""

    def signed(self, artifact: Artifact) -> tuple[SignedContent, ...]:
        Path(artifact.path).write_bytes(b"coffee")
        return super().signed(artifact)


@pytest.mark.parametrize(("sort", "algorithm"), [("p-384", "SHA2_384"), ("ed25519", "SHA2_256")])
def test_a_signature_of_what_the_file_holds_later_is_none_of_what_is_released(
    cafe: Path, monkeypatch: pytest.MonkeyPatch, sort: str, algorithm: str
) -> None:
    monkeypatch.setitem(registry_of_names.ARTIFACT_SOURCES, "file", registry_of_names.Entry(f"{__name__}:_Exchanged"))
    one = publisher(sort)
    bundle = one.signed(b"coffee", algorithm)
    del bundle["messageSignature"]["messageDigest"]["digest"]
    write(cafe, bundle)
    where = demanding(cafe, SIGNATURE, keys=(one,))
    assert resolve(where, "1.1").artifact.digest == sha256(b"coffee")
    (cafe / "cafe-1.1.bin").write_bytes(b"poison")
    with pytest.raises(PermanentError, match="is not what was approved as 1.1"):
        resolve(where, "1.1")


def test_a_return_to_what_was_approved_before_needs_none(cafe: Path) -> None:
    assert resolve(demanding(cafe, SIGNATURE), "1.1", returns=True).artifact.signatures == ()


def test_what_was_verified_stands_as_long_as_its_key_is_trusted(cafe: Path) -> None:
    where = demanding(cafe, SIGNATURE, keys=(publisher(), publisher("rsa")))
    write(cafe, publisher().signed(b"coffee"))
    plan = frozen(resolve(where, "1.1"), where)
    (cafe / "cafe-1.1.bin.sigstore.json").unlink()
    assert resolve_artifact(where, "1.1", plan) == plan.artifact
    (cafe / "keys.pem").write_text("rubbish: a mistake, no decision")
    assert resolve_artifact(where, "1.1", plan) == plan.artifact
    (cafe / "keys.pem").write_text(publisher("rsa").pem)
    with pytest.raises(GateRefused, match="has no signature"):
        resolve_artifact(where, "1.1", plan)
    (cafe / "keys.pem").write_text(publisher().pem)
    (cafe / "cafe-1.1.bin").write_bytes(b"tea")
    with pytest.raises(GateRefused, match="has no signature"):
        resolve_artifact(where, "1.1", plan)


@pytest.mark.parametrize("keys", ["", "rubbish", publisher().pem * 1000])
def test_keys_that_cannot_be_read_stop_before_there_is_a_plan(cafe: Path, keys: str) -> None:
    where = demanding(cafe, SIGNATURE)
    (cafe / "keys.pem").write_text(keys)
    with pytest.raises(InvalidInput, match=r"keys\.pem"):
        resolve(where, "1.1")
    (cafe / "keys.pem").unlink()
    with pytest.raises(InvalidInput, match="cannot be read"):
        resolve(where, "1.1")


# --- images ---------------------------------------------------------------------------------------------


@pytest.fixture
def repository(registry: Registry) -> Iterator[Repository]:  # noqa: F811
    yield registry.repository(f"signed/cafe{next(NAMES)}")


def attach_bundle(repository: Repository, subject: str, said: object, listed_as: str = BUNDLE) -> None:
    """Attach a bundle as cosign from version 3 on does, in a registry without the referrers API."""
    content = json.dumps(said).encode()
    manifest = repository.push_manifest({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE,
        "config": repository.descriptor(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [repository.descriptor(content, BUNDLE)],
        "subject": {"mediaType": MANIFEST, "digest": subject, "size": 1},
    })  # fmt: skip
    repository.attach(subject, manifest, **({"artifactType": listed_as} if listed_as else {}))


def tag(repository: Repository, subject: str, ending: str, layers: list[dict[str, object]]) -> None:
    """Keep something under a tag that is made of a digest, as cosign before version 3 does."""
    repository.push_manifest({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": layers,
        "config": repository.descriptor(b"{}", "application/vnd.oci.image.config.v1+json"),
    }, subject.replace(":", "-") + ending)  # fmt: skip


def attached(repository: Repository, digest: str) -> None:
    attach_bundle(repository, digest, publisher("p-256 other").attested(digest, IMAGE_SIGNATURE))
    attach_bundle(repository, digest, publisher().attested(digest, IMAGE_SIGNATURE), listed_as="")
    attach_bundle(repository, digest, publisher().attested(digest), listed_as="application/vnd.oci.empty.v1+json")


def tagged(repository: Repository, digest: str) -> None:
    text, signature = publisher().described(digest)
    noted = {"dev.cosignproject.cosign/signature": signature}
    simple = "application/vnd.dev.cosign.simplesigning.v1+json"
    tag(repository, digest, ".sig", [repository.descriptor(text.encode(), simple, annotations=noted)])
    envelope = json.dumps(publisher().attested(digest)["dsseEnvelope"]).encode()
    tag(repository, digest, ".att", [repository.descriptor(envelope, "application/vnd.dsse.envelope.v1+json")])


@pytest.mark.parametrize("sign", [attached, tagged])
@pytest.mark.parametrize("of", ["index", "platform"])
def test_an_image_is_signed_in_its_registry(
    repository: Repository, tmp_path: Path, sign: Callable[[Repository, str], None], of: str
) -> None:
    image = repository.push_image("", [{"cafe": b"coffee"}])
    index = repository.push_index("1.1", {"linux/amd64": image})
    options = {"registry": repository.url.partition("://")[2], "repository": repository.name, "plain_http": True,
               "file": "cafe"}
    where = demanding(tmp_path, SIGNATURE, ATTESTATION, source=json.dumps({"name": "oci", "options": options}))
    with pytest.raises(GateRefused, match="nothing that is signed was found"):
        resolve(where, "1.1")
    signed = index if of == "index" else image
    sign(repository, signed)
    found = resolve(where, "1.1").artifact
    assert [(one.subject, one.predicate_type) for one in found.signatures][1] == (signed, PROVENANCE)
    assert {one.key for one in found.signatures} == {publisher().id}
    with installable(where.artifact, found) as brought:
        assert Path(brought.path).read_bytes() == b"coffee"
        assert brought.digest == sha256(b"coffee")
    assert not Path(brought.path).exists()


def test_what_is_broken_hides_no_signature(repository: Repository, tmp_path: Path) -> None:
    digest = repository.push_artifact("1.1", {"cafe": b"coffee"})
    gone = publisher("p-256 other").attested(digest, IMAGE_SIGNATURE)
    attach_bundle(repository, digest, gone)
    attach_bundle(repository, digest, {"filling": "x" * (5 << 20)})
    removed = repository.push_artifact("", {"x": b"x"})
    repository.attach(digest, removed)
    tag(repository, digest, ".sig", [repository.descriptor(b"{}", "application/vnd.dev.cosign.simplesigning.v1+json")])
    attach_bundle(repository, digest, publisher().attested(digest, IMAGE_SIGNATURE))
    repository.ask("DELETE", f"blobs/{sha256(json.dumps(gone).encode())}")
    repository.ask("DELETE", f"manifests/{removed}")
    options = {"registry": repository.url.partition("://")[2], "repository": repository.name, "plain_http": True}
    with faulty_proxy(repository.url) as proxy:
        listed = repository.ask("GET", f"manifests/{digest.replace(':', '-')}", headers={"Accept": INDEX}).json()
        listed["manifests"] = [5, {"digest": "sha512:0"}, None, *listed["manifests"]]
        options["registry"] = proxy.url.partition("://")[2]
        where = demanding(tmp_path, SIGNATURE, source=json.dumps({"name": "oci", "options": options}))
        proxy.decide = lambda method, path: (
            Fault(status=200, body=json.dumps(listed).encode()) if "/referrers/" in path else None)
        assert [one.key for one in resolve(where, "1.1").artifact.signatures] == [publisher().id]


def test_an_image_may_be_signed_as_a_blob_by_any_key(repository: Repository, tmp_path: Path) -> None:
    digest = repository.push_artifact("1.1", {"cafe": b"coffee"})
    manifest = repository.ask("GET", f"manifests/{digest}", headers={"Accept": MANIFEST}).content
    attach_bundle(repository, digest, publisher("ed25519").signed(manifest))
    options = {"registry": repository.url.partition("://")[2], "repository": repository.name, "plain_http": True}
    where = demanding(tmp_path, SIGNATURE, source=json.dumps({"name": "oci", "options": options}),
                      keys=(publisher("ed25519"),))
    (evidence,) = resolve(where, "1.1").evidence
    assert evidence.made_of


def test_migrations_that_are_attached_must_be_signed_too(repository: Repository, tmp_path: Path) -> None:
    digest = repository.push_artifact("1.1", {"cafe": b"coffee"})
    attach_bundle(repository, digest, publisher().attested(digest, IMAGE_SIGNATURE))
    migrations = repository.push_artifact(
        "", {"0001_a.up.sql": b"SELECT 1"}, artifact_type="application/vnd.airlock.migrations.v1",
        subject={"mediaType": MANIFEST, "digest": digest, "size": 1})
    repository.attach(digest, migrations)
    options = {"registry": repository.url.partition("://")[2], "repository": repository.name, "plain_http": True,
               "migrations_in": "attached"}
    where = demanding(tmp_path, SIGNATURE, source=json.dumps({"name": "oci", "options": options}))
    with pytest.raises(GateRefused, match=f"has no signature of {migrations}"):
        resolve(where, "1.1")
    attach_bundle(repository, migrations, publisher().attested(migrations, IMAGE_SIGNATURE))
    assert [one.subject for one in resolve(where, "1.1").artifact.signatures] == [digest, migrations]
