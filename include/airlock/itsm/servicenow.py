"""Change tickets in ServiceNow: ``change_request`` and ``sysapproval_approver``, by its Table API. Knows no release.

A release is carried in ``correlation_id``, which is there for exactly this. Journal fields run what stands between
``[code]`` marks as HTML, so these marks are taken out of every text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from pydantic import Field

from airlock.errors import InvalidInput, PermanentError, TemporaryError, TicketGone
from airlock.itsm.site import Site, listed, mapping, plain
from airlock.itsm.ticket_system import Account, Decision, Draft, Ticket, TicketState, TicketSystem
from airlock.models.needs import CONNECTION, ConnectionNeed, Needs, Permission, Stage, System
from airlock.options import Options, validated

_NUMBER = re.compile(r"[A-Z]{2,8}[0-9]{4,12}")
_RELEASE = re.compile(r"[A-Za-z0-9_-]{1,100}")
_ALWAYS = ("sys_id", "number", "state", "correlation_id")
_PAGE, _PAGES = 100, 20
_TEXT, _NAME = 20_000, 200
_LONGEST = 30_000
_CODE = re.compile(r"\[(/?)code\]", re.IGNORECASE)
_CHOICES = {"approved": "approve", "rejected": "reject"}
_STATES = {
    TicketState.DRAFT: "-5", TicketState.APPROVAL: "-4", TicketState.SCHEDULED: "-2", TicketState.IMPLEMENT: "-1",
    TicketState.REVIEW: "0", TicketState.CLOSED: "3", TicketState.FAILED: "3", TicketState.CANCELED: "4",
}
"""Values of ``change_request.state`` as ServiceNow ships them: New, Assess, Scheduled, Implement, Review, Closed."""
_CLOSE_CODES = {TicketState.CLOSED: "successful", TicketState.FAILED: "unsuccessful"}
_TABLE = "/api/now/table"


class ServiceNow(TicketSystem):
    """The change requests of one ServiceNow instance."""

    class Options(Options):
        """Which states changes have there, and whose answers count."""

        states: dict[TicketState, str] = Field(default_factory=dict)
        """State of a change -> value of the field ``state``; an empty one is left out."""
        closed_states: tuple[str, ...] = ("3", "4")
        """Values of that field with which a change is over."""
        create_fields: dict[str, str] = Field(default_factory=dict)
        """Further fields of a change that Airlock creates, such as its type or assignment group."""
        only_own_answers: bool = True
        """An approval counts only if the approver's own account wrote it last."""

    needs = Needs(
        connections=(ConnectionNeed(sort="ServiceNow", stages=(Stage.TICKET,)),),
        permissions=(
            Permission(system=System.SERVICENOW, actions=("read", "create", "write"), on="change_request",
                       connection=CONNECTION, stages=(Stage.TICKET,)),
            Permission(system=System.SERVICENOW, actions=("read",), on="sysapproval_approver",
                       connection=CONNECTION, stages=(Stage.TICKET,)),
        ),
    )  # fmt: skip

    def __init__(self, options: Mapping[str, Any], account: Account) -> None:
        self.options = validated(self.Options, options, "servicenow")
        self.site = Site(account, "ServiceNow")

    def read(self, key: str, fields: Collection[str] = ()) -> Ticket:
        found = self._row(key, fields)
        state = mapping(found.get("state"))
        release = str(mapping(found.get("correlation_id")).get("value") or "")
        return Ticket(
            key=key,
            status=plain(state.get("display_value") or state.get("value"), _NAME),
            closed=str(state.get("value")) in self.options.closed_states,
            releases=(release,) if _RELEASE.fullmatch(release) else (),
            fields={name: plain(mapping(found.get(name)).get("display_value"), _TEXT) for name in fields},
            link=f"{self.site.address}/nav_to.do?uri=change_request.do?sys_id={self._id(found)}",
        )

    def _row(self, key: str, fields: Collection[str] = ()) -> Mapping[str, Any]:
        query = f"number={_checked(key)}"
        rows = self._rows("change_request", query, sorted({*_ALWAYS, *fields}), "all")
        found = list(rows)
        if len(found) > 1:
            raise PermanentError(f"{self.site.what}: there are {len(found)} changes {key}; remove all but one")
        if not found or mapping(found[0].get("number")).get("value") != key:
            raise TicketGone(f"{self.site.what}: there is no change {key}, or it is hidden from this account")
        return found[0]

    def _rows(
        self, table: str, query: str, fields: Collection[str], shown: str = "false"
    ) -> Iterator[Mapping[str, Any]]:
        for page in range(_PAGES):
            answer = mapping(self.site.ask("GET", f"{_TABLE}/{table}", params={
                "sysparm_query": query, "sysparm_fields": ",".join(fields), "sysparm_display_value": shown,
                "sysparm_exclude_reference_link": "true", "sysparm_limit": str(_PAGE),
                "sysparm_offset": str(page * _PAGE),
            }))
            rows = answer.get("result")
            if not isinstance(rows, list):
                raise TemporaryError(f"{self.site.what}: {table} gives no list; it is tried again")
            yield from listed(rows)
            if len(rows) < _PAGE:
                return
        raise PermanentError(f"{self.site.what}: {table} has more than {_PAGE * _PAGES} rows for a ticket; look at it")

    def _id(self, row: Mapping[str, Any]) -> str:
        found = row.get("sys_id")
        identity = str(mapping(found).get("value") if isinstance(found, dict) else found)
        if not re.fullmatch(r"[0-9a-f]{32}", identity):
            raise TemporaryError(f"{self.site.what}: a change has no usable sys_id; it is tried again")
        return identity

    def decisions(self, key: str) -> tuple[Decision, ...]:
        query = f"sysapproval={self._id(self._row(key))}^ORDERBYsys_created_on^ORDERBYsys_id"
        fields = ("sys_id", "state", "approver.user_name", "comments", "sys_updated_on", "sys_updated_by")
        return tuple(self._decision(row) for row in self._rows("sysapproval_approver", query, fields))

    def _decision(self, row: Mapping[str, Any]) -> Decision:
        account, updated = plain(row.get("approver.user_name"), _NAME), plain(row.get("sys_updated_on"), _NAME)
        choice, by = _CHOICES.get(str(row.get("state")), "pending"), plain(row.get("sys_updated_by"), _NAME)
        if not account:
            raise TemporaryError(f"{self.site.what}: an approval has no readable approver; it is tried again")
        doubt = ""
        if choice == "approve" and self.options.only_own_answers and by != account:
            doubt = f"it was written by {by or 'nobody known'} in the name of {account}"
        return Decision.model_validate({
            "id": f"{self._id(row)}@{updated}", "account": account, "choice": choice,
            "reason": plain(row.get("comments"), 2000), "decided_at": _moment(updated), "doubt": doubt,
        })

    def find(self, release: str) -> str | None:
        rows = list(self._rows("change_request", f"correlation_id={_quotable(release)}^ORDERBYsys_created_on", _ALWAYS))
        return _checked(str(rows[0].get("number"))) if rows else None

    def create(self, draft: Draft) -> str:
        fields = {
            **self.options.create_fields,
            "short_description": " ".join(plain(draft.title, 160).split()),
            "description": _inert(draft.text),
            "correlation_id": _quotable(draft.release),
            "correlation_display": "Airlock",
        }
        answer = self.site.ask("POST", f"{_TABLE}/change_request", body=fields)
        return _checked(str(mapping(mapping(answer).get("result")).get("number")))

    def adopt(self, key: str, release: str) -> None:
        self._change(self._id(self._row(key)), {"correlation_id": _quotable(release), "correlation_display": "Airlock"})

    def note(self, key: str, text: str) -> None:
        self._change(self._id(self._row(key)), {"work_notes": _inert(text)})

    def move(self, key: str, state: TicketState, why: str = "") -> str:
        wanted = {**_STATES, **self.options.states}[state]
        row = self._row(key)
        if not wanted or mapping(row.get("state")).get("value") == wanted:
            return wanted
        change = {"state": wanted}
        if state in _CLOSE_CODES:
            change |= {"close_code": _CLOSE_CODES[state], "close_notes": _inert(why)}
        elif why:
            change["work_notes"] = _inert(why)
        answer = self._change(self._id(row), change)
        # A business rule that forbids a move may leave the state as it was and answer with 200.
        if (found := str(answer.get("state"))) != wanted:
            raise PermanentError(f"{self.site.what}: {key} was to become state {wanted} and is {plain(found, 40)}; its "
                                 "workflow allows no such move: move it by hand, or correct states")
        return wanted

    def _change(self, identity: str, fields: Mapping[str, str]) -> Mapping[str, Any]:
        path = f"{_TABLE}/change_request/{quote(identity)}"
        return mapping(mapping(self.site.ask("PATCH", path, body=dict(fields))).get("result"))


def _checked(number: str) -> str:
    # Also keeps the marks of ServiceNow's query language out of queries.
    if not _NUMBER.fullmatch(number):
        raise InvalidInput(f"{number[:40]!a} is no number of a ServiceNow change; write such as CHG0030001")
    return number


def _quotable(release: str) -> str:
    if not _RELEASE.fullmatch(release):
        raise InvalidInput(f"{release[:40]!a} is no id of a release that fits into a correlation id")
    return release


def _inert(text: str) -> str:
    return _CODE.sub(r"(\1code)", plain(text, _LONGEST))


def _moment(text: str) -> datetime | None:
    """Return ServiceNow's time, which its API gives in UTC and without an offset."""
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
