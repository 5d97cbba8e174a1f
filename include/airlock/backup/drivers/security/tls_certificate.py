"""Driver ``tls_certificate``: a PEM certificate chain and its private key. The key is never logged or recorded.

Knows X.509; knows no server that uses the certificate.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from pydantic import Field

from airlock.backup import driver as contract
from airlock.backup.driver import Place, StreamDriver, Write
from airlock.backup.files import discard_folder, read_exactly, regular, replace_file, scratch_folder
from airlock.errors import InvalidInput, TemporaryError
from airlock.identity import file_identity
from airlock.models import Check, Inspection, Kind, RecoveryPoint, digest_of
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_LIMIT = 1 << 20


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

    def broken_link(self) -> str:
        """Return which certificate of the chain is not issued by the next one; empty when all are."""
        for lower, upper in zip(self.chain, self.chain[1:], strict=False):
            try:
                lower.verify_directly_issued_by(upper)
            except (ValueError, TypeError, InvalidSignature):
                return f"{lower.subject.rfc4514_string()} is not issued by {upper.subject.rfc4514_string()}"
        return ""

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
    try:
        chain = tuple(x509.load_pem_x509_certificates(certificate))
    except ValueError:
        raise ValueError("the certificate file holds no readable PEM certificate") from None
    try:
        private = load_pem_private_key(key, password=None)
    except TypeError:
        raise ValueError("the key is protected by a passphrase, which is not supported") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the key file holds no readable PEM private key") from None
    return Pair(chain, private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


class TlsCertificateDriver(StreamDriver):
    """A certificate file (leaf first, then its chain) and a key file."""

    kind = Kind.SECURITY
    capabilities = contract.Capabilities(consistent="both files, which must match each other")

    class Options(DriverOptions):
        certificate: str = Field(min_length=1, description="PEM file: the certificate, then its chain")
        key: str = Field(min_length=1, description="PEM file of the private key, without passphrase")
        minimum_days: float = Field(0, ge=0, description="days that the certificate must still be valid")

        def identities(self) -> tuple[str, ...]:
            return (file_identity(self.certificate), file_identity(self.key))

    options: Options

    def inspect(self) -> Inspection:
        if not (Path(self.options.certificate).exists() and Path(self.options.key).exists()):
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
        for path, content, mode in zip(self._paths(place), contents, point.facts["modes"], strict=True):
            replace_file(path, [content], int(mode, 8), self.label)
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
                expected=point.facts[name],
                found=found[name],
                ok=point.facts[name] == found[name],
            )
            for name in ("subject", "certificates", "public_key", "modes")
        ]
        now = datetime.now(UTC)
        end, begin = pair.leaf.not_valid_after_utc, pair.leaf.not_valid_before_utc
        least = now + timedelta(days=self.options.minimum_days)
        broken = pair.broken_link()
        return (
            *checks,
            Check(name="key belongs to the certificate", expected=True, found=pair.matches, ok=pair.matches),
            Check(name="each certificate is issued by the next", expected="", found=broken, ok=not broken),
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
        contents, modes = [], []
        for path in self._paths(place):
            seen = regular(path, self.label)
            if seen.st_size > _LIMIT:
                raise InvalidInput(f"{self.label}: {path} has {seen.st_size} bytes; that is no PEM file")
            contents.append(b"".join(read_exactly(path, seen, self.label)))
            modes.append(f"{seen.st_mode & 0o7777:04o}")
        try:
            pair = parse(contents[0], contents[1])
        except ValueError as error:
            raise InvalidInput(f"{self.label}: {error}; check {self._paths(place)[0].parent}") from None
        return contents[0], contents[1], {**pair.facts(), "modes": modes}
