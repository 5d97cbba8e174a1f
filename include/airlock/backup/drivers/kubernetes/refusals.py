"""What a Kubernetes API server refuses, in our words: the server's own reason, without values of objects.

Knows ``Status`` documents and the errors of the HTTP client; sends nothing.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from airlock.errors import AccessRefused, PermanentError, TemporaryError

_SHORTEST_VALUE = 4
_LONGEST_SENTENCE = 1200
# what follows the value in a sentence of the server's validation; the value itself is never repeated
_FIXED_SENTENCES = (
    "field is immutable when `immutable` is set", "field is immutable", "may not change once set",
    "cannot change roleRef",
    "spec is immutable after creation except", "is immutable after creation", "Forbidden: updates to ",
    "provided port is already allocated", "provided IP is already allocated", "is not in the valid range",
    "field can not be less than", "must match the name", "not set when `spec.type`", "may not be used",
    "`selector` does not match template `labels`", "name is reserved", "spec.ingressClassName",
    "can not be set when the class field is also set", "may not be changed", "primary clusterIP can not be unset",
)  # fmt: skip
_FULL_SENTENCE = re.compile(
    r"^(ValidatingAdmissionPolicy|MutatingAdmissionPolicy|admission webhook|Internal error occurred"
    r"|.*denied the request|.* is forbidden: |.*already exists|.*not found|the server |.*provided name "
    r"|Operation cannot be fulfilled)"
)


_DENIED = re.compile(r"admission webhook .* denied the request|AdmissionPolicy .* denied request")


class Absent(PermanentError):
    """Nothing is at this address."""


class Invalid(PermanentError):
    """The object, or this change of it, is not valid."""


class Exists(TemporaryError):
    """An object of this name is there already."""


class Stale(TemporaryError):
    """Somebody else wrote the object between our look and our write."""


class Expired(TemporaryError):
    """The token of a page is too old."""


class Unanswered(TemporaryError):
    """No answer came: the server is not there, or not now."""


class Unauthenticated(AccessRefused):
    """The server does not know who asks: credentials are wrong or have expired."""


class Denied(PermanentError):
    """An admission webhook or policy says no."""


class WebhookDown(TemporaryError):
    """An admission webhook does not answer."""


class OverQuota(PermanentError):
    """A quota of the namespace leaves no room."""


def refused(what: str, status: int, phrase: str, body: Any, sent: Any = None) -> TemporaryError | PermanentError:
    """Return the error for the answer *status* *phrase* with *body* to a request that carried *sent*."""
    answer = _status(body)
    said = said_by(answer, sent) if answer else _plain(body)
    reason = f"{what}: {status} {answer.get('reason') or phrase or ''}".rstrip() + (f": {said}" if said else "")
    if status == 400 and "HTTP request to an HTTPS server" in _text(body):
        return PermanentError(f"{what}: the server speaks https only; write https:// in the connection's kube config")
    if status == 401:
        return Unauthenticated(
            f"{reason}: the API server does not accept these credentials: they are wrong or have expired; "
            "renew the token or certificate of the connection, then try again"
        )
    if 400 <= status < 500 and _DENIED.search(said):
        return Denied(reason)
    if status == 403:
        return _forbidden(what, reason, answer, said)
    if status == 404:
        return Absent(f"{reason}; check the namespace and the API's version")
    if status == 409 and answer.get("reason") == "AlreadyExists":
        return Exists(f"{reason}; try again")
    if status == 409:
        return Stale(f"{reason}; try again")
    if status == 410:
        return Expired(reason)
    if "failed calling webhook" in said:
        return WebhookDown(f"{reason}; repair or remove that webhook, then try again")
    if status in (0, 408, 429) or status >= 500:
        return TemporaryError(f"{reason}; try again later")
    return Invalid(reason) if status == 422 else PermanentError(reason)


def _forbidden(what: str, reason: str, answer: Mapping[str, Any], said: str) -> TemporaryError | PermanentError:
    causes = [cause.get("reason") for cause in _causes(answer)]
    if "NamespaceTerminating" in causes or "because it is being terminated" in said:
        return TemporaryError(f"{what}: the namespace is being deleted: {said}; try again when it is gone")
    if "status unknown for quota" in said:
        return TemporaryError(f"{reason}; try again in some seconds")
    if "exceeded quota" in said:
        return OverQuota(f"{reason}; raise the quota or make room")
    if "system:anonymous" in said:
        return AccessRefused(
            f"{reason}; no credentials reached the server: check the user in the kube config of the connection"
        )
    if " cannot " in said and "User " in said:
        return AccessRefused(f"{reason}; grant what docs/kubernetes.md lists to this user")
    if "attempting to grant RBAC permissions not currently held" in said:
        return AccessRefused(f"{reason}; grant the verbs escalate and bind (docs/kubernetes.md), or these rights")
    return PermanentError(reason)


def unreachable(what: str, error: Exception) -> TemporaryError | PermanentError:
    """Return the error for a request that got no answer: the innermost cause, with what to do about it."""
    cause = _innermost(error)
    name = type(cause).__name__
    if isinstance(cause, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
        detail = getattr(cause, "verify_message", "") or "the certificate cannot be verified"
        return PermanentError(
            f"{what}: the certificate of the API server is not trusted: {detail}; put the authority that signed it "
            "into the kube config (certificate-authority-data), and use the host name that is in it"
        )
    if isinstance(cause, ssl.SSLError) or "SSL" in name or "SSLError" in str(error):
        detail = getattr(cause, "reason", "") or "TLS failed"
        return PermanentError(
            f"{what}: {detail}: no TLS connection; check http or https in the kube config's server, and whether the "
            "server wants a client certificate (client-certificate-data)"
        )
    if "NameResolution" in name or "gaierror" in name or "Failed to resolve" in str(error):
        return Unanswered(
            f"{what}: the name of the API server's host cannot be resolved; check 'server' in the kube config of the "
            "connection, and the name service, then try again"
        )
    if "refused" in str(cause).lower():
        return Unanswered(f"{what}: connection refused; check that the API server runs there, then try again")
    if "timeout" in name.lower() or "timed out" in str(cause):
        return Unanswered(f"{what}: no answer in time ({name}); check the network to the API server, then try again")
    return Unanswered(f"{what}: {name}; check that the API server runs, then try again")


def _innermost(error: BaseException) -> BaseException:
    for _ in range(8):
        inner = getattr(error, "reason", None)
        inner = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
        nested = next((a for a in error.args if isinstance(a, BaseException)), None)
        following = inner or nested
        if following is None or following is error:
            break
        error = following
    return error


def said_by(answer: Mapping[str, Any], sent: Any = None) -> str:
    """Return the sentence of a ``Status``; of a validation only fields and reasons, because it repeats values."""
    message = str(answer.get("message") or "")
    causes = _causes(answer)
    if any(cause.get("field") for cause in causes) and not _FULL_SENTENCE.match(message):
        return "; ".join(_cause(cause) for cause in causes)[:_LONGEST_SENTENCE]
    if not _FULL_SENTENCE.match(message) and answer.get("reason") in ("Invalid", "BadRequest"):
        message = message.partition(" error found in #")[0].partition("|")[0]
    return without_values(message, sent)[:_LONGEST_SENTENCE]


def _cause(cause: Mapping[str, Any]) -> str:
    message = str(cause.get("message") or "")
    fixed = next((sentence for sentence in _FIXED_SENTENCES if sentence in message), "")
    if fixed.startswith("Forbidden: "):
        fixed = message[message.index(fixed) :]
    return f"{cause.get('field', '')} ({cause.get('reason', '')}{': ' + fixed if fixed else ''})"


def without_values(message: str, sent: Any) -> str:
    """Return *message* without any value of data or environment that was *sent*: an admission policy may quote it."""
    for value in sorted(set(_values(sent)), key=len, reverse=True):
        if len(value) >= _SHORTEST_VALUE:
            message = message.replace(value, "(a value)")
    return message


def _values(sent: Any) -> Iterator[str]:
    if not isinstance(sent, Mapping):
        return
    for field in ("data", "stringData", "binaryData"):
        content = sent.get(field)
        for value in content.values() if isinstance(content, Mapping) else ():
            yield str(value)
            try:
                yield base64.b64decode(str(value), validate=True).decode()
            except (binascii.Error, ValueError):
                continue
    yield from _environment(sent.get("spec"))


def _environment(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for entry in value:
            yield from _environment(entry)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "env" and isinstance(inner, list):
                yield from (str(e["value"]) for e in inner if isinstance(e, Mapping) and e.get("value"))
            yield from _environment(inner)


def _causes(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    details = answer.get("details")
    causes = details.get("causes") if isinstance(details, Mapping) else None
    return [cause for cause in causes if isinstance(cause, Mapping)] if isinstance(causes, list) else []


def _status(body: Any) -> Mapping[str, Any]:
    try:
        found = json.loads(_text(body) or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(body: Any) -> str:
    return body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")


def _plain(body: Any) -> str:
    """Return a short answer in plain text, such as an aggregated API's 'service unavailable'; never a page of HTML."""
    text = _text(body).strip()
    return text if 0 < len(text) <= 200 and "<" not in text and "\n" not in text and not text.startswith("{") else ""
