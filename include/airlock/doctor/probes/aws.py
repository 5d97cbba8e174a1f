"""Asks AWS who we are, and IAM's simulator what we may. Calls nothing that changes anything.

The simulator is asked about every action, also those that a restore alone will need. It judges by the names that are
declared: where a policy grants particular resources only, it says no to a pattern, which is then said as a doubt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from airlock.backup import aws
from airlock.connections import aws_client
from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.measures import clock
from airlock.doctor.probes.addresses import date_of
from airlock.errors import AirlockError
from airlock.models import utc_now
from airlock.models.needs import Permission

_ASSUMED = re.compile(r"arn:(aws[\w-]*):sts::(\d+):assumed-role/([^/]+)/.+")


def ask(subject: Subject, connection: str, permissions: Sequence[Permission]) -> Iterator[Finding]:
    """Ask as which identity *connection* works, and for each of its *permissions*."""
    before = utc_now()
    with aws.aws_errors(f"connection {connection}: asked who it is"):
        answer = aws_client(connection, "sts").get_caller_identity()
    arn, headers = str(answer.get("Arn", "")), answer["ResponseMetadata"].get("HTTPHeaders", {})
    yield subject.fine(f"AWS knows the connection as {arn}")
    told = date_of(headers.get("date"))
    if told is not None:
        yield clock(subject, told, before, utc_now())
    yield from _rights(subject, connection, arn, permissions)


def _rights(subject: Subject, connection: str, arn: str, permissions: Sequence[Permission]) -> Iterator[Finding]:
    iam = aws_client(connection, "iam")
    count = sum(len(one.actions) for one in permissions)
    principal = _principal(iam, arn)
    if principal is None:
        yield subject.fine("it is the account's root, which may do everything")
        return
    denied = []
    try:
        for permission in permissions:
            denied += [(permission, action, how) for action, how in _denied(iam, principal, arn, permission)]
    except AirlockError as error:
        yield subject.not_asked(f"{count} permissions of AWS",
                                f"IAM's simulator does not answer this identity ({error}); AWS answers who has "
                                "iam:SimulatePrincipalPolicy and iam:GetRole")  # fmt: skip
        return
    for permission, action, how in denied:
        doubtful = "*" in permission.on and how == "implicitDeny"
        yield subject.found(
            Gravity.WARNING if doubtful or permission.seldom else Gravity.FAULT,
            f"{action} is not granted on {permission.on} ({how})",
            f"it is needed for {', '.join(permission.stages)}{f': {permission.seldom}' if permission.seldom else ''}"
            + ("; a policy that names the very resources is enough, which this question cannot tell" if doubtful
               else ""),
            f"add it to the policies of {principal}; docs/least-rights.md lists all of them",
        )  # fmt: skip
    if not denied:
        yield subject.fine(f"{count} permissions are granted, as IAM's simulator says")


def _principal(iam: Any, arn: str) -> str | None:
    """Return the user or role whose policies decide; ``None`` for the account's root."""
    if arn.endswith(":root"):
        return None
    assumed = _ASSUMED.fullmatch(arn)
    if assumed is None:
        return arn
    try:  # its path is not told by the name of a session
        with aws.aws_errors("asked for the role"):
            return str(iam.get_role(RoleName=assumed[3])["Role"]["Arn"])
    except AirlockError:
        return f"arn:{assumed[1]}:iam::{assumed[2]}:role/{assumed[3]}"


def _denied(iam: Any, principal: str, arn: str, permission: Permission) -> Iterator[tuple[str, str]]:
    account = arn.split(":")[4] if arn.count(":") > 4 else "*"
    on = re.sub(r"^(arn:[^:]*:[^:]*:[^:]*:)\*:", rf"\g<1>{account}:", permission.on)
    with aws.aws_errors("asked IAM's simulator"):
        pages = iam.get_paginator("simulate_principal_policy").paginate(
            PolicySourceArn=principal, ActionNames=list(permission.actions), ResourceArns=[on])
        for page in pages:
            for one in page["EvaluationResults"]:
                if one["EvalDecision"] != "allowed":
                    yield one["EvalActionName"], one["EvalDecision"]
