"""A PEM certificate chain with its private key, as far as servers take them. Pure but for ``refusal``.

Servers read with OpenSSL, which takes more than what a library for X.509 finds well formed: so of a certificate only
what must be compared is read, and what cannot be judged is not refused. Knows no driver and no place.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

_KEY = re.compile(rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)
_CERTIFICATE = re.compile(rb"-----BEGIN ((?:TRUSTED |X509 )?CERTIFICATE)-----(.*?)-----END \1-----", re.DOTALL)
_LONG_FORM, _LONGEST_HEAD = 0x80, 6
_NOT_READ = (ValueError, TypeError, OverflowError, UnsupportedAlgorithm, x509.InvalidVersion,
             x509.UnsupportedGeneralNameType)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """A parsed chain, leaf first, the public half of the private key (DER), and whether all of the chain was read."""

    chain: tuple[x509.Certificate, ...]
    public_of_key: bytes
    whole: bool = True

    @property
    def leaf(self) -> x509.Certificate:
        """Return the server's own certificate."""
        return self.chain[0]

    @property
    def matches(self) -> bool:
        """Return whether the key belongs to the leaf."""
        leaf = self.leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return leaf == self.public_of_key

    def broken_issuer(self) -> str:
        """Return what is wrong with the issuer of the leaf; empty where nothing is.

        Clients find the way to a root themselves: a bundle may hold several issuers of one name, others besides, in any
        order, or none. Names are not compared, because one name can be written in several types of string. What helps
        no client is a bundle in which nothing signed the leaf.
        """
        others = self.chain[1:]
        if not others or not self.whole or any(_may_have_signed(self.leaf, upper) for upper in self.chain):
            return ""
        return f"{_subject(self.leaf)} is not issued by {_subject(others[0])} or any other of the file"

    def facts(self) -> dict[str, Any]:
        """Return what is recorded: digests and public fields only."""
        return {
            "subject": _subject(self.leaf),
            "not_after": self.leaf.not_valid_after_utc.isoformat(),
            "certificates": [hashlib.sha256(c.public_bytes(Encoding.DER)).hexdigest() for c in self.chain],
            "public_key": hashlib.sha256(self.public_of_key).hexdigest(),
        }


def parse(certificate: bytes, key: bytes) -> Pair:
    """Parse a chain and a key.

    :raises ValueError: one of them cannot be used; the message holds nothing of them
    """
    if certificate[:1] == b"\x30" or key[:1] == b"\x30":
        raise ValueError("a file is in the form DER or PKCS #12; servers read PEM, so convert it with openssl")
    try:
        chain, whole = _chain(certificate)
        pair = Pair(chain, _public_half(key), whole)
        pair.facts(), pair.matches, pair.broken_issuer()
    except _Unreadable as error:
        raise ValueError(str(error)) from None
    except _NOT_READ:
        raise ValueError("the certificate file holds no readable PEM certificate") from None
    return pair


def _chain(certificate: bytes) -> tuple[tuple[x509.Certificate, ...], bool]:
    """Return the certificates of a file that can be read, and whether these are all; the leaf is always one of them.

    :raises ValueError: there is none, or the leaf cannot be read
    """
    found = [_der(match[1], match[2]) for match in _CERTIFICATE.finditer(certificate)]
    if not found:
        raise ValueError("no certificate")
    chain = [x509.load_der_x509_certificate(found[0])]
    for upper in found[1:]:
        with contextlib.suppress(*_NOT_READ):
            chain.append(x509.load_der_x509_certificate(upper))
    return tuple(chain), len(chain) == len(found)


def _der(sort: bytes, text: bytes) -> bytes:
    """Return the certificate of a PEM block; behind a trusted one stands what it is trusted for."""
    content = base64.b64decode(b"".join(text.split()))
    if not sort.startswith(b"TRUSTED") or len(content) < _LONGEST_HEAD:
        return content
    digits = content[1] - _LONG_FORM if content[1] > _LONG_FORM else 0
    length = int.from_bytes(content[2 : 2 + digits], "big") if digits else content[1]
    return content[: 2 + digits + length]


def _subject(certificate: x509.Certificate) -> str:
    """Return whose certificate it is; where its name is written in bytes that are no characters, by its digest."""
    try:
        return certificate.subject.rfc4514_string()
    except ValueError:
        return f"a name that cannot be read, of {hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()}"


class _Unreadable(Exception):
    """A key that cannot be used; ``str()`` says why, and nothing of the key."""


def _public_half(key: bytes) -> bytes:
    # a key's parameters may stand before it, and its certificate around it: servers skip both
    found = _KEY.search(key)
    try:
        private = load_pem_private_key(key if found is None else found[0], password=None)
        return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except TypeError:
        raise _Unreadable("the key is protected by a passphrase, which is not supported") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _Unreadable("the key file holds no readable PEM private key") from None


def _may_have_signed(lower: x509.Certificate, upper: x509.Certificate) -> bool:
    """Return whether the key of *upper* signed *lower*, whatever their names are; also where that cannot be told, as of
    a way to sign that this library does not know."""
    try:
        key = upper.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            parameters = lower.signature_algorithm_parameters
            algorithm = lower.signature_hash_algorithm
            if algorithm is None or not isinstance(parameters, padding.PSS | padding.PKCS1v15):
                return parameters is None  # a sort of signature that is not known
            key.verify(lower.signature, lower.tbs_certificate_bytes, parameters, algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            parameters = lower.signature_algorithm_parameters
            if not isinstance(parameters, ec.ECDSA):
                return False
            key.verify(lower.signature, lower.tbs_certificate_bytes, parameters)
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(lower.signature, lower.tbs_certificate_bytes)
        elif isinstance(key, dsa.DSAPublicKey) and lower.signature_hash_algorithm is not None:
            key.verify(lower.signature, lower.tbs_certificate_bytes, lower.signature_hash_algorithm)
    except UnsupportedAlgorithm:
        return True
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def refusal(certificate: Path, key: Path) -> str:
    """Return why no server could start with the two files; empty where one can. OpenSSL passes over much that other
    readers of PEM take, such as a certificate behind a byte order mark."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")  # how strong a key must be is for its server to say
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:  # a fault of TLS is one of them
        return f"OpenSSL refuses it: {getattr(error, 'reason', None) or type(error).__name__}"
    return ""
