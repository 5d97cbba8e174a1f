"""Asks a ticket system what the account may do, and whether the statuses of the service file exist. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airlock.connections import connection as airflow_connection
from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.itsm.account import account_of
from airlock.itsm.site import Site, listed, mapping
from airlock.models.needs import Permission, System

_JIRA, _TABLE = "/rest/api/3", "/api/now/table"


def ask(
    subject: Subject, connection: str, permissions: Sequence[Permission], options: Mapping[str, Any]
) -> Iterator[Finding]:
    """Ask the ticket system of *connection* for each of *permissions*; *options* are those of the service file."""
    account = account_of(airflow_connection(connection))
    if permissions[0].system is System.JIRA:
        yield from _jira(subject, Site(account, "Jira Service Management"), permissions, options)
    else:
        yield from _servicenow(subject, Site(account, "ServiceNow"), permissions)


def _jira(
    subject: Subject, site: Site, permissions: Sequence[Permission], options: Mapping[str, Any]
) -> Iterator[Finding]:
    project = str(options["project"])
    wanted = [action for permission in permissions for action in permission.actions]
    answer = mapping(site.ask("GET", f"{_JIRA}/mypermissions", params={
        "projectKey": project, "permissions": ",".join(wanted)}))
    held = mapping(answer.get("permissions"))
    lacking = [action for action in wanted if not mapping(held.get(action)).get("havePermission")]
    if lacking:
        yield subject.fault(f"the account may not {', '.join(lacking)} in the project {project}",
                            "tickets of releases could not be read, made or moved",
                            f"give the account a role of the project that has them ({permissions[0].why})")  # fmt: skip
    else:
        yield subject.fine(f"the account may do all that is needed in the project {project}")
    types = listed(site.ask("GET", f"{_JIRA}/project/{project}/statuses"))
    of_type = [one for one in types if one.get("name") == options.get("issue_type", "[System] Change")]
    if not of_type:
        yield subject.fault(f"the project {project} has no issue type {options.get('issue_type', '[System] Change')!r}",
                            "no ticket of it can be made", "correct the option issue_type")  # fmt: skip
        return
    known = {str(one.get("name")).casefold() for kind in of_type for one in listed(kind.get("statuses"))}
    for state, name in dict(options.get("states") or {}).items():
        if str(name).casefold() not in known:
            yield subject.found(Gravity.WARNING, f"the project has no status {name!r}, which stands for {state}",
                                "the ticket stays where it is, and its release goes on",
                                "correct the option states")  # fmt: skip


def _servicenow(subject: Subject, site: Site, permissions: Sequence[Permission]) -> Iterator[Finding]:
    for permission in permissions:
        site.ask("GET", f"{_TABLE}/{permission.on}", params={"sysparm_limit": "1", "sysparm_fields": "sys_id"})
        yield subject.fine(f"the account may read {permission.on}")
        others = [action for action in permission.actions if action != "read"]
        if others:
            yield subject.not_asked(f"whether the account may {' and '.join(others)} {permission.on}",
                                    "ServiceNow tells it only to who tries")  # fmt: skip
