"""Files in a folder: only regular ones, and read to the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from airlock.deploy.artifact import ArtifactSource
from airlock.deploy.artifacts.file import FileSource
from airlock.errors import InvalidInput, PermanentError
from airlock.models import Artifact
from tests.contracts.artifact_contract import UP, ArtifactContract, zipped


class TestFile(ArtifactContract):
    @pytest.fixture
    def source(self, tmp_path: Path) -> ArtifactSource:
        (tmp_path / "published").mkdir()
        (tmp_path / "published" / "cafe-notes.txt").write_text("not an artifact")
        return FileSource({"path": f"{tmp_path}/published/cafe-{{version}}.bin"})

    def publish(self, source: ArtifactSource, version: str, content: bytes) -> None:
        assert isinstance(source, FileSource)
        Path(source.options.path.replace("{version}", version)).write_bytes(content)

    def remove(self, source: ArtifactSource, artifact: Artifact) -> None:
        Path(artifact.path).unlink()


@pytest.fixture
def source(tmp_path: Path) -> FileSource:
    (tmp_path / "cafe-1.1.bin").write_bytes(b"coffee")
    return FileSource({"path": f"{tmp_path}/cafe-{{version}}.bin"})


def test_only_a_regular_file_of_the_folder_is_an_artifact(source: FileSource, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-secret.bin"
    outside.write_bytes(b"secret")
    (tmp_path / "cafe-2.0.bin").symlink_to(outside)
    (tmp_path / "cafe-2.1.bin").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "cafe-2.2.bin")
    (tmp_path / "cafe-2.3.bin").mkdir()
    (tmp_path / "cafe-2.4.bin").symlink_to("cafe-2.4.bin")
    (tmp_path / "cafe-2.5.bin").symlink_to("cafe-1.1.bin")
    (tmp_path / "cafe-2.6.bin").symlink_to(f"../{tmp_path.name}/../{outside.name}")
    for version in ("2.0", "2.1", "2.6"):
        with pytest.raises(InvalidInput, match="is a link that leads out of"):
            source.resolve(version)
    for version in ("2.2", "2.3"):
        with pytest.raises(InvalidInput, match="is not a regular file"):
            source.resolve(version)
    with pytest.raises(PermanentError, match=r"cafe-2\.4\.bin"):
        source.resolve("2.4")
    assert source.resolve("2.5").digest == source.resolve("1.1").digest


def test_an_artifact_beyond_all_measure_is_refused_before_it_is_read(source: FileSource, tmp_path: Path) -> None:
    with (tmp_path / "cafe-3.0.bin").open("wb") as sparse:
        sparse.truncate(1 << 42)
    with pytest.raises(InvalidInput, match="is larger than 64 GiB"):
        source.resolve("3.0")


@pytest.mark.parametrize("path", ["FOLDER/app.bin", "FOLDER/{version}/{version}.bin", "FOLDER/{version}{x}", "nope://{version}"])
def test_a_path_that_names_no_file_of_a_version_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(InvalidInput, match=r"\{version\} once|cannot be opened"):
        FileSource({"path": path.replace("FOLDER", str(tmp_path))})


def test_a_version_may_be_a_folder_on_the_way(tmp_path: Path) -> None:
    for version in ("1.0", "1.1"):
        (tmp_path / version).mkdir()
    (tmp_path / "1.0" / "app.bin").write_bytes(b"x")
    source = FileSource({"path": f"{tmp_path}/{{version}}/app.bin"})
    assert source.versions() == ("1.0",)
    assert source.resolve("1.0").path == f"{tmp_path}/1.0/app.bin"


def test_a_file_of_this_machine_is_used_where_it_lies_and_one_elsewhere_is_brought_here(tmp_path: Path) -> None:
    elsewhere = FileSource({"path": "memory://shelf/cafe-{version}.bin"})
    UPath("memory://shelf/cafe-1.1.bin").write_bytes(b"coffee")
    artifact = elsewhere.resolve("1.1")
    path = elsewhere.fetch(artifact, tmp_path)
    assert path.parent == tmp_path and path.read_bytes() == b"coffee"
    UPath("memory://shelf/cafe-1.1.bin").write_bytes(b"tea")
    with pytest.raises(PermanentError, match="is not what was approved"):
        elsewhere.fetch(artifact, tmp_path)


@given(content=st.binary(max_size=400), cut=st.integers(0, 400))
def test_no_archive_ends_in_a_stack_trace(tmp_path_factory: pytest.TempPathFactory, content: bytes, cut: int) -> None:
    folder = tmp_path_factory.mktemp("zip")
    source = FileSource({"path": f"{folder}/{{version}}.zip"})
    whole = zipped({"migrations/0001_a.up.sql": UP * 3})
    for data in (content, whole[:cut], whole[:cut] + content + whole[cut:], whole[: cut // 2] + content):
        (folder / "1.zip").write_bytes(data)
        try:
            source.carried(source.resolve("1"), "migrations")
        except InvalidInput as error:
            assert str(folder) in str(error)
