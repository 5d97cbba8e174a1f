"""The words that more than one part of Airlock uses: kinds of resource, categories of change, outcomes, answers."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """The ten kinds of resource that a release could destroy."""

    DATABASES = "databases"
    CONFIGURATION = "configuration"
    IAC_STATE = "iac_state"
    ARTIFACTS = "artifacts"
    LOGS = "logs"
    SECURITY = "security"
    STORAGE = "storage"
    KUBERNETES = "kubernetes"
    CICD = "cicd"
    NETWORK = "network"


class Category(StrEnum):
    """What sort of thing a change touches; risk rules and templates tell changes apart by it."""

    APPLICATION = "application"
    DATABASE_SCHEMA = "database_schema"
    CONFIGURATION = "configuration"
    INFRASTRUCTURE = "infrastructure"
    KUBERNETES_UPGRADE = "kubernetes_upgrade"
    SECURITY_PATCH = "security_patch"
    FIREWALL_AND_ACCESS = "firewall_and_access"


class Outcome(StrEnum):
    """How a release ended. ``skipped`` is a scheduled cycle with nothing new to release. What is done outside releases
    (a drill, an expiry, a train) ended ``completed`` or ``failed``."""

    REFUSED = "refused"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    SKIPPED = "skipped"
    COMPLETED = "completed"
    FAILED = "failed"


class Answer(StrEnum):
    """The four answers of a judge."""

    PASS = "pass"  # noqa: S105 - the word of the field, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
