"""Keys of publishers for tests, and what cosign writes with them: bundles, statements, simple signatures."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
IN_TOTO = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
IMAGE_SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
ALGORITHMS: dict[str, hashes.HashAlgorithm] = {
    "SHA2_256": hashes.SHA256(), "SHA2_384": hashes.SHA384(), "SHA2_512": hashes.SHA512(),
}  # fmt: skip


def base64(content: bytes) -> str:
    return b64encode(content).decode()


@dataclass(frozen=True)
class Publisher:
    """Whoever signs versions."""

    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

    @property
    def pem(self) -> str:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def id(self) -> str:
        der = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()

    def sign(self, message: bytes, algorithm: str = "SHA2_256") -> str:
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return base64(self.key.sign(message, ec.ECDSA(ALGORITHMS[algorithm])))
        if isinstance(self.key, rsa.RSAPrivateKey):
            return base64(self.key.sign(message, padding.PKCS1v15(), ALGORITHMS[algorithm]))
        return base64(self.key.sign(message))

    def bundle(self, **content: Any) -> dict[str, Any]:
        hint = base64(bytes.fromhex(self.id))
        return {"mediaType": BUNDLE, "verificationMaterial": {"publicKey": {"hint": hint}}, **content}

    def signed(self, content: bytes, algorithm: str = "SHA2_256") -> dict[str, Any]:
        """Return the bundle that ``cosign sign-blob`` writes of *content*."""
        hasher = hashes.Hash(ALGORITHMS[algorithm])
        hasher.update(content)
        return self.bundle(messageSignature={
            "messageDigest": {"algorithm": algorithm, "digest": base64(hasher.finalize())},
            "signature": self.sign(content, algorithm),
        })

    def attested(self, digest: str, predicate_type: str = PROVENANCE, **statement: Any) -> dict[str, Any]:
        """Return the bundle that ``cosign attest`` writes about what has *digest*."""
        said = {"_type": STATEMENT, "predicateType": predicate_type, "predicate": {"builder": "ci"},
                "subject": [{"name": "cafe", "digest": {"sha256": digest.removeprefix("sha256:")}}], **statement}
        return self.bundle(dsseEnvelope=self.envelope(json.dumps(said).encode()))

    def envelope(self, payload: bytes, kind: str = IN_TOTO) -> dict[str, Any]:
        message = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
        signature = {"sig": self.sign(message), "keyid": ""}
        return {"payload": base64(payload), "payloadType": kind, "signatures": [signature]}

    def described(self, digest: str, **critical: Any) -> tuple[str, str]:
        """Return what ``cosign sign`` before version 3 signs of an image, and the signature."""
        said = {"critical": {"identity": {"docker-reference": "cafe"}, "image": {"docker-manifest-digest": digest},
                             "type": "cosign container image signature", **critical}, "optional": None}
        text = json.dumps(said)
        return text, self.sign(text.encode())


@cache
def publisher(name: str = "p-256") -> Publisher:
    """Return a publisher with a key of a sort; another one for each name such as ``p-256 other``."""
    curves = {"p-256": ec.SECP256R1(), "p-384": ec.SECP384R1(), "p-521": ec.SECP521R1()}
    sort = name.partition(" ")[0]
    if sort in curves:
        return Publisher(ec.generate_private_key(curves[sort]))
    if sort == "rsa":
        return Publisher(rsa.generate_private_key(65537, 2048))
    return Publisher(ed25519.Ed25519PrivateKey.generate())
