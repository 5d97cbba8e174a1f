"""Everything a release will do, frozen into one plan. Changes nothing; must not know how approval is given."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from airlock.change.authors import authors_of, metadata_of
from airlock.change.policy import terms_for, without_authors
from airlock.errors import InvalidInput, PermanentError
from airlock.models import ApprovalRule, Artifact, Plan, Resource, Rfc, Risk, RollbackSafety, Rollout, RolloutStep
from airlock.service.calendar import Calendar, PlannedCalendar, Window
from airlock.service.find import ServiceEnvironment
from airlock.service.values import DAYS

if TYPE_CHECKING:
    from upath import UPath

_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}")
_CHUNK = 1 << 20
_LARGEST = 64 << 30
_SHOWN_VERSIONS = 20
_SHOWN_ELSEWHERE = {
    "service", "environment", "source", "rollout", "analysis", "target", "metrics", "validation", "resources", "backup",
    "without_kinds", "calendar", "approval_policy", "absences", "authors",
}
"""Of a service environment: what has a field of its own in the plan (the policy has its digest there), and who is away,
which does not make an approval stale. All the rest is bound by ``Plan.settings``."""


_NOTHING_MIGRATED = RollbackSafety()


def build_plan(  # noqa: PLR0913 - each argument is decided by another stage, and the plan binds them all
    release: str,
    rfc: Rfc,
    environment: ServiceEnvironment,
    artifact: Artifact,
    current_version: str,
    rules: Sequence[ApprovalRule],
    risk: Risk,
    touches: Sequence[str] = (),
    calendar: PlannedCalendar | None = None,
    way_back: RollbackSafety = _NOTHING_MIGRATED,
) -> Plan:
    """Return the plan. The same arguments give the same digest.

    A rollback goes at once and whole, waits for no window, and restores no data: who approves it knows what burns.

    :param rules: the seats by the policy; authors of the artifact lose theirs here
    :param touches: what the release really works on, by address
    :param calendar: that of ``calendar_for``, with the digests of its files and what is overridden in it; without it,
        its settings alone
    :param way_back: the verdict on the migrations that the artifact carries
    :raises InvalidInput: the RFC and the artifact or environment do not belong together
    :raises GateRefused: everybody of a group wrote the artifact
    """
    if (rfc.service, rfc.environment) != (environment.service, environment.environment):
        raise InvalidInput(f"the request is for {rfc.service} {rfc.environment}, not for {environment.service} "
                           f"{environment.environment}; trigger the DAG of that environment")
    if rfc.version != artifact.version:
        raise InvalidInput(f"the request is for version {rfc.version}, but the artifact is {artifact.version}; "
                           "resolve the artifact again")
    check_content(rfc, artifact)
    back = rfc.change_type == "rollback"
    authors = None if back else artifact.authors  # nobody's new work: it was approved when it came
    if calendar is None:
        settings = calendar_for(rfc, environment)
        if settings.files:
            raise InvalidInput(f"{environment.source}: the calendar names files, so a plan needs their digests")
        calendar = PlannedCalendar.model_validate(dict(settings))
    return Plan(
        release=release, service=environment.service, environment=environment.environment, rfc=rfc, artifact=artifact,
        current_version=current_version, rollout=_direct(environment) if back else environment.rollout,
        analysis=environment.analysis,
        target={**environment.target.model_dump(mode="json"),
                "validation": environment.validation.model_dump(mode="json")},
        metrics=environment.metrics.model_dump(mode="json"),
        resources=tuple(Resource(**dict(resource)) for resource in environment.resources),
        backup_policy={**environment.backup.model_dump(mode="json"), **({"restore_on_rollback": []} if back else {}),
                       "without_kinds": {kind.value: why for kind, why in environment.without_kinds.items()}},
        calendar=calendar.model_dump(mode="json", by_alias=True),
        approvals=without_authors(rules, authors, environment.authors, rfc.requester),
        terms=terms_for(risk, rfc, environment, authors), touches=tuple(sorted(set(touches))), risk=risk,
        way_back=way_back,
        settings=environment.model_dump(mode="json", by_alias=True, exclude=_SHOWN_ELSEWHERE),
    )


def check_content(rfc: Rfc, artifact: Artifact) -> None:
    """Refuse another content than the one that was asked for.

    :raises InvalidInput: it is another
    """
    if rfc.digest is not None and rfc.digest != artifact.digest:
        raise InvalidInput(f"{artifact.path} has the digest {artifact.digest}, but the content asked for is "
                           f"{rfc.digest}: somebody replaced the artifact; build it under a version of its own")


def _direct(environment: ServiceEnvironment) -> Rollout:
    policy = environment.rollback
    if policy is None:
        return environment.rollout.model_copy(update={"steps": (RolloutStep(percent=100, observe_seconds=30),)})
    steps = (RolloutStep(percent=100, observe_seconds=policy.observe_seconds),)
    return environment.rollout.model_copy(update={"steps": steps, "bake_seconds": policy.bake_seconds})


def calendar_for(rfc: Rfc, environment: ServiceEnvironment) -> Calendar:
    """Return the calendar that a release of *rfc* keeps: a rollback waits for no window."""
    return _always(environment) if rfc.change_type == "rollback" else environment.calendar


def _always(environment: ServiceEnvironment) -> Calendar:
    return Calendar(timezone=environment.calendar.timezone,
                    windows=(Window.model_validate({"days": DAYS, "from": "00:00", "to": "24:00"}),))


def resolve_artifact(environment: ServiceEnvironment, version: str) -> Artifact:
    """Return the artifact of *version* with the sha256 of its content, read in constant memory, and its authors.

    :raises InvalidInput: *version* is no version, or there is no such artifact; the versions found are listed
    :raises PermanentError: the artifact is there but cannot be read
    """
    from upath import UPath

    if not _VERSION.fullmatch(version) or ".." in version:
        raise InvalidInput(f"{version[:40]!a} is no version: write it as the artifact is named, for example 1.1")
    hasher = hashlib.sha256()
    path: UPath | str = environment.artifacts.replace("{version}", version)
    try:
        path = UPath(path)
        _refuse_special(path, environment)
        if not path.is_file():
            found = versions_found(environment)
            shown = ", ".join(found[:_SHOWN_VERSIONS]) + (" ..." if len(found) > _SHOWN_VERSIONS else "")
            raise InvalidInput(f"there is no artifact {path} for {environment.service} {version}: versions found are "
                               f"{shown or 'none'}; build it, or ask for one of these")
        if path.stat().st_size > _LARGEST:
            raise InvalidInput(f"artifact {path} is larger than {_LARGEST >> 30} GiB; release less at once")
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                hasher.update(chunk)
            authors = authors_of(metadata_of(stream, str(path)), str(path))
    except (ValueError, ImportError) as error:
        raise InvalidInput(f"artifacts of {environment.source}: {path} cannot be opened: {error}; correct the path, or "
                           "install the library of that store") from error
    except OSError as error:
        raise PermanentError(f"artifact {path} cannot be read: {error}; check permissions and storage") from error
    return Artifact(version=version, path=str(path), digest="sha256:" + hasher.hexdigest(), authors=authors)


def _refuse_special(path: UPath, environment: ServiceEnvironment) -> None:
    """Refuse a link that leads out of the folder of artifacts, and devices and pipes, which never end."""
    if path.protocol not in ("", "file", "local") or not os.path.lexists(path.path):
        return
    folder, real = type(path)(_folder(environment)).path, Path(os.path.realpath(path.path))
    if not real.is_relative_to(os.path.realpath(folder)):
        raise InvalidInput(f"artifact {path} is a link that leads out of {folder}; put the artifact itself there")
    if not stat.S_ISREG(real.stat().st_mode):
        raise InvalidInput(f"artifact {path} is not a regular file; put the artifact itself there")


def _folder(environment: ServiceEnvironment) -> str:
    before = environment.artifacts.partition("{version}")[0]
    return before[: before.rfind("/") + 1] or "."


def versions_found(environment: ServiceEnvironment) -> tuple[str, ...]:
    """Return the versions whose artifacts exist, oldest name first. An absent folder holds none."""
    from upath import UPath

    before, _, after = environment.artifacts.partition("{version}")
    start, (rest, _, below) = before.rpartition("/")[2], after.partition("/")
    folder: UPath = UPath(_folder(environment))
    if not folder.is_dir():
        return ()
    versions = []
    for entry in folder.iterdir():
        name = entry.name
        if name.startswith(start) and name.endswith(rest) and (not below or (entry / below).is_file()):
            version = name[len(start) : len(name) - len(rest)]
            if _VERSION.fullmatch(version):
                versions.append(version)
    return tuple(sorted(versions, key=_order))


def _order(version: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"[0-9]{1,18}|[A-Za-z]+", version)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]
