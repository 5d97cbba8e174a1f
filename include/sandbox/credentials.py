"""The secrets of one sandbox: made once, kept in a file that only its owner can read. Starts nothing."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from airlock.errors import PermanentError

PEOPLE = {
    "release-manager": "op",
    "owner": "user",
    "board-1": "user",
    "board-2": "user",
    "board-3": "user",
    "viewer": "viewer",
    "admin": "admin",
}
"""People of the sandbox and their roles in Airflow's simple auth manager; ``user`` is the lowest that may answer."""


@dataclass(frozen=True)
class Credentials:
    """Every secret of a sandbox. ``people`` maps Airflow user names to passwords."""

    postgres: str
    shop_app: str
    shop_owner: str
    airflow_database: str
    vault: str
    supervisor: str
    kubernetes: str
    fernet: str
    jwt: str
    api: str
    signing_key: str
    backup_identity: str
    backup_recipient: str
    people: dict[str, str]


def load(folder: Path) -> Credentials:
    """The credentials kept in ``<folder>/credentials.json``; made when there are none.

    :raises PermanentError: the file is damaged
    """
    path = folder / "credentials.json"
    try:
        return Credentials(**json.loads(path.read_text()))
    except FileNotFoundError:
        pass
    except (ValueError, TypeError) as error:
        raise PermanentError(
            f"{path} is damaged ({error}): run `make down`, remove {folder.parent} and start again"
        ) from error
    made = _make()
    folder.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(asdict(made), stream, indent=1)
    draft.replace(path)
    return made


def _make() -> Credentials:
    import pyrage
    from cryptography.fernet import Fernet

    identity = pyrage.x25519.Identity.generate()

    def token() -> str:
        return secrets.token_urlsafe(24)

    return Credentials(
        postgres=token(),
        shop_app=token(),
        shop_owner=token(),
        airflow_database=token(),
        vault=token(),
        supervisor=token(),
        kubernetes=token(),
        fernet=Fernet.generate_key().decode(),
        jwt=secrets.token_urlsafe(64),
        api=token(),
        signing_key=new_signing_key(),
        backup_identity=str(identity),
        backup_recipient=str(identity.to_public()),
        people={name: secrets.token_urlsafe(9) for name in PEOPLE},
    )


def new_signing_key() -> str:
    """Return a new private key for permits and records, in PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
