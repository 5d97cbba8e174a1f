"""Changes the signing key of a running sandbox, as ``docs/permits-and-keys.md`` tells an operator to do it."""

from __future__ import annotations

import json

from airlock.signing import Signer
from sandbox import credentials, environment_file
from sandbox.layout import Layout

_CONNECTION = "AIRFLOW_CONN_AIRLOCK_SIGNING"


def rotate(layout: Layout) -> str:
    """Give the connection a new private key, trust the former public one besides, and return the new key's id.

    Airflow's components know it once they were started again.
    """
    given = environment_file.kept(layout)
    connection = json.loads(given[_CONNECTION])
    fresh = credentials.new_signing_key()
    trusted = [*connection["extra"]["trusted"], Signer.from_pem(connection["password"]).public_pem]
    changed = {**connection, "password": fresh, "extra": {**connection["extra"], "trusted": trusted}}
    environment_file.keep(layout, {**given, _CONNECTION: json.dumps(changed)})
    return Signer.from_pem(fresh).key_id


def public_keys(layout: Layout) -> tuple[str, ...]:
    """Return the public keys that the sandbox trusts, as PEM, the present one first."""
    connection = json.loads(environment_file.kept(layout)[_CONNECTION])
    return (Signer.from_pem(connection["password"]).public_pem, *connection["extra"]["trusted"])
