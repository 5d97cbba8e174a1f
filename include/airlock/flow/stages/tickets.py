"""Stages of the change ticket: fill the form from it, make one, keep it in step with the release, close it.

Knows no Airflow: waiting is the operators' part. What is taken from a ticket is copied into the ledger the moment it is
seen, and only the ledger counts from then on: what is edited in the ticket afterwards changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from airlock import registry
from airlock.change.text import Section, approval_text, without_marks
from airlock.change.ticket import form_with_ticket, said_by_ticket
from airlock.connections import connection
from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.flow.stages.release import Release
from airlock.itsm.account import account_of
from airlock.itsm.ticket_system import Draft, Ticket, TicketState, TicketSystem
from airlock.models import Outcome, Plan, utc_now
from airlock.notify.notifier import KIND
from airlock.service.find import ServiceEnvironment
from airlock.service.model import Tickets

log = logging.getLogger(__name__)
INDEX_SECONDS = 90.0
"""How long a search index may take to show a ticket that was just created."""
_WAY = (TicketState.APPROVAL, TicketState.SCHEDULED, TicketState.IMPLEMENT)
_END = {Outcome.PROMOTED: TicketState.CLOSED, Outcome.ROLLED_BACK: TicketState.FAILED}


def system_of(environment: ServiceEnvironment) -> TicketSystem:
    """Return the ticket system of *environment*.

    :raises InvalidInput: there is none, or its options or its connection are wrong
    """
    tickets = _setting(environment)
    account = account_of(connection(tickets.connection))
    system: TicketSystem = registry.resolve(registry.TICKET_SYSTEMS, "ticket system", tickets.name)(
        tickets.options, account
    )
    return system


def filled(release: Release, form: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return *form*, with what it leaves empty taken from the ticket that it names, if it names one.

    :raises InvalidInput: the environment has no ticket system, the ticket is closed or another release's, or form and
        ticket contradict each other
    :raises TemporaryError: the ticket system is out of reach
    """
    key = form.get("ticket")
    if not isinstance(key, str) or not key.strip():
        return form
    key, tickets = key.strip(), _setting(release.environment)
    ticket = system_of(release.environment).read(key, tuple(set(tickets.fields.values())))
    _refuse_taken(release, ticket)
    said = said_by_ticket(tickets, ticket.fields)
    whole = form_with_ticket(form, said)
    release.record("ticket_read", key, system=tickets.name, key=key, said=said)
    log.info("the request comes from ticket %s (%s), with %s", key, ticket.status, ", ".join(said) or "no field of it")
    return whole


def open_ticket(release: Release) -> str:
    """Return the ticket of the release: the one that its request names, or one that is made for it, once.

    :raises InvalidInput: the ticket that the request names is closed, or another release's
    :raises TemporaryError: the ticket system is out of reach, or may not show yet what was created before a crash
    """
    known = release.latest("ticket")
    if known is not None:
        return str(known["key"])
    system, tickets, rfc = system_of(release.environment), _setting(release.environment), release.rfc
    key = rfc.ticket or system.find(release.id)
    if key is None:
        _await_index(release, system)
        release.record("ticket_wanted", at=utc_now().isoformat())
        key = system.create(Draft(release.id, f"Release {rfc.service} {rfc.version} to {rfc.environment}: {rfc.title}",
                                  plan_text(release.plan)))
    ticket = system.read(key)
    if release.id not in ticket.releases:
        _refuse_taken(release, ticket)
        system.adopt(key, release.id)
    release.record("ticket", system=tickets.name, key=key, link=ticket.link, from_request=rfc.ticket is not None)
    log.info("the release is shown in ticket %s of %s: %s", key, tickets.name, ticket.link)
    return key


def _await_index(release: Release, system: TicketSystem) -> None:
    """A try before this one may have created a ticket that the search does not show yet: no second one is made."""
    wanted = release.latest("ticket_wanted")
    if wanted is None or system.found_at_once:
        return
    left = INDEX_SECONDS - (utc_now() - datetime.fromisoformat(wanted["at"])).total_seconds()
    if left > 0:
        raise TemporaryError(f"{release.id}: a ticket may have been created a moment ago; the search is asked again "
                             f"before another one is made, in {left:.0f} s at the earliest")


def _refuse_taken(release: Release, ticket: Ticket) -> None:
    others = [one for one in ticket.releases if one != release.id and not release.id.startswith(f"{one}-")]
    if others:
        raise InvalidInput(f"ticket {ticket.key} belongs to the release {others[0][:120]} already; one ticket carries "
                           "one release: open another ticket")
    if ticket.closed:
        raise InvalidInput(f"ticket {ticket.key} is closed ({ticket.status}); reopen it, or open another one")


def plan_text(plan: Plan, changed: Sequence[str] = (), sections: Sequence[Section] = ()) -> str:
    """Return *plan* as the people who work on the ticket read it: what approvers read in Airflow, as plain text."""
    return "\n".join((
        f"Airlock release {plan.release}, plan {plan.digest}",
        "An approval counts for exactly this plan: if anything of it changes, it is void, and this ticket asks again.",
        "",
        without_marks(approval_text(plan, changed, sections)),
    ))


def in_step(release: Release, title: str, text: str) -> None:
    """Write into the ticket what happened, and bring it to where the release is; nothing if there is no ticket.

    :raises TemporaryError: the ticket system is out of reach; the next event, or the end, catches up
    :raises PermanentError: it refuses
    """
    known, kinds = release.latest("ticket"), {record.type for record in release.records()}
    if known is None or release.environment.tickets is None:
        return
    key, system = str(known["key"]), system_of(release.environment)
    system.note(key, f"{title}\n{text}".strip())
    wanted = TicketState.IMPLEMENT if "window" in kinds else TicketState.SCHEDULED if "permit" in kinds else None
    reached = (release.latest(KIND, "ticket") or {}).get("state", TicketState.APPROVAL)
    for state in _WAY[_WAY.index(TicketState(reached)) + 1 : _WAY.index(wanted) + 1 if wanted else 0]:
        status = system.move(key, state)
        release.record(KIND, "ticket", state=state, status=status, key=key)
        log.info("ticket %s is moved to %s", key, status or f"nothing: no status stands for {state}")


def close_ticket(release: Release) -> None:
    """Bring the ticket to the end that the sealed outcome asks for; may be repeated.

    :raises TemporaryError: the ticket system is out of reach
    :raises PermanentError: the ticket cannot be closed from where it is, or the release has no outcome yet
    """
    known, ended = release.latest("ticket"), release.latest("outcome")
    if known is None or release.environment.tickets is None:
        log.info("the release has no ticket")
        return
    if ended is None or not release.ledger.sealed(release.id):
        raise PermanentError(f"{release.id} is not sealed, so its ticket stays open; read the log of close.seal")
    key, system, outcome = str(known["key"]), system_of(release.environment), Outcome(ended["outcome"])
    why = f"Airlock release {release.id}: {outcome.replace('_', ' ')}: {ended['why']}"
    final = _END.get(outcome, TicketState.CANCELED)
    if system.read(key).closed:
        log.info("ticket %s is closed already", key)
        return
    for state in (*_WAY[1:], TicketState.REVIEW) if outcome in _END else ():
        try:
            system.move(key, state)
        except PermanentError as error:
            log.info("ticket %s passes over %s: %s", key, state, error)
    status = system.move(key, final, why)
    log.info("ticket %s is closed as %s: %s", key, status or "it was: no status stands for it", why)


def _setting(environment: ServiceEnvironment) -> Tickets:
    if environment.tickets is None:
        raise InvalidInput(f"{environment.service} {environment.environment} has no ticket system: declare tickets in "
                           f"{environment.source}, or leave the ticket out of the form")
    return environment.tickets
