"""Asks whether keys can be used: records signed and the signature checked, a backup encrypted and decrypted again.

Nothing of a key is ever shown but its public id.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from airlock.connections import connection as airflow_connection
from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.errors import AirlockError
from airlock.signing import key_id, keyring_from_connection, public_key_file, signer_from_connection

_PROBE, _TYPE = b"airlock doctor", "application/vnd.airlock.doctor"
_END = "-----END PUBLIC KEY-----"


def signing(subject: Subject, connection: str) -> Iterator[Finding]:
    """Sign a few bytes with the key of *connection*, check them, and look whether who verifies knows its public key."""
    signer = signer_from_connection(connection)
    keyring_from_connection(connection).verify(signer.sign(_TYPE, _PROBE), _TYPE)
    yield subject.fine(f"the signing key {signer.key_id[:12]} signs, and its signature is accepted")
    file = Path(public_key_file(connection))
    try:
        pems = [f"{part.strip()}\n{_END}\n" for part in file.read_text().split(_END) if part.strip()]
        known = [key_id(pem) for pem in pems]
    except (OSError, UnicodeDecodeError, AirlockError) as error:
        yield subject.found(
            Gravity.WARNING, f"{file}, where verifiers find public keys, cannot be read ({type(error).__name__})",
            "who verifies evidence must have the key from somewhere",
            "give verifiers the public key, and name its file in extra.public_key_file of the connection",
        )  # fmt: skip
        return
    if signer.key_id in known:
        yield subject.fine(f"verifiers know the key, by {file}")
    else:
        yield subject.fault(f"{file} does not hold the public key of {signer.key_id[:12]}",
                            "evidence of the next release would be refused by who verifies it",
                            "add the public key there, and keep the former ones")  # fmt: skip


def backup(subject: Subject, connection: str) -> Iterator[Finding]:
    """Encrypt a few bytes to every recipient of *connection*, and decrypt them with its identity."""
    import pyrage

    given = airflow_connection(connection)
    try:
        recipients = [pyrage.x25519.Recipient.from_str(str(one).strip())
                      for one in given.extra_dejson.get("recipients", ())]  # fmt: skip
    except pyrage.RecipientError:
        yield subject.fault("a recipient is no age public key (age1...)", "no backup can be encrypted",
                            f"correct extra.recipients of {connection}")  # fmt: skip
        return
    if not recipients:
        yield subject.fault("no recipient is given", "a backup without encryption is refused",
                            f"put the age public keys into extra.recipients of {connection}")  # fmt: skip
        return
    try:
        identity = pyrage.x25519.Identity.from_str((given.password or "").strip())
    except pyrage.IdentityError:
        yield subject.fault("the password is no age secret key (AGE-SECRET-KEY-1...)", "no restore test can be done",
                            f"put the secret key into the password of {connection}")  # fmt: skip
        return
    try:
        same = pyrage.decrypt(pyrage.encrypt(_PROBE, recipients), [identity]) == _PROBE
    except pyrage.DecryptError:
        same = False
    if same:
        yield subject.fine(f"a probe that is encrypted to {len(recipients)} recipient(s) is decrypted again")
    else:
        yield subject.fault("what is encrypted to the recipients cannot be decrypted with the secret key",
                            "a restore test would fail, and so would the way back",
                            f"put the public key of the secret key among extra.recipients of {connection}")  # fmt: skip
