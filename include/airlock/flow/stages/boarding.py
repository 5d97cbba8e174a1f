"""Stage ``board`` of a release train: who is ready at the cut-off, and who is carried over to the next train.

Asks of each service what its own gates would say now. Knows no Airflow.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airlock.change.planning import check_content
from airlock.change.rfc import rfc_from_form
from airlock.change.risk_policy import load_risk_policy
from airlock.deploy.resolution import resolve_artifact
from airlock.errors import AirlockError
from airlock.flow.stages.assessment import Question, assess, verdict
from airlock.flow.stages.cycle import next_version
from airlock.flow.stages.outside_releases import StreamRun
from airlock.flow.stages.release import Release
from airlock.flow.stages.train import SCHEDULER
from airlock.models import Rfc
from airlock.schedule.cycle import standard_form
from airlock.schedule.promotion import NothingNew
from airlock.schedule.train import Readiness, Train
from airlock.schedule.train import board as rule_of_boarding
from airlock.service.find import ServiceEnvironment, find, services_folder

log = logging.getLogger(__name__)


def board(run: StreamRun, train: Train, now: datetime) -> None:
    """Decide once, at the cut-off, who leaves with this train, and record what that was decided by."""
    if run.latest("boarding") is not None:
        log.info("who leaves is on record already")
        return
    readiness = [_readiness(one.name, train.environment, now) for one in train.services]
    found = rule_of_boarding(train.services, {one.service: one for one in readiness})
    releases = {one.service: {"version": one.version, "digest": one.digest} for one in readiness
                if one.service in found.passengers}
    run.record("boarding", at=now.isoformat(), train=train.model_dump(mode="json"),
               readiness=[one.model_dump(mode="json") for one in readiness])
    run.record("departure", train=train.model_dump(mode="json"), passengers=list(found.passengers), releases=releases,
               carried_over=found.carried_over)
    for one in readiness:
        log.info("%-9s %s: %s", one.state, one.service, one.why)
    log.info("leaving, in this order: %s", ", ".join(found.passengers) or "nobody")
    for service, why in found.carried_over.items():
        log.warning("%s stays behind and is carried over to the next train: %s", service, why)


def _readiness(service: str, environment: str, now: datetime) -> Readiness:
    try:
        where = find(services_folder(), service, environment)
        chosen, _ = next_version(where)
        if isinstance(chosen, NothingNew):
            return Readiness(service=service, state="nothing", why=chosen.sentence)
        why = _not_allowed(where, standard_form(where, chosen), chosen.digest, now)
        if why:
            return Readiness(service=service, state="not_ready", why=why)
    except AirlockError as error:
        return Readiness(service=service, state="not_ready", why=str(error))
    return Readiness(service=service, state="ready", why=chosen.sentence, version=chosen.version, digest=chosen.digest)


def _not_allowed(where: ServiceEnvironment, form: Mapping[str, Any], digest: str, now: datetime) -> str:
    """Return why the standard change *form* would be refused now; empty when the written policy allows it.

    :raises AirlockError: a gate, an artifact or a file refuses it
    """
    preview = Release(where, f"{where.service}-{where.environment}-preview", "train")
    under_way = preview.ledger.unsettled()
    if under_way:
        return f"{under_way[0]} is under way"
    rfc = Rfc.model_validate({**rfc_from_form(form, SCHEDULER, where).model_dump(), "digest": digest})
    artifact = resolve_artifact(where, rfc.version)
    check_content(rfc, artifact)
    question = Question(where, preview.id, rfc, artifact, preview.delivery.inspect().stable, now,
                        load_risk_policy())
    assess(question, lambda: verdict(where, artifact, lambda: preview.migration_database))
    return ""
