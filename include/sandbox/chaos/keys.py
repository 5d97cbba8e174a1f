"""Changes the signing key of a running sandbox, as ``docs/permits-and-keys.md`` tells an operator to do it."""

from __future__ import annotations

import json

from airlock.signing import Signer
from sandbox import credentials, environment_file, trusted_keys
from sandbox.layout import Layout


def rotate(layout: Layout) -> str:
    """Give the connection a new private key, trust the former public one besides, and return the new key's id.

    Airflow's components know it once they were started again.
    """
    given = environment_file.kept(layout)
    connection = json.loads(given[trusted_keys.CONNECTION])
    fresh = credentials.new_signing_key()
    trusted = [*connection["extra"]["trusted"], Signer.from_pem(connection["password"]).public_pem]
    changed = {**connection, "password": fresh, "extra": {**connection["extra"], "trusted": trusted}}
    environment_file.keep(layout, {**given, trusted_keys.CONNECTION: json.dumps(changed)})
    trusted_keys.write(layout)
    return Signer.from_pem(fresh).key_id
