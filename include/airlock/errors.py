"""Every error that Airlock raises, on one screen. Knows nothing else of Airlock.

Two kinds matter to whoever catches one: *permanent* (stop, a retry cannot help) and *temporary* (the same call may
succeed later). Messages say what failed, where, why, and what to do next, and never hold a secret.

AirlockError
 |- PermanentError            stop; a human or another input is needed
 |   |- InvalidInput          an RFC, service file or command line is wrong
 |   |   `- UnknownName       a name that is not registered or declared
 |   |       `- UnknownConnection  an Airflow connection that is not known where this runs
 |   |- GateRefused           a gate said no: risk, approval, calendar, permit, proof
 |   |   `- PermitInvalid     no permit, stale, expired, or signed by an unknown key
 |   |- ProofFailed           a restored backup differs from its origin, or cannot be used
 |   |- Damaged               what is stored is missing, or is not what was stored
 |   |   |- BackupDamaged     stored bytes are missing, cut off, altered or cannot be decrypted
 |   |   `- EvidenceInvalid   records or seals were altered, removed, reordered or cut off
 |   |- AccessRefused         a server does not accept who asks, or does not let them do it
 |   |- StillNeeded           it cannot be removed yet: something that stays builds on it
 |   |- EffectMissing         an act was accepted but its effect cannot be seen on the target
 |   `- TicketGone            a ticket was deleted, or is hidden from Airlock's account
 `- TemporaryError            a server is down, slow or throttles; try again
     |- Throttled             a server asks to wait; it says how long
     |- NotReady              a version that should get traffic is not healthy now
     `- NoData                metrics have no value, or several where one was asked for
         `- CountsLost        counters began anew: what was counted before cannot be told from what was counted since
"""

from __future__ import annotations


class AirlockError(Exception):
    """Base of every error in this tree."""


class PermanentError(AirlockError):
    """A retry cannot help."""


class InvalidInput(PermanentError):
    """An RFC, a service file or a command line is wrong."""


class UnknownName(InvalidInput):
    """A name that is not registered or declared."""


class UnknownConnection(UnknownName):
    """An Airflow connection that is not known where this runs."""


class GateRefused(PermanentError):
    """A gate of the release said no."""


class PermitInvalid(GateRefused):
    """There is no permit, or it is stale, expired, or signed by an unknown key."""


class ProofFailed(PermanentError):
    """A restored backup differs from its origin, or cannot be used."""


class Damaged(PermanentError):
    """What is stored is missing, or is not what was stored."""


class BackupDamaged(Damaged):
    """Stored bytes are missing, cut off, altered, or cannot be decrypted."""


class AccessRefused(PermanentError):
    """A server does not accept who asks, or does not let them do it. What was asked for is not to blame."""


class StillNeeded(PermanentError):
    """It cannot be removed yet: something that stays builds on it."""


class EffectMissing(PermanentError):
    """An act was accepted, but its effect cannot be seen on the target."""


class TicketGone(PermanentError):
    """A ticket was deleted, or is hidden from Airlock's account."""


class EvidenceInvalid(Damaged):
    """Records or seals were altered, removed, reordered or cut off."""


class TemporaryError(AirlockError):
    """The same call may succeed later."""


class Throttled(TemporaryError):
    """A server asks to wait; ``seconds`` is how long, never above an hour."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = min(max(seconds, 0.0), 3600.0)


class CalendarClosed(TemporaryError):
    """The calendar closed in the moment before an act."""


class NotReady(TemporaryError):
    """A version that should get traffic is not healthy now."""


class NoData(TemporaryError):
    """Metrics have no value, or several where one was asked for."""


class CountsLost(NoData):
    """Counters began anew, so the observation has to begin anew too."""
