"""A server that behaves as the public documents of ServiceNow's Table API say: ``sysparm_*`` parameters, values beside
display values, paging by limit and offset, approvals as rows of a table, and moves that a business rule refuses."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from tests.itsm.ticket_server import Refused, TicketServer, stamp

STATES = {"draft": "-5", "approval": "-4", "scheduled": "-2", "implement": "-1", "review": "0", "closed": "3",
          "canceled": "4"}  # fmt: skip
NAMES = {"-5": "New", "-4": "Assess", "-2": "Scheduled", "-1": "Implement", "0": "Review", "3": "Closed",
         "4": "Canceled"}  # fmt: skip
ALLOWED = {"-5": ["-4", "4"], "-4": ["-5", "-2", "4"], "-2": ["-5", "-1", "4"], "-1": ["0", "3", "4"], "0": ["3"]}
CHOICES = {"approve": "approved", "reject": "rejected"}


class ServiceNowServer(TicketServer):
    """``approvers`` are asked when a change enters Assess. ``page`` is the largest page that it gives."""

    options: dict[str, Any] = {}

    def __init__(self) -> None:
        super().__init__()
        self.changes: dict[str, dict[str, str]] = {}
        self.approvals: list[dict[str, str]] = []
        self.journal: list[tuple[str, str]] = []
        self.approvers: tuple[str, ...] = ()
        self.silent_rule = False
        """A business rule that leaves the state as it was answers with 200 all the same."""

    # --- the API ------------------------------------------------------------------------------------------------------

    def reply(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if (method, path) == ("GET", "/api/now/table/change_request"):
            return 200, {"result": self._selected(list(self.changes.values()), query)}
        if (method, path) == ("GET", "/api/now/table/sysapproval_approver"):
            return 200, {"result": self._selected(self.approvals, query)}
        if (method, path) == ("POST", "/api/now/table/change_request"):
            return 201, {"result": self._insert(body)}
        found = re.fullmatch(r"/api/now/table/change_request/([0-9a-f]{32})", path)
        if found and method == "PATCH":
            return 200, {"result": self._update(found[1], body)}
        raise Refused(400, {"error": {"message": "Requested URI does not represent any resource", "detail": None},
                            "status": "failure"})

    def _selected(self, rows: list[dict[str, str]], query: dict[str, str]) -> list[dict[str, Any]]:
        for condition in reversed(query["sysparm_query"].split("^") if "sysparm_query" in query else []):
            if condition.startswith("ORDERBY"):
                rows = sorted(rows, key=lambda row: row.get(condition.removeprefix("ORDERBY"), ""))
                continue
            name, _, value = condition.partition("=")
            rows = [row for row in rows if row.get(name, "") == value]
        offset, limit = int(query.get("sysparm_offset", 0)), int(query.get("sysparm_limit", 10000))
        fields, how = query["sysparm_fields"].split(","), query.get("sysparm_display_value", "false")
        return [{name: self._shown(name, row.get(name, ""), how) for name in fields}
                for row in rows[offset : offset + limit]]

    def _shown(self, name: str, value: str, how: str) -> Any:
        display = NAMES.get(value, value) if name == "state" else value
        return {"value": value, "display_value": display} if how == "all" else value

    def _insert(self, fields: dict[str, str]) -> dict[str, str]:
        number = f"CHG{30000 + len(self.changes) + 1:07d}"
        row = {"sys_id": hashlib.md5(number.encode()).hexdigest(), "number": number, "state": "-5",
               "sys_created_on": stamp(), "correlation_id": "", **fields}
        self.changes[row["sys_id"]] = row
        return row

    def _update(self, identity: str, fields: dict[str, str]) -> dict[str, str]:
        if identity not in self.changes:
            raise Refused(404, {"error": {"message": "No Record found", "detail": "Record doesn't exist or ACL "
                                          "restricts the record retrieval"}, "status": "failure"})
        row = self.changes[identity]
        state = fields.get("state")
        if state is not None and state != row["state"] and state not in ALLOWED.get(row["state"], []):
            if self.silent_rule:
                return row
            raise Refused(403, {"error": {"message": "Operation Failed", "detail": "Invalid update: the change model "
                                          "allows no such state"}, "status": "failure"})
        if state == "3" and not (fields.get("close_code") and fields.get("close_notes")):
            raise Refused(403, {"error": {"message": "Operation Failed", "detail": "Close code and close notes are "
                                          "mandatory"}, "status": "failure"})
        if note := fields.pop("work_notes", None):
            self.journal.append((identity, note))
        row.update(fields)
        if state is not None:
            self._entered(row, state)
        return row

    def _entered(self, row: dict[str, str], state: str) -> None:
        if state == "-5":
            for one in self.approvals:
                if one["sysapproval"] == row["sys_id"] and one["state"] == "requested":
                    one["state"] = "cancelled"
        if state == "-4" and self.approvers:
            self.ask_for_approval(row["number"], *self.approvers)

    def _row(self, number: str) -> dict[str, str]:
        return next(row for row in self.changes.values() if row["number"] == number)

    # --- people -------------------------------------------------------------------------------------------------------

    def opened(self, title: str, text: str = "", **fields: str) -> str:
        return self._insert({"short_description": title, "description": text, **fields})["number"]

    def ask_for_approval(self, key: str, *accounts: str) -> None:
        for account in accounts:
            name = f"{key} {account} {len(self.approvals)}"
            self.approvals.append({
                "sys_id": hashlib.md5(name.encode()).hexdigest(), "sysapproval": self._row(key)["sys_id"],
                "approver.user_name": account, "state": "requested", "comments": "", "sys_created_on": stamp(),
                "sys_updated_on": stamp(), "sys_updated_by": "system",
            })

    def answer(self, key: str, account: str, choice: str, by: str = "") -> None:
        with self.lock:
            rows = [one for one in self.approvals if one["approver.user_name"] == account
                    and one["sysapproval"] == self._row(key)["sys_id"]]
            rows[-1].update(state=CHOICES[choice], comments="No." if choice == "reject" else "",
                            sys_updated_on=stamp(), sys_updated_by=by or account)

    def set_status(self, key: str, status: str) -> None:
        with self.lock:
            row = self._row(key)
            row["state"] = STATES.get(status, status)
            self._entered(row, row["state"])

    def status(self, key: str) -> str:
        state = self._row(key)["state"]
        return next(name for name, value in STATES.items() if value == state)

    def edit(self, key: str, field: str, value: Any) -> None:
        self._row(key)[field] = value

    def delete(self, key: str) -> None:
        del self.changes[self._row(key)["sys_id"]]

    def notes(self, key: str) -> list[str]:
        return [note for identity, note in self.journal if identity == self._row(key)["sys_id"]]

    def carried(self, release: str) -> list[str]:
        return [row["number"] for row in self.changes.values() if row["correlation_id"] == release]


