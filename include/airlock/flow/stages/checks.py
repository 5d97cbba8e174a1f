"""Checks of a release: carried out on the version itself, tried a few times, recorded with what they found. Knows no
Airflow; what a check is, and when it passes, is its own part.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from airlock.deploy.check import Subject, open_check, together
from airlock.errors import AirlockError, GateRefused, TemporaryError
from airlock.flow.stages.release import Release
from airlock.models import Answer, Checkpoint, CheckResult, PlannedCheck, Verdict

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Tried:
    """One try of all checks: which address was asked, and what came."""

    address: str
    results: tuple[CheckResult, ...]

    @property
    def verdict(self) -> Verdict:
        return together([one.verdict for one in self.results])


def require(release: Release, checkpoint: Checkpoint) -> None:
    """Carry out the checks of *checkpoint*, as they were approved.

    :raises GateRefused: the version does not pass
    :raises TemporaryError: nobody knows, because they could not be carried out
    """
    verdict = carry_out(release, checkpoint)
    if verdict.answer is Answer.PASS:
        return
    said = f"{checkpoint} checks of {release.plan.artifact.version}: {verdict.answer}: {verdict.sentence}"
    if verdict.answer is Answer.ERROR:
        raise TemporaryError(f"{said}; they are tried again")
    raise GateRefused(said)


def carry_out(release: Release, checkpoint: Checkpoint, look: int = 0) -> Verdict:
    """Try the checks of *checkpoint* until they pass or the tries are over, record each try, and return the verdict.

    :param look: which look of the bake they belong to
    """
    checks, version = release.plan.checks, release.plan.artifact.version
    for attempt in range(1, checks.attempts + 1):
        tried = _tried(release, checks.at(checkpoint))
        verdict = tried.verdict
        release.record("checks", checkpoint, version=version, address=tried.address, attempt=attempt, look=look,
                       results=[one.model_dump(mode="json") for one in tried.results],
                       verdict=verdict.model_dump(mode="json"))
        if verdict.answer is Answer.PASS:
            log.info("%s checks of %s: %s", checkpoint, version, verdict.sentence)
            break
        log.warning("%s checks of %s, attempt %d of %d: %s: %s", checkpoint, version, attempt, checks.attempts,
                    verdict.answer.upper(), verdict.sentence)
        if attempt < checks.attempts:
            time.sleep(checks.wait_seconds)
    return verdict


def _tried(release: Release, planned: tuple[PlannedCheck, ...]) -> _Tried:
    version = release.plan.artifact.version
    try:
        state = release.delivery.inspect()
    except AirlockError as error:
        why = Verdict(answer=Answer.ERROR, sentence=f"the target cannot be asked where {version} runs: {error}")
        return _Tried("", tuple(CheckResult(name=one.name, found=None, verdict=why) for one in planned))
    addresses = [one.address for one in state.versions if one.version == version and one.running]
    subject = Subject(version, addresses[0] if len(addresses) == 1 else "")
    return _Tried(subject.address, tuple(open_check(one).run(subject, one) for one in planned))
