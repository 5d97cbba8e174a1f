"""Where the records of a service environment lie: those of releases, and those of what comes after a release is sealed.

A seal is final, so approvals that are given afterwards, reviews, and the restorations of templates are kept in ledgers
of their own beside it, signed, chained and sealed alike. Their folders begin with ``_``, as no service can.
"""

from __future__ import annotations

from airlock.evidence.ledger import Ledger
from airlock.services import ServiceEnvironment
from airlock.signing import keyring_from_connection, signer_from_connection

FOLLOW_UP = "_follow_up"
STANDARD_CHANGES = "_standard_changes"


def releases(environment: ServiceEnvironment, *, signed: bool = True) -> Ledger:
    """Return the ledger of releases; *signed*: whether records without a trusted signature are refused."""
    return _ledger(environment, environment.ledger, signed=signed)


def follow_ups(environment: ServiceEnvironment, *, signed: bool = True) -> Ledger:
    """Return the ledger of what is owed after releases, one stream for each, with the id of the release."""
    return _ledger(environment, f"{environment.ledger.rstrip('/')}/{FOLLOW_UP}", signed=signed)


def standard_changes(environment: ServiceEnvironment, *, signed: bool = True) -> Ledger:
    """Return the ledger of templates, one stream for each, with the name of the template."""
    return _ledger(environment, f"{environment.ledger.rstrip('/')}/{STANDARD_CHANGES}", signed=signed)


def _ledger(environment: ServiceEnvironment, root: str, *, signed: bool) -> Ledger:
    key = environment.signing_connection
    return Ledger(
        root, environment.service, environment.environment, signer=lambda: signer_from_connection(key),
        keyring=(lambda: keyring_from_connection(key)) if signed else None,
    )
