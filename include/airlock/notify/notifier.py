"""The contract of every notifier: tell people what happens to a release. Must not know gates, Airflow tasks or ledgers.

A notification never decides anything. Notifiers
  - raise ``Throttled`` where the other side says how long to wait, and ``TemporaryError`` for everything else that it
    answers or fails to answer: callers log it and go on, so that no release fails for a message;
  - take a bounded time, whatever the other side does, and do not retry;
  - treat every text as written by a stranger: it must not call people, make links or forge layout.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from pydantic import Field

from airlock.models import Frozen
from airlock.models.needs import Needs

KIND = "notification"
"""The type of the records of what people were told."""


class Message(Frozen):
    """One event of one release. ``thread`` is what ``send`` returned for the release's first message, if it did."""

    release: str
    event: Literal["start", "approval_wanted", "approval_reminder", "approval_escalated", "approval_over",
                   "approver_absent", "vote", "permitted", "conflict", "begun", "held", "verdict", "end", "fault",
                   "quiet", "alarm"]
    title: str
    text: str = ""
    fields: dict[str, str] = Field(default_factory=dict)
    link: str = ""
    thread: str | None = None


class Notifier(ABC):
    """Sends messages; see the module's docstring for what each implementation promises."""

    needs: ClassVar[Needs]

    @abstractmethod
    def configured(self) -> bool:
        """Return whether there is anybody to tell; where not, that is logged once."""

    @abstractmethod
    def send(self, message: Message) -> str:
        """Send *message* and return the id of its thread.

        :raises TemporaryError: the message was not accepted
        """

    @abstractmethod
    def find(self, release: str) -> str | None:
        """Return the thread of *release* that was begun earlier, or ``None`` if there is none, or nobody can know.

        :raises TemporaryError: the other side does not say
        """
