"""The document of a recovery point in the store: how it is sealed, opened, and explained to people. Pure: no I/O.

The seal is a keyed digest, and its key is derived from the secret age identity. Whoever may write to the store and
knows the public recipients can make streams that decrypt, but no recovery point that is accepted.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

import pyrage
from pydantic import ValidationError

from airlock.errors import BackupDamaged
from airlock.models import RecoveryPoint, StoredObject, canonical_json, digest_of

_PURPOSE = b"airlock recovery point, version 1"


def sealed(point: RecoveryPoint, identity: pyrage.x25519.Identity) -> bytes:
    """Return the document of *point*, sealed by *identity*."""
    return canonical_json(
        {"point": point.model_dump(mode="json"), "digest": digest_of(point), "seal": _seal(point, identity)}
    )


def opened(
    content: bytes, point_id: str, identities: Sequence[pyrage.x25519.Identity], where: object
) -> RecoveryPoint:
    """Return the recovery point of the document *content*, which lies at *where*.

    :raises BackupDamaged: it is not the document of *point_id*, is altered, or was sealed by none of *identities*
    """
    try:
        document = json.loads(content)
        point = RecoveryPoint.model_validate(document["point"])
        intact = document["digest"] == digest_of(point) and point.id == point_id
        found: dict[str, Any] = {name: str(document["seal"][name]) for name in ("recipient", "hmac")}
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
        raise BackupDamaged(f"{where} is altered or cut off: it cannot be parsed") from error
    if not intact:
        raise BackupDamaged(f"{where} is altered: its content does not have the digest that was written with it")
    ours = next((one for one in identities if str(one.to_public()) == found["recipient"]), None)
    if ours is None:
        raise BackupDamaged(
            f"{where} cannot be trusted: wrong key: it was sealed by the holder of {found['recipient'][:80]}, whose "
            "secret key the store was not opened with"
        )
    if not hmac.compare_digest(_seal(point, ours)["hmac"].encode(), found["hmac"].encode()):
        raise BackupDamaged(f"{where} is altered: its seal does not fit its content, so it was not written by Airlock")
    return point


def _seal(point: RecoveryPoint, identity: pyrage.x25519.Identity) -> dict[str, str]:
    # another key than age uses, from the same secret
    key = hmac.new(str(identity).encode(), _PURPOSE, hashlib.sha256).digest()
    return {
        "recipient": str(identity.to_public()),
        "hmac": hmac.new(key, canonical_json(point), hashlib.sha256).hexdigest(),
    }


def file_of(stored: StoredObject) -> str:
    """Return the name of the file that holds *stored*, in the folder of its recovery point."""
    return stored.path.replace("\\", "/").rpartition("/")[2]


def not_taken(point: RecoveryPoint) -> list[str]:
    """Return what *point* does not hold of its resource, in words for people: what its driver never takes, and what was
    left out of this one backup."""
    return [str(words) for fact in ("leaves_out", "left_out") for words in point.facts.get(fact) or ()]


def readme(point: RecoveryPoint) -> str:
    """Return how to restore *point* with age and zstd alone."""
    commands = "\n".join(
        f"    age -d -i KEY_FILE {file_of(stored)} | zstd -d > {stored.name}    # sha256 {stored.plain_sha256}"
        for stored in point.objects
    )
    lacking = "".join(f"    - {words}\n" for words in not_taken(point))
    lacking = f"\nNot in this recovery point:\n\n{lacking}" if lacking else ""
    return (
        f"Recovery point {point.id}\n"
        f"{point.resource.kind}.{point.resource.name} (driver {point.resource.driver}), "
        f"taken {point.taken_at.isoformat()}\n\n"
        "Each file is a stream, compressed with zstd and then encrypted with age (https://age-encryption.org).\n"
        "With the age and zstd command-line tools and the secret age key in KEY_FILE:\n\n"
        f"{commands or '    (no streams; point.json holds all there is)'}\n\n"
        "Compare with `sha256sum` before you use a file. point.json lists sizes, digests and recorded facts.\n"
        f"{lacking}"
    )
