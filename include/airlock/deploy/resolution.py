"""The artifact of a version, from the source that a service environment names, with the signatures that it demands.

Exists so that every gate asks for an artifact in one way. Knows sources and the service file; no approval, no target.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airlock import registry
from airlock.deploy import signatures
from airlock.deploy.artifact import MOST_SIGNED, ArtifactSource
from airlock.deploy.signatures import Contents, NotVerified, PublicKey
from airlock.errors import GateRefused, InvalidInput
from airlock.models import Artifact, CarriedFile, Plan, SignatureEvidence, SignedContent, VerifiedSignature, digest_of
from airlock.plain_text import harmless
from airlock.service.model import ArtifactSetting, RequiredSignature, ServiceEnvironment

log = logging.getLogger(__name__)
_LARGEST_KEYS = 64 << 10
_LARGEST_SUBJECT = 64 << 10
_SHOWN = 5


@dataclass(frozen=True)
class Resolved:
    """An artifact, and how the signatures that it has were verified; nothing of those that were taken from a plan."""

    artifact: Artifact
    evidence: tuple[SignatureEvidence, ...] = ()


def source_of(setting: ArtifactSetting) -> ArtifactSource:
    """Return the source that *setting* names.

    :raises InvalidInput: its options are wrong
    """
    found: type[ArtifactSource] = registry.resolve(registry.ARTIFACT_SOURCES, "artifact source", setting.name)
    return found(setting.options)


def setting_of(plan: Plan) -> ArtifactSetting:
    """Return the source that *plan* was made with."""
    return ArtifactSetting.model_validate(plan.settings["artifact"])


def resolve_artifact(
    environment: ServiceEnvironment, version: str, frozen: Plan | None = None, *, returns: bool = False
) -> Artifact:
    """Return what ``resolve`` finds, without its evidence."""
    return resolve(environment, version, frozen, returns=returns).artifact


def resolve(
    environment: ServiceEnvironment, version: str, frozen: Plan | None = None, *, returns: bool = False
) -> Resolved:
    """Return what *version* is now, with every signature that the environment demands.

    :param frozen: the plan that was made before: what its source said of the same content is not asked for again
    :param returns: it was released here before, and approved when it came: nothing is demanded of its signatures
    :raises GateRefused: a signature that is demanded is missing, or fits none of the keys
    :raises InvalidInput: *version* is no version, or there is no such artifact; the versions found are listed
    :raises PermanentError: the artifact is there but cannot be read
    :raises TemporaryError: its source cannot be asked now
    """
    setting = environment.artifact
    before = frozen.artifact if frozen is not None and _same(frozen.settings.get("artifact"), setting) else None
    source = source_of(setting)
    artifact = source.resolve(version, before)
    if returns or not setting.signatures:
        return Resolved(artifact)
    kept = before if before is not None and before.digest == artifact.digest else None
    try:
        demands = [(demand, keys_of(demand)) for demand in setting.signatures]
    except InvalidInput as error:
        if kept is None:
            raise
        log.warning("%s; what was verified before stands: a mistake in a file is no change of what was approved", error)
        return Resolved(artifact.model_copy(update={"signatures": kept.signatures}))
    if kept is not None and _trusted(kept, demands):
        return Resolved(artifact.model_copy(update={"signatures": kept.signatures}))
    evidence = _verified(source, artifact, demands)
    found = dict.fromkeys(one.verified for one in evidence)
    return Resolved(artifact.model_copy(update={"signatures": tuple(found)}), evidence)


def _same(frozen: Mapping[str, Any] | None, setting: ArtifactSetting) -> bool:
    return frozen == setting.model_dump(mode="json")


def keys_of(demand: RequiredSignature) -> tuple[PublicKey, ...]:
    """Return the public keys, one of which must have signed.

    :raises InvalidInput: a file of them cannot be read, or holds something else
    """
    from upath import UPath

    found: dict[str, PublicKey] = {}
    for place in demand.keys:
        try:
            with UPath(place).open("rb") as file:
                text = file.read(_LARGEST_KEYS + 1)
        except (OSError, ValueError, ImportError) as error:
            raise InvalidInput(f"the keys {place} of artifact.signatures cannot be read ({type(error).__name__}); put "
                               "public keys in PEM there") from error
        if len(text) > _LARGEST_KEYS:
            raise InvalidInput(f"the keys {place} of artifact.signatures have more than {_LARGEST_KEYS >> 10} KiB")
        found |= {key.id: key for key in signatures.keys_in(text.decode(errors="replace"), place)}
    return tuple(found.values())


def _trusted(before: Artifact, demands: Iterable[tuple[RequiredSignature, tuple[PublicKey, ...]]]) -> bool:
    """Return whether each demand is still met by a signature that *before* has, by a key that is trusted now."""
    return all(
        any(signatures.fits(one, demand.predicate_type) and one.subject in subjects
            and one.key in {key.id for key in keys} for one in before.signatures)
        for demand, keys in demands for subjects in signatures.subjects_of(before, demand.predicate_type)
    )  # fmt: skip


def _verified(
    source: ArtifactSource, artifact: Artifact, demands: Iterable[tuple[RequiredSignature, tuple[PublicKey, ...]]]
) -> tuple[SignatureEvidence, ...]:
    found = sorted(islice(source.signed(artifact), MOST_SIGNED), key=digest_of)
    few: dict[str, bytes] = {}

    def contents(digest: str) -> Iterator[bytes]:
        few[digest] = b""
        for piece in source.content(artifact, digest):
            few[digest] = (few[digest] + piece)[: _LARGEST_SUBJECT + 1]
            yield piece

    evidence = []
    for demand, keys in demands:
        for subjects in signatures.subjects_of(artifact, demand.predicate_type):
            verified, signed, reasons = _met(demand, keys, subjects, found, contents)
            if verified is None or signed is None:
                raise _unsigned(artifact, demand, keys, subjects, reasons)
            read = few.get(verified.subject, b"")
            evidence.append(SignatureEvidence(
                verified=verified, signed=signed, public_key=next(key.pem for key in keys if key.id == verified.key),
                made_of=b64encode(read).decode() if len(read) <= _LARGEST_SUBJECT else "",
            ))  # fmt: skip
    return tuple(evidence)


def _met(
    demand: RequiredSignature, keys: tuple[PublicKey, ...], subjects: tuple[str, ...], found: Iterable[SignedContent],
    contents: Contents,
) -> tuple[VerifiedSignature | None, SignedContent | None, list[str]]:
    """Return the first of *found* that is what is demanded; without one, why each is not."""
    reasons: list[str] = []
    for signed in found:
        try:
            verified = signatures.verify(signed, keys, subjects, contents)
        except NotVerified as error:
            reasons.append(f"{signed.place}: {error}")
            continue
        if signatures.fits(verified, demand.predicate_type):
            return verified, signed, []
        reasons.append(f"{signed.place}: it is {verified.predicate_type or 'a signature'}")
    return None, None, reasons


def _unsigned(
    artifact: Artifact, demand: RequiredSignature, keys: tuple[PublicKey, ...], subjects: tuple[str, ...],
    reasons: list[str],
) -> GateRefused:
    wanted = f"attestation {demand.predicate_type}" if demand.predicate_type else "signature"
    said = "; ".join(harmless(one)[:300] for one in reasons[:_SHOWN]) or "nothing that is signed was found with it"
    return GateRefused(f"{artifact.path} has no {wanted} of {subjects[0]} by one of the keys "
                       f"{', '.join(key.id[:16] for key in keys)}, which the service file demands: {said}; sign it, or "
                       "correct artifact.signatures")


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
