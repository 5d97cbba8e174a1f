"""Sign bytes and check signatures: Ed25519 keys in DSSE envelopes. Both permits and seals rest on it.

Knows keys and envelopes. Must not know what is signed. Private keys stay inside ``Signer`` and appear in no message.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from airlock.connections import connection
from airlock.errors import EvidenceInvalid, InvalidInput

_ENVELOPE_FIELDS = {"payload", "payloadType", "signatures"}
_SIGNATURE_FIELDS = {"keyid", "sig"}


def generate_pem() -> str:
    """Return a new Ed25519 private key as PEM (PKCS8, not encrypted)."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def key_id(public_pem: str) -> str:
    """Return the id of a public key: the hex sha256 of its DER form.

    :raises InvalidInput: this is no Ed25519 public key in PEM
    """
    return _key_id(_public_key(public_pem))


class Signer:
    """One private key. ``key_id`` and ``public_pem`` tell which one."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        public_key = private_key.public_key()
        self.key_id = _key_id(public_key)
        self.public_pem = _public_pem(public_key)

    @classmethod
    def from_pem(cls, pem: str) -> Signer:
        r"""Return the signer of a private key in PEM; a literal ``\n`` counts as the end of a line.

        :raises InvalidInput: this is no Ed25519 private key
        """
        try:
            key = load_pem_private_key(_lines(pem), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidInput(
                "the signing key is not an unencrypted private key in PEM (PKCS8): "
                "make one with 'openssl genpkey -algorithm ed25519'"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidInput("the signing key is not Ed25519: make one with 'openssl genpkey -algorithm ed25519'")
        return cls(key)

    def sign(self, payload_type: str, payload: bytes) -> dict[str, Any]:
        """Return the DSSE envelope (plain JSON data) of *payload*. The same input gives the same envelope."""
        # Imported here: the library loads every cloud vendor's client, which no parse of a DAG should pay for.
        from securesystemslib.dsse import Envelope
        from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

        public_key = SSlibKey.from_crypto(self._private_key.public_key(), keyid=self.key_id)
        envelope = Envelope(payload, payload_type, {})
        envelope.sign(CryptoSigner(self._private_key, public_key))
        signed: dict[str, Any] = envelope.to_dict()
        return signed


class Keyring:
    """Public keys that are trusted."""

    def __init__(self, public_pems: Iterable[str]) -> None:
        """Load the keys.

        :raises InvalidInput: there is no key, or one is no Ed25519 public key in PEM
        """
        keys = [_public_key(pem) for pem in public_pems]
        if not keys:
            raise InvalidInput("no public key is given, so no signature can be trusted")
        self._keys = {_key_id(key): key for key in keys}
        self._verifiers: dict[str, Any] = {}

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Return the ids of the trusted keys."""
        return tuple(self._keys)

    def verify(self, envelope: Mapping[str, Any], payload_type: str) -> bytes:
        """Return the payload of *envelope* if a trusted key signed it as *payload_type*.

        :raises EvidenceInvalid: the envelope is malformed, of another type, altered, or signed by an unknown key
        """
        signed_by(envelope)
        payload = _bytes_of(envelope["payload"])
        if envelope["payloadType"] != payload_type:
            raise EvidenceInvalid(f"the envelope holds {str(envelope['payloadType'])[:80]!r} where {payload_type!r} is "
                                  "expected")
        self.check(envelope["signatures"][0], payload_type, payload)
        return payload

    def check(self, signature: Mapping[str, Any], payload_type: str, payload: bytes) -> None:
        """Check that a trusted key signed *payload* as *payload_type*; *signature* holds ``keyid`` and ``sig``.

        :raises EvidenceInvalid: the signature is malformed, does not fit, or is by an unknown key
        """
        from securesystemslib.dsse import Envelope
        from securesystemslib.exceptions import VerificationError
        from securesystemslib.signer import Signature, SSlibKey  # type: ignore[attr-defined]

        signer = str(signature["keyid"])
        trusted = self._keys.get(signer)
        if trusted is None:
            raise EvidenceInvalid(
                f"signed by the unknown key {signer[:80]}; trusted are {', '.join(self._keys)}: "
                "if the key was changed, add the former public key to the trusted ones"
            )
        given = Signature(signer, _bytes_of(signature["sig"]).hex())
        key = self._verifiers.get(signer)
        if key is None:
            key = self._verifiers[signer] = SSlibKey.from_crypto(trusted, keyid=signer)
        try:
            Envelope(payload, payload_type, {signer: given}).verify([key], threshold=1)
        except VerificationError as error:
            raise EvidenceInvalid(f"the signature of key {signer} does not fit the content: it was altered") from error


def _bytes_of(text: object) -> bytes:
    """Return the bytes that *text* is the base64 of.

    :raises EvidenceInvalid: it is not, or in another spelling than the one in which it was signed
    """
    if not isinstance(text, str):
        raise EvidenceInvalid("the signature's envelope is malformed: it holds no text where base64 is expected")
    try:
        found = b64decode(text.encode(), validate=True)
    except ValueError as error:
        raise EvidenceInvalid("the signature's envelope is not written the way it was signed: not in base64") from error
    if b64encode(found).decode() != text:
        raise EvidenceInvalid("the signature's envelope is not written the way it was signed")
    return found


def signed_by(envelope: Mapping[str, Any]) -> str:
    """Return the key id that *envelope* claims. It is proved by ``Keyring.verify`` only.

    :raises EvidenceInvalid: the envelope is malformed
    """
    signatures = envelope.get("signatures")
    if set(envelope) != _ENVELOPE_FIELDS or not isinstance(signatures, list) or len(signatures) != 1:
        raise EvidenceInvalid("this is no signed envelope with one signature (payload, payloadType, signatures)")
    signature = signatures[0]
    if not isinstance(signature, dict) or set(signature) != _SIGNATURE_FIELDS:
        raise EvidenceInvalid("the envelope's signature has other fields than keyid and sig")
    return str(signature["keyid"])


def signer_from_connection(connection_id: str) -> Signer:
    """Return the signer whose private key is the password of the Airflow connection *connection_id*.

    :raises InvalidInput: the connection is missing, or has no usable key
    """
    password = connection(connection_id).password
    if not password:
        raise InvalidInput(f"connection {connection_id!r} has no password: put the Ed25519 private key (PEM) there")
    try:
        return Signer.from_pem(password)
    except InvalidInput as error:
        raise InvalidInput(f"connection {connection_id!r}: {error}") from error


def keyring_from_connection(connection_id: str) -> Keyring:
    """Return the keys that are trusted: the connection's own, and the former public keys in ``extra.trusted``.

    :raises InvalidInput: the connection is missing, or one of its keys is not usable
    """
    own = signer_from_connection(connection_id).public_pem
    former = connection(connection_id).extra_dejson.get("trusted", [])
    if isinstance(former, str):
        former = [former]
    if not isinstance(former, list) or not all(isinstance(pem, str) for pem in former):
        raise InvalidInput(f"connection {connection_id!r}: extra.trusted must be a list of public keys in PEM")
    try:
        return Keyring([own, *former])
    except InvalidInput as error:
        raise InvalidInput(f"connection {connection_id!r}, extra.trusted: {error}") from error


def public_key_file(connection_id: str) -> str:
    """Return the file in which whoever checks evidence finds the trusted public keys: ``extra.public_key_file`` of the
    connection; ``TRUSTED.pem`` where it does not say."""
    return str(connection(connection_id).extra_dejson.get("public_key_file") or "TRUSTED.pem")


def _lines(pem: str) -> bytes:
    return pem.replace("\\n", "\n").strip().encode()


def _public_key(pem: str) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(_lines(pem))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput("this is no public key in PEM (-----BEGIN PUBLIC KEY-----)") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInput("the public key is not an Ed25519 key")
    return key


def _public_pem(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
