"""What is attached to an image in its repository: migrations, signatures, attestations. Nothing of it is believed here.

Attached are manifests that name the image as their subject, and what cosign before version 3 keeps under tags.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from airlock.deploy.artifact import LARGEST_SIGNED, MOST_SIGNED
from airlock.deploy.artifacts.image import Image, image_of
from airlock.deploy.artifacts.repository import Descriptor, NotThere, Repository
from airlock.errors import InvalidInput
from airlock.models import SignatureForm, SignedContent

log = logging.getLogger(__name__)
MIGRATIONS = "application/vnd.airlock.migrations.v1"
_BUNDLE = "application/vnd.dev.sigstore.bundle"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_TAGGED = {
    ".sig": ("application/vnd.dev.cosign.simplesigning.v1+json", SignatureForm.SIMPLE_SIGNING),
    ".att": ("application/vnd.dsse.envelope.v1+json", SignatureForm.DSSE),
}
_MOST = 200


def migrations(repository: Repository, digests: Sequence[str]) -> str | None:
    """Return the digest of the artifact with migrations that is attached to one of *digests*; ``None`` if none is.

    :raises InvalidInput: there are several
    """
    found = {image.manifest.digest for digest in digests for image in _attached(repository, digest)
             if image.type == MIGRATIONS}
    if len(found) > 1:
        raise InvalidInput(f"{repository.reference}@{digests[0]} has {len(found)} artifacts with migrations attached: "
                           f"{', '.join(sorted(found))}; remove all but one")
    return next(iter(found), None)


def signed(repository: Repository, digests: Sequence[str]) -> tuple[SignedContent, ...]:
    """Return the signatures and attestations of *digests*, as they are: bundles that are attached to them, and what
    cosign before version 3 keeps under tags that are made of the digest."""
    found: list[SignedContent] = []
    for digest in digests:
        for image in _attached(repository, digest):
            if image.type.startswith(_BUNDLE):
                found += _contents(repository, image, image.layers, SignatureForm.SIGSTORE_BUNDLE)
        for ending, (media_type, form) in _TAGGED.items():
            tagged = _tagged(repository, digest.replace(":", "-") + ending)
            if tagged is None:
                continue
            layers = [layer for layer in tagged.layers if layer.media_type == media_type]
            found += _contents(repository, tagged, layers, form)
    return tuple(found[:MOST_SIGNED])


def _tagged(repository: Repository, tag: str) -> Image | None:
    try:
        return image_of(repository.manifest(tag), f"{repository.reference}:{tag}")
    except NotThere:
        return None
    except InvalidInput as error:
        log.warning("left out, it holds no signature: %s", error)
        return None


def _contents(
    repository: Repository, image: Image, layers: Sequence[Descriptor], form: SignatureForm
) -> Iterator[SignedContent]:
    """Yield what *layers* hold. One that is gone or too large is left out: whoever may push could hide all others."""
    for layer in layers[:MOST_SIGNED]:
        try:
            content = repository.small(layer, LARGEST_SIGNED)
        except InvalidInput as error:
            log.warning("left out, it holds no signature: %s", error)
            continue
        yield SignedContent(form=form, place=image.what, content=content.decode(errors="replace"),
                            signature=layer.annotations.get(_SIGNATURE, ""))


def _attached(repository: Repository, digest: str) -> Iterator[Image]:
    """Yield each manifest that says itself that it belongs to *digest*. Lists do not always say of which type it is."""
    listed = repository.referrers(digest)
    if len(listed) > _MOST:
        raise InvalidInput(f"{repository.reference}@{digest} has {len(listed)} things attached, at most {_MOST} are "
                           "looked at; remove what nobody needs")
    for one in listed:
        what = f"{repository.reference}@{one.digest}"
        try:
            manifest = repository.manifest(one.digest)
            subject = manifest.said.get("subject")
            if manifest.is_index or not isinstance(subject, dict) or subject.get("digest") != digest:
                continue
            image = image_of(manifest, what)
        except NotThere:
            continue  # it was removed, and the list was not
        except InvalidInput as error:
            log.warning("left out of what is attached to %s: %s", digest, error)
            continue
        yield image
