"""Check ``http``: does the version answer these paths as it should?

Asks the version's own address, past any traffic split, unless another one is given. Certificates are always verified,
and redirects are followed only on request and only within the same address: elsewhere something else would answer. Of
bodies nothing is kept: a body may be anybody's data.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urljoin, urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from airlock.deploy.check import Check, Subject, together
from airlock.deploy.comparison import Comparison, Relation
from airlock.errors import InvalidInput, PermanentError
from airlock.fetch import Address, Reply, Terms, TooLarge, TooLate, ask
from airlock.models import Answer, Frozen, Verdict
from airlock.models.needs import Address as Reached
from airlock.models.needs import Needs, Permission, Stage, System
from airlock.options import Options

_LARGEST_CA = 4 << 20
_REDIRECTS = (301, 302, 303, 307, 308)
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


def _status(given: int | str) -> int | str:
    if not re.fullmatch(r"[1-5]([0-9]{2}|xx)", str(given)):
        raise ValueError(f"{str(given)[:20]!r} is no status; write a number such as 200, or a class such as 2xx")
    return given


AskedPath = Annotated[str, StringConstraints(pattern=r"^/[!-\"$-~]*$", max_length=2000)]
"""Printable ASCII without spaces and fragments, as it goes over the wire; whatever else is written as %XX."""
Status = Annotated[int | str, AfterValidator(_status)]
Pointer = Annotated[str, StringConstraints(pattern=r"^(/([^~/]|~[01])*)*$", max_length=500)]
"""A JSON Pointer (RFC 6901); empty: the whole document."""
_LABEL = "[A-Za-z0-9_-]{1,63}"
HostName = Annotated[str, StringConstraints(pattern=rf"^({_LABEL}(\.{_LABEL})*)?$", max_length=253)]


class JsonExpectation(Comparison):
    """What stands at one place of a JSON body; of a list or mapping, how many things it holds."""

    at: Pointer
    """The place, as a JSON Pointer such as /orders/0/state; empty: the whole body."""


class HttpOptions(Options):
    """What the version is asked over HTTP, and how it must answer."""

    paths: tuple[AskedPath, ...] = Field(min_length=1, max_length=50)
    """The paths that are asked; each must be answered as it should be."""
    address: Address | None = None
    """Asked in place of the version's own address."""
    host: HostName = ""
    """The name under which the version is known, for virtual hosts and its certificate."""
    ca: str = Field("", max_length=1000)
    """A file of certificates (PEM), which alone are trusted; left out: those that the worker trusts."""
    status: tuple[Status, ...] = Field(("2xx",), min_length=1)
    """What may be answered: numbers such as 200, or classes such as 2xx."""
    json_body: tuple[JsonExpectation, ...] = ()
    """What must stand in the body."""
    within_seconds: float = Field(5, gt=0, le=60)
    """Time for a whole answer, redirects included."""
    redirects: int = Field(0, ge=0, le=10)
    """How many redirects are followed, within the same address."""
    largest_bytes: int = Field(1 << 20, ge=1, le=64 << 20)
    """The most that a body may have."""


class PathAnswer(Frozen):
    """How one path was answered. ``trouble``: why there is no whole answer; ``refused``: why the certificate was not
    accepted; ``relations``: of each place of the body, ``None`` where the body is no JSON."""

    path: str
    status: int | None = None
    seconds: float = Field(0, ge=0)
    body_bytes: int = Field(0, ge=0)
    redirects: int = Field(0, ge=0)
    elsewhere: bool = False
    late: bool = False
    large: bool = False
    refused: str = ""
    trouble: str = ""
    relations: tuple[dict[str, Relation], ...] | None = None


class HttpFound(Frozen):
    """The answers, in the order of the paths."""

    address: str
    answers: tuple[PathAnswer, ...]


class HttpCheck(Check):
    """See the module."""

    Options = HttpOptions
    Found = HttpFound
    needs = Needs(
        addresses=(Reached(url="{address}", stages=(Stage.CHECK,), when="address", authority="{ca}"),),
        permissions=(Permission(system=System.FILES, actions=("read",), on="{ca}", stages=(Stage.CHECK,), when="ca",
                                why="its certificates alone are trusted"),),
        also=("workers reach the address of the version itself, which the target names",),
    )
    options: HttpOptions

    @property
    def label(self) -> str:
        where = f" at {self.options.address}" if self.options.address else ""
        return f"http {', '.join(self.options.paths)}{where}"

    def basis(self) -> dict[str, Any]:
        """The digest of the certificates that are trusted: who swaps the file changes what passes."""
        if not self.options.ca:
            return {}
        return {"ca": f"sha256:{hashlib.sha256(self._ca().encode()).hexdigest()}"}

    def look(self, subject: Subject) -> HttpFound:
        address = self.options.address or subject.address
        if not address:
            raise PermanentError(f"{self.label}: the target names no address of {subject.version}; give an address")
        if self.options.ca and not address.startswith("https://"):
            raise PermanentError(f"{self.label}: {address} is not https, so no certificate could be checked with "
                                 f"{self.options.ca}; correct the address, or remove ca")
        trusted = self._trusted() if address.startswith("https://") else None
        return HttpFound(address=address, answers=tuple(self._asked(address, path, trusted)
                                                        for path in self.options.paths))

    def judge(self, found: HttpFound) -> Verdict:
        elsewhere = self.options.address not in (None, found.address)
        if elsewhere or tuple(one.path for one in found.answers) != self.options.paths:
            return Verdict(answer=Answer.ERROR, sentence=f"{self.label}: something else was asked than this")
        return together([self._verdict(one) for one in found.answers])

    def _ca(self) -> str:
        try:
            with Path(self.options.ca).open(encoding="ascii") as stream:
                return stream.read(_LARGEST_CA)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no PEM text"
            raise InvalidInput(f"{self.label}: ca {self.options.ca} cannot be read: {reason}; correct the "
                               "path") from error

    def _trusted(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cadata=self._ca() if self.options.ca else None)
        except ssl.SSLError as error:
            raise PermanentError(f"{self.label}: {self.options.ca} holds no certificates in PEM: "
                                 f"{error.reason}") from error

    def _asked(self, address: str, path: str, trusted: ssl.SSLContext | None) -> PathAnswer:
        begun = time.monotonic()
        found: dict[str, Any] = {"path": path}
        try:
            reply, followed = self._followed(address, path, trusted, begun + self.options.within_seconds)
            found |= {"status": reply.status, "body_bytes": len(reply.body), "redirects": followed,
                      "elsewhere": reply.status in _REDIRECTS and not _same(address, path, reply.location),
                      "relations": self._relations(reply.body)}
        except TooLate:
            found |= {"late": True}
        except TooLarge:
            found |= {"large": True}
        except ssl.SSLCertVerificationError as error:
            found |= {"refused": str(error.verify_message or error)[:300]}
        except (OSError, http.client.HTTPException) as error:
            # Without its own words, which may quote what the server sent.
            why = error.strerror or getattr(error, "reason", "") if isinstance(error, OSError) else ""
            found |= {"trouble": f"{type(error).__name__} {why}".strip()}
        return PathAnswer(**found, seconds=round(time.monotonic() - begun, 3))

    def _followed(self, address: str, path: str, trusted: ssl.SSLContext | None, until: float) -> tuple[Reply, int]:
        """Return the last answer, and after how many redirects; one time limit holds for all."""
        for followed in range(self.options.redirects + 1):
            left = until - time.monotonic()
            if left <= 0:
                raise TooLate
            terms = Terms(left, left, self.options.largest_bytes, self.options.host, trusted)
            reply = ask(address, path, terms)
            goes_on = reply.status in _REDIRECTS and _same(address, path, reply.location)
            if not goes_on or followed == self.options.redirects:
                break
            onwards = urlsplit(urljoin(f"{address}{path}", reply.location))
            path = _written(f"{onwards.path or '/'}{'?' if onwards.query else ''}{onwards.query}")
        return reply, followed

    def _relations(self, body: bytes) -> tuple[dict[str, Relation], ...] | None:
        try:
            document = json.loads(body, parse_float=Decimal, parse_constant=_refuse, object_pairs_hook=_once)
        except (ValueError, RecursionError, ArithmeticError):
            return None
        return tuple(one.relations(_at(document, one.at)) for one in self.options.json_body)

    def _verdict(self, found: PathAnswer) -> Verdict:
        path = found.path
        if found.refused:
            return Verdict(answer=Answer.FAIL, sentence=f"{path}: the certificate is refused: {found.refused}")
        if found.trouble:
            return Verdict(answer=Answer.ERROR, sentence=f"{path} has no answer: {found.trouble}")
        faults = list(self._faults(found))
        if faults:
            return Verdict(answer=Answer.FAIL, sentence=f"{path} {', '.join(faults)}")
        return Verdict(answer=Answer.PASS, sentence=f"{path} answered {found.status}")

    def _faults(self, found: PathAnswer) -> Iterator[str]:
        limit = self.options.within_seconds
        if found.late or found.seconds > limit:
            yield f"had no whole answer within {limit:g} s"
        if found.large or found.body_bytes > self.options.largest_bytes:
            yield f"answered with more than {self.options.largest_bytes} bytes"
        if found.status is None:
            if not (found.late or found.large):
                yield "was not answered"
            return
        if not any(str(found.status) == str(one) or str(one) == f"{found.status // 100}xx"
                   for one in self.options.status):
            wanted = " or ".join(map(str, self.options.status))
            away = ", and leads to another address, which is not this version" if found.elsewhere else ""
            yield f"answered {found.status}, not {wanted}{away}"
        if self.options.json_body and (found.relations is None
                                       or len(found.relations) != len(self.options.json_body)):
            yield "answered with no JSON that can be read surely"
        elif found.relations is not None:
            for expectation, relations in zip(self.options.json_body, found.relations, strict=True):
                yield from (f"{expectation.at or 'the body'} {fault}" for fault in expectation.faults(relations))


def _same(address: str, path: str, location: str) -> bool:
    """Return whether a redirect stays at *address*: the same scheme, host and port."""
    try:
        there, here = urlsplit(urljoin(f"{address}{path}", location)), urlsplit(address)
        return bool(location) and (there.scheme, there.hostname, _port(there)) == (
            here.scheme, here.hostname, _port(here)) and there.username is None
    except ValueError:
        return False


def _written(path: str) -> str:
    """Return the path of a redirect as it goes over the wire, whatever bytes it was sent in."""
    return quote(path, safe=_PRINTABLE, encoding="latin-1", errors="replace")


def _port(parts: Any) -> int | None:
    port: int | None = parts.port
    return port or {"http": 80, "https": 443}.get(parts.scheme)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that is given twice: readers differ in which one they take."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _at(document: Any, pointer: str) -> Any:
    """Return what stands at *pointer* of *document*; ``None`` where nothing does. Of a list or mapping: how many
    things it holds, so that it can be told from an empty one."""
    value = document
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and re.fullmatch(r"0|[1-9][0-9]{0,8}", name) and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return len(value) if isinstance(value, list | Mapping) else value
