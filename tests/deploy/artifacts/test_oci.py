"""Versions in a registry: a real one, asked through a proxy that answers late, wrong, in part or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.deploy.artifact import ArtifactSource, CannotList
from airlock.deploy.artifacts.image import chosen, image_of, labels_of
from airlock.deploy.artifacts.oci import OciSource
from airlock.deploy.artifacts.repository import Manifest
from airlock.errors import AccessRefused, AirlockError, InvalidInput, PermanentError, TemporaryError, Throttled
from airlock.models import Artifact
from tests.contracts.artifact_contract import UP, ArtifactContract, sha256, zipped
from tests.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.oci_registry import (
    INDEX,
    MANIFEST,
    Registry,
    Repository,
    digest_of,
    layer_of,
    registry,  # noqa: F401 - a fixture
)

NAMES = iter(range(10**6))


def source_of(repository: Repository, url: str = "", **options: Any) -> OciSource:
    host = (url or repository.url).partition("://")[2]
    return OciSource({"registry": host, "repository": repository.name, "plain_http": True, **options})


@pytest.fixture
def repository(registry: Registry) -> Repository:  # noqa: F811
    return registry.repository(f"team/cafe{next(NAMES)}")


class TestArtifact(ArtifactContract):
    """An artifact with one file, as ``oras push`` makes it."""

    @pytest.fixture
    def source(self, repository: Repository) -> ArtifactSource:
        self.repository = repository
        return source_of(repository)

    def publish(self, source: ArtifactSource, version: str, content: bytes) -> None:
        self.repository.push_artifact(version, {f"cafe-{version}.bin": content})

    def remove(self, source: ArtifactSource, artifact: Artifact) -> None:
        self.repository.ask("DELETE", f"manifests/{artifact.digest}")


class TestImage(ArtifactContract):
    """An image, out of whose file system one file is installed."""

    @pytest.fixture
    def source(self, repository: Repository) -> ArtifactSource:
        self.repository = repository
        return source_of(repository, tag="v{version}", file="/app/cafe.bin")

    def publish(self, source: ArtifactSource, version: str, content: bytes) -> None:
        self.repository.push_image(f"v{version}", [{"etc/os-release": b"ID=none"}, {"app/cafe.bin": content}])

    def remove(self, source: ArtifactSource, artifact: Artifact) -> None:
        self.repository.ask("DELETE", f"manifests/{artifact.digest}")


def test_an_artifact_says_what_its_manifest_says(repository: Repository) -> None:
    digest = repository.push_artifact("1.1", {"cafe.bin": b"coffee"}, annotations={
        "org.opencontainers.image.authors": "Olga P. <olga@cafe.example>, bert",
        "org.opencontainers.image.revision": "c0ffee",
    })  # fmt: skip
    artifact = source_of(repository).resolve("1.1")
    assert artifact.path == f"{repository.reference}@{digest}"
    assert (artifact.digest, artifact.source, artifact.file_digest) == (digest, "oci", sha256(b"coffee"))
    assert (artifact.authors, artifact.commit) == (("Olga P. <olga@cafe.example>", "bert"), "c0ffee")
    assert (artifact.size, artifact.platform, artifact.image_digest) == (len(b"coffee") + len(b"{}"), None, None)


def test_authors_of_an_image_are_those_of_its_labels_its_annotations_and_its_file(repository: Repository) -> None:
    content = zipped({"release.json": json.dumps({"authors": ["cleo"]}).encode()})
    label = {"org.opencontainers.image.authors": "bert", "org.opencontainers.image.revision": "c0ffee"}
    repository.push_image("1.1", [{"app/cafe.bin": content}], labels=label,
                          annotations={"org.opencontainers.image.authors": "olga"})
    artifact = source_of(repository, file="app/cafe.bin").resolve("1.1")
    assert (artifact.authors, artifact.commit) == (("bert", "cleo", "olga"), "c0ffee")


def test_another_file_of_the_very_same_image_is_not_what_was_approved(repository: Repository, tmp_path: Path) -> None:
    repository.push_image("1.1", [{"a.bin": b"a", "b.bin": b"b"}])
    artifact = source_of(repository, file="a.bin").resolve("1.1")
    assert source_of(repository, file="a.bin").fetch(artifact, tmp_path).read_bytes() == b"a"
    with pytest.raises(PermanentError, match=f"{sha256(b'b')}, but {sha256(b'a')} was approved"):
        source_of(repository, file="b.bin").fetch(artifact, tmp_path)


def test_of_several_files_one_must_be_named(repository: Repository) -> None:
    repository.push_artifact("1.1", {"a.bin": b"a", "b.bin": b"b"})
    with pytest.raises(InvalidInput, match="has 2 files, not one: 'a.bin', 'b.bin'; name one"):
        source_of(repository).resolve("1.1")
    assert source_of(repository, file="b.bin").resolve("1.1").file_digest == sha256(b"b")
    with pytest.raises(InvalidInput, match=r"has no file 'c\.bin', but 'a\.bin'"):
        source_of(repository, file="c.bin").resolve("1.1")


@pytest.mark.parametrize("title", ["../../etc/passwd", "/etc/passwd", "..", "a\x00b", "x" * 300, ".hidden"])
def test_the_title_of_a_file_leads_nowhere(repository: Repository, tmp_path: Path, title: str) -> None:
    repository.push_artifact("1.1", {title: b"coffee"})
    source = source_of(repository)
    (tmp_path / "within").mkdir()
    path = source.fetch(source.resolve("1.1"), tmp_path / "within")
    assert path.parent == tmp_path / "within" and path.read_bytes() == b"coffee"
    assert [one.name for one in tmp_path.iterdir()] == ["within"]


def test_of_several_platforms_one_is_chosen(repository: Repository, tmp_path: Path) -> None:
    images = {name: repository.push_image("", [{"cafe": name.encode()}], platform=name)
              for name in ("linux/amd64", "linux/arm64", "windows/amd64")}
    index = repository.push_index("1.1", {**images, "unknown/unknown": repository.push_artifact("", {"x": b""})})
    with pytest.raises(InvalidInput, match=r"is for 3 platforms \(linux/amd64, linux/arm64, windows/amd64\)"):
        source_of(repository, file="cafe").resolve("1.1")
    for wanted, taken in (("linux/arm64", "linux/arm64"), ("linux/arm64/v8", "linux/arm64"),
                           ("linux/x86_64", "linux/amd64")):
        source = source_of(repository, file="cafe", platform=wanted)
        artifact = source.resolve("1.1")
        assert (artifact.digest, artifact.image_digest) == (index, images[taken])
        assert (artifact.platform, artifact.file_digest) == (taken, sha256(taken.encode()))
        assert source.fetch(artifact, tmp_path).read_bytes() == taken.encode()
    with pytest.raises(InvalidInput, match="0 images for linux/s390x, not one; there are linux/amd64"):
        source_of(repository, file="cafe", platform="linux/s390x").resolve("1.1")


def test_an_index_of_one_needs_no_choice(repository: Repository) -> None:
    image = repository.push_image("", [{"cafe": b"x"}], platform="linux/arm64")
    repository.push_index("1.1", {"linux/arm64": image, "unknown/unknown": repository.push_artifact("", {"x": b""})})
    assert source_of(repository, file="cafe").resolve("1.1").image_digest == image


def test_tags_that_are_written_otherwise_are_no_versions(repository: Repository) -> None:
    digest = repository.push_artifact("v1.0", {"a": b"1"})
    for tag in ("v1.1", "latest", "1.2", "v1.3-debug_x", "v"):
        repository.push_artifact(tag, {"a": tag.encode()})
    repository.attach(digest, digest)
    repository.push_artifact(digest.replace(":", "-") + ".sig", {"a": b"1"})
    assert source_of(repository, tag="v{version}").versions() == ("1.3-debug_x", "1.1", "1.0")
    assert set(source_of(repository).versions()) == {"v1.0", "v1.1", "latest", "1.2", "v1.3-debug_x", "v"}


@pytest.mark.parametrize("where", ["", "http://registry.example.com:1"])
def test_all_pages_of_tags_are_read_and_on_this_registry_only(repository: Repository, where: str) -> None:
    pages = [["1.0", "1.1"], ["1.2"], ["1.3"]]

    def page(method: str, path: str) -> Fault:
        number = int(path.partition("last=")[2] or 0)
        link = {"Link": f'<{where}/v2/x/tags/list?last={number + 1}>; rel="next"'} if number + 1 < len(pages) else {}
        return Fault(status=200, body=json.dumps({"tags": pages[number]}).encode(), headers=link)

    with faulty_proxy(repository.url) as proxy:
        proxy.decide = page
        assert source_of(repository, proxy.url).versions() == ("1.3", "1.2", "1.1", "1.0")


@pytest.mark.parametrize("fault", [Fault(status=405), Fault(status=200, body=b"<html>"), Fault(status=403)])
def test_a_registry_that_does_not_tell_its_tags_cannot_list(
    published: Repository, proxy: FaultyProxy, fault: Fault
) -> None:
    source = source_of(published, proxy.url, file="cafe")
    proxy.decide = lambda method, path: fault if "tags/list" in path else None
    with pytest.raises(CannotList, match="does not tell its tags"):
        source.versions()
    assert source.resolve("1.1").version == "1.1"
    with pytest.raises(InvalidInput, match="for version 9.9; build it, or ask for another one"):
        source.resolve("9.9")


@pytest.mark.parametrize("status", [500, 429])
def test_a_version_that_is_not_there_is_refused_also_while_tags_cannot_be_listed(
    published: Repository, proxy: FaultyProxy, status: int
) -> None:
    proxy.decide = lambda method, path: Fault(status=status) if "tags/list" in path else None
    with pytest.raises(InvalidInput, match="there is no artifact"):
        source_of(published, proxy.url, file="cafe").resolve("9.9")


@pytest.mark.parametrize("address", ["http://[::1", "http://a:b/", "\x00", "//", "http://"])
def test_addresses_that_are_none_end_in_a_sentence(published: Repository, proxy: FaultyProxy, address: str) -> None:
    source = source_of(published, proxy.url, file="cafe")
    proxy.once("tags", Fault(status=200, body=b'{"tags": ["1.1"]}', headers={"Link": f'<{address}>; rel="next"'}))
    assert source.versions() == ("1.1",)
    for status, headers in ((307, {"Location": address}), (401, {"WWW-Authenticate": f'Bearer realm="{address}"'})):
        proxy.always(Fault(status=status, headers=headers))
        with pytest.raises(AirlockError):
            source.resolve("1.1")


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["mediaType", "digest", "size", "annotations", "platform", "os", "layers"]),
                        inner, max_size=4), max_leaves=10)  # fmt: skip


FIELDS = st.sampled_from(["mediaType", "config", "layers", "manifests", "artifactType", "annotations"])


@given(said=st.dictionaries(FIELDS, JSON))
def test_any_manifest_is_an_image_or_refused(said: dict[str, Any]) -> None:
    manifest = Manifest("sha256:" + "0" * 64, b"", said)
    for read in (lambda: image_of(manifest, "cafe").titled(), lambda: chosen(manifest, None, "cafe"),
                 lambda: image_of(manifest, "cafe").annotations(), lambda: image_of(manifest, "cafe").type,
                 lambda: labels_of(said)):  # fmt: skip
        try:
            read()
        except InvalidInput as error:
            assert "cafe" in str(error)


def test_pages_that_lead_in_a_circle_end(repository: Repository) -> None:
    with faulty_proxy(repository.url) as proxy:
        again = {"Link": '</v2/x/tags/list?last=9>; rel="next"'}
        proxy.always(Fault(status=200, body=b'{"tags": ["1.0"]}', headers=again))
        assert source_of(repository, proxy.url).versions() == ("1.0",)


def test_a_repository_that_is_not_there_has_no_versions(repository: Repository) -> None:
    with pytest.raises(InvalidInput, match="there is no"):
        source_of(repository).versions()
    with pytest.raises(InvalidInput, match="there is no artifact"):
        source_of(repository).resolve("1.1")


@pytest.mark.parametrize("where", ["image", "attached", "artifact"])
def test_migrations_may_be_in_the_image_or_attached_to_it(repository: Repository, where: str) -> None:
    files = {"migrations/0001_a.up.sql": UP, "migrations/0001_a.down.sql": b"SELECT 1"}
    if where == "artifact":
        repository.push_artifact("1.1", {"cafe": b"x", **files})
    else:
        within = {"opt/migrations/0001_a.up.sql": UP, "opt/migrations/0001_a.down.sql": b"SELECT 1"}
        repository.push_image("1.1", [{"cafe": b"x"}, within])
    source = source_of(repository, file="cafe", migrations_in="image" if where == "artifact" else where)
    before = source.resolve("1.1")
    if where == "attached":
        assert source.carried(before, "migrations") == ()
        subject = {"mediaType": MANIFEST, "digest": before.digest, "size": repository.size_of(before.digest)}
        attached = repository.push_artifact(
            "", {"0001_a.up.sql": UP, "migrations/0001_a.down.sql": b"SELECT 1"},
            artifact_type="application/vnd.airlock.migrations.v1", subject=subject)
        repository.attach(before.digest, attached)
    artifact = source.resolve("1.1")
    carried = source.carried(artifact, "opt/migrations" if where == "image" else "migrations")
    assert {one.name: one.content for one in carried} == {"0001_a.up.sql": UP, "0001_a.down.sql": b"SELECT 1"}
    assert (artifact.attached is not None) == (where == "attached")


def attached_migrations(repository: Repository, subject: str, content: bytes) -> str:
    named = {"mediaType": MANIFEST, "digest": subject, "size": 1}
    return repository.push_artifact("", {"0001_a.up.sql": content}, subject=named,
                                    artifact_type="application/vnd.airlock.migrations.v1")


def test_migrations_that_are_attached_twice_or_belong_to_another_are_not_taken(repository: Repository) -> None:
    image = repository.push_image("1.1", [{"cafe": b"x"}])
    other = repository.push_image("1.2", [{"cafe": b"y"}])
    repository.attach(image, attached_migrations(repository, other, b"SELECT 1"))
    source = source_of(repository, file="cafe", migrations_in="attached")
    assert source.resolve("1.1").attached is None
    repository.attach(image, attached_migrations(repository, image, b"SELECT 2"))
    assert source.resolve("1.1").attached is not None
    repository.attach(image, attached_migrations(repository, image, b"SELECT 3"))
    with pytest.raises(InvalidInput, match="has 2 artifacts with migrations attached"):
        source.resolve("1.1")


def test_a_subfolder_of_migrations_is_not_left_out_in_silence(repository: Repository) -> None:
    repository.push_image("1.1", [{"cafe": b"x", "m/0001_a.up.sql": UP, "m/old/0002_b.up.sql": UP}])
    source = source_of(repository, file="cafe", migrations_in="image")
    assert [one.name for one in source.carried(source.resolve("1.1"), "m")] == ["0001_a.up.sql", "old/0002_b.up.sql"]


@pytest.fixture
def published(repository: Repository) -> Repository:
    repository.push_image("1.1", [{"cafe": b"coffee"}])
    return repository


@pytest.fixture
def proxy(published: Repository) -> Iterator[FaultyProxy]:
    with faulty_proxy(published.url) as started:
        yield started


def changed(content: bytes) -> bytes:
    return content.replace(b"sha256:", b"sha256:", 1)[:-1] + b" "


@pytest.mark.parametrize("part", ["manifests", "blobs"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(drop=True),
        Fault(status=500, body=b"<html>"),
        Fault(status=503),
        Fault(cut=5),
        Fault(alter=changed),
        Fault(status=200, body=b"<html>log in</html>"),
    ],
    ids=["dropped", "500", "503", "cut", "altered", "page"],
)
def test_what_is_wrong_for_a_moment_is_tried_again(
    published: Repository, proxy: FaultyProxy, part: str, fault: Fault
) -> None:
    source = source_of(published, proxy.url, file="cafe")
    known = source.resolve("1.1")
    proxy.once(part, fault)
    with pytest.raises((TemporaryError, PermanentError)) as caught:
        source.resolve("1.1")
    assert fault.body == b"<html>log in</html>" or isinstance(caught.value, TemporaryError)
    assert "log in" not in str(caught.value)
    assert source.resolve("1.1") == known


def test_whoever_is_asked_too_often_says_how_long_to_wait(published: Repository, proxy: FaultyProxy) -> None:
    proxy.always(Fault(status=429))
    with pytest.raises(Throttled) as caught:
        source_of(published, proxy.url, file="cafe").resolve("1.1")
    assert caught.value.seconds == 30


@pytest.mark.parametrize("status", [401, 403])
def test_whoever_is_not_let_in_is_told_so(published: Repository, proxy: FaultyProxy, status: int) -> None:
    proxy.always(Fault(status=status))
    with pytest.raises(AccessRefused, match="wants a log-in"):
        source_of(published, proxy.url, file="cafe").resolve("1.1")


def test_an_answer_that_comes_too_slowly_is_given_up(
    published: Repository, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airlock.deploy.artifacts.oras_session.WHOLE_SECONDS", 0.5)
    monkeypatch.setattr("airlock.deploy.artifacts.oras_session.SILENCE_SECONDS", 0.5)
    source = source_of(published, proxy.url, file="cafe")
    for fault in (Fault(drip=0.05), Fault(delay=1.5)):
        proxy.once("manifests", fault)
        with pytest.raises(TemporaryError, match="too slow|does not answer"):
            source.resolve("1.1")


def test_a_tag_that_moves_while_it_is_read_gives_no_mixture(published: Repository, tmp_path: Path) -> None:
    source = source_of(published, file="cafe")
    artifact = source.resolve("1.1")
    published.push_image("1.1", [{"cafe": b"tea"}])
    assert source.fetch(artifact, tmp_path).read_bytes() == b"coffee"
    assert source.resolve("1.1", known=artifact).file_digest == sha256(b"tea")


def test_the_size_is_known_without_bringing_an_image_here(published: Repository, proxy: FaultyProxy) -> None:
    source = source_of(published, proxy.url, file="cafe")
    assert source.size("1.1") == source_of(published, file="cafe").resolve("1.1").size
    assert not any("blobs" in path for _, path in proxy.seen)


def test_what_is_known_of_the_same_digest_is_not_brought_here_again(published: Repository, proxy: FaultyProxy) -> None:
    source = source_of(published, proxy.url, file="cafe")
    known = source.resolve("1.1")
    proxy.seen.clear()
    assert source.resolve("1.1", known=known) == known
    assert [method for method, _ in proxy.seen] == ["HEAD"], "a pull, which some registries count, is not needed"
    content = published.ask("GET", f"manifests/{known.digest}", headers={"Accept": MANIFEST}).content
    proxy.always(Fault(status=200, body=content))  # as registries answer that do not say the digest
    assert source.resolve("1.1", known=known) == known
    proxy.always(Fault(status=404))
    with pytest.raises(InvalidInput, match="there is no artifact"):
        source.resolve("1.1", known=known)


Made = Callable[[Repository], None]
WRONG: list[tuple[Made, str]] = [
    (lambda one: one.push_image("1.1", [b"no archive"]) and None, "layer 1 cannot be read"),
    (lambda one: one.push_image("1.1", [layer_of({"cafe": b"x"})[:-9]]) and None, "layer 1 cannot be read"),
    (lambda one: one.push_image("1.1", [b"x"], layer_type="application/vnd.x+encrypted") and None, "which is not read"),
    (lambda one: one.push_image("1.1", [{"other": b"x"}]) and None, "has no file 'cafe'"),
    (lambda one: one.push_image("1.1", []) and None, "has no file 'cafe'"),
    (lambda one: one.push_index("1.1", {}) and None, "is for 0 platforms"),
]


@pytest.mark.parametrize(("made", "said"), WRONG)
def test_an_image_that_cannot_be_used_is_refused(repository: Repository, made: Made, said: str) -> None:
    made(repository)
    with pytest.raises(InvalidInput, match=said):
        source_of(repository, file="cafe").resolve("1.1")


def test_an_image_whose_file_is_not_named_is_refused(published: Repository) -> None:
    with pytest.raises(InvalidInput, match="is an image; name the file"):
        source_of(published).resolve("1.1")


def test_an_image_whose_layer_is_gone_is_refused(published: Repository) -> None:
    published.ask("DELETE", f"blobs/{digest_of(layer_of({'cafe': b'coffee'}))}")
    with pytest.raises(InvalidInput, match="does not have layer 1; push the image again"):
        source_of(published, file="cafe").resolve("1.1")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"registry": "registry.example.com", "plain_http": True}, "on this machine only"),
        ({"repository": "team/Cafe"}, "is no repository"),
        ({"repository": "team/cafe:1.0"}, "is no repository"),
        ({"repository": "../cafe"}, "is no repository"),
        ({"registry": "cafe"}, "is no repository"),
        ({"tag": "latest"}, r"\{version\} once"),
        ({"platform": "linux"}, "platform"),
        ({"migrations_in": "nowhere"}, "migrations_in"),
    ],
)
def test_options_that_lead_nowhere_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        OciSource({"registry": "127.0.0.1:1", "repository": "team/cafe", **options})


def test_a_registry_that_is_down_is_asked_again() -> None:
    with pytest.raises(TemporaryError, match=r"127\.0\.0\.1:1 does not answer"):
        OciSource({"registry": "127.0.0.1:1", "repository": "a/b", "plain_http": True}).resolve("1.1")


def test_a_manifest_that_names_an_index_in_an_index_is_refused(repository: Repository) -> None:
    inner = repository.push_index("", {"linux/amd64": repository.push_image("", [{"cafe": b"x"}])})
    listed = {"mediaType": INDEX, "digest": inner, "size": 1, "platform": {"os": "linux", "architecture": "amd64"}}
    repository.push_manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": [listed]}, "1.1", INDEX)
    with pytest.raises(InvalidInput, match="is no manifest of an image"):
        source_of(repository, file="cafe").resolve("1.1")
