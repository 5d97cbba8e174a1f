"""What S3 answers when it does not do what it is asked, in our words. Knows botocore's errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airlock.errors import AccessRefused, AirlockError, InvalidInput, PermanentError, TemporaryError

_TEMPORARY = frozenset({
    "BandwidthLimitExceeded", "ConditionalRequestConflict", "InternalError", "OperationAborted", "RequestLimitExceeded",
    "RequestTimeout", "RequestTimeTooSkewed", "ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException",
    "TooManyRequestsException",
})  # fmt: skip
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_ELSEWHERE = frozenset({"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"})
_LONGEST_WORDS = 300


@dataclass(frozen=True)
class Answer:
    """An answer that is an error: HTTP's status, and S3's own code and words."""

    status: int
    code: str
    words: str
    bare: bool
    """Whether only the status is known: an answer to HEAD has no body."""

    @classmethod
    def of(cls, error: BaseException) -> Answer | None:
        """Return what the store answered; ``None`` if *error* is no answer."""
        from botocore.exceptions import ClientError

        if not isinstance(error, ClientError):
            return None
        said = error.response.get("Error", {})
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(said.get("Code", ""))
        return cls(status, code, str(said.get("Message", ""))[:_LONGEST_WORDS], bare=code in ("", str(status)))


def faults() -> tuple[type[Exception], ...]:
    """Return the errors that a client raises, also while the body of an answer is read."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    return BotoCoreError, ClientError, ResponseParserError, HTTPError, OSError, ValueError


def proper(answer: dict[str, Any], field: str) -> dict[str, Any]:
    """Return *answer*, in which S3 always has *field*: else something that is no S3 answered, which parses as nothing.
    """
    from botocore.parsers import ResponseParserError

    if field not in answer:
        raise ResponseParserError(f"the answer has no {field}")
    return answer


def expired(answer: Answer | None) -> bool:
    """Return whether the credential has expired; of an answer without a body, whether that may be."""
    return answer is not None and (answer.code in _EXPIRED or (answer.bare and answer.status == 400))


def said_of(error: Exception, address: str, done: str, connection: str) -> AirlockError:
    """Return *error*, one of ``faults``, as one of Airlock's.

    :param done: what *address* cannot be: ``"written"``, ``"read"``...
    """
    from botocore import exceptions as aws
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    who = f"connection {connection!r}" if connection else "this machine's own credential"
    what = f"{address} cannot be {done}"
    answer = Answer.of(error)
    if answer is not None:
        return _refusal(answer, what, address, who)
    name = type(error).__name__
    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError | aws.CredentialRetrievalError):
        return AccessRefused(f"{what}: {name}: {error}; name an Airflow connection beside the path, or correct {who}")
    if isinstance(error, aws.ParamValidationError | aws.InvalidEndpointDiscoveryConfigurationError):
        return InvalidInput(f"{what}: {' '.join(str(error).split())[:_LONGEST_WORDS]}; correct the path")
    if isinstance(error, aws.HTTPClientError | aws.ConnectionError | aws.IncompleteReadError | ResponseParserError
                  | HTTPError | OSError):
        return TemporaryError(f"{what}: no whole answer of S3 came ({name}); is the store reachable from here at the "
                              f"endpoint of {who}?")
    return PermanentError(f"{what}: {name}: {' '.join(str(error).split())[:_LONGEST_WORDS]}; correct {who}")


def _refusal(answer: Answer, what: str, address: str, who: str) -> AirlockError:
    bucket = address.removeprefix("s3://").partition("/")[0]
    said = f"{what}: the store answered {answer.status} {'' if answer.bare else answer.code} {answer.words}".rstrip()
    if expired(answer):
        return TemporaryError(f"{said}: the credential of {who} has expired; renew it, the next try asks for it anew")
    if answer.code in _TEMPORARY or answer.status == 429 or answer.status >= 500:
        return TemporaryError(f"{said}; it is busy or failing: try again later")
    if answer.code == "NoSuchBucket":
        return PermanentError(f"{said}: there is no bucket {bucket!r}; create it, or correct the path")
    if answer.code in _ELSEWHERE or answer.status in (301, 307):
        return PermanentError(f"{said}: the bucket {bucket!r} lies in another region; say region_name in the extra of "
                              f"{who}")
    if answer.status in (401, 403):
        return AccessRefused(f"{said}; let {who} do this there, or correct its keys (airlock drivers lists the rights)")
    return PermanentError(f"{said}; check the path and {who}")
