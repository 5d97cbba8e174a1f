"""Telling people what happens to a release: in its chat thread and in its ticket. Never stops or delays a release.

The ledger remembers the thread and what was not delivered, so that any task, retry or other process goes on in the same
thread, and what a chat missed while it was away follows when it is back. A server that is away costs one attempt a
minute, of bounded time. Knows no rule of any gate and no particular chat.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from airlock import registry
from airlock.errors import AirlockError, TemporaryError, Throttled
from airlock.flow.stages.release import Release
from airlock.flow.stages.tickets import in_step
from airlock.models import Record, utc_now
from airlock.notify.notifier import KIND, Message, Notifier

log = logging.getLogger(__name__)
PAUSE_SECONDS = 60.0
SHORT_WAIT_SECONDS = 3.0
BUDGET_SECONDS = 20.0
MOST_AT_ONCE = 5


def notify(release: Release, event: str, title: str, text: str, link: str = "", **fields: str) -> None:
    """Tell people of *event*, once for each *title*. Never stops a release."""
    message = Message(release=release.id, event=event, title=title[:200], text=text[:8000], fields=fields, link=link)
    tell(release, message)


def tell(release: Release, message: Message) -> None:
    """Tell people *message*, once for each event and title; whatever goes wrong is logged and nothing else."""
    try:
        if release.ledger.sealed(release.id):
            log.info("the release is sealed, nobody is told: %s", message.title)
            return
        records, _ = release.ledger.read_undamaged(release.id)
        told = [record for record in records if record.type == KIND]
        if any((one.subject, one.data.get("title")) == (message.event, message.title) for one in told):
            return
        _to_ticket(release, message)
        _to_chat(release, told, message)
    except AirlockError as error:
        log.warning("message %r was not delivered, the release goes on: %s", message.title, error)


def thread_of(told: Sequence[Record]) -> str | None:
    """Return the thread that the release's messages form, if one was begun."""
    return next((str(one.data["thread"]) for one in told if one.data.get("thread")), None)


def waiting(told: Sequence[Record]) -> tuple[Message, ...]:
    """Return what was not delivered so far, oldest first."""
    arrived = {(one.subject, one.data.get("title")) for one in told if one.data.get("delivered")}
    missed = [Message.model_validate(one.data["message"]) for one in told if one.data.get("message")]
    return tuple(one for one in missed if (one.event, one.title) not in arrived)


def _to_chat(release: Release, told: Sequence[Record], message: Message) -> None:
    if any(one.data.get("unconfigured") for one in told):
        return  # which was said when the release began
    notifier: Notifier = registry.resolve(registry.NOTIFIERS, "notifier", "slack")()
    if not notifier.configured():
        release.record(KIND, message.event, title=message.title, delivered=False, unconfigured=True)
        return
    queue, limit = [*waiting(told), message], time.monotonic() + BUDGET_SECONDS
    # The end is the last chance: only what the chat itself asked for is waited for then.
    pauses = [one.data for one in told if one.data.get("not_before")
              and (message.event != "end" or one.data.get("throttled"))]
    not_before = max((datetime.fromisoformat(one["not_before"]) for one in pauses), default=None)
    if not_before is not None and utc_now() < not_before:
        log.warning("message %r waits: the chat was away a moment ago, and is asked again after %s UTC; the release "
                    "goes on", message.title, f"{not_before:%H:%M:%S}")
        throttled = any(one.get("throttled") for one in pauses)
        _keep(release, message, "the chat was away a moment ago", not_before, throttled)
        return
    thread = thread_of(told)
    for number, one in enumerate(queue if message.event == "end" else queue[:MOST_AT_ONCE]):
        try:
            if time.monotonic() > limit:
                raise TemporaryError("telling took too long")
            thread = _posted(release, notifier, told, one.model_copy(update={"thread": thread}))
        except TemporaryError as error:
            seconds = error.seconds if isinstance(error, Throttled) else PAUSE_SECONDS
            log.warning("message %r was not delivered, the release goes on: %s; %d message(s) wait, they are sent with "
                        "the next one after %.0f s", one.title, error, len(queue) - number, seconds)
            _keep(release, message, str(error), utc_now() + timedelta(seconds=seconds), isinstance(error, Throttled))
            return
        release.record(KIND, one.event, title=one.title, thread=thread, delivered=True)
    if len(queue) > MOST_AT_ONCE and message.event != "end":
        _keep(release, message, "older messages went first", utc_now())


def _keep(release: Release, message: Message, why: str, not_before: datetime, throttled: bool = False) -> None:
    data: dict[str, Any] = message.model_dump(mode="json", exclude={"thread"})
    release.record(KIND, message.event, title=message.title, delivered=False, why=why, message=data,
                   not_before=not_before.isoformat(), throttled=throttled)


def _posted(release: Release, notifier: Notifier, told: Sequence[Record], message: Message) -> str:
    """Return the thread of *message*, which is sent; the first one begins the thread, and only one may.

    :raises TemporaryError: it was not accepted
    """
    if message.thread is None:
        if any(one.data.get("begun") for one in told):
            # An attempt before this one left no word: it may have been posted all the same.
            found = notifier.find(release.id)
            if found is not None:
                log.info("the thread of the release was begun before a crash: %s", found)
                return notifier.send(message.model_copy(update={"thread": found})) if _differs(told, message) else found
        else:
            release.record(KIND, "thread", title="thread begun", begun=True, first=message.title)
    try:
        return notifier.send(message)
    except Throttled as busy:
        if busy.seconds > SHORT_WAIT_SECONDS:
            raise
        time.sleep(busy.seconds)
        return notifier.send(message)


def _differs(told: Sequence[Record], message: Message) -> bool:
    """Whether *message* is another one than that which began the thread."""
    return not any(one.data.get("first") == message.title for one in told)


def _to_ticket(release: Release, message: Message) -> None:
    if message.event in ("start", "approval_wanted", "vote", "end"):
        return  # the ticket has its own words for its beginning, its question and its end
    try:
        in_step(release, message.title, message.text)
    except AirlockError as error:
        log.warning("the ticket was not told of %r, the release goes on and the next event catches up: %s",
                    message.title, error)
