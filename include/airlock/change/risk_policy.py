"""What the risk policy file may say: how many points each factor of risk gives. Knows no request and no service.

Every factor that can be unknown has points for that, and none of its known values may give more: a missing fact never
lowers a score.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from airlock.change.form import IMPACTS, QUESTIONS
from airlock.models import Category, Frozen
from airlock.service.approvals import Condition
from airlock.service.validated import load_policy, policies_folder
from airlock.service.values import Between, Clock, Day, Text

Points = Annotated[int, Field(ge=0, le=100)]
ChangeType = Literal["standard", "normal", "emergency", "rollback"]
Impact = Literal["low", "medium", "high"]
FILE = "risk.yaml"


class Levels(Frozen):
    """Scores from which on a risk is medium, and high."""

    medium: int = Field(ge=1, le=100)
    high: int = Field(ge=1, le=100)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.high <= self.medium:
            raise ValueError("high must be above medium; correct one of them")
        return self


class RiskCondition(Condition):
    """As in the approval policy, but for the level, which is not known yet; an impact that is not rated counts as the
    worst one."""

    impacts: tuple[Impact, ...] = ()

    @model_validator(mode="after")
    def _no_level(self) -> Self:
        if self.levels:
            raise ValueError("levels are what the score decides, so no rule of risk can ask for one; remove them")
        return self


class Rule(Frozen):
    """One rule: the first that fits gives its points."""

    name: Text
    when: RiskCondition = RiskCondition()
    points: Points


class OfficeHours(Between):
    """Local times in which help is near, in the time zone of the service's calendar."""

    days: tuple[Day, ...] = Field(min_length=1)
    start: Clock = Field(alias="from")
    end: Clock = Field(alias="to")
    outside: Points


class SizeBand(Frozen):
    """Points of an artifact whose size differs from that of the version now by at least so many percent."""

    from_percent: float = Field(ge=0, le=10_000)
    points: Points


class Size(Frozen):
    """How large the change is: what could be damaged, how far the version jumps, how much the artifact differs."""

    per_resource: Points
    resources_at_most: Points
    version: dict[Literal["patch", "minor", "major", "older"], Points]
    version_unknown: Points
    artifact: tuple[SizeBand, ...] = ()
    artifact_unknown: Points

    @model_validator(mode="after")
    def _unknown_is_worst(self) -> Self:
        _complete("version", self.version, ("patch", "minor", "major", "older"))
        _worst("version_unknown", self.version_unknown, self.version.values())
        _worst("artifact_unknown", self.artifact_unknown, [band.points for band in self.artifact])
        return self


class WayBack(Frozen):
    """Points of the rollback-safety verdict."""

    reversible: Points
    fix_forward: Points
    needs_restore: Points
    unknown: Points

    @model_validator(mode="after")
    def _unknown_is_worst(self) -> Self:
        _worst("unknown", self.unknown, (self.reversible, self.fix_forward, self.needs_restore))
        return self


class Content(Frozen):
    """Points of the very content that is released: when it failed here, when it failed in an environment that it comes
    from, and when it does not stand as promoted there."""

    failed_here: Points = 30
    failed_before: Points = 15
    not_promoted: Points = 5
    unknown: Points = 30

    @model_validator(mode="after")
    def _unknown_is_worst(self) -> Self:
        _worst("unknown", self.unknown, (self.failed_here, self.failed_before, self.not_promoted))
        return self


class AgeBand(Frozen):
    """Points when the newest restore proof of some resource is older than so many days."""

    older_than_days: float = Field(ge=0, le=3660)
    points: Points


class RestoreDrills(Frozen):
    """How long ago a restore of each resource was proved."""

    ages: tuple[AgeBand, ...] = ()
    none: Points

    @model_validator(mode="after")
    def _none_is_worst(self) -> Self:
        _worst("none", self.none, [band.points for band in self.ages])
        return self


class HistoryWeight(Frozen):
    """The service's own changes: from ``minimum_changes`` on, ``points`` times the upper end of the interval of the
    fail rate; below, ``few`` plus ``each_failure``. Unknown history gives ``points``."""

    newest: int = Field(ge=1, le=1000)
    minimum_changes: int = Field(ge=1, le=1000)
    confidence: float = Field(gt=0.5, lt=1)
    points: Points
    few: Points
    each_failure: Points

    @model_validator(mode="after")
    def _possible(self) -> Self:
        _worst("points", self.points, (self.few,))
        if self.minimum_changes > self.newest:
            raise ValueError("minimum_changes is above newest, so it could never be reached; correct one of them")
        return self


class RiskPolicy(Frozen):
    """The whole file."""

    levels: Levels
    tier: dict[Annotated[int, Field(ge=1, le=4)], Points]
    production: Points
    change_type: dict[ChangeType, Points]
    category: dict[Category, Points]
    rules: tuple[Rule, ...] = ()
    questionnaire: dict[str, dict[str, Points]]
    hours: OfficeHours
    size: Size
    way_back: WayBack
    restore_drills: RestoreDrills
    history: HistoryWeight
    content: Content = Field(default_factory=Content)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        _complete("tier", self.tier, (1, 2, 3, 4))
        _complete("change_type", self.change_type, get_args(ChangeType))
        _complete("category", self.category, tuple(Category))
        answers = {"impact": IMPACTS, **QUESTIONS}
        _complete("questionnaire", self.questionnaire, tuple(answers))
        for question, known in answers.items():
            _complete(f"questionnaire.{question}", self.questionnaire[question], known)
        return self

    def level_of(self, score: int) -> str:
        """Return ``low``, ``medium`` or ``high``."""
        return "low" if score < self.levels.medium else "medium" if score < self.levels.high else "high"


def load_risk_policy(path: Path | None = None) -> RiskPolicy:
    """Return the risk policy: the file *path*, else ``risk.yaml`` of the folder of policies.

    :raises InvalidInput: one line ``file:line: path: what; what to do`` for each fault
    """
    return load_policy(path or policies_folder() / FILE, RiskPolicy)


def _complete(where: str, given: dict[Any, Any], known: tuple[Any, ...]) -> None:
    missing = [str(name) for name in known if name not in given]
    unknown = [str(name)[:40] for name in given if name not in known]
    if missing or unknown:
        said = [f"lacks {', '.join(missing)}"] if missing else []
        said += [f"does not know {', '.join(unknown)}"] if unknown else []
        raise ValueError(f"{where} {' and '.join(said)}; give points to each of {', '.join(map(str, known))}")


def _worst(name: str, unknown: int, known: Any) -> None:
    if any(points > unknown for points in known):
        raise ValueError(f"{name} gives {unknown} points, less than what is known can give, so not to know would lower "
                         "the risk; raise it")
