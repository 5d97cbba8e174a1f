"""The public keys that a sandbox trusts, as a file for ``airlock evidence verify --public-key``."""

from __future__ import annotations

import json

from airlock.signing import Signer
from sandbox import environment_file
from sandbox.layout import Layout

CONNECTION = "AIRFLOW_CONN_AIRLOCK_SIGNING"


def public_keys(layout: Layout) -> tuple[str, ...]:
    """Return the public keys that the sandbox trusts, as PEM, the present one first."""
    connection = json.loads(environment_file.kept(layout)[CONNECTION])
    return (Signer.from_pem(connection["password"]).public_pem, *connection["extra"]["trusted"])


def write(layout: Layout) -> None:
    """Write them to the file that the sandbox's connection names."""
    layout.trusted_keys.write_text("".join(public_keys(layout)))
