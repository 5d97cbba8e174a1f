"""A server that behaves as the public documents of Jira Cloud's REST API v3 and of its Service Management's approvals
API say: paging by ``isLastPage``, errors as ``errorMessages``, approvals bound to a status, a search index that
lags."""

from __future__ import annotations

import re
from typing import Any

from tests.itsm.ticket_server import Refused, TicketServer

STATUSES = {
    "Planning": "new", "Awaiting approval": "indeterminate", "Awaiting implementation": "indeterminate",
    "Implementing": "indeterminate", "Under review": "indeterminate", "Completed": "done", "Failed": "done",
    "Declined": "done", "Canceled": "done",
}  # fmt: skip
TRANSITIONS = {
    "Planning": ["Awaiting approval", "Canceled"],
    "Awaiting approval": ["Planning", "Awaiting implementation", "Declined", "Canceled"],
    "Awaiting implementation": ["Planning", "Implementing", "Canceled"],
    "Implementing": ["Under review", "Completed", "Failed", "Canceled"],
    "Under review": ["Completed", "Failed"],
}
STATES = {
    "draft": "Planning", "approval": "Awaiting approval", "scheduled": "Awaiting implementation",
    "implement": "Implementing", "review": "Under review", "closed": "Completed", "failed": "Failed",
    "canceled": "Canceled",
}  # fmt: skip
CHOICES = {"approve": "approved", "reject": "declined"}


class JiraServer(TicketServer):
    """``approvers`` are asked when a ticket enters the status with the approval step. ``page`` is the largest page."""

    options = {"project": "CHG", "states": STATES}

    def __init__(self) -> None:
        super().__init__()
        self.issues: dict[str, dict[str, Any]] = {}
        self.approvers: tuple[str, ...] = ()
        self.page = 2
        self.denied: set[str] = set()
        """Permissions that the account does not have."""
        self.indexed: set[str] | None = None
        """The tickets that the search knows; ``None``: all."""

    # --- the API ------------------------------------------------------------------------------------------------------

    def reply(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if (method, path) == ("POST", "/rest/api/3/issue"):
            return 201, self._create(body["fields"])
        if (method, path) == ("POST", "/rest/api/3/search/jql"):
            return 200, self._search(body)
        found = re.fullmatch(r"/rest/api/3/issue/([^/]+)(/comment|/transitions)?", path)
        if found:
            issue = self._issue(found[1])
            return self._issue_reply(method, found[2] or "", issue, query, body)
        if (method, path) == ("GET", "/rest/api/3/mypermissions"):
            return 200, {"permissions": {name: {"key": name, "havePermission": name not in self.denied}
                                         for name in query["permissions"].split(",")}}
        if (method, path) == ("GET", "/rest/api/3/project/CHG/statuses"):
            return 200, [{"id": "1", "name": "[System] Change", "statuses": [{"name": name} for name in STATUSES]}]
        found = re.fullmatch(r"/rest/servicedeskapi/request/([^/]+)/approval", path)
        if found and method == "GET":
            return 200, self._approvals(self._issue(found[1]), query)
        raise Refused(405, {"errorMessages": ["Method Not Allowed"]})

    def _issue_reply(
        self, method: str, part: str, issue: dict[str, Any], query: dict[str, str], body: Any
    ) -> tuple[int, Any]:
        if (method, part) == ("GET", ""):
            wanted = query.get("fields", "*all").split(",")
            status = issue["status"]
            fields = {**issue["fields"], "status": {"name": status, "statusCategory": {"key": STATUSES[status]}}}
            return 200, {"id": issue["id"], "key": issue["key"], "self": "http://evil.invalid/issue",
                         "fields": {name: value for name, value in fields.items() if name in wanted}}
        if (method, part) == ("PUT", ""):
            for change in body["update"]["labels"]:
                issue["fields"]["labels"].append(change["add"])
            return 204, None
        if (method, part) == ("POST", "/comment"):
            assert body["properties"] == [{"key": "sd.public.comment", "value": {"internal": True}}]
            issue["comments"].append(body["body"])
            return 201, {"id": str(len(issue["comments"]))}
        offered = TRANSITIONS.get(issue["status"], [])
        if (method, part) == ("GET", "/transitions"):
            return 200, {"transitions": [{"id": str(100 + list(STATUSES).index(name)), "name": f"to {name}",
                                          "to": {"name": name}} for name in offered]}
        if (method, part) == ("POST", "/transitions"):
            name = list(STATUSES)[int(body["transition"]["id"]) - 100]
            if name not in offered:
                raise Refused(400, {"errorMessages": ["The transition is not valid for this issue."], "errors": {}})
            self._enter(issue, name)
            return 204, None
        raise Refused(405, {"errorMessages": ["Method Not Allowed"]})

    def _create(self, fields: dict[str, Any]) -> dict[str, Any]:
        if fields["project"]["key"] != "CHG":
            raise Refused(400, {"errorMessages": [], "errors": {"project": "valid project is required"}})
        if any(" " in label for label in fields["labels"]):
            raise Refused(400, {"errorMessages": [], "errors": {"labels": "must not contain spaces"}})
        number = len(self.issues) + 1
        issue = {"id": str(10000 + number), "key": f"CHG-{number}", "fields": dict(fields), "status": "Planning",
                 "comments": [], "approvals": []}
        self.issues[issue["key"]] = issue
        return {"id": issue["id"], "key": issue["key"], "self": f"{self.url}/rest/api/3/issue/{issue['id']}"}

    def _search(self, body: dict[str, Any]) -> dict[str, Any]:
        found = re.fullmatch(r'project = "CHG" AND labels = "([^"]+)" ORDER BY created', body["jql"])
        if not found:
            raise Refused(400, {"errorMessages": ["Error in the JQL Query"], "errors": {}})
        keys = [key for key, issue in self.issues.items() if found[1] in issue["fields"]["labels"]
                and (self.indexed is None or key in self.indexed)]
        return {"issues": [{"key": key} for key in keys[: body["maxResults"]]], "isLast": True}

    def _approvals(self, issue: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
        start, limit = int(query.get("start", 0)), min(int(query.get("limit", 50)), self.page)
        values = issue["approvals"][start : start + limit]
        return {"size": len(values), "start": start, "limit": limit,
                "isLastPage": start + len(values) >= len(issue["approvals"]),
                "_links": {"next": "http://evil.invalid/next"}, "values": values}

    def _issue(self, key: str) -> dict[str, Any]:
        if key not in self.issues:
            text = "Issue does not exist or you do not have permission to see it."
            raise Refused(404, {"errorMessages": [text], "errors": {}})
        return self.issues[key]

    def _enter(self, issue: dict[str, Any], status: str) -> None:
        issue["status"] = status
        if status == "Awaiting approval" and self.approvers:
            self.ask_for_approval(issue["key"], *self.approvers)

    # --- people -------------------------------------------------------------------------------------------------------

    def opened(self, title: str, text: str = "", **fields: Any) -> str:
        described = {"type": "doc", "version": 1, "content": [
            {"type": "paragraph", "content": [{"type": "text", "text": line}]} for line in text.split("\n")]}
        given = {"summary": title, "description": described, "labels": [], "project": {"key": "CHG"}, **fields}
        return str(self._create(given)["key"])

    def ask_for_approval(self, key: str, *accounts: str) -> None:
        approvals = self.issues[key]["approvals"]
        people = [{"approver": {"accountId": account, "displayName": account.title()}, "approverDecision": "pending"}
                  for account in accounts]
        approvals.append({"id": str(len(approvals) + 1), "name": "Approval", "finalDecision": "pending",
                          "canAnswerApproval": False, "approvers": people,
                          "createdDate": {"iso8601": "2026-09-28T14:01:00+0700"}})

    def answer(self, key: str, account: str, choice: str, by: str = "") -> None:
        with self.lock:
            approval = self.issues[key]["approvals"][-1]
            for one in approval["approvers"]:
                if one["approver"]["accountId"] == account:
                    one["approverDecision"] = CHOICES[choice]
            found = {one["approverDecision"] for one in approval["approvers"]}
            approval["finalDecision"] = ("declined" if "declined" in found else
                                         "approved" if found == {"approved"} else "pending")

    def set_status(self, key: str, status: str) -> None:
        with self.lock:
            self._enter(self.issues[key], STATES.get(status, status))

    def status(self, key: str) -> str:
        name = self.issues[key]["status"]
        return next((state for state, own in STATES.items() if own == name), name)

    def edit(self, key: str, field: str, value: Any) -> None:
        self.issues[key]["fields"][field] = value

    def delete(self, key: str) -> None:
        del self.issues[key]

    def notes(self, key: str) -> list[str]:
        return ["\n".join("".join(text["text"] for text in paragraph["content"]) for paragraph in body["content"])
                for body in self.issues[key]["comments"]]

    def carried(self, release: str) -> list[str]:
        return [key for key, issue in self.issues.items() if f"airlock:{release}" in issue["fields"]["labels"]]
