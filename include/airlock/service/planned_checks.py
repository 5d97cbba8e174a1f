"""The checks of a service environment as its plan has them: every default written out, and what decides beside the
options read anew, so that whoever changes any of it after the approval makes the permit stale."""

from __future__ import annotations

from airlock import registry
from airlock.models import PlannedCheck, PlannedChecks
from airlock.service.checks import CheckSetting
from airlock.service.model import ServiceEnvironment


def planned_checks(environment: ServiceEnvironment) -> PlannedChecks:
    """Return the checks; those of the validation are the smoke checks where none are declared.

    :raises InvalidInput: options are wrong, or what decides beside them cannot be read, or does not allow the check
    """
    given = environment.checks
    smoke, validation, bake = (tuple(map(_planned, some)) for some in (given.smoke, given.validation, given.bake))
    return PlannedChecks(attempts=given.attempts, wait_seconds=given.wait_seconds, smoke=smoke,
                         validation=validation or smoke, bake=bake)


def _planned(setting: CheckSetting) -> PlannedCheck:
    check = registry.resolve(registry.CHECKS, "check", setting.name)(setting.options)
    return PlannedCheck(name=setting.name, options=check.options.model_dump(mode="json"), basis=check.basis())
