"""What every source of artifacts must do. A source's test derives from ``ArtifactContract`` and publishes versions."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from airlock.deploy.artifact import ArtifactSource
from airlock.errors import AirlockError, InvalidInput, PermanentError
from airlock.models import Artifact
from airlock.models.needs import Stage
from tests.contracts.declared_reach import DeclaredReach

UP = b"ALTER TABLE orders ADD COLUMN note text"


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a zip archive of *files*, with fixed times."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return packed.getvalue()


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class ArtifactContract(DeclaredReach, ABC):
    """``publish`` makes a version whose installed file has a content; doing so again replaces it."""

    subject = "source"
    methods = {
        "resolve": Stage.INSPECT,
        "size": Stage.INSPECT,
        "versions": Stage.INSPECT,
        "carried": Stage.INSPECT,
        "signed": Stage.INSPECT,
        "fetch": Stage.DELIVERY,
    }

    @pytest.fixture
    @abstractmethod
    def source(self) -> ArtifactSource: ...

    @abstractmethod
    def publish(self, source: ArtifactSource, version: str, content: bytes) -> None: ...

    def test_unknown_options_stop(self, source: ArtifactSource) -> None:
        with pytest.raises(InvalidInput, match="colour"):
            type(source)({**source.options.model_dump(mode="json"), "colour": "blue"})

    def test_a_version_is_what_was_published(self, source: ArtifactSource, tmp_path: Path) -> None:
        content = zipped({"x": b"1", "release.json": json.dumps({"authors": ["b", "a"], "commit": "c0ffee"}).encode()})
        self.publish(source, "1.1", content)
        artifact = source.resolve("1.1")
        assert artifact == source.resolve("1.1")
        assert (artifact.version, artifact.installed_digest) == ("1.1", sha256(content))
        assert (artifact.authors, artifact.commit) == (("a", "b"), "c0ffee")
        assert artifact.size is not None and len(content) <= artifact.size == source.size("1.1")
        assert source.fetch(artifact, tmp_path).read_bytes() == content
        assert Artifact.model_validate_json(artifact.model_dump_json()) == artifact

    def test_a_file_that_is_no_archive_says_nothing_of_itself(self, source: ArtifactSource) -> None:
        self.publish(source, "1.1", b"just bytes")
        artifact = source.resolve("1.1")
        assert (artifact.authors, artifact.commit) == (None, None)

    def test_another_content_is_another_artifact(self, source: ArtifactSource) -> None:
        self.publish(source, "1.1", b"one")
        before = source.resolve("1.1")
        self.publish(source, "1.1", b"two")
        now = source.resolve("1.1", known=before)
        assert now.digest != before.digest
        assert now.installed_digest == sha256(b"two")
        assert source.resolve("1.1", known=now) == now

    def test_versions_are_listed_newest_first(self, source: ArtifactSource) -> None:
        for version in ("1.2", "1.10", "1.1", "1.10-rc1"):
            self.publish(source, version, version.encode())
        assert source.versions() == ("1.10", "1.10-rc1", "1.2", "1.1")

    def test_an_unknown_version_lists_what_is_there(self, source: ArtifactSource) -> None:
        self.publish(source, "1.2", b"2")
        self.publish(source, "1.1", b"1")
        for ask in (source.resolve, source.size):
            with pytest.raises(InvalidInput, match=r"versions found are 1\.2, 1\.1;"):
                ask("9.9")

    @pytest.mark.parametrize("version", ["", "../1", "1/1", "a\x00", "..", "{version}", "1@sha256:0", "-1", "1 1"])
    def test_a_version_leads_nowhere_else(self, source: ArtifactSource, version: str) -> None:
        with pytest.raises(InvalidInput, match="is no version"):
            source.resolve(version)

    def test_what_is_gone_is_refused(self, source: ArtifactSource, tmp_path: Path) -> None:
        self.publish(source, "1.1", b"one")
        artifact = source.resolve("1.1")
        self.remove(source, artifact)
        with pytest.raises(AirlockError):
            source.fetch(artifact, tmp_path)

    def test_what_was_published_since_is_not_taken_for_what_was_resolved(self, source: ArtifactSource) -> None:
        self.publish(source, "1.1", zipped({"migrations/0001_a.up.sql": UP}))
        artifact = source.resolve("1.1")
        self.publish(source, "1.1", zipped({"migrations/0001_a.up.sql": b"DROP TABLE orders"}))
        with suppress(PermanentError):
            assert [one.content for one in source.carried(artifact, "migrations")] == [UP]
        with suppress(PermanentError):
            assert sha256(b"".join(source.content(artifact, artifact.digest))) == artifact.digest

    @abstractmethod
    def remove(self, source: ArtifactSource, artifact: Artifact) -> None: ...

    def test_migrations_are_carried_in_the_file(self, source: ArtifactSource) -> None:
        self.publish(source, "1.1", zipped({"migrations/0001_a.up.sql": UP, "migrations/": b"", "x": b"",
                                            "app/migrations/0002_b.up.sql": b""}))
        carried = source.carried(source.resolve("1.1"), "migrations")
        assert [(one.name, one.content) for one in carried] == [("0001_a.up.sql", UP)]
        self.publish(source, "1.2", zipped({"x": b""}))
        assert source.carried(source.resolve("1.2"), "migrations") == ()

    def test_an_artifact_whose_migrations_cannot_be_read_is_refused(self, source: ArtifactSource) -> None:
        self.publish(source, "1.1", b"no archive")
        with pytest.raises(InvalidInput, match="cannot be read"):
            source.carried(source.resolve("1.1"), "migrations")

    def test_too_many_migrations_are_refused(self, source: ArtifactSource) -> None:
        self.publish(source, "1.1", zipped({f"migrations/{n:04}_a.up.sql": b"" for n in range(2001)}))
        with pytest.raises(InvalidInput, match="at most 2000"):
            source.carried(source.resolve("1.1"), "migrations")

    def test_of_a_giant_no_more_is_read_than_tells_that_it_is_one(self, source: ArtifactSource) -> None:
        self.publish(source, "1.1", zipped({"migrations/0001_a.up.sql": b"-" * (300 << 10)}))
        (one,) = source.carried(source.resolve("1.1"), "migrations")
        assert len(one.content) == (256 << 10) + 1

    def test_without_signatures_there_are_none(self, source: ArtifactSource) -> None:
        self.publish(source, "1.1", b"one")
        assert source.signed(source.resolve("1.1")) == ()

    def test_authors_that_cannot_be_told_stop_the_release(self, source: ArtifactSource) -> None:
        self.publish(source, "1.1", zipped({"release.json": json.dumps({"authors": ["a\u202eb"]}).encode()}))
        with pytest.raises(InvalidInput, match="author"):
            source.resolve("1.1")

    def test_what_is_declared_is_reached(self, source: ArtifactSource) -> None:
        """The last one: it looks at all that the tests before it recorded."""
        unused = self.unused_of(ArtifactContract, "test_what_is_declared_is_reached")
        assert unused == [], f"declared, and never reached: {unused}"
