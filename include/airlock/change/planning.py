"""Everything a release will do, frozen into one plan. Changes nothing; must not know how approval is given."""

from __future__ import annotations

from collections.abc import Sequence

from airlock import registry
from airlock.change.policy import terms_for, without_authors
from airlock.errors import InvalidInput
from airlock.models import ApprovalRule, Artifact, Plan, Resource, Rfc, Risk, RollbackSafety, Rollout, RolloutStep
from airlock.service.calendar import Calendar, PlannedCalendar, Window
from airlock.service.find import ServiceEnvironment
from airlock.service.planned_checks import planned_checks
from airlock.service.values import DAYS

_SHOWN_ELSEWHERE = {
    "service", "environment", "source", "rollout", "analysis", "target", "router", "metrics", "checks", "resources",
    "backup", "without_kinds", "calendar", "approval_policy", "absences", "authors",
}
"""Of a service environment: what has a field of its own in the plan (the policy has its digest there), and who is away,
which does not make an approval stale. All the rest is bound by ``Plan.settings``."""


_NOTHING_MIGRATED = RollbackSafety()


def build_plan(  # noqa: PLR0913 - each argument is decided by another stage, and the plan binds them all
    release: str,
    rfc: Rfc,
    environment: ServiceEnvironment,
    artifact: Artifact,
    current_version: str,
    rules: Sequence[ApprovalRule],
    risk: Risk,
    touches: Sequence[str] = (),
    calendar: PlannedCalendar | None = None,
    way_back: RollbackSafety = _NOTHING_MIGRATED,
) -> Plan:
    """Return the plan. The same arguments give the same digest.

    A rollback goes at once and whole, waits for no window, and restores no data: who approves it knows what burns.

    :param rules: the seats by the policy; authors of the artifact lose theirs here
    :param touches: what the release really works on, by address
    :param calendar: that of ``calendar_for``, with the digests of its files and what is overridden in it; without it,
        its settings alone
    :param way_back: the verdict on the migrations that the artifact carries
    :raises InvalidInput: the RFC and the artifact or environment do not belong together, or a check is not allowed
    :raises GateRefused: everybody of a group wrote the artifact
    """
    if (rfc.service, rfc.environment) != (environment.service, environment.environment):
        raise InvalidInput(f"the request is for {rfc.service} {rfc.environment}, not for {environment.service} "
                           f"{environment.environment}; trigger the DAG of that environment")
    if rfc.version != artifact.version:
        raise InvalidInput(f"the request is for version {rfc.version}, but the artifact is {artifact.version}; "
                           "resolve the artifact again")
    check_content(rfc, artifact)
    back = rfc.change_type == "rollback"
    authors = None if back else artifact.authors  # nobody's new work: it was approved when it came
    if calendar is None:
        settings = calendar_for(rfc, environment)
        if settings.files:
            raise InvalidInput(f"{environment.source}: the calendar names files, so a plan needs their digests")
        calendar = PlannedCalendar.model_validate(dict(settings))
    return Plan(
        release=release, service=environment.service, environment=environment.environment, rfc=rfc, artifact=artifact,
        current_version=current_version, rollout=_direct(environment) if back else _planned(environment.rollout),
        analysis=environment.analysis,
        target=environment.target.model_dump(mode="json"),
        router=environment.router.model_dump(mode="json"), metrics=environment.metrics.model_dump(mode="json"),
        checks=planned_checks(environment),
        resources=tuple(Resource(**dict(resource)) for resource in environment.resources),
        backup_policy={**environment.backup.model_dump(mode="json"), **({"restore_on_rollback": []} if back else {}),
                       "without_kinds": {kind.value: why for kind, why in environment.without_kinds.items()}},
        calendar=calendar.model_dump(mode="json", by_alias=True),
        approvals=without_authors(rules, authors, environment.authors, rfc.requester),
        terms=terms_for(risk, rfc, environment, authors), touches=tuple(sorted(set(touches))), risk=risk,
        way_back=way_back,
        settings=environment.model_dump(mode="json", by_alias=True, exclude=_SHOWN_ELSEWHERE),
    )


def check_content(rfc: Rfc, artifact: Artifact) -> None:
    """Refuse another content than the one that was asked for.

    :raises InvalidInput: it is another
    """
    if rfc.digest is not None and rfc.digest != artifact.digest:
        raise InvalidInput(f"{artifact.path} has the digest {artifact.digest}, but the content asked for is "
                           f"{rfc.digest}: somebody replaced the artifact; build it under a version of its own")


def _planned(rollout: Rollout) -> Rollout:
    steps = registry.resolve(registry.STRATEGIES, "strategy", rollout.strategy)().steps(rollout)
    return Rollout.model_validate({**rollout.model_dump(), "steps": steps})


def _direct(environment: ServiceEnvironment) -> Rollout:
    policy = environment.rollback
    if policy is None:
        return environment.rollout.model_copy(update={"steps": (RolloutStep(percent=100, observe_seconds=30),)})
    steps = (RolloutStep(percent=100, observe_seconds=policy.observe_seconds),)
    return environment.rollout.model_copy(update={"steps": steps, "bake_seconds": policy.bake_seconds})


def calendar_for(rfc: Rfc, environment: ServiceEnvironment) -> Calendar:
    """Return the calendar that a release of *rfc* keeps: a rollback waits for no window."""
    return _always(environment) if rfc.change_type == "rollback" else environment.calendar


def _always(environment: ServiceEnvironment) -> Calendar:
    return Calendar(timezone=environment.calendar.timezone,
                    windows=(Window.model_validate({"days": DAYS, "from": "00:00", "to": "24:00"}),))
