"""One run of what is done outside releases (a backup, a drill, an expiry): on record in a ledger stream of its own.

A stream lies beside the releases, below a name that no service can have, so that neither is taken for the other. Its
records are signed, and each run is sealed and packed as a release is.
"""

from __future__ import annotations

import logging
from functools import cached_property

from upath import UPath

from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import write_pack
from airlock.evidence.seal import seal as sign_seal
from airlock.flow.stages.notices import notify
from airlock.flow.stages.release import Attempt, Release
from airlock.models import Outcome, utc_now
from airlock.past.ledgers import BACKUPS, DRILLS, anchor_of, root_of
from airlock.places.address import inside
from airlock.service.find import ServiceEnvironment

log = logging.getLogger(__name__)
RETENTION, TRAINS, WATCH = "retention", "trains", "watch"
__all__ = ["BACKUPS", "DRILLS", "RETENTION", "TRAINS", "WATCH", "StreamRun"]


class StreamRun(Release):
    """See the module. It has no plan and no permit, so nothing of it can act on a target."""

    def __init__(
        self, environment: ServiceEnvironment, stream: str, identity: str, actor: str, attempt: Attempt | None = None
    ) -> None:
        """Bind the run *identity* of *stream*."""
        super().__init__(environment, identity, actor, attempt)
        self.stream = stream

    @cached_property
    def ledger(self) -> Ledger:
        """Return the ledger of the stream."""
        where = self.environment
        return Ledger(root_of(where, self.stream), where.service, where.environment, signer=lambda: self.signer,
                      keyring=lambda: self.keyring, anchor=anchor_of(where, self.stream))

    def end(self, outcome: Outcome, why: str) -> UPath:
        """Record how the run ended, seal it, and write its evidence pack; idempotent."""
        if not self.ledger.sealed(self.id):
            if outcome is Outcome.FAILED:
                where = self.environment
                notify(self, "alarm", f"{self.stream} of {where.service} {where.environment}", why)
            self.record("outcome", outcome=outcome, why=why)
            sign_seal(self.ledger, self.id, self.signer, utc_now(), anchor_of(self.environment, self.stream))
        return write_pack(self.ledger, self.id, inside(self.environment.evidence, self.stream))
