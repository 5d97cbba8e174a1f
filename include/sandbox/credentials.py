"""The secrets of one sandbox: made once, kept in a file and a folder that only its owner can read. Starts nothing."""

from __future__ import annotations

import json
import os
import secrets
import stat
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
    broker: str
    vault: str
    supervisor: str
    kubernetes: str
    aws: str
    fernet: str
    jwt: str
    api: str
    signing_key: str
    backup_identity: str
    backup_recipient: str
    people: dict[str, str]


def private(folder: Path, name: str) -> Path:
    """Return the path of the file *name* in the private folder of the sandbox *folder*, which is made if it is missing;
    nobody but its owner gets at either, whatever was done to their modes since.

    :raises PermanentError: it belongs to somebody else, or something else lies there
    """
    place = folder / "private"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = place / name
    for one, kind, mode in ((place, stat.S_ISDIR, 0o700), (path, stat.S_ISREG, 0o600)):
        found = os.lstat(one) if os.path.lexists(one) else None
        if found is not None and (not kind(found.st_mode) or found.st_uid != os.geteuid()):
            raise PermanentError(f"{one} is not the sandbox's own: run `make down`, remove {folder} and start again")
        if found is not None and stat.S_IMODE(found.st_mode) != mode:
            one.chmod(mode)
    return path


def write_private(path: Path, data: object) -> None:
    """Write *data* as JSON to *path*, whole or not at all, for its owner only."""
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(data, stream, indent=1)
    draft.replace(path)


def load(folder: Path) -> Credentials:
    """The credentials kept in ``<folder>/private/credentials.json``; made when there are none.

    :raises PermanentError: the file is damaged, or not the sandbox's own
    """
    path = private(folder, "credentials.json")
    try:
        held = json.loads(path.read_text())
        if "broker" not in held:  # made before there was one
            held = {**held, "broker": secrets.token_urlsafe(24)}
            write_private(path, held)
        return Credentials(**held)
    except FileNotFoundError:
        pass
    except (ValueError, TypeError) as error:
        raise PermanentError(
            f"{path} is damaged ({type(error).__name__}): run `make down`, remove {folder.parent} and start again"
        ) from error
    made = _make()
    write_private(path, asdict(made))
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
        broker=token(),
        vault=token(),
        supervisor=token(),
        kubernetes=token(),
        aws=token(),
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
