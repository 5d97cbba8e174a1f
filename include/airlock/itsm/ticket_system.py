"""The contract of every ticket system: what Airlock reads of a change ticket and what it writes. Must not know plans,
votes, ledgers or Airflow.

Implementations
  - name a ticket by its key or number as people do (``CHG-42``, ``CHG0030001``), and refuse whatever is no such name;
  - return text as written by strangers, bounded and flattened, never rendered; callers check it and escape it;
  - raise ``TicketGone`` for a ticket that is not there, ``PermanentError`` for what the server will always refuse,
    ``Throttled`` and ``TemporaryError`` for everything that may pass; they do not retry and do not wait;
  - follow no redirect and no link of an answer, and send the account's secret only to the host of its connection.
``create`` is called once for each release, unless a crash hid its answer: ``find`` then finds the ticket by the release
that it carries. ``move`` and ``adopt`` may be repeated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime, Field

from airlock.models import Frozen, digest_of
from airlock.models.needs import Needs
from airlock.options import Options


class TicketState(StrEnum):
    """Where a change stands, in the words of ITIL; options say what each ticket system calls it."""

    DRAFT = "draft"
    APPROVAL = "approval"
    SCHEDULED = "scheduled"
    IMPLEMENT = "implement"
    REVIEW = "review"
    CLOSED = "closed"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True)
class Account:
    """Where a ticket system is and as whom Airlock works there. Without a *login*, the secret is a bearer token."""

    address: str
    login: str = ""
    secret: str = field(default="", repr=False)


class Ticket(Frozen):
    """One change ticket. ``releases`` are those that claimed it; ``fields`` holds the fields asked for, as text."""

    key: str
    status: str
    closed: bool
    releases: tuple[str, ...] = ()
    fields: dict[str, str] = Field(default_factory=dict)
    link: str = ""


class Decision(Frozen):
    """What one approver answered in a ticket. ``id`` is another one when the same person is asked or answers anew.

    ``doubt`` says why it may not be that person's own answer; such a one does not count.
    """

    id: str
    account: str
    choice: Literal["approve", "reject", "pending"]
    reason: str = ""
    decided_at: AwareDatetime | None = None
    doubt: str = ""


@dataclass(frozen=True)
class Draft:
    """What a ticket is made of that Airlock creates."""

    release: str
    title: str
    text: str


class TicketSystem(ABC):
    """One ticket system; see the module's docstring for what each implementation promises."""

    Options: ClassVar[type[Options]]
    needs: ClassVar[Needs]
    found_at_once: ClassVar[bool] = True
    """Whether ``find`` sees a ticket as soon as it was created; otherwise a search index needs its time."""

    @abstractmethod
    def __init__(self, options: Mapping[str, Any], account: Account) -> None:
        """Bind *options* and *account*; ask nothing yet.

        :raises InvalidInput: an option is wrong
        """

    @abstractmethod
    def read(self, key: str, fields: Collection[str] = ()) -> Ticket:
        """Return the ticket *key* with *fields*.

        :raises InvalidInput: *key* is no name of a ticket of the configured project
        """

    @abstractmethod
    def decisions(self, key: str) -> tuple[Decision, ...]:
        """Return what everybody who was asked for approval answered, of all pages, in no order that matters."""

    @abstractmethod
    def find(self, release: str) -> str | None:
        """Return the ticket that carries *release*, or ``None``."""

    @abstractmethod
    def create(self, draft: Draft) -> str:
        """Create a change ticket that carries the release from its first moment; return its key."""

    @abstractmethod
    def adopt(self, key: str, release: str) -> None:
        """Write *release* into a ticket that people made."""

    @abstractmethod
    def note(self, key: str, text: str) -> None:
        """Add *text* for the people who work on the ticket, as typed: nothing in it is markup."""

    @abstractmethod
    def move(self, key: str, state: TicketState, why: str = "") -> str:
        """Bring the ticket to *state* and return how its system calls it; empty if the options name no such state.

        :param why: what is written where the system wants a reason for closing
        :raises PermanentError: the ticket cannot go there from where it is
        """


def fingerprint(ticket: Ticket, decisions: Collection[Decision]) -> str:
    """Return a text that changes when the state of *ticket* or an answer to it changes, and not for its words."""
    return digest_of([ticket.key, ticket.status, ticket.closed,
                      sorted([one.id, one.account, one.choice, one.doubt] for one in decisions)])
