"""Where the records of a service environment lie: those of releases, and those of streams beside them.

A seal is final, so approvals that are given afterwards, reviews, and the restorations of templates are kept in streams
of their own, signed, chained and sealed alike. Their folders begin with ``_``, as no service can.
"""

from __future__ import annotations

from airlock.evidence.ledger import Ledger
from airlock.places.address import Address, inside
from airlock.service.find import ServiceEnvironment
from airlock.signing import keyring_from_connection, signer_from_connection

BACKUPS, DRILLS, FOLLOW_UP, STANDARD_CHANGES = "backups", "drills", "follow_up", "standard_changes"
"""Streams: of scheduled backups and drills, of what is owed after each release, and of templates, by their names."""


def releases(environment: ServiceEnvironment, *, signed: bool = True) -> Ledger:
    """Return the ledger of releases; *signed*: whether records without a trusted signature are refused."""
    return _ledger(environment, "", signed=signed)


def stream(environment: ServiceEnvironment, name: str, *, signed: bool = True) -> Ledger:
    """Return the ledger of the stream *name*."""
    return _ledger(environment, name, signed=signed)


def root_of(environment: ServiceEnvironment, stream: str = "") -> str | Address:
    """Return the folder that the ledger of releases, or of a *stream*, lies in."""
    return inside(environment.ledger, f"_{stream}") if stream else environment.ledger


def anchor_of(environment: ServiceEnvironment, stream: str = "") -> str | Address | None:
    """Return the folder of the anchor of that ledger; ``None`` if the service has none."""
    anchor = environment.anchor
    return inside(anchor, f"_{stream}") if stream and anchor is not None else anchor


def _ledger(environment: ServiceEnvironment, stream: str, *, signed: bool) -> Ledger:
    key = environment.signing_connection
    return Ledger(
        root_of(environment, stream), environment.service, environment.environment,
        signer=lambda: signer_from_connection(key),
        keyring=(lambda: keyring_from_connection(key)) if signed else None, anchor=anchor_of(environment, stream),
    )
