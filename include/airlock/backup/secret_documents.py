"""The base of drivers whose documents hold secrets (a vault's values, Kubernetes' Secrets).

Plain digests of short secrets can be guessed, and facts are read by people and kept as evidence. So facts hold
digests made with a random key, and that key lies only inside the encrypted stream, beside the secrets that it
protects. Knows the driver contract; knows no API.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from airlock.backup.driver import DocumentDriver, Place, Write
from airlock.errors import BackupDamaged, InvalidInput
from airlock.models import Check, Inspection, RecoveryPoint, canonical_json


class SecretDocumentDriver(DocumentDriver):
    """A ``DocumentDriver`` whose facts are keyed digests. Authors write ``export``, ``load`` and ``discard``, and may
    write ``parts`` to have a document compared in smaller, named pieces."""

    def parts(self, name: str, document: Any) -> Mapping[str, Any]:
        """Return what is compared one by one, by name. Names are recorded as they are and must not be secret."""
        return {name: document}

    def told_apart(self, documents: Mapping[str, Any]) -> Any:
        """Return what of *documents* the fingerprint tells apart; all of them, where nothing changes by itself."""
        return dict(documents)

    def inspect(self) -> Inspection:
        documents = dict(self.export(Place(origin=True)))
        content = canonical_json(self.told_apart(documents))
        # slow on purpose: a fingerprint is shown to people, and must not help to guess a value
        fingerprint = hashlib.scrypt(content, salt=self.label.encode(), n=2**14, r=8, p=1, dklen=32).hex()
        return Inspection(
            present=bool(documents),
            size_bytes=len(content),
            fingerprint=f"scrypt:{fingerprint}",
            detail={"documents": len(documents), "left_out": self.left_out()},
        )

    def take(self, write: Write) -> dict[str, Any]:
        return self._written(write, dict(self.export(Place(origin=True))))

    def _written(self, write: Write, documents: Mapping[str, Any]) -> dict[str, Any]:
        if not documents:
            raise InvalidInput(f"{self.label}: nothing is there to back up; check the driver's options")
        key = secrets.token_hex(32)
        write("documents.json", [canonical_json({"digest_key": key, "documents": dict(documents)})])
        return {"documents": self._digests(key, documents), "left_out": self.left_out()}

    def stored_documents(self, point: RecoveryPoint) -> dict[str, Any]:
        documents: dict[str, Any] = self._part(point, "documents", dict)
        return documents

    def prove(self, point: RecoveryPoint, place: Place) -> tuple[Check, ...]:
        recorded: Mapping[str, str] = point.facts["documents"]
        found = self._digests(self._part(point, "digest_key", str), self.export(place))
        names = Check(
            name="names of documents",
            expected=sorted(recorded),
            found=sorted(found),
            ok=sorted(recorded) == sorted(found),
        )
        return (
            names,
            *(
                Check(
                    name=f"content of {name}", expected=expected, found=found.get(name), ok=found.get(name) == expected
                )
                for name, expected in sorted(recorded.items())
            ),
        )

    def _part(self, point: RecoveryPoint, name: str, sort: type) -> Any:
        found = self.stored_json(point).get(name)
        if not isinstance(found, sort):
            raise BackupDamaged(f"{self.label}: recovery point {point.id} holds no {name}; next: take the backup again")
        return found

    def _digests(self, key: str, documents: Mapping[str, Any]) -> dict[str, str]:
        return {
            part: "hmac-sha256:" + hmac.new(bytes.fromhex(key), canonical_json(value), hashlib.sha256).hexdigest()
            for name, document in sorted(documents.items())
            for part, value in self.parts(name, document).items()
        }
