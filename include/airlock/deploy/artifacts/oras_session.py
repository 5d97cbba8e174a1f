"""The client of the ORAS project with the bounds that Airlock needs: all that a registry answers is a stranger's.

Imported on use only, for it loads the client. The client by itself waits without an end, tries again for minutes, takes
the log-in of whoever owns the machine, sends a log-in to whatever address a challenge names (also one that an answer
of another host makes after a redirect), and uses a token that has expired for ever. Knows no artifact.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from ipaddress import ip_address
from typing import Any
from urllib.parse import urljoin, urlsplit

import oras.provider
import requests
import urllib3
from oras.auth.token import TokenAuth

from airlock.errors import AccessRefused, AirlockError, PermanentError, TemporaryError, Throttled

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 20.0
WHOLE_SECONDS = 60.0
SLOWEST = 64 << 10
"""The fewest bytes in a second, beyond ``WHOLE_SECONDS``, at which a large answer is waited for."""
_CHUNK = 1 << 20
_LARGEST_TOKEN = 1 << 20
_MOST_REDIRECTS = 5
_DEFAULT_WAIT = 30.0
_CHALLENGE = re.compile(r'\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))')


@dataclass(frozen=True)
class Login:
    """Who asks. Neither part is ever shown. Without a ``name``, ``secret`` is a token of the registry itself."""

    name: str = ""
    secret: str = ""

    def __repr__(self) -> str:
        return f"Login({self.name!r})"


class _Session(requests.Session):
    """Bounded in time; takes proxies from the environment, but no log-ins; never leaves TLS behind."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.max_redirects = _MOST_REDIRECTS
        self.follow = True

    def request(self, method: Any, url: Any, **more: Any) -> Any:  # type: ignore[override]  # passes all on
        whole = not more.pop("stream", False)
        proxies = {} if _inside(urlsplit(url).hostname) else requests.utils.get_environ_proxies(url)
        headers = {"Accept-Encoding": "identity", "User-Agent": "airlock", **(more.pop("headers", None) or {})}
        answer = super().request(method, url, **{"allow_redirects": self.follow, **more}, headers=headers, stream=True,
                                 proxies=proxies, timeout=(CONNECT_SECONDS, SILENCE_SECONDS))
        if whole:  # what the client reads itself: the answer of a token server
            answer._content = b"".join(pieces(answer, _LARGEST_TOKEN))
        return answer

    def get_redirect_target(self, resp: Any) -> str | None:
        target: str | None = super().get_redirect_target(resp)
        if target is not None:
            _refuse_redirect(resp.url, urljoin(resp.url, target))
        return target


def _refuse_redirect(source: str, target: str) -> None:
    before, after = urlsplit(source), urlsplit(target)
    if before.scheme == "https" and after.scheme != "https":
        raise PermanentError(f"{before.netloc} sends to {after.scheme}://{after.netloc}, which is not encrypted; this "
                             "is not followed: mend the storage of the registry")
    if after.hostname != before.hostname and _inside(after.hostname) and not _inside(before.hostname):
        raise PermanentError(f"{before.netloc} sends to {after.netloc}, an address of this machine or its network, "
                             "which is not followed: mend the storage of the registry")


def _inside(host: str | None) -> bool:
    """Return whether *host* names this machine, or what only it can ask, in any spelling that systems read."""
    name = (host or "").rstrip(".").lower()
    try:
        found = ip_address(name)
    except ValueError:
        try:
            found = ip_address(socket.inet_aton(name))  # 127.1, 0x7f.1, 2130706433
        except OSError:
            return name in ("", "localhost") or name.endswith(".localhost")
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_loopback or found.is_link_local or found.is_unspecified


def pieces(answer: Any, largest: int) -> Iterator[bytes]:
    """Yield the body of *answer* as it comes.

    :raises TemporaryError: it is cut off, or comes too slowly
    :raises PermanentError: it is longer than *largest* bytes
    """
    host, began, size = urlsplit(answer.url).netloc, time.monotonic(), 0
    try:
        while piece := answer.raw.read1(_CHUNK, decode_content=True):
            size += len(piece)
            if size > largest:
                raise PermanentError(f"{host} answers with more than {largest} bytes, which is not read further")
            if time.monotonic() - began > WHOLE_SECONDS + size / SLOWEST:
                raise TemporaryError(f"{host} gave {size} bytes in {time.monotonic() - began:.0f} s: too slow")
            yield piece
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise TemporaryError(f"{host} broke off after {size} bytes ({type(error).__name__})") from error
    finally:
        answer.close()
    expected = answer.headers.get("Content-Length")
    if expected and expected.isdigit() and "Content-Encoding" not in answer.headers and int(expected) != size:
        raise TemporaryError(f"{host} broke off after {size} of {expected} bytes")


class _Authentication(TokenAuth):  # type: ignore[misc]  # the library is not typed
    """Answers the challenge of the registry, and of nobody else; asks for a new token each time it is refused."""

    def __init__(self, host: str, login: Login, token_hosts: frozenset[str]) -> None:
        super().__init__()
        self._host, self._login, self._token_hosts = host, login, token_hosts
        if login.name:
            self.set_basic_auth(login.name, login.secret)

    def load_configs(self, container: Any, configs: Any = None) -> None:
        """Take no log-in from files of this machine."""

    def authenticate_request(
        self, original: Any, headers: Mapping[str, str], refresh: bool = False
    ) -> tuple[dict[str, str], bool]:
        kept = dict(headers or {})
        if urlsplit(original.url).netloc != self._host:
            raise TemporaryError(f"{self._host} sends to {urlsplit(original.url).netloc}, which refuses with status "
                                 f"{original.status_code}; no log-in is sent there: mend the storage of the registry")
        if refresh:  # the token is new already: who asks may not
            return kept, False
        scheme, asked = challenge(original.headers.get("WWW-Authenticate", ""))
        if scheme == "bearer" and self._login.secret and not self._login.name:
            self.token = self._login.secret
        elif scheme == "bearer":
            self.token = self._new_token(asked)
        elif scheme == "basic" and self._login.name:
            kept["Authorization"] = f"Basic {self._basic_auth}"
            return kept, True
        else:
            raise AccessRefused(f"{self._host} wants a log-in{' that it does not describe' * (not scheme)}: name an "
                                "Airflow connection with one in the options of the source")
        kept["Authorization"] = f"Bearer {self.token}"
        return kept, True

    def _new_token(self, asked: Mapping[str, str]) -> str:
        realm = urlsplit(asked.get("realm", ""))
        if realm.scheme not in ("https", self.prefix) or not realm.hostname:
            raise AccessRefused(f"{self._host} names no safe address to get a token from; ask who runs it")
        if realm.netloc != self._host and realm.hostname not in self._token_hosts:
            raise AccessRefused(f"{self._host} wants the log-in to be sent to {realm.netloc}; if that is right, name "
                                "it in the option token_hosts")
        wanted = {name: asked[name] for name in ("service", "scope") if asked.get(name)}
        given = {"Authorization": f"Basic {self._basic_auth}"} if self._login.name else {}
        answer = self.session.get(asked["realm"], params=wanted, headers=given, verify=self._tls_verify)
        if answer.status_code != requests.codes.ok:
            raise refusal(answer, f"{realm.netloc} gives no token for {self._host}")
        try:
            said = answer.json()
            token = said.get("token") or said.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not token or not token.isprintable():
            raise TemporaryError(f"{realm.netloc} answers without a token for {self._host}: look at that server")
        return token


def refusal(answer: Any, what: str) -> AirlockError:
    """Return the error that a status which is no success stands for."""
    status = answer.status_code
    said = f"{what}: status {status}"
    if status == requests.codes.too_many_requests or (status == requests.codes.unavailable
                                                      and "Retry-After" in answer.headers):
        wait = answer.headers.get("Retry-After", "")
        return Throttled(f"{said}, it asks to wait", float(wait[:6]) if wait.isdigit() else _DEFAULT_WAIT)
    if status in (401, 403):
        return AccessRefused(f"{said}; check the log-in of the connection, and whether it may read there")
    if status >= 500 or status in (408, 425):
        return TemporaryError(said)
    return PermanentError(said)


def challenge(header: str) -> tuple[str, dict[str, str]]:
    """Return the scheme of the first challenge in a ``WWW-Authenticate`` that can be answered, and what it says."""
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    while position < len(header):
        if match := _CHALLENGE.match(header, position):
            if found:
                found[-1][1].setdefault(match[1].lower(), match[2] if match[2] is not None else match[3])
            position = match.end()
        elif word := re.compile(r"[\s,]*([A-Za-z][A-Za-z0-9_-]*)").match(header, position):
            found.append((word[1].lower(), {}))
            position = word.end()
        else:
            break
    return next((one for one in found if one[0] in ("bearer", "basic")), ("", {}))


class Registry(oras.provider.Registry):  # type: ignore[misc]  # the library is not typed
    """One registry, which is only read."""

    def __init__(self, host: str, login: Login, *, plain_http: bool, certificates: str | bool,
                 token_hosts: frozenset[str]) -> None:
        super().__init__(hostname=host, insecure=plain_http, tls_verify=certificates)
        bounded = _Session()
        bounded.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # as the client has it
        self.session: requests.Session = bounded
        self._bounded = bounded
        self.auth = _Authentication(host, login, token_hosts)
        self.auth.session, self.auth.prefix, self.auth._tls_verify = self.session, self.prefix, certificates

    def ask(self, path: str, headers: dict[str, str], *, method: str = "GET", follow: bool = True) -> Any:
        """Return the answer, whose body is still to be read; with *follow*, of where it sends to.

        :raises AccessRefused: the registry does not let in who asks
        :raises TemporaryError: it does not answer
        """
        self._bounded.follow = follow
        once = oras.provider.Registry.do_request.__wrapped__  # without the client's own tries, which take minutes
        try:
            return once(self, f"{self.prefix}://{self.hostname}{path}", method, headers=headers, stream=True)
        except requests.TooManyRedirects as error:
            raise PermanentError(f"{self.hostname} sends from one address to the next without an end") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            why = "its certificate is not trusted" if isinstance(error, requests.exceptions.SSLError) else (
                type(error).__name__)
            raise TemporaryError(f"the registry {self.hostname} does not answer ({why}): check its address and that it "
                                 "runs, then try again") from error
