"""Where the records of a service environment lie: those of releases, and those of streams beside them.

A seal is final, so approvals that are given afterwards, reviews, and the restorations of templates are kept in streams
of their own, signed, chained and sealed alike. Their folders begin with ``_``, as no service can.
"""

from __future__ import annotations

from airlock.evidence.ledger import Ledger
from airlock.services import ServiceEnvironment
from airlock.signing import keyring_from_connection, signer_from_connection

BACKUPS, DRILLS, FOLLOW_UP, STANDARD_CHANGES = "backups", "drills", "follow_up", "standard_changes"
"""Streams: of scheduled backups and drills, of what is owed after each release, and of templates, by their names."""


def releases(environment: ServiceEnvironment, *, signed: bool = True) -> Ledger:
    """Return the ledger of releases; *signed*: whether records without a trusted signature are refused."""
    return _ledger(environment, environment.ledger, signed=signed)


def stream(environment: ServiceEnvironment, name: str, *, signed: bool = True) -> Ledger:
    """Return the ledger of the stream *name*."""
    return _ledger(environment, f"{environment.ledger}/_{name}", signed=signed)


def _ledger(environment: ServiceEnvironment, root: str, *, signed: bool) -> Ledger:
    key = environment.signing_connection
    return Ledger(
        root, environment.service, environment.environment, signer=lambda: signer_from_connection(key),
        keyring=(lambda: keyring_from_connection(key)) if signed else None,
    )
