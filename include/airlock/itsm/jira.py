"""Change tickets in Jira Service Management (Cloud), through its REST API v3 and its approvals API. Knows no release.

A release is carried as the label ``airlock:<release>``, which is set in the request that creates the ticket. Texts go
out as Atlassian Document Format made of plain text nodes, so that nothing in them is markup.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import Field

from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.itsm.site import Site, listed, mapping, plain
from airlock.itsm.ticket_system import Account, Decision, Draft, Ticket, TicketState, TicketSystem
from airlock.models.needs import CONNECTION, ConnectionNeed, Needs, Permission, Stage, System
from airlock.options import Options, validated

_KEY = re.compile(r"[A-Z][A-Z0-9_]{1,9}-[1-9][0-9]{0,9}")
_LABEL = "airlock:"
_ALWAYS = ("status", "labels")
_PAGE, _PAGES = 50, 20
_TEXT, _NAME, _DEPTH = 20_000, 200, 30
_LONGEST = 30_000  # Jira takes 32,767 characters in a text field
_CHOICES = {"approved": "approve", "declined": "reject", "pending": "pending"}


class JiraServiceManagement(TicketSystem):
    """The change tickets of one Jira project."""

    class Options(Options):
        """Where requests are, and which status a change has there."""

        project: str = Field(pattern=r"^[A-Z][A-Z0-9_]{1,9}$")
        """Key of the project."""
        issue_type: str = Field("[System] Change", min_length=1, max_length=100)
        """Name of the type of request."""
        states: dict[TicketState, str] = Field(default_factory=dict)
        """State of a change -> name of a status; a state that is not named is left out."""
        create_fields: dict[str, Any] = Field(default_factory=dict)
        """Further fields of a ticket that Airlock creates, such as the customer request type."""

    found_at_once: ClassVar[bool] = False
    needs = Needs(
        connections=(ConnectionNeed(sort="Jira Service Management", stages=(Stage.TICKET,)),),
        permissions=(Permission(
            system=System.JIRA, on="project {project}", connection=CONNECTION, stages=(Stage.TICKET,),
            actions=("BROWSE_PROJECTS", "CREATE_ISSUES", "EDIT_ISSUES", "ADD_COMMENTS", "TRANSITION_ISSUES",
                     "SERVICEDESK_AGENT"),
            why="an agent sees approvals and writes internal comments",
        ),),
    )  # fmt: skip

    def __init__(self, options: Mapping[str, Any], account: Account) -> None:
        self.options = validated(self.Options, options, "jira")
        self.site = Site(account, "Jira Service Management")

    def read(self, key: str, fields: Collection[str] = ()) -> Ticket:
        wanted = sorted({*_ALWAYS, *fields})
        answer = self.site.ask("GET", f"/rest/api/3/issue/{self._checked(key)}", params={"fields": ",".join(wanted)})
        found = mapping(mapping(answer).get("fields"))
        if mapping(answer).get("key") != key or not found:
            raise PermanentError(f"{self.site.what}: {key} is another ticket now, or its answer is none; was it moved?")
        status = mapping(found.get("status"))
        given = found.get("labels")
        labels = [label for label in given if isinstance(label, str)] if isinstance(given, list) else []
        return Ticket(
            key=key,
            status=plain(status.get("name"), _NAME),
            closed=mapping(status.get("statusCategory")).get("key") == "done",
            releases=tuple(label.removeprefix(_LABEL) for label in labels if label.startswith(_LABEL)),
            fields={name: text_of(found.get(name)) for name in fields},
            link=f"{self.site.address}/browse/{key}",
        )

    def decisions(self, key: str) -> tuple[Decision, ...]:
        approvals = list(self._approvals(f"/rest/servicedeskapi/request/{self._checked(key)}/approval"))
        return tuple(decision for one in approvals for decision in self._answers(one))

    def _approvals(self, path: str) -> Iterator[Mapping[str, Any]]:
        start = 0
        for _ in range(_PAGES):
            page = mapping(self.site.ask("GET", path, params={"start": str(start), "limit": str(_PAGE)}))
            values = page.get("values")
            if not isinstance(values, list) or not isinstance(page.get("isLastPage"), bool):
                raise TemporaryError(f"{self.site.what}: the approvals of a ticket cannot be read; it is tried again")
            yield from listed(values)
            if page["isLastPage"]:
                return
            start += len(values)
            if not values:
                break
        raise PermanentError(f"{self.site.what}: {path} has no end after {_PAGES} pages; look at the ticket")

    def _answers(self, approval: Mapping[str, Any]) -> Iterator[Decision]:
        completed = mapping(approval.get("completedDate")).get("iso8601")
        for one in listed(approval.get("approvers")):
            account = plain(mapping(one.get("approver")).get("accountId"), _NAME)
            choice = _CHOICES.get(str(one.get("approverDecision")))
            if not account or choice is None or approval.get("id") is None:
                raise TemporaryError(f"{self.site.what}: an approval of a ticket cannot be read; it is tried again")
            yield Decision.model_validate({"id": f"{plain(approval['id'], _NAME)}/{account}", "account": account,
                                           "choice": choice, "decided_at": _moment(completed)})

    def find(self, release: str) -> str | None:
        jql = f'project = "{self.options.project}" AND labels = "{_LABEL}{_quotable(release)}" ORDER BY created'
        body = {"jql": jql, "fields": ["labels"], "maxResults": 2}
        answer = mapping(self.site.ask("POST", "/rest/api/3/search/jql", body=body))
        if not isinstance(answer.get("issues"), list):
            raise TemporaryError(f"{self.site.what}: its search gives no list of tickets; it is tried again")
        keys = [str(one.get("key")) for one in listed(answer["issues"])]
        return self._checked(keys[0]) if keys else None

    def create(self, draft: Draft) -> str:
        fields = {
            **self.options.create_fields,
            "project": {"key": self.options.project},
            "issuetype": {"name": self.options.issue_type},
            "summary": " ".join(draft.title.split())[:250],
            "description": document(draft.text),
            "labels": [f"{_LABEL}{_quotable(draft.release)}"],
        }
        answer = self.site.ask("POST", "/rest/api/3/issue", body={"fields": fields})
        return self._checked(str(mapping(answer).get("key")))

    def adopt(self, key: str, release: str) -> None:
        change = {"update": {"labels": [{"add": f"{_LABEL}{_quotable(release)}"}]}}
        self.site.ask("PUT", f"/rest/api/3/issue/{self._checked(key)}", body=change)

    def note(self, key: str, text: str) -> None:
        internal = [{"key": "sd.public.comment", "value": {"internal": True}}]
        body = {"body": document(text), "properties": internal}
        self.site.ask("POST", f"/rest/api/3/issue/{self._checked(key)}/comment", body=body)

    def move(self, key: str, state: TicketState, why: str = "") -> str:
        wanted = self.options.states.get(state, "")
        if not wanted or self.read(key).status.casefold() == wanted.casefold():
            return wanted
        path = f"/rest/api/3/issue/{self._checked(key)}/transitions"
        offered = listed(mapping(self.site.ask("GET", path)).get("transitions"))
        names = {plain(mapping(one.get("to")).get("name"), _NAME).casefold(): one.get("id") for one in offered}
        if wanted.casefold() not in names:
            raise PermanentError(f"{self.site.what}: {key} has no transition to {wanted!r} from where it is, only to "
                                 f"{', '.join(sorted(names)) or 'nowhere'}: move it by hand, or correct states")
        self.site.ask("POST", path, body={"transition": {"id": str(names[wanted.casefold()])}})
        if (found := self.read(key).status).casefold() != wanted.casefold():
            raise PermanentError(f"{self.site.what}: {key} was to become {wanted!r} and is {found!r}; look at it")
        if why:
            self.note(key, why)
        return wanted

    def _checked(self, key: str) -> str:
        if not _KEY.fullmatch(key) or key.rpartition("-")[0] != self.options.project:
            raise InvalidInput(f"{key[:40]!a} is no ticket of the Jira project {self.options.project}; write such as "
                               f"{self.options.project}-42")
        return quote(key)


def document(text: str) -> dict[str, Any]:
    """Return *text* as an Atlassian Document: one paragraph for each line, of one text node."""
    lines = plain(text, _LONGEST).split("\n")
    content = [{"type": "paragraph", "content": [{"type": "text", "text": line}] if line.strip() else []}
               for line in lines]
    return {"type": "doc", "version": 1, "content": content}


def text_of(value: Any, depth: int = 0) -> str:
    """Return a field of a ticket as text: plain, a document, a choice, a person, or a list of such."""
    if depth > _DEPTH:
        return ""
    if isinstance(value, list):
        return plain(", ".join(filter(None, (text_of(one, depth + 1) for one in value[:100]))), _TEXT)
    if isinstance(value, dict):
        if value.get("type") == "doc":
            return plain(_flat(value, 0).strip("\n"), _TEXT)
        named = next((value[name] for name in ("value", "name", "displayName", "key") if value.get(name)), "")
        return text_of(named, depth + 1)
    return plain(value, _TEXT)


def _flat(node: Any, depth: int) -> str:
    if not isinstance(node, dict) or depth > _DEPTH:
        return ""
    if node.get("type") == "text":
        return plain(node.get("text"), _TEXT)
    if node.get("type") == "hardBreak":
        return "\n"
    content = node.get("content")
    inner = "".join(_flat(one, depth + 1) for one in content[:1000]) if isinstance(content, list) else ""
    return f"{inner}\n" if node.get("type") in ("paragraph", "heading", "listItem", "codeBlock") else inner


def _quotable(release: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,200}", release):
        raise InvalidInput(f"{release[:40]!a} is no id of a release")
    return release


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else None
