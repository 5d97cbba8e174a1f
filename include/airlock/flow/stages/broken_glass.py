"""What a person does to a release by hand while Airflow is down, and how that is shown when it is back.

The same way back as that of the release's own tasks and of ``settle``, under the same exclusion. Knows no Airflow.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.client import HTTPException
from urllib.parse import urlsplit

from airlock.deploy.broken_glass import BrokenGlass, to_bring_back
from airlock.deploy.landing import BROKEN_GLASS, acted, newest
from airlock.errors import GateRefused
from airlock.fetch import Terms, ask
from airlock.flow.stages import close
from airlock.flow.stages.deploy import show as show_state
from airlock.flow.stages.notices import notify
from airlock.flow.stages.outside_releases import StreamRun
from airlock.flow.stages.permitted_act import PATIENCE_SECONDS, refuse_vanished
from airlock.flow.stages.release import Release
from airlock.flow.stages.settle import carry_home, close_ticket
from airlock.models import Frozen, Record, utc_now
from airlock.past import ledgers
from airlock.service.find import ServiceEnvironment

log = logging.getLogger(__name__)
SHOWN = "broken_glass_shown"
"""Type of the record, in the follow-up of a release, by which people were told once Airflow was back."""
_HEALTH = "/api/v2/monitor/health"
_TERMS = Terms(silence_seconds=5.0, whole_seconds=10.0, largest_bytes=1 << 20)
_CLOCK_SECONDS = 5.0


class Open(Frozen):
    """A release that is not sealed. ``why``: why it may be brought back; empty when it is to be left alone, for the
    reason that ``left`` says. ``airflow`` and ``run_id``: where its run is, as far as that is on record."""

    release: str
    version: str = ""
    why: str = ""
    left: str = ""
    airflow: str = ""
    run_id: str = ""
    damaged: tuple[str, ...] = ()


def open_releases(environment: ServiceEnvironment, actor: str) -> tuple[Open, ...]:
    """Return the releases of one service environment that are not sealed, as far as they can be read.

    :raises GateRefused: one began, as the anchor knows, and its records are gone
    """
    ledger = ledgers.releases(environment)
    refuse_vanished(ledger, environment, ", so nobody knows where to bring it back to: put its folder back into the "
                    "ledger first")
    return tuple(_open(Release(environment, identity, actor)) for identity in ledger.unsettled())


def _open(release: Release) -> Open:
    records, damaged = release.ledger.read_undamaged(release.id)
    run, rfc = newest(records, "run"), newest(records, "rfc")
    why = to_bring_back(records, damaged)
    return Open(
        release=release.id, version=str(rfc.data["rfc"]["version"]) if rfc else "", why=why,
        left="" if why else _left(records), airflow=str(run.data["airflow"]) if run else "",
        run_id=str(run.data["run_id"]) if run else "", damaged=damaged,
    )


def _left(records: Sequence[Record]) -> str:
    if newest(records, "baked") is not None:
        return "its version has all traffic and is baked; it is sealed when Airflow is back"
    return "it is sealed" if acted(records) else "it has changed nothing"


def target_now(release: Release) -> str:
    """Return what the target shows of *release*, so that it is known to be in reach from here.

    :raises AirlockError: it cannot be asked, or a connection or the signing key is not known here
    """
    release.signer  # noqa: B018 - without the key nothing can be put on record, so nothing is done
    return show_state(release.delivery.inspect())


def airflow_now(address: str) -> tuple[bool, str]:
    """Return whether the Airflow at *address* works, by its scheduler, and what it answered."""
    if not address:
        return False, "its address is not on record"
    try:
        parts = urlsplit(address)
        reply = ask(f"{parts.scheme}://{parts.netloc}", f"{parts.path.rstrip('/')}{_HEALTH}", _TERMS)
        if reply.status != HTTPStatus.OK:
            return False, f"HTTP {reply.status}"
        status = str(json.loads(reply.body)["scheduler"]["status"])[:40]
    except (OSError, HTTPException) as error:
        return False, f"no answer ({type(error).__name__})"
    except (ValueError, LookupError, TypeError):
        return False, "no answer of Airflow's"
    return status == "healthy", f"scheduler {status}"


def land(release: Release, glass: BrokenGlass) -> str:
    """Bring *release* back and seal it, on the word of the person of *glass*; return how it ended, in a sentence.

    From the record of that on, no task of the release goes forward any more. May be repeated, also after it was killed.

    :param release: with the actor of *glass*
    :raises GateRefused: there is nothing to bring back, or the clock of this machine is behind
    :raises TemporaryError: another process acts just now, or a server is down
    """
    with release.ledger.acting(PATIENCE_SECONDS):
        records, damaged = release.ledger.read_undamaged(release.id)
        if release.ledger.sealed(release.id) or not to_bring_back(records, damaged):
            raise GateRefused(f"{release.id}: there is nothing to bring back any more: {_left(records)}")
        _await_clock(release, records)
        glass = glass.model_copy(update={"damaged": damaged})
        release.record(BROKEN_GLASS, **glass.as_record())
    log.warning("%s: %s; next: all traffic goes back", release.id, glass.message)
    notify(release, "fault", f"{release.id} is brought back by hand", glass.message)
    return carry_home(release)


def _await_clock(release: Release, records: Sequence[Record]) -> None:
    """Records are in the order of the clocks that wrote them, so what comes last must not be written by a slow one.

    :raises GateRefused: the clock of this machine is behind
    """
    behind = (records[-1].at - utc_now()).total_seconds() if records else 0.0
    if behind > _CLOCK_SECONDS:
        raise GateRefused(f"{release.id}: the clock of this machine is {behind:.0f} s behind the newest record; set "
                          "it, and try again")
    time.sleep(max(0.0, behind))


def unshown(release: Release) -> BrokenGlass | None:
    """Return who brought *release* back by hand, if it is sealed and people were not told yet."""
    if not release.ledger.sealed(release.id) or (data := release.latest(BROKEN_GLASS)) is None:
        return None
    run = _follow_up(release)
    told = run.ledger.sealed(run.id) or run.latest(SHOWN) is not None
    return None if told else BrokenGlass.of_record(data)


def show_afterwards(release: Release, glass: BrokenGlass) -> None:
    """Tell people of what was done by hand: their chat, the ticket, the pack where evidence is kept; once.

    :raises AirlockError: the pack or the record of this could not be written
    """
    run = _follow_up(release)
    outcome, _ = close.outcome(release)
    close.write_missing_pack(release)
    close_ticket(release)
    title = f"{release.id} was ended by hand while Airflow was down: {outcome.replace('_', ' ')}"
    notify(run, "alarm", title, f"{glass.message}; its run does nothing more and ends as failed; a review is asked for")
    run.record(SHOWN, person=glass.person, user=glass.user, host=glass.host)
    log.warning("%s; %s", title, glass.message)


def _follow_up(release: Release) -> StreamRun:
    return StreamRun(release.environment, ledgers.FOLLOW_UP, release.id, release.actor)
