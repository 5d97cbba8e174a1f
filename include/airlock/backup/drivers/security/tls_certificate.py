"""Driver ``tls_certificate``: a PEM certificate chain and its private key. The key is never logged or recorded.

Knows the files and the driver contract; what is in them is read by the module beside this one.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import Field

from airlock.backup import driver as contract
from airlock.backup import file_needs, files
from airlock.backup.driver import Place, StreamDriver, Write
from airlock.backup.drivers.security.tls_pair import parse, refusal
from airlock.errors import InvalidInput, TemporaryError
from airlock.identity import file_identity
from airlock.models import Check, Inspection, Kind, RecoveryPoint, digest_of
from airlock.options import Options as DriverOptions

log = logging.getLogger(__name__)
_LIMIT = 1 << 20


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class TlsCertificateDriver(StreamDriver):
    """A certificate file (leaf first, then its chain) and a key file."""

    kind = Kind.SECURITY
    capabilities = contract.Capabilities(
        consistent="both files, which must match each other", leaves_out=files.FILE_LEAVES_OUT
    )
    needs = file_needs.of_file("{certificate}") + file_needs.of_file("{key}")

    class Options(DriverOptions):
        certificate: str = Field(min_length=1, description="PEM file: the certificate, then its chain")
        key: str = Field(min_length=1, description="PEM file of the private key, without passphrase")
        owners: files.Owners = True
        minimum_days: float = Field(0, ge=0, description="days that the certificate must still be valid")

        def identities(self) -> tuple[str, ...]:
            return (file_identity(self.certificate), file_identity(self.key))

    options: Options

    def inspect(self) -> Inspection:
        if not all(files.present(path, self.label) for path in self._paths(Place(origin=True))):
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
        return {**facts, "links": [path.is_symlink() for path in self._paths(Place(origin=True))]}

    def restore(self, point: RecoveryPoint, place: Place) -> None:
        # both are known to be intact before the first is replaced
        contents = [b"".join(self.store.read(stored)) for stored in point.objects]
        if not place.origin:
            files.scratch_folder(place, self.label)
        given = point.facts.get("rights", ("", ""))
        links = point.facts.get("links", (True, True))
        for path, content, rights, linked in zip(self._paths(place), contents, given, links, strict=True):
            files.replace_file(path, [content], files.recorded(rights, self.label), self.label, linked=linked)
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
        broken, refused = pair.broken_issuer(), refusal(*self._paths(place))
        return (
            *checks,
            Check(name="key belongs to the certificate", expected=True, found=pair.matches, ok=pair.matches),
            Check(name="the certificate is issued by one of the file", expected="", found=broken, ok=not broken),
            Check(name="a server can load both files", expected="", found=refused, ok=not refused),
            Check(name="already valid", expected="a begin in the past", found=begin.isoformat(), ok=begin <= now),
            Check(
                name="not expired",
                expected=f"at least {self.options.minimum_days:g} day(s) left",
                found=f"until {end.isoformat()}",
                ok=least < end,
            ),
        )

    def discard(self, place: Place) -> None:
        files.discard_folder(place, self.label)

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
            seen = files.regular(path, self.label)
            if seen.st_size > _LIMIT:
                raise InvalidInput(f"{self.label}: {path} has {seen.st_size} bytes; that is no PEM file")
            contents.append(b"".join(files.read_exactly(path, seen, self.label)))
            rights.append(files.rights_of(path, seen, self.label, owners=self.options.owners))
        try:
            pair = parse(contents[0], contents[1])
        except ValueError as error:
            raise InvalidInput(f"{self.label}: {error}; check {self._paths(place)[0].parent}") from None
        return contents[0], contents[1], {**pair.facts(), "bytes": [_digest(one) for one in contents], "rights": rights}
