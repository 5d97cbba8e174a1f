"""What the AWS drivers share: clients, pages, and AWS errors in our words.

Knows the Amazon provider's hook and botocore's errors; knows no service's resources.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar

from pydantic import Field

from airlock.backup.driver import DocumentDriver
from airlock.connections import ConnectionId, aws_client
from airlock.errors import PermanentError, TemporaryError
from airlock.options import Options

_TEMPORARY_CODES = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "SlowDown",
        "PriorRequestNotComplete",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "InternalFailure",
        "InternalError",
        "InternalServerError",
        "ServiceFailure",
        "RequestTimeout",
        "RequestTimeoutException",
        "TransactionInProgressException",
        "ConcurrentModification",
        "EntityTemporarilyUnmodifiable",
    }
)
_MARK = "airlock:"
"""Prefix of the tags that a scratch object carries; they are never part of a document."""


class AwsOptions(Options):
    """What every AWS driver is told."""

    connection: ConnectionId = Field(description="Airflow connection of AWS")


class AwsDriver(DocumentDriver):
    """A driver of one AWS service. Its client is made once, for that costs more than most requests."""

    service: ClassVar[str]
    options: AwsOptions

    @cached_property
    def client(self) -> Any:
        """The boto3 client of the service.

        :raises UnknownName: Airflow has no such connection
        """
        return aws_client(self.options.connection, self.service)


@contextmanager
def aws_errors(what: str, unsettled: str = "") -> Iterator[None]:
    """Put AWS errors of the body in our words; *what* names the resource and the act, *unsettled* is a pattern of the
    codes and messages that say no more than that somebody changed something meanwhile, or that AWS does not know yet
    what was just changed.

    :raises TemporaryError: AWS throttles, is down, or cannot be reached
    :raises PermanentError: AWS refused for good, or answered something that is not AWS's
    """
    from botocore import exceptions as aws
    from botocore.parsers import ResponseParserError

    try:
        yield
    except aws.ClientError as error:
        told = error.response.get("Error", {})
        code, message = str(told.get("Code", "")), str(told.get("Message", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in _TEMPORARY_CODES or status == 429 or status >= 500:
            raise TemporaryError(f"{what}: AWS answered {status} {code} {message}; try again later") from error
        if unsettled and re.search(unsettled, f"{code}: {message}"):
            raise TemporaryError(
                f"{what}: AWS answered {status} {code}: {message}; something was changed meanwhile, or AWS does not "
                "know yet what was just changed: try again"
            ) from error
        raise PermanentError(
            f"{what}: AWS answered {status} {code}: {message}; check the names, the account and what the "
            f"connection may do"
        ) from error
    except (aws.ConnectionError, aws.HTTPClientError) as error:
        raise TemporaryError(
            f"{what}: AWS cannot be reached ({type(error).__name__}); check the endpoint, then try again"
        ) from error
    except ResponseParserError as error:
        raise TemporaryError(
            f"{what}: the answer is not AWS's ({type(error).__name__}); check what stands between, then try again"
        ) from error
    except aws.BotoCoreError as error:
        raise PermanentError(f"{what}: {type(error).__name__}: {error}") from error


def pages(api: Any, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
    """Yield every item below *key* of every page of *operation*."""
    for page in api.get_paginator(operation).paginate(**arguments):
        yield from page.get(key) or ()


def is_code(error: BaseException, *codes: str) -> bool:
    """Return whether *error* is an AWS answer with one of *codes*."""
    from botocore.exceptions import ClientError

    return isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") in codes


def canonical_policy(document: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return an IAM policy document in canonical form: what AWS treats as equal becomes equal JSON.

    Single values become lists, lists lose their order and repeats, statements keep theirs (people number them by it).
    """
    plain = json.loads(document) if isinstance(document, str) else document
    statements = plain.get("Statement", [])
    statements = [statements] if isinstance(statements, Mapping) else statements
    return {
        **{key: value for key, value in plain.items() if key != "Statement"},
        "Statement": [{key: _canonical(key, value) for key, value in statement.items()} for statement in statements],
    }


def _canonical(key: str, value: Any) -> Any:
    if key in ("Action", "NotAction", "Resource", "NotResource"):
        return _unique(value)
    if key in ("Principal", "NotPrincipal") and isinstance(value, Mapping):
        return {sort: _unique(names) for sort, names in value.items()}
    if key == "Condition":
        return {
            operator: {name: _unique(values) for name, values in tests.items()} for operator, tests in value.items()
        }
    return value


def _unique(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return sorted({str(item).lower() if isinstance(item, bool) else str(item) for item in values})


def policy_text(document: Mapping[str, Any]) -> str:
    """Return a canonical policy as the shortest text that means the same, for AWS counts its characters: a policy that
    was as long as it may be must not grow by its canonical form."""
    # statements stay a list, as whoever reads policies expects them
    short = {**document, "Statement": [_short(statement) for statement in document.get("Statement", ())]}
    return json.dumps(short, ensure_ascii=False, separators=(",", ":"))


def _short(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _short(part) for key, part in value.items()}
    if isinstance(value, list):
        return _short(value[0]) if len(value) == 1 else [_short(part) for part in value]
    return value


def tags_of(tags: list[dict[str, str]]) -> dict[str, str]:
    """Return AWS's list of tags as a dictionary, without AWS's own and without the marks of scratch objects."""
    return {
        tag["Key"]: tag["Value"]
        for tag in sorted(tags, key=lambda tag: tag["Key"])
        if not tag["Key"].startswith((_MARK, "aws:"))
    }


def marks_of(tags: list[dict[str, str]]) -> dict[str, str]:
    """Return the marks of a scratch object: ``name`` (its original's) and ``place``."""
    return {tag["Key"].removeprefix(_MARK): tag["Value"] for tag in tags if tag["Key"].startswith(_MARK)}


def tag_list(tags: Mapping[str, str], **marks: str) -> list[dict[str, str]]:
    """Return *tags* and *marks* as AWS wants them."""
    return [
        {"Key": key, "Value": value}
        for key, value in [*sorted(tags.items()), *((f"{_MARK}{key}", value) for key, value in sorted(marks.items()))]
    ]
