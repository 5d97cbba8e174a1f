"""Driver ``tls_certificate``: a PEM certificate chain and its private key. The key is never logged or recorded.

Knows X.509; knows no server that uses the certificate.
"""

from __future__ import annotations

import hashlib
import logging
import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from pydantic import Field

from airlock.backup import driver as contract
from airlock.backup.driver import Place, StreamDriver, Write
from airlock.backup.files import (
    FILE_LEAVES_OUT,
    Owners,
    discard_folder,
    present,
    read_exactly,
    recorded,
    regular,
    replace_file,
    rights_of,
    scratch_folder,
)
from airlock.errors import InvalidInput, TemporaryError
from airlock.identity import file_identity
from airlock.models import Check, Inspection, Kind, RecoveryPoint, digest_of
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_LIMIT = 1 << 20
_KEY = re.compile(rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)


@dataclass(frozen=True)
class Pair:
    """A parsed chain, leaf first, and the public half of the private key (DER)."""

    chain: tuple[x509.Certificate, ...]
    public_of_key: bytes

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
        if not others or any(_signed(self.leaf, upper) for upper in self.chain):
            return ""
        upper = others[0].subject.rfc4514_string()
        return f"{self.leaf.subject.rfc4514_string()} is not issued by {upper} or any other of the file"

    def facts(self) -> dict[str, Any]:
        """Return what is recorded: digests and public fields only."""
        return {
            "subject": self.leaf.subject.rfc4514_string(),
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
        chain = tuple(x509.load_pem_x509_certificates(certificate))
        pair = Pair(chain, _public_half(key))
        pair.facts(), pair.matches, pair.broken_issuer()
    except _Unreadable as error:
        raise ValueError(str(error)) from None
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.UnsupportedGeneralNameType, OverflowError):
        raise ValueError("the certificate file holds no readable PEM certificate") from None
    return pair


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


def _signed(lower: x509.Certificate, upper: x509.Certificate) -> bool:
    """Return whether the key of *upper* signed *lower*, whatever their names are."""
    try:
        key = upper.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            parameters = lower.signature_algorithm_parameters
            algorithm = lower.signature_hash_algorithm
            if algorithm is None or not isinstance(parameters, padding.PSS | padding.PKCS1v15):
                return False
            key.verify(lower.signature, lower.tbs_certificate_bytes, parameters, algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            parameters = lower.signature_algorithm_parameters
            if not isinstance(parameters, ec.ECDSA):
                return False
            key.verify(lower.signature, lower.tbs_certificate_bytes, parameters)
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(lower.signature, lower.tbs_certificate_bytes)
        else:
            return False
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _refusal(certificate: Path, key: Path) -> str:
    """Return why no server could start with the two files; empty where one can. OpenSSL passes over much that other
    readers of PEM take, such as a certificate behind a byte order mark."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")  # how strong a key must be is for its server to say
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:  # a fault of TLS is one of them
        return f"OpenSSL refuses it: {getattr(error, 'reason', None) or type(error).__name__}"
    return ""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class TlsCertificateDriver(StreamDriver):
    """A certificate file (leaf first, then its chain) and a key file."""

    kind = Kind.SECURITY
    capabilities = contract.Capabilities(
        consistent="both files, which must match each other", leaves_out=FILE_LEAVES_OUT
    )

    class Options(DriverOptions):
        certificate: str = Field(min_length=1, description="PEM file: the certificate, then its chain")
        key: str = Field(min_length=1, description="PEM file of the private key, without passphrase")
        owners: Owners = True
        minimum_days: float = Field(0, ge=0, description="days that the certificate must still be valid")

        def identities(self) -> tuple[str, ...]:
            return (file_identity(self.certificate), file_identity(self.key))

    options: Options

    def inspect(self) -> Inspection:
        if not all(present(path, self.label) for path in self._paths(Place(origin=True))):
            return Inspection(present=False)
        certificate, key, facts = self._origin()
        return Inspection(
            present=True,
            size_bytes=len(certificate) + len(key),
            fingerprint=digest_of(facts),
            detail={"subject": facts["subject"], "not_after": facts["not_after"]},
        )

    def take(self, write: Write) -> dict[str, Any]:
        certificate, key, facts = self._origin()
        write("certificate.pem", [certificate])
        write("key.pem", [key])
        return facts

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        # both are known to be intact before the first is replaced
        contents = [b"".join(self.store.read(stored)) for stored in point.objects]
        if not place.origin:
            scratch_folder(place, self.label)
        given = point.facts.get("rights", ("", ""))
        for path, content, rights in zip(self._paths(place), contents, given, strict=True):
            replace_file(path, [content], recorded(rights, self.label), self.label)
            log.info("%s: wrote %s", self.label, path)

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        try:
            certificate, key, found = self._read(place)
            pair = parse(certificate, key)
        except (InvalidInput, ValueError) as error:
            return (Check(name="certificate and key", expected="readable", found=str(error), ok=False),)
        checks = [
            Check(
                name=name.replace("_", " "),
                expected=point.facts.get(name),
                found=found[name],
                ok=point.facts.get(name) == found[name],
            )
            for name in ("bytes", "subject", "certificates", "public_key", "rights")
        ]
        now = datetime.now(UTC)
        end, begin = pair.leaf.not_valid_after_utc, pair.leaf.not_valid_before_utc
        least = now + timedelta(days=self.options.minimum_days)
        broken, refusal = pair.broken_issuer(), _refusal(*self._paths(place))
        return (
            *checks,
            Check(name="key belongs to the certificate", expected=True, found=pair.matches, ok=pair.matches),
            Check(name="the certificate is issued by one of the file", expected="", found=broken, ok=not broken),
            Check(name="a server can load both files", expected="", found=refusal, ok=not refusal),
            Check(name="already valid", expected="a begin in the past", found=begin.isoformat(), ok=begin <= now),
            Check(
                name="not expired",
                expected=f"at least {self.options.minimum_days:g} day(s) left",
                found=f"until {end.isoformat()}",
                ok=least < end,
            ),
        )

    def discard(self, place: Place) -> None:
        discard_folder(place, self.label)

    def _paths(self, place: Place) -> tuple[Path, Path]:
        if place.origin:
            return Path(self.options.certificate), Path(self.options.key)
        return Path(place.folder) / "certificate.pem", Path(place.folder) / "key.pem"

    def _origin(self) -> tuple[bytes, bytes, dict[str, Any]]:
        """Return the origin, which must be a pair: half of a renewal is no backup.

        :raises TemporaryError: the key does not belong to the certificate
        """
        certificate, key, facts = self._read(Place(origin=True))
        if not parse(certificate, key).matches:
            raise TemporaryError(
                f"{self.label}: the key {self.options.key} does not belong to the certificate "
                f"{self.options.certificate}; if it is not being renewed right now, mend it"
            )
        return certificate, key, facts

    def _read(self, place: Place) -> tuple[bytes, bytes, dict[str, Any]]:
        contents, rights = [], []
        for path in self._paths(place):
            seen = regular(path, self.label)
            if seen.st_size > _LIMIT:
                raise InvalidInput(f"{self.label}: {path} has {seen.st_size} bytes; that is no PEM file")
            contents.append(b"".join(read_exactly(path, seen, self.label)))
            rights.append(rights_of(path, seen, self.label, owners=self.options.owners))
        try:
            pair = parse(contents[0], contents[1])
        except ValueError as error:
            raise InvalidInput(f"{self.label}: {error}; check {self._paths(place)[0].parent}") from None
        return contents[0], contents[1], {**pair.facts(), "bytes": [_digest(one) for one in contents], "rights": rights}
