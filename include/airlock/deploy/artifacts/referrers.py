"""What is attached to an image in its repository: migrations, signatures, attestations. Nothing of it is believed here.

Attached are manifests that name the image as their subject, and what cosign before version 3 keeps under tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from airlock.deploy.artifact import LARGEST_SIGNED, MOST_SIGNED
from airlock.deploy.artifacts.image import Image, image_of
from airlock.deploy.artifacts.repository import Descriptor, NotThere, Repository
from airlock.errors import InvalidInput
from airlock.models import SignatureForm, SignedContent

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
                found += [_content(repository, image, layer, SignatureForm.SIGSTORE_BUNDLE) for layer in image.layers]
        for ending, (media_type, form) in _TAGGED.items():
            tagged = _tagged(repository, digest.replace(":", "-") + ending)
            if tagged is None:
                continue
            found += [_content(repository, tagged, layer, form) for layer in tagged.layers
                      if layer.media_type == media_type]
    return tuple(found[:MOST_SIGNED])


def _tagged(repository: Repository, tag: str) -> Image | None:
    try:
        return image_of(repository.manifest(tag), f"{repository.reference}:{tag}")
    except NotThere:
        return None


def _content(repository: Repository, image: Image, layer: Descriptor, form: SignatureForm) -> SignedContent:
    content = repository.small(layer, LARGEST_SIGNED)
    return SignedContent(form=form, place=image.what, content=content.decode(errors="replace"),
                         signature=layer.annotations.get(_SIGNATURE, ""))


def _attached(repository: Repository, digest: str) -> Iterator[Image]:
    """Yield each manifest that says itself that it belongs to *digest*. Lists do not always say of which type it is."""
    for one in repository.referrers(digest)[:_MOST]:
        what = f"{repository.reference}@{one.digest}"
        try:
            manifest = repository.manifest(one.digest)
        except NotThere:
            continue  # it was removed, and the list was not
        subject = manifest.said.get("subject")
        if manifest.is_index or not isinstance(subject, dict) or subject.get("digest") != digest:
            continue
        yield image_of(manifest, what)
