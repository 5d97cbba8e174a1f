"""The artifact of a version, from the source that a service environment names, with the signatures that it demands.

Exists so that every gate asks for an artifact in one way. Knows sources and the service file; no approval, no target.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airlock import registry
from airlock.deploy.artifact import ArtifactSource
from airlock.models import Artifact, CarriedFile, Plan
from airlock.service.model import ArtifactSetting, ServiceEnvironment


def source_of(setting: ArtifactSetting) -> ArtifactSource:
    """Return the source that *setting* names.

    :raises InvalidInput: its options are wrong
    """
    found: type[ArtifactSource] = registry.resolve(registry.ARTIFACT_SOURCES, "artifact source", setting.name)
    return found(setting.options)


def setting_of(plan: Plan) -> ArtifactSetting:
    """Return the source that *plan* was made with."""
    return ArtifactSetting.model_validate(plan.settings["artifact"])


def resolve_artifact(environment: ServiceEnvironment, version: str, frozen: Plan | None = None) -> Artifact:
    """Return what *version* is now.

    :param frozen: the plan that was made before: what its source said of the same content is not asked for again
    :raises InvalidInput: *version* is no version, or there is no such artifact; the versions found are listed
    :raises PermanentError: the artifact is there but cannot be read
    :raises TemporaryError: its source cannot be asked now
    """
    known = None
    if frozen is not None and _same(frozen.settings.get("artifact"), environment.artifact):
        known = frozen.artifact
    return source_of(environment.artifact).resolve(version, known)


def _same(frozen: Mapping[str, Any] | None, setting: ArtifactSetting) -> bool:
    return frozen == setting.model_dump(mode="json")


@contextmanager
def installable(setting: ArtifactSetting, artifact: Artifact) -> Iterator[Artifact]:
    """Bring the file of *artifact* that a target installs to this machine, for as long as it is needed; what is given
    is the artifact with that file's path and digest.

    :raises PermanentError: it is not there any more, or not what *artifact* says
    :raises TemporaryError: its source cannot be asked now
    """
    with TemporaryDirectory(prefix="airlock-artifact-") as folder:
        path = source_of(setting).fetch(artifact, Path(folder))
        yield artifact.model_copy(update={"path": str(path), "digest": artifact.installed_digest, "file_digest": None})


def carried(setting: ArtifactSetting, artifact: Artifact, folder: str) -> tuple[CarriedFile, ...]:
    """Return the files that *artifact* carries in *folder* for its migrations.

    :raises InvalidInput: they cannot be read
    :raises TemporaryError: its source cannot be asked now
    """
    return source_of(setting).carried(artifact, folder)
