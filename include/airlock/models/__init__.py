"""Frozen data that crosses layers. Knows no rules, no I/O and no Airflow.

Everything here survives JSON (``model_dump(mode="json")`` and ``model_validate``) and rejects unknown fields, so that a
typo in a file or a field from another version stops instead of being ignored. Times are aware and in UTC.
"""

from airlock.models.artifact import (
    Artifact,
    CarriedFile,
    SignatureEvidence,
    SignatureForm,
    SignedContent,
    VerifiedSignature,
)
from airlock.models.backup import Check, Handle, Inspection, Progress, Proof, RecoveryPoint, Resource, StoredObject
from airlock.models.change import Absence, ApprovalRule, ApprovalTerms, Permit, Plan, Rfc, Risk, RiskFactor, Vote
from airlock.models.checks import Checkpoint, CheckResult, PlannedCheck, PlannedChecks
from airlock.models.frozen import Digest, Frozen, Name, Version, canonical_json, digest_of, utc_now
from airlock.models.migration import (
    ConcurrentIndex,
    JudgedStatement,
    Migration,
    MigrationName,
    PlannedMigration,
    Reversal,
    RollbackSafety,
)
from airlock.models.record import Record
from airlock.models.rollout import (
    AnalysisPolicy,
    ArmSample,
    Backend,
    Count,
    Milliseconds,
    Rollout,
    RolloutStep,
    Sample,
    Seconds,
    TargetState,
    Verdict,
    VersionState,
)
from airlock.models.terms import Answer, Category, Kind, Outcome

__all__ = [
    "Absence",
    "AnalysisPolicy",
    "Answer",
    "ApprovalRule",
    "ApprovalTerms",
    "ArmSample",
    "Artifact",
    "Backend",
    "CarriedFile",
    "Category",
    "Check",
    "CheckResult",
    "Checkpoint",
    "ConcurrentIndex",
    "Count",
    "Digest",
    "Frozen",
    "Handle",
    "Inspection",
    "JudgedStatement",
    "Kind",
    "Migration",
    "MigrationName",
    "Milliseconds",
    "Name",
    "Outcome",
    "Permit",
    "Plan",
    "PlannedCheck",
    "PlannedChecks",
    "PlannedMigration",
    "Progress",
    "Proof",
    "Record",
    "RecoveryPoint",
    "Resource",
    "Reversal",
    "Rfc",
    "Risk",
    "RiskFactor",
    "RollbackSafety",
    "Rollout",
    "RolloutStep",
    "Sample",
    "Seconds",
    "SignatureEvidence",
    "SignatureForm",
    "SignedContent",
    "StoredObject",
    "TargetState",
    "Verdict",
    "VerifiedSignature",
    "Version",
    "VersionState",
    "Vote",
    "canonical_json",
    "digest_of",
    "utc_now",
]
