"""Who is let in, and where the log-in goes: registries with passwords and with tokens, and strangers in between."""

from __future__ import annotations

import base64
import datetime
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from airlock.deploy.artifacts.oci import OciSource
from airlock.deploy.artifacts.oras_session import challenge
from airlock.errors import AccessRefused, AirlockError, InvalidInput, PermanentError, TemporaryError, UnknownConnection
from sandbox import reach
from tests.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.oci_registry import PROGRAM, Registry, Repository, start
from tests.real_servers import aws_connection, moto_server, program_of_debian, set_connection  # noqa: F401 - a fixture

NAME, PASSWORD = "barista", "pour-over"
HASHED = "$2y$05$abcdefghijklmnopqrstuuROWMjCJgVotbQoWZOwigQItThYYiLK."


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A registry that asks for a password."""
    program_of_debian(PROGRAM)
    folder, port = tmp_path_factory.mktemp("closed"), reach.free_port()
    (folder / "htpasswd").write_text(f"{NAME}:{HASHED}\n")
    with start(folder, port, {"htpasswd": {"realm": "the house", "path": str(folder / "htpasswd")}}):
        repository = Registry(f"http://127.0.0.1:{port}", folder).repository("team/cafe", (NAME, PASSWORD))
        repository.push_artifact("1.1", {"cafe": b"coffee"})
        yield repository


def of(url: str, **options: Any) -> OciSource:
    return OciSource({"registry": urlsplit(url).netloc, "repository": "team/cafe", "plain_http": True, **options})


def logged_in(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> str:
    set_connection(monkeypatch, "shelf", **{"conn_type": "docker", "login": NAME, "password": PASSWORD, **fields})
    return "shelf"


def test_a_password_opens_what_nobody_else_may_read(closed: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AccessRefused, match="wants a log-in: name an Airflow connection"):
        of(closed.url).resolve("1.1")
    assert of(closed.url, connection=logged_in(monkeypatch)).versions() == ("1.1",)
    with pytest.raises(AccessRefused, match="check the log-in") as caught:
        of(closed.url, connection=logged_in(monkeypatch, password="espresso-secret")).resolve("1.1")
    assert "espresso-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"host": "registry.example.com"}, InvalidInput, "is for registry.example.com, so its secret is not sent"),
        ({"host": "127.0.0.1", "port": 1}, InvalidInput, "its secret is not sent"),
        ({"password": ""}, InvalidInput, "has no password"),
    ],
)
def test_a_connection_that_is_for_another_registry_is_not_used(
    closed: Repository, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        of(closed.url, connection=logged_in(monkeypatch, **fields)).resolve("1.1")


def test_a_connection_that_is_for_this_registry_may_say_so(closed: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    place = urlsplit(closed.url)
    for fields in ({"host": place.hostname, "port": place.port}, {"host": place.netloc}, {"host": closed.url}):
        assert of(closed.url, connection=logged_in(monkeypatch, **fields)).resolve("1.1").version == "1.1"
    with pytest.raises(UnknownConnection):
        of(closed.url, connection="nobody").resolve("1.1")


def test_no_log_in_of_the_machine_is_used(
    closed: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    host = urlsplit(closed.url).netloc
    secret = base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode()
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {host: {"auth": secret}}}))
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login {NAME} password {PASSWORD}\n")
    monkeypatch.setenv("ORAS_USER", NAME)
    monkeypatch.setenv("ORAS_PASS", PASSWORD)
    with pytest.raises(AccessRefused):
        of(closed.url).resolve("1.1")


# --- tokens ---------------------------------------------------------------------------------------------


@dataclass
class TokenServer:
    """Gives tokens to whoever knows the password. ``asked`` holds what each call said."""

    certificate: str
    key: ec.EllipticCurvePrivateKey
    chain: list[str]
    url: str = ""
    asked: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    answer: tuple[int, bytes] | None = None

    def token(self, scope: str) -> str:
        now = int(time.time())
        access = []
        if scope:
            kind, name, actions = scope.split(":")
            access = [{"type": kind, "name": name, "actions": actions.split(",")}]
        claims = {"iss": "house", "sub": NAME, "aud": "shelf", "exp": now + 300, "nbf": now - 5, "iat": now, "jti": "1",
                  "access": access}
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"x5c": self.chain})


def certified(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(),
                                    now - datetime.timedelta(days=1), now + datetime.timedelta(days=2))
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    import ipaddress

    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    return key, built.add_extension(names, critical=False).sign(key, hashes.SHA256())


@pytest.fixture(scope="module")
def token_server() -> Iterator[TokenServer]:
    key, certificate = certified("house")
    der = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
    house = TokenServer(certificate.public_bytes(Encoding.PEM).decode(), key, [der])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given, query = self.headers.get("Authorization", ""), parse_qs(urlsplit(self.path).query)
            house.asked.append((given, query))
            right = "Basic " + base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode()
            status, body = house.answer or (
                (200, json.dumps({"token": house.token(query.get("scope", [""])[0])}).encode()) if given == right
                else (401, b"{}"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    house.url = f"http://127.0.0.1:{server.server_address[1]}/token"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield house
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, token_server: TokenServer) -> Iterator[str]:
    """A registry that asks for tokens; its address."""
    program_of_debian(PROGRAM)
    folder, port = tmp_path_factory.mktemp("guarded"), reach.free_port()
    (folder / "root.pem").write_text(token_server.certificate)
    settings = {"realm": token_server.url, "service": "shelf", "issuer": "house",
                "rootcertbundle": str(folder / "root.pem")}
    with start(folder, port, {"token": settings}):
        url = f"http://127.0.0.1:{port}"
        token = token_server.token("repository:team/cafe:pull,push")
        Repository(url, "team/cafe", token=token).push_artifact("1.1", {"cafe": b"coffee"})
        yield url


def test_a_token_is_asked_for_once_and_again_when_it_is_refused(
    guarded: str, token_server: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token_server.asked.clear()
    with faulty_proxy(guarded) as proxy:
        source = of(proxy.url, connection=logged_in(monkeypatch), token_hosts=["127.0.0.1"])
        assert source.resolve("1.1").version == "1.1"
        assert len(token_server.asked) == 1
        assert token_server.asked[0][1] == {"service": ["shelf"], "scope": ["repository:team/cafe:pull"]}
        expired = f'Bearer realm="{token_server.url}",service="shelf",scope="repository:team/cafe:pull",error="expired"'
        proxy.once("manifests", Fault(status=401, headers={"WWW-Authenticate": expired}))
        assert source.resolve("1.1").version == "1.1"
        assert len(token_server.asked) == 2


def test_a_log_in_goes_to_the_registry_and_to_hosts_that_are_named(
    guarded: str, token_server: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token_server.asked.clear()
    with pytest.raises(AccessRefused, match=r"wants the log-in to be sent to 127\.0\.0\.1:\d+; if that is right"):
        of(guarded, connection=logged_in(monkeypatch)).resolve("1.1")
    assert token_server.asked == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((500, b""), TemporaryError),
        ((429, b""), TemporaryError),
        ((403, b"{}"), AccessRefused),
        ((200, b"<html>"), TemporaryError),
        ((200, b'{"token": 5}'), TemporaryError),
        ((200, b'{"token": "", "access_token": ""}'), TemporaryError),
        ((200, b'{"token": "a\\r\\nX: y"}'), TemporaryError),
        ((200, b"x" * (2 << 20)), PermanentError),
        ((200, b'{"token": "not-a-token"}'), AccessRefused),
    ],
)
def test_a_token_server_that_answers_wrong_is_told_from_a_refusal(
    guarded: str, token_server: TokenServer, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, bytes],
    error: type[AirlockError],
) -> None:
    monkeypatch.setattr(token_server, "answer", answer)
    with pytest.raises(error):
        of(guarded, connection=logged_in(monkeypatch), token_hosts=["127.0.0.1"]).resolve("1.1")


def test_a_token_of_the_registry_itself_is_sent_as_it_is(
    guarded: str, token_server: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token_server.asked.clear()
    token = token_server.token("repository:team/cafe:pull")
    assert of(guarded, connection=logged_in(monkeypatch, login="", password=token)).resolve("1.1").version == "1.1"
    assert token_server.asked == []


# --- strangers in between -------------------------------------------------------------------------------


@pytest.fixture
def proxy(closed: Repository) -> Iterator[FaultyProxy]:
    with faulty_proxy(closed.url) as started:
        yield started


def test_no_log_in_leaves_the_registry(
    closed: Repository, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirect, the next page and a challenge each name a stranger, who gets nothing."""
    with faulty_proxy(closed.url) as stranger:
        stranger.always(Fault(status=401, headers={"WWW-Authenticate": f'Bearer realm="{stranger.url}/token"'}))
        source = of(proxy.url, connection=logged_in(monkeypatch))
        assert source.resolve("1.1")
        for headers, status in (
            ({"Location": f"{stranger.url}/elsewhere"}, 307),
            ({"WWW-Authenticate": f'Bearer realm="{stranger.url}/token",service="x"'}, 401),
            ({"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}, 401),
            ({"WWW-Authenticate": "Bearer"}, 401),
            ({"WWW-Authenticate": "Negotiate"}, 401),
        ):
            proxy.always(Fault(status=status, headers=headers))
            with pytest.raises(AirlockError) as caught:
                source.resolve("1.1")
            assert PASSWORD not in str(caught.value)
        page = {"Link": f'<{stranger.url}/v2/team/cafe/tags/list?last=1>; rel="next"'}
        proxy.once("tags", Fault(status=200, body=b'{"tags": ["1.0"]}', headers=page))
        assert source.versions() == ("1.1", "1.0")
        assert [path for _, path in stranger.seen if path != "/elsewhere"] == []
        assert stranger.authorizations == [""] * len(stranger.seen)


def test_a_redirect_to_storage_is_followed_without_the_log_in(
    closed: Repository, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty_proxy(closed.url) as storage:
        storage.always(Fault(status=200, body=b"coffee"))
        elsewhere = Fault(status=307, headers={"Location": f"{storage.url}/x"})
        proxy.decide = lambda method, path: elsewhere if "blobs" in path else None
        assert of(proxy.url, connection=logged_in(monkeypatch)).resolve("1.1").version == "1.1"
        assert storage.authorizations == [""] * len(storage.seen) and storage.seen
        storage.always(Fault(status=200, body=b"poison"))
        with pytest.raises(TemporaryError, match="other bytes than those with this digest"):
            source = of(proxy.url, connection=logged_in(monkeypatch))
            source.fetch(source.resolve("1.1"), Path("/nonexistent"))


def test_redirects_without_an_end_are_given_up(proxy: FaultyProxy) -> None:
    proxy.always(Fault(status=307, headers={"Location": "/again"}))
    with pytest.raises(PermanentError, match="without an end"):
        of(proxy.url).resolve("1.1")


def test_a_registry_that_answers_the_unknown_call_with_a_page_has_tags_for_it(
    closed: Repository, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = of(proxy.url, connection=logged_in(monkeypatch))
    artifact = source.resolve("1.1")
    for fault in (Fault(status=303, headers={"Location": "https://example.com/"}), Fault(status=404), Fault(status=405),
                  Fault(status=400), Fault(status=200, body=b"<html>")):  # fmt: skip
        proxy.decide = lambda method, path, given=fault: given if "/referrers/" in path else None  # type: ignore[misc]
        assert source.signed(artifact) == ()


def test_tls_is_checked_by_the_authorities_that_are_named(
    closed: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = certified("127.0.0.1")
    pem = certificate.public_bytes(Encoding.PEM)
    (tmp_path / "own.pem").write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "authorities.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "own.pem")
    with faulty_proxy(closed.url, context) as secure:
        options = {"plain_http": False, "connection": logged_in(monkeypatch)}
        with pytest.raises(TemporaryError, match="its certificate is not trusted"):
            of(secure.url, **options).resolve("1.1")
        assert secure.seen == []
        source = of(secure.url, **options, certificates=str(tmp_path / "authorities.pem"))
        assert source.resolve("1.1").version == "1.1"
        secure.always(Fault(status=307, headers={"Location": f"{closed.url}/v2/"}))
        with pytest.raises(PermanentError, match="which is not encrypted; this is not followed"):
            source.resolve("1.1")


@pytest.mark.parametrize("inside", [
    "127.0.0.1", "127.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:169.254.169.254]", "0",
    "169.254.169.254", "localhost", "LOCALHOST.", "app.localhost", "[fe80::1]", "[::]",
])  # fmt: skip
def test_a_registry_elsewhere_sends_nobody_to_this_machine(
    closed: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    """However the address is spelled that a name of this machine, or its cloud's metadata, has."""
    key, certificate = certified("registry.test")
    pem = certificate.public_bytes(Encoding.PEM)
    (tmp_path / "own.pem").write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "own.pem")
    known = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *more, **options: known(
        "127.0.0.1" if host == "registry.test" else host, *more, **options))
    with faulty_proxy(closed.url, context) as secure:
        port = secure.url.rpartition(":")[2]
        source = of(f"https://registry.test:{port}", plain_http=False, certificates=str(tmp_path / "own.pem"))
        secure.always(Fault(status=307, headers={"Location": f"https://{inside}:{port}/v2/"}))
        with pytest.raises(PermanentError, match="an address of this machine or its network"):
            source.resolve("1.1")


def test_a_proxy_of_the_environment_is_not_asked_about_this_machine(
    closed: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert of(closed.url, connection=logged_in(monkeypatch)).resolve("1.1").version == "1.1"


def test_a_cloud_gives_the_log_in_for_its_registry(moto_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    from airlock.deploy.artifacts.registry_login import login_of

    found = login_of(aws_connection(monkeypatch, moto_server.url), "123456789012.dkr.ecr.us-east-1.amazonaws.com")
    assert found.name == "AWS" and found.secret
    assert found.secret not in repr(found)


@pytest.mark.parametrize("host", [
    "registry.example.com", "127.0.0.1:5000", "public.ecr.aws", "123456789012.dkr.ecr.us-east-1.amazonaws.com:5000",
    "123456789012.dkr.ecr.us-east-1.amazonaws.com.example.com", "x123456789012.dkr.ecr.us-east-1.amazonaws.com",
    "123456789012.dkr.ecr.us-east-1.example.com",
])  # fmt: skip
def test_the_log_in_of_a_cloud_goes_to_no_other_registry(
    moto_server: Any, monkeypatch: pytest.MonkeyPatch, host: str  # noqa: F811
) -> None:
    from airlock.deploy.artifacts.registry_login import login_of

    with pytest.raises(InvalidInput, match=f"{re.escape(host)} is no registry of AWS"):
        login_of(aws_connection(monkeypatch, moto_server.url), host)


@pytest.mark.parametrize("host", [
    "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
    "123456789012.dkr-ecr.eu-west-1.on.aws", "123456789012.dkr-ecr-fips.us-east-1.on.aws",
    "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu",
])  # fmt: skip
def test_every_registry_of_a_cloud_is_known(moto_server: Any, monkeypatch: pytest.MonkeyPatch, host: str) -> None:  # noqa: F811
    from airlock.deploy.artifacts.registry_login import login_of

    assert login_of(aws_connection(monkeypatch, moto_server.url), host).name == "AWS"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('Bearer realm="https://a/t",service="s",scope="x:y:pull"',
         ("bearer", {"realm": "https://a/t", "service": "s", "scope": "x:y:pull"})),
        ('bearer realm="https://a/t", service=s', ("bearer", {"realm": "https://a/t", "service": "s"})),
        ('Basic realm="the house"', ("basic", {"realm": "the house"})),
        ('BASIC realm="the house"', ("basic", {"realm": "the house"})),
        ('Negotiate, Basic realm="x"', ("basic", {"realm": "x"})),
        ('Bearer realm="https://a/t",scope="aws"', ("bearer", {"realm": "https://a/t", "scope": "aws"})),
        ('Bearer realm="https://a/t",scope=""', ("bearer", {"realm": "https://a/t", "scope": ""})),
        ('Bearer realm="https://a/t",scope="repository:x:pull,push"',
         ("bearer", {"realm": "https://a/t", "scope": "repository:x:pull,push"})),
        ("", ("", {})),
        ("Negotiate", ("", {})),
        ("\x00\xff", ("", {})),
    ],
)  # fmt: skip
def test_a_challenge_is_read_however_it_is_written(header: str, found: tuple[str, dict[str, str]]) -> None:
    assert challenge(header) == found
