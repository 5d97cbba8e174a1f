"""What a release waits for while its approval is decided in a ticket: a change of the ticket. Knows no release.

Looks from the triggerer, so that no worker is held; whatever it sees only wakes the task, which looks for itself. While
the ticket system is away it waits longer and longer and says so; it never takes silence for an answer.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airlock import registry
from airlock.errors import AirlockError, Throttled, TicketGone, UnknownName
from airlock.itsm.account import account_of
from airlock.itsm.ticket_system import Account, TicketSystem, fingerprint
from airlock.models import utc_now

log = logging.getLogger(__name__)
LONGEST_WAIT_SECONDS = 300.0
GONE, LATE = "gone", "late"


class TicketTrigger(BaseTrigger):
    """Fires when the ticket *key* differs from what was *seen*, when it is gone, and at *until*."""

    def __init__(  # noqa: PLR0913 - what it needs must all survive the way to the triggerer
        self, system: str, connection: str, options: Mapping[str, Any], key: str, seen: str, every: float, until: str
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.system, self.connection, self.options = system, connection, dict(options)
        self.key, self.seen, self.every, self.until = key, seen, every, until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("system", "connection", "options", "key", "seen", "every", "until")
        return f"{TicketTrigger.__module__}.{TicketTrigger.__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        wait, until = self.every, datetime.fromisoformat(self.until)
        while (left := (until - utc_now()).total_seconds()) > 0:
            # Not all releases that wait may ask at the same moment, least of all when the server comes back.
            await asyncio.sleep(min(left, wait * random.uniform(0.9, 1.1)))  # noqa: S311 - no secret
            try:
                found = await self._look()
            except TicketGone:
                found = GONE
            except AirlockError as error:
                wait = min(2 * wait, max(self.every, LONGEST_WAIT_SECONDS))
                if isinstance(error, Throttled):
                    wait = max(self.every, error.seconds)
                log.warning("ticket %s cannot be read: %s; the release waits, it looks again in %.0f s",
                            self.key, error, wait)
                continue
            wait = self.every
            if found != self.seen:
                yield TriggerEvent(found)  # type: ignore[no-untyped-call]
                return
        yield TriggerEvent(LATE)  # type: ignore[no-untyped-call]

    async def _look(self) -> str:
        account = await self._account()
        system: TicketSystem = registry.resolve(registry.TICKET_SYSTEMS, "ticket system", self.system)(
            self.options, account
        )
        return await asyncio.to_thread(lambda: fingerprint(system.read(self.key), system.decisions(self.key)))

    async def _account(self) -> Account:
        from airflow.sdk import BaseHook
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            return account_of(await BaseHook.aget_connection(self.connection))
        except AirflowNotFoundException as error:
            raise UnknownName(f"Airflow has no connection {self.connection!r} any more; add it again") from error
