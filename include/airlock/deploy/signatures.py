"""Signatures and attestations of an artifact, verified with given public keys, offline. Pure; asks no server.

Understood is what cosign writes with a key: Sigstore bundles (of a signature, or of a DSSE envelope with an in-toto
statement), and what it writes before version 3 beside images (simple signing, and envelopes by themselves). All that is
read is a stranger's until a signature fits. Transparency logs and certificates are not looked at: the keys are given.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from airlock.errors import InvalidInput, PermanentError
from airlock.models import Artifact, SignatureForm, SignedContent, VerifiedSignature, digest_of
from airlock.plain_text import harmless

SIGNATURE_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
"""What cosign from version 3 on attests of an image to sign it."""
_BUNDLE = re.compile(r"application/vnd\.dev\.sigstore\.bundle(\+json;version=0\.[1-9]|\.v0\.[1-9](\.[0-9])?\+json)")
_IN_TOTO = "application/vnd.in-toto+json"
_STATEMENTS = ("https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1")
_SIMPLE = "cosign container image signature"
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?-----END [A-Z0-9 ]+-----", re.DOTALL)
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "SHA2_256": hashes.SHA256(), "SHA2_384": hashes.SHA384(), "SHA2_512": hashes.SHA512(),
}  # fmt: skip
_OF_CURVE = {"secp256r1": ("SHA2_256",), "secp384r1": ("SHA2_384", "SHA2_256"), "secp521r1": ("SHA2_512", "SHA2_256")}
_SMALLEST_RSA = 2048
_LARGEST_MESSAGE = 256 << 20
_MOST_SIGNERS = 100
_MOST_SUBJECTS = 10_000


class NotVerified(PermanentError):
    """A signature or attestation does not fit: not the artifact, or none of the keys."""


class NotInEvidence(NotVerified):
    """What a signature is made of is not at hand, so that nobody can say whether it fits."""


Contents = Callable[[str], Iterable[bytes]]
"""Gives the bytes that have a digest."""


@dataclass(frozen=True)
class PublicKey:
    """A public key. ``id`` is the hex sha256 of its DER form."""

    id: str
    pem: str
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


def keys_in(text: str, where: str) -> tuple[PublicKey, ...]:
    """Return the public keys in *text*, which is PEM; *where* names it in messages.

    :raises InvalidInput: it holds none, or something else
    """
    found = []
    for pem in _PEM.findall(text):
        try:
            key = load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InvalidInput(f"{where} holds something that is no public key in PEM (-----BEGIN PUBLIC KEY-----); "
                               "write such a key, as 'cosign public-key' does") from error
        if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey) or (
                isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in _OF_CURVE) or (
                isinstance(key, rsa.RSAPublicKey) and key.key_size < _SMALLEST_RSA):
            raise InvalidInput(f"{where} holds a key that signatures are not trusted by; use ECDSA (P-256, P-384, "
                               f"P-521), Ed25519, or RSA with at least {_SMALLEST_RSA} bits")
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        found.append(PublicKey(hashlib.sha256(der).hexdigest(), pem, key))
    if not found:
        raise InvalidInput(f"{where} holds no public key in PEM; write one, as 'cosign public-key' does")
    return tuple({key.id: key for key in found}.values())


def verify(
    signed: SignedContent, keys: Sequence[PublicKey], subjects: Collection[str], contents: Contents
) -> VerifiedSignature:
    """Return what *signed* says of one of *subjects* by one of *keys*.

    :param subjects: the digests that it may be about
    :param contents: asked for the bytes of a subject where its digest alone is not enough; may raise ``NotInEvidence``
    :raises NotVerified: it says nothing of them, or not by one of the keys
    """
    if signed.form is SignatureForm.SIMPLE_SIGNING:
        key, subject = _simple(signed, keys, subjects)
        predicate = ""
    else:
        said = _object(signed.content.encode(), "the bundle")
        if signed.form is SignatureForm.SIGSTORE_BUNDLE:
            _check_bundle(said)
        envelope = said.get("dsseEnvelope") if signed.form is SignatureForm.SIGSTORE_BUNDLE else said
        if isinstance(envelope, dict):
            key, subject, predicate = _attested(envelope, keys, subjects)
        else:
            key, subject = _message(said.get("messageSignature"), keys, subjects, contents)
            predicate = ""
    return VerifiedSignature(key=key.id, subject=subject, predicate_type=predicate, content=digest_of(signed))


def subjects_of(artifact: Artifact, predicate_type: str | None) -> tuple[tuple[str, ...], ...]:
    """Return what must be signed, each thing by the digests that it may be signed by: the artifact (an image also as
    that of its platform) and, where signatures are demanded, the migrations that are attached to it."""
    itself = tuple(digest for digest in (artifact.digest, artifact.image_digest) if digest is not None)
    return (itself, (artifact.attached,)) if artifact.attached and predicate_type is None else (itself,)


def fits(found: VerifiedSignature, predicate_type: str | None) -> bool:
    """Return whether *found* is what is demanded: an attestation of a type, or (without one) a signature."""
    if predicate_type is None:
        return found.predicate_type in ("", SIGNATURE_PREDICATE)
    return found.predicate_type == predicate_type


def _check_bundle(said: dict[str, Any]) -> None:
    media_type = said.get("mediaType")
    if not isinstance(media_type, str) or not _BUNDLE.fullmatch(media_type):
        raise NotVerified(f"it is no Sigstore bundle that is understood ({str(media_type)[:80]!a})")
    material = said.get("verificationMaterial")
    if not isinstance(material, dict) or "publicKey" not in material:
        raise NotVerified("it was made with a certificate, not with a key that was given")
    if ("dsseEnvelope" in said) == ("messageSignature" in said):
        raise NotVerified("it holds not one signature, but none or two sorts")


def _attested(
    envelope: dict[str, Any], keys: Sequence[PublicKey], subjects: Collection[str]
) -> tuple[PublicKey, str, str]:
    """Return who signed the statement in a DSSE envelope, which subject it is about, and its predicate type."""
    payload, kind, signatures = envelope.get("payload"), envelope.get("payloadType"), envelope.get("signatures")
    if kind != _IN_TOTO:
        raise NotVerified(f"it holds {str(kind)[:80]!a}, not an in-toto statement")
    if not isinstance(signatures, list) or not 0 < len(signatures) <= _MOST_SIGNERS:
        raise NotVerified("its envelope has no signature, or too many")
    content = _bytes(payload, "the payload")
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(content), content)
    given = [one.get("sig") for one in signatures if isinstance(one, dict)]
    key = next((key for text in given for key in keys if _fits(key, _bytes(text, "a signature"), message)), None)
    if key is None:
        raise NotVerified("none of the keys signed it")
    return key, *_statement(content, subjects)


def _statement(content: bytes, subjects: Collection[str]) -> tuple[str, str]:
    said = _object(content, "the statement")
    if said.get("_type") not in _STATEMENTS:
        raise NotVerified(f"its payload is no in-toto statement ({str(said.get('_type'))[:80]!a})")
    predicate, about = said.get("predicateType"), said.get("subject")
    if not isinstance(predicate, str) or not predicate or not isinstance(about, list) or len(about) > _MOST_SUBJECTS:
        raise NotVerified("its statement lacks a subject or a type")
    named = set()
    for one in about:
        digests = one.get("digest") if isinstance(one, dict) else None
        named.add(f"sha256:{digests.get('sha256')}" if isinstance(digests, dict) else "")
    subject = next((one for one in subjects if one in named), None)
    if subject is None:
        raise NotVerified("it is about another artifact")
    return subject, harmless(predicate)


def _message(
    said: Any, keys: Sequence[PublicKey], subjects: Collection[str], contents: Contents
) -> tuple[PublicKey, str]:
    """Return who signed the content itself, and which of *subjects* that is."""
    message = said if isinstance(said, dict) else {}
    claimed = message.get("messageDigest")
    claimed = claimed if isinstance(claimed, dict) else {}
    algorithm = str(claimed.get("algorithm", "SHA2_256"))
    if algorithm not in _HASHES:
        raise NotVerified(f"it is made with {algorithm[:40]!a}, which is not understood")
    signature = _bytes(message.get("signature"), "the signature")
    wanted = _bytes(claimed["digest"], "the digest") if "digest" in claimed else None
    unknown: NotInEvidence | None = None
    for subject in subjects:
        try:
            digest = _hashed(algorithm, subject, contents)
            if wanted is not None and wanted != digest:
                continue
            for key in keys:
                if _fits_digest(key, signature, algorithm, digest, subject, contents):
                    return key, subject
        except NotInEvidence as error:
            unknown = error
    raise unknown or NotVerified("it is about another artifact, or none of the keys signed it")


def _hashed(algorithm: str, subject: str, contents: Contents) -> bytes:
    if algorithm == "SHA2_256":
        return bytes.fromhex(subject.removeprefix("sha256:"))
    hasher = hashes.Hash(_HASHES[algorithm])
    for piece in contents(subject):
        hasher.update(piece)
    return hasher.finalize()


def _fits_digest(
    key: PublicKey, signature: bytes, algorithm: str, digest: bytes, subject: str, contents: Contents
) -> bool:
    if isinstance(key.key, ed25519.Ed25519PublicKey):
        return _fits(key, signature, b"".join(_bounded(contents(subject))))
    return _checked(key, signature, digest, algorithm, hashed=True)


def _bounded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > _LARGEST_MESSAGE:
            raise NotVerified(f"a signature by Ed25519 of more than {_LARGEST_MESSAGE >> 20} MiB is not checked; sign "
                              "with an ECDSA key, or sign an attestation")
        yield piece


def _simple(signed: SignedContent, keys: Sequence[PublicKey], subjects: Collection[str]) -> tuple[PublicKey, str]:
    """Return who signed the description of an image, and which of *subjects* it describes."""
    content = signed.content.encode()
    signature = _bytes(signed.signature, "the signature")
    key = next((key for key in keys if _fits(key, signature, content)), None)
    if key is None:
        raise NotVerified("none of the keys signed it")
    critical = _object(content, "the description").get("critical")
    critical = critical if isinstance(critical, dict) else {}
    image = critical.get("image")
    digest = image.get("docker-manifest-digest") if isinstance(image, dict) else None
    if critical.get("type") != _SIMPLE or digest not in subjects:
        raise NotVerified("it is about another artifact")
    return key, str(digest)


def _fits(key: PublicKey, signature: bytes, message: bytes) -> bool:
    if isinstance(key.key, ed25519.Ed25519PublicKey):
        try:
            key.key.verify(signature, message)
        except InvalidSignature:
            return False
        return True
    algorithms = _OF_CURVE[key.key.curve.name] if isinstance(key.key, ec.EllipticCurvePublicKey) else ("SHA2_256",)
    return any(_checked(key, signature, message, algorithm, hashed=False) for algorithm in algorithms)


def _checked(key: PublicKey, signature: bytes, message: bytes, algorithm: str, *, hashed: bool) -> bool:
    used: Any = Prehashed(_HASHES[algorithm]) if hashed else _HASHES[algorithm]
    try:
        if isinstance(key.key, ec.EllipticCurvePublicKey):
            key.key.verify(signature, message, ec.ECDSA(used))
        elif isinstance(key.key, rsa.RSAPublicKey):
            key.key.verify(signature, message, padding.PKCS1v15(), used)
    except InvalidSignature:
        return False
    return True


def _bytes(text: Any, what: str) -> bytes:
    """Return the bytes of base64 in either alphabet, as protocol buffers read it."""
    if not isinstance(text, str):
        raise NotVerified(f"{what} is no text in base64")
    try:
        return b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise NotVerified(f"{what} is no text in base64") from error


def _object(content: bytes, what: str) -> dict[str, Any]:
    try:
        said = json.loads(content, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise NotVerified(f"{what} is no JSON that is read in one way only") from error
    if not isinstance(said, dict):
        raise NotVerified(f"{what} is no JSON object")
    return said


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that comes twice: readers differ in which one counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found
