"""What ``restic`` says when it fails, as errors that name the reason and what to do. Knows words and codes only.

From 0.17 on each reason has a code and messages are JSON; before, everything ends with code 1 and plain words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from airlock.errors import AccessRefused, AirlockError, BackupDamaged, PermanentError, TemporaryError

PARTIAL, _NO_REPOSITORY, _LOCKED, _WRONG_PASSWORD, _NOT_FOUND = 3, 10, 11, 12, 127
_STALE_SECONDS = 1800.0
"""restic writes a lock anew every five minutes; what is as old as this has nobody behind it."""
_HOLDER = re.compile(r"already locked( exclusively)? by (PID \d+ on .+? by .+?)(?: \(UID|\n|$)")
_AGE = re.compile(r"lock was created at .*?\(([0-9a-zµ.]+) ago\)")
_DURATION = re.compile(r"([0-9.]+)(h|ms|µs|m|s)")
_UNIT = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "µs": 0.000001}
_REFUSED = re.compile(r"(?i)access ?denied|invalidaccesskeyid|access key id you provided|signature ?(?:we calculated )?"
                      r"does ?not ?match|unauthorized|forbidden|\b40[13]\b|invalid credentials|authenticationfailed|"
                      r"permission denied \(|no valid credentials|could not find default credentials")  # fmt: skip
_AWAY = re.compile(r"(?i)connection refused|no such host|i/o timeout|tls handshake timeout|context deadline exceeded|"
                   r"connection reset|network is unreachable|no route to host|slowdown|\b50[0234]\b|\b429\b|"
                   r"unexpected EOF|server misbehaving")  # fmt: skip
_GONE = re.compile(r"(?i)no such file or directory")
_NO_PLACE = re.compile(r"(?i)no space left|quota|byte limit exceeded")
_UNREADABLE = re.compile(r"(?i)no matching id|ciphertext verification failed|invalid data returned|hash mismatch|"
                         r"not found in (?:the )?(?:repository|index)|unable to load")  # fmt: skip
_NOISE = re.compile(r"(?i)^(repository [0-9a-f]+ opened|created new cache|restoring <snapshot|scan finished|$)")
_SHOWN = 3


class Locked(TemporaryError):
    """Somebody else works on the repository now."""


class Partial(PermanentError):
    """A snapshot was made in which something is missing."""


class Moving(TemporaryError):
    """A snapshot was made in which something is missing that went away meanwhile."""


@dataclass(frozen=True)
class Refusal:
    """A call that failed: what it was, its code, and what it complained of, without secrets."""

    label: str
    act: str
    code: int
    said: str

    @property
    def words(self) -> str:
        """The complaints as one text for people."""
        lines = [one.strip() for one in _words(self.said) if not _NOISE.match(one.strip())]
        return " ".join(" ".join(lines[-6:]).split())[-600:] or "it said nothing"


def without_secrets(text: str, secrets: tuple[str, ...]) -> str:
    """Return *text* with every secret blotted out, the longest first: one may hold another."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***").replace(json.dumps(secret)[1:-1], "***")
    return text


def failure(found: Refusal) -> AirlockError:
    """Return what went wrong, as an error."""
    text, label = "\n".join(_words(found.said)), found.label
    if found.code == _LOCKED or "already locked" in text:
        return _locked(label, text)
    if found.code == _WRONG_PASSWORD or "wrong password or no key found" in text:
        return AccessRefused(f"{label}: the repository is not opened by this password; next: correct that of the "
                             "connection: it is the one of the restic repository")  # fmt: skip
    if found.code == _NOT_FOUND and "cannot start restic" in text:
        return PermanentError(f"{label}: the program restic is not installed on this worker; next: install it")
    if found.act == "backup" and found.code == PARTIAL:
        return _partial(found)
    said = f"{label}: restic {found.act} failed (code {found.code}): {found.words}"
    if _NO_PLACE.search(text):
        return PermanentError(f"{said}; next: free space there, then run this task again")
    if _REFUSED.search(text):
        return AccessRefused(f"{said}; next: correct what the connection holds for the repository's server")
    if _AWAY.search(text):
        return TemporaryError(said)
    if found.code == _NO_REPOSITORY or "Is there a repository at the following location" in text:
        return PermanentError(f"{label}: there is no restic repository where the connection says ({found.words}); "
                              "next: correct 'repository' in the connection's extra, or make it with 'restic init'")
    if found.act == "restore" or _UNREADABLE.search(text):
        return BackupDamaged(f"{said}; next: look at the repository with 'restic check', and take the backup again")
    return PermanentError(f"{said}; next: try the same by hand")


def too_late(found: Refusal, seconds: float) -> AirlockError:
    """Return the error of a call that was ended for its time: restic tries again and again where it is let in nowhere,
    and says so only on the way."""
    text = (f"{found.label}: restic {found.act} took more than {seconds:g} s and was ended; it last said: "
            f"{found.words}")  # fmt: skip
    said = "\n".join(_words(found.said))
    if _NO_PLACE.search(said):
        return PermanentError(f"{text}; next: free space there, then run this task again")
    if _REFUSED.search(said):
        return AccessRefused(f"{text}; next: correct what the connection holds for the repository's server")
    return TemporaryError(f"{text}; next: see whether the repository's server can be reached")


def _locked(label: str, text: str) -> AirlockError:
    holder, age = _HOLDER.search(text), _AGE.search(text)
    who = f"the repository is locked{(holder[1] or '') if holder else ''} by {holder[2] if holder else 'somebody'}"
    seconds = sum(float(n) * _UNIT[unit] for n, unit in _DURATION.findall(age[1])) if age else 0.0
    if seconds < _STALE_SECONDS:
        return Locked(f"{who}{f', since {age[1]}' if age else ''}.")
    return PermanentError(
        f"{label}: {who}, and that lock was last renewed {age[1] if age else ''} ago, which a living restic does "
        "every five minutes: it is stale. Only somebody who can see that machine can be sure, so it stays; "
        "next: see that no restic runs there, run 'restic unlock', then run this task again"
    )


def _partial(found: Refusal) -> AirlockError:
    """Return the error of a snapshot that lacks something; what went away meanwhile may not when it is tried again."""
    faults = [one for one in found.said.splitlines() if one.strip() and "at least one source file" not in one]
    reasons = [reason for reason in (_fault(one) for one in faults) if reason]
    shown = "; ".join(reasons[:_SHOWN]) or found.words
    text = f"{found.label}: restic could not read all of it, and half a backup is none: {shown}"
    if reasons and all(_GONE.search(reason) for reason in reasons):
        return Moving(f"{text}: it went away meanwhile; take the backup again")
    return Partial(f"{text}; next: let the user of this worker read it, or move it elsewhere")


def _fault(line: str) -> str:
    """Return one complaint about one file."""
    message = _json(line)
    if message is None:
        return line.strip() if line.startswith("error:") else ""
    if message.get("message_type") != "error":
        return ""
    error = message.get("error")
    words = error.get("message") or error.get("Err") or error.get("error") if isinstance(error, dict) else error
    return f"{message.get('item', '')}: {words if isinstance(words, str | int) else json.dumps(error)}"


def _words(said: str) -> Iterator[str]:
    """Yield what it complained of line by line, taken out of its messages."""
    for line in said.splitlines():
        message = _json(line)
        if message is None:
            yield line
        elif isinstance(message.get("message"), str):
            yield from message["message"].splitlines()
        elif message.get("message_type") == "error":
            yield _fault(line)


def _json(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
