"""Stage ``validate`` of a rollback: from on-call's reason to the request to return to the version before.

Knows no Airflow. What is returned to is not asked but read from the ledger: the light approval of a rollback carries
nothing but that.
"""

from __future__ import annotations

import logging

from airlock.change.rfc import rfc_from_form
from airlock.errors import GateRefused
from airlock.flow.stages.change import accept
from airlock.flow.stages.cycle import way_back
from airlock.flow.stages.permitted_act import await_earlier
from airlock.flow.stages.release import Release
from airlock.models import Rfc
from airlock.service.deep_check import check_deep

log = logging.getLogger(__name__)
IMPACT = "high"
ROLLBACK_PLAN = "If the version before fails its checks, all traffic goes to the version that has it now."


def request(
    release: Release, reason: str | None, incident: str | None, requester: str, asked_by: tuple[str, str] | None = None
) -> Rfc:
    """Ask to return to the version before the one that has all traffic now.

    :param asked_by: the departure of a release train, and the release of it that is to be taken back
    :raises InvalidInput: what was typed, the service file or the artifact is wrong
    :raises GateRefused: there is no version before on record, or the train means another release
    :raises TemporaryError: a release is under way, which is brought back first
    """
    check_deep(release.environment)
    await_earlier(release)
    stable = release.delivery.inspect().stable
    back = way_back(release, stable)
    train = None
    if asked_by is not None:
        train, undoes = asked_by
        if back.undoes != undoes:
            raise GateRefused(f"{release.id}: the train takes back {undoes}, but the newest release here is "
                              f"{back.undoes}: somebody released since; look at it before you go back by hand")
    form = {"version": back.version, "change_type": "normal", "title": f"Back from {stable} to {back.version}",
            "reason": reason, "impact": IMPACT, "impact_details": back.sentence, "incident": incident,
            "rollback_plan": ROLLBACK_PLAN}
    rfc = rfc_from_form(form, requester, release.environment)
    fixed = {"change_type": "rollback", "digest": back.digest, "undoes": back.undoes, "train": train}
    accept(release, Rfc.model_validate({**rfc.model_dump(), **fixed}))
    log.info("it takes back %s: %s", back.undoes, back.sentence)
    return release.rfc
