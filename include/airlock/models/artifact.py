"""What is released: a version as its source describes it, what is signed of it, and what it carries."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from airlock.models.frozen import Digest, Frozen, Name, Version


class SignatureForm(StrEnum):
    """How what is signed is written down."""

    SIGSTORE_BUNDLE = "sigstore_bundle"
    SIMPLE_SIGNING = "simple_signing"
    DSSE = "dsse"


class SignedContent(Frozen):
    """A signature or attestation as it was found, not verified. ``place`` says where.

    ``signature`` is that of simple signing, in base64; the other forms hold their own.
    """

    form: SignatureForm
    place: str
    content: str
    signature: str = ""


class VerifiedSignature(Frozen):
    """A signature or attestation that the policy demands, and that fits the artifact and a key that was given.

    ``key`` is the hex sha256 of the public key in DER, ``subject`` the digest that was signed, ``predicate_type`` what
    is attested (empty: nothing, it is a signature), ``content`` the digest of the ``SignedContent`` that holds it.
    """

    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    subject: Digest
    predicate_type: str = ""
    content: Digest


class SignatureEvidence(Frozen):
    """What a signature was verified with, so that it can be verified again without its source: what was found, and the
    public key in PEM. ``made_of`` holds the bytes that were signed, in base64, where their digest is not enough and
    they are few."""

    verified: VerifiedSignature
    signed: SignedContent
    public_key: str
    made_of: str = ""


class Artifact(Frozen):
    """What is released. ``path`` is where it is: a path, or the reference of an image with its digest.

    ``digest`` is that of what was asked for: of a file its content, of an image its manifest, or the index of several.
    ``image_digest`` is the manifest of the ``platform`` in that index, ``file_digest`` the file which a target
    installs, each where it is another one. ``attached`` is the manifest of the migrations that are attached to it.
    ``size`` is in bytes, of all that belongs to it.
    """

    version: Version
    path: str
    digest: Digest
    source: Name = "file"
    authors: tuple[str, ...] | None = Field(None, description="as its metadata says; None: it does not")
    commit: str | None = Field(None, description="that it was built from, as its metadata says")
    size: int | None = Field(None, ge=0)
    platform: str | None = None
    image_digest: Digest | None = None
    file_digest: Digest | None = None
    attached: Digest | None = None
    signatures: tuple[VerifiedSignature, ...] = ()

    @property
    def installed_digest(self) -> str:
        """Return the digest of the file that a target installs."""
        return self.file_digest or self.digest


class CarriedFile(Frozen):
    """A file that an artifact carries beside its code: its name below the folder that was asked for, and its bytes.

    ``content`` is cut where it is longer than anybody reads."""

    name: str
    content: bytes = Field(repr=False)
