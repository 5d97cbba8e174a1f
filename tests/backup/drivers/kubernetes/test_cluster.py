"""What lies between the driver and the objects: TLS, credentials that end, and processes that are killed."""

from __future__ import annotations

import base64
import ipaddress
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airlock.backup.run import prove, restore_origin
from airlock.errors import AccessRefused, PermanentError, TemporaryError
from airlock.models import RecoveryPoint
from tests.backup.drivers.kubernetes.conftest import Home, pod, workload
from tests.contracts.killed import killed
from tests.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.real_servers import set_connection

RBAC = "rbac.authorization.k8s.io/v1"
NOW = datetime.now(UTC)


# --- TLS --------------------------------------------------------------------------------------------------------------


def certificate(
    folder: Path, name: str, *, address: str = "127.0.0.1", until: datetime = NOW + timedelta(days=1)
) -> tuple[str, ssl.SSLContext]:
    """Return a certificate that signs itself, as text, and the context of a server that shows it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(NOW - timedelta(days=9)).not_valid_after(until)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    text = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{name}.pem").write_bytes(text + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem")
    return text.decode(), context


def connect(monkeypatch: pytest.MonkeyPatch, folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> None:
    """Let the driver's connection be one to *cluster* as *user*."""
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
    (folder / "config").write_text(yaml.safe_dump(document))
    extra = {"kube_config_path": str(folder / "config")}
    set_connection(monkeypatch, "test_kubernetes", conn_type="kubernetes", extra=extra)


def authority(text: str) -> dict[str, str]:
    return {"certificate-authority-data": base64.b64encode(text.encode()).decode()}


def test_a_server_is_trusted_by_its_authority_and_what_is_wrong_with_it_is_said(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    good, context = certificate(tmp_path, "good")
    stranger, _ = certificate(tmp_path, "stranger")
    late, old = certificate(tmp_path, "late", until=NOW - timedelta(days=1))
    other, elsewhere = certificate(tmp_path, "other", address="127.0.0.9")
    user = {"token": home.server.token}
    with faulty_proxy(home.server.url, context) as proxy:
        connect(monkeypatch, tmp_path, {"server": proxy.url, **authority(good)}, user)
        point = home.take()
        assert home.proven(point).ok
        for cluster, said in (
            ({"server": proxy.url}, "is not trusted: self-signed certificate"),
            ({"server": proxy.url, **authority(stranger)}, "is not trusted"),
            ({"server": proxy.url, "certificate-authority-data": "bm8="}, "kube config"),
            ({"server": proxy.url, "certificate-authority-data": "%%%"}, "kube config"),
            ({"server": proxy.url, "certificate-authority": str(tmp_path / "none.pem")}, "kube config"),
        ):
            connect(monkeypatch, tmp_path, cluster, user)
            with pytest.raises(PermanentError, match=said) as told:
                home.driver().inspect()
            assert "MaxRetryError" not in str(told.value)
            # the backup is not to blame, and says so the same way in a restore test
            with pytest.raises(PermanentError, match=said):
                home.driver().restore(point, home.scratch)
        connect(monkeypatch, tmp_path, {"server": proxy.url.replace("https", "http"), **authority(good)}, user)
        with pytest.raises((PermanentError, TemporaryError), match=r"https|check"):
            home.driver().inspect()
    for text, shown, said in ((late, old, "has expired"), (other, elsewhere, "not valid for '127.0.0.1'")):
        with faulty_proxy(home.server.url, shown) as proxy:
            connect(monkeypatch, tmp_path, {"server": proxy.url, **authority(text)}, user)
            with pytest.raises(PermanentError, match=said):
                home.driver().inspect()


def test_a_server_that_wants_a_certificate_of_its_clients_says_so(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text, context = certificate(tmp_path, "good")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=text)
    with faulty_proxy(home.server.url, context) as proxy:
        connect(monkeypatch, tmp_path, {"server": proxy.url, **authority(text)}, {"token": home.server.token})
        with pytest.raises(PermanentError, match="whether the server wants a client certificate"):
            home.driver().inspect()


# --- credentials that end ---------------------------------------------------------------------------------------------


@pytest.fixture
def robots(home: Home) -> Iterator[Callable[[str], str]]:
    """Makes a service account with the ClusterRole that is shipped, and returns a token of it."""
    shipped = Path(__file__).resolve().parents[4] / "include/airlock/backup/drivers/kubernetes/cluster_role.yaml"
    root, place = f"/apis/{RBAC}", f"{home.name}-robots"
    role = {**yaml.safe_load(shipped.read_text()), "metadata": {"name": place}}
    home.ask("POST", "/api/v1/namespaces", {"metadata": {"name": place}})
    home.ask("POST", f"{root}/clusterroles", role)

    def make(name: str) -> str:
        accounts = f"/api/v1/namespaces/{place}/serviceaccounts"
        home.ask("POST", accounts, {"metadata": {"name": name}})
        binding = {
            "metadata": {"name": f"{place}-{name}"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": place},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": place}],
        }
        home.ask("POST", f"{root}/clusterrolebindings", binding)
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
        return str(home.ask("POST", f"{accounts}/{name}/token", asked)["status"]["token"])

    yield make
    for item in home.get(f"{root}/clusterrolebindings")["items"]:
        if item["metadata"]["name"].startswith(f"{place}-"):
            home.ask("DELETE", f"{root}/clusterrolebindings/{item['metadata']['name']}")
    home.ask("DELETE", f"{root}/clusterroles/{place}")
    home.ask("DELETE", f"/api/v1/namespaces/{place}")


def dismiss(home: Home, name: str) -> None:
    """Delete the account, and its tokens with it; a server may believe in them for some seconds more."""
    home.ask("DELETE", f"/api/v1/namespaces/{home.name}-robots/serviceaccounts/{name}")


def is_refused(home: Home, token: str) -> bool:
    """Whether the server does not take *token* any more."""
    known = home.server
    try:
        home.server = type(known)(**{**vars(known), "token": token})
        return home.status("GET", "configmaps")[0] == 401
    finally:
        home.server = known


def test_the_shipped_role_is_enough_for_a_backup_a_proof_and_a_way_back(
    shop: Home, robots: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    connect(monkeypatch, tmp_path, {"server": shop.server.url}, {"token": robots("one")})
    point = shop.take()
    proof = shop.proven(point)
    assert proof.ok, proof.reason
    shop.gone(f"{RBAC}:roles/shop-reader")
    shop.gone(f"{RBAC}:rolebindings/shop-reader")
    shop.patch("configmaps/shop-settings", {"data": {"SHOP_PAGE_SIZE": "1"}})
    restore_origin(shop.driver(), point)


def test_a_token_that_has_ended_is_said_and_the_backup_is_not_blamed(
    home: Home, robots: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    token = robots("one")
    connect(monkeypatch, tmp_path, {"server": home.server.url}, {"token": token})
    point = home.take()
    dismiss(home, "one")
    home.until(lambda: is_refused(home, token))
    for act in (
        lambda: home.driver().inspect(),
        lambda: prove(home.driver(), point, home.scratch),
        lambda: home.restore(point),
        lambda: home.driver().discard(home.scratch),
    ):
        with pytest.raises(AccessRefused, match=r"wrong or have expired; renew the token") as told:
            act()
        assert token not in str(told.value)


@pytest.mark.parametrize("way", ["a file", "a plugin", "the kube config"])
def test_a_token_that_is_renewed_in_the_middle_is_used(
    home: Home, robots: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    for name in ("a", "b", "c"):
        home.make("configmaps", name, data={"a": "1"})
    first, second = robots("one"), robots("two")
    held = tmp_path / "token"
    held.write_text(first)
    plugin = tmp_path / "plugin"
    plugin.write_text(
        '#!/bin/sh\necho "{\\"apiVersion\\": \\"client.authentication.k8s.io/v1\\", \\"kind\\": '
        f'\\"ExecCredential\\", \\"status\\": {{\\"token\\": \\"$(cat {held})\\"}}}}"\n'
    )
    plugin.chmod(0o700)
    program = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": str(plugin)}

    def log_in() -> None:
        user = {"a file": {"tokenFile": str(held)}, "a plugin": {"exec": program}}.get(way, {"token": held.read_text()})
        connect(monkeypatch, tmp_path, {"server": proxy.url}, user)

    with faulty_proxy(home.server.url) as proxy:
        log_in()
        point = home.take()
        for name in ("a", "b", "c"):
            home.patch(f"configmaps/{name}", {"data": {"a": "2"}})
        renewed = threading.Event()

        def renew(method: str, path: str) -> Fault | None:
            if method == "PUT" and "dryRun" not in path and "/configmaps/b" in path and not renewed.is_set():
                renewed.set()
                held.write_text(second)
                log_in()
                dismiss(home, "one")
                home.until(lambda: is_refused(home, first))
            return None

        proxy.decide = renew
        home.restore(point)
        assert renewed.is_set()
        assert home.wrong(point) == []


# --- processes that are killed ----------------------------------------------------------------------------------------


def is_real_write(proxy: FaultyProxy, method: str, path: str) -> bool:
    # whether a deletion is a trial says its body
    return method != "GET" and "dryRun=All" not in path and b"dryRun" not in proxy.body


class Stop:
    """Kills who writes at its real write *number*: before it reaches the server, or before its answer comes back."""

    def __init__(self, proxy: FaultyProxy, number: int = 1, *, sent: bool) -> None:
        self.met, self.proxy, self.left, self.sent = threading.Event(), proxy, number, sent
        proxy.decide = self.decide

    def decide(self, method: str, path: str) -> Fault | None:
        if not is_real_write(self.proxy, method, path) or self.met.is_set():
            return None
        self.left -= 1
        if self.left:
            return None
        if self.sent:
            return Fault(alter=self._wait)
        self.met.set()
        return Fault(delay=0.5, drop=True)

    def _wait(self, body: bytes) -> bytes:
        self.met.set()
        threading.Event().wait(0.5)
        return body


@contextmanager
def proxied(home: Home, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[FaultyProxy]:
    with faulty_proxy(home.server.url) as proxy:
        connect(monkeypatch, folder, {"server": proxy.url}, {"token": home.server.token})
        yield proxy


def until_it_ends(proxy: FaultyProxy, work: Callable[[], object], *, sent: bool) -> int:
    """Do *work*, each time in a new process that is killed at one of its first writes, until one ends by itself."""
    for number in range(60):
        stop = Stop(proxy, 1 + number % 3, sent=sent)  # some writes are tried, refused, and done in another way
        if not sent and number:  # a write that never arrives changes nothing: once is enough
            proxy.decide = lambda method, path: None
        ended = False
        try:
            killed(work, stop.met.is_set)
        except AssertionError as error:
            if "it ended by itself" not in str(error):
                raise
            ended = True
        if ended:
            return number
    raise AssertionError("it never ends")


@pytest.mark.parametrize("sent", [True, False])
def test_a_way_back_that_is_killed_at_every_write_goes_on(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sent: bool
) -> None:
    apply = f"/api/v1/namespaces/{home.name}/configmaps/owned?fieldManager=deployer"
    owned = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned"}, "data": {"a": "1"}}
    home.ask("PATCH", apply, owned, "application/apply-patch+yaml")
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    made: dict[str, dict[str, Any]] = {
        "configmaps/changed": {"data": {"a": "1"}}, "configmaps/lost": {"data": {"a": "1"}},
        "configmaps/fixed": {"data": {"a": "1"}, "immutable": True},
        "apps/v1:deployments/shop": {"spec": workload()},
        "apps/v1:statefulsets/shop": {"spec": workload({"app": "data"}, serviceName="one")},
        "services/shop": {"spec": {"ports": ports}},
        "batch/v1:jobs/migration": {"spec": {"template": {"spec": pod(restartPolicy="Never")}}},
    }  # fmt: skip
    for path, fields in made.items():
        home.make(path.rpartition("/")[0], path.rpartition("/")[2], **fields)
    point = home.take()
    home.patch("configmaps/owned", {"data": {"a": "9"}})
    home.patch("configmaps/changed", {"data": {"a": "2"}})
    home.gone("configmaps/lost")
    later = {
        "configmaps/fixed": {"data": {"a": "2"}, "immutable": True},
        "apps/v1:deployments/shop": {"spec": workload({"app": "other"})},
        "apps/v1:statefulsets/shop": {"spec": workload({"app": "data"}, serviceName="two")},
        "services/shop": {"spec": {"ports": ports, "clusterIP": "None"}},
    }
    for path, fields in later.items():
        home.gone(path)
        home.make(path.rpartition("/")[0], path.rpartition("/")[2], **fields)
    home.ask("DELETE", "batch/v1:jobs/migration?propagationPolicy=Background")
    home.until(lambda: not home.exists("batch/v1:jobs/migration"))
    home.make("configmaps", "added")
    with proxied(home, monkeypatch, tmp_path) as proxy:
        kills = until_it_ends(proxy, lambda: _ended(lambda: restore_origin(home.driver(), point)), sent=sent)
        proxy.decide = lambda method, path: None
        assert kills > (5 if sent else 0)
        assert home.wrong(point) == []
        restore_origin(home.driver(), point)
    assert not home.exists("configmaps/added")
    job = home.get("batch/v1:jobs/migration")["spec"]
    assert job.get("suspend") is True or job["parallelism"] == 0
    home.ask("PATCH", apply, {**owned, "data": {"a": "2"}}, "application/apply-patch+yaml")


def test_what_is_deleted_between_a_look_and_a_write_is_made_anew(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    point = home.take()
    home.patch("configmaps/a", {"data": {"a": "2"}})
    with proxied(home, monkeypatch, tmp_path) as proxy:

        def decide(method: str, path: str) -> Fault | None:
            if method == "PUT" and "dryRun" not in path:
                home.status("DELETE", "configmaps/a")
            return None

        proxy.decide = decide
        home.restore(point)
        assert home.wrong(point) == []


def test_two_ways_back_at_once_do_no_harm(home: Home) -> None:
    """As when a scheduler takes a living task for dead and starts it again."""
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    for name in "abcdef":
        home.make("configmaps", name, data={"a": "1"})
    home.make("configmaps", "fixed", data={"a": "1"}, immutable=True)
    home.make("services", "shop", spec={"ports": ports})
    home.make("apps/v1:deployments", "shop", spec=workload())
    point = home.take()
    for name in "abc":
        home.patch(f"configmaps/{name}", {"data": {"a": "2"}})
    for path in ("configmaps/d", "configmaps/fixed", "services/shop", "apps/v1:deployments/shop"):
        home.gone(path)
    home.make("configmaps", "fixed", data={"a": "2"}, immutable=True)
    home.make("services", "shop", spec={"ports": ports, "clusterIP": "None"})
    home.make("apps/v1:deployments", "shop", spec=workload({"app": "other"}))
    for number in range(4):
        home.make("configmaps", f"added-{number}")
    together = threading.Barrier(2)

    def restore(_: int) -> str:
        together.wait()
        try:
            home.restore(point)
        except TemporaryError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(restore, range(2)))
    assert "" in said, said
    assert home.wrong(point) == []
    home.restore(point)


def _ended(work: Callable[[], object]) -> None:
    """Do *work* to its end and leave, so that whoever waits for its death sees that it ended."""
    work()
    os._exit(0)


def test_a_proof_that_is_killed_at_every_write_begins_again_and_leaves_nothing(
    shop: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    point: RecoveryPoint = shop.take()
    scratch = f"/api/v1/namespaces/airlock-{shop.scratch.name}"
    with proxied(shop, monkeypatch, tmp_path) as proxy:
        for number in range(1, 8, 2):  # the namespace, objects, and the deletion of what a try before left
            stop = Stop(proxy, number, sent=True)
            killed(lambda: prove(shop.driver(), point, shop.scratch), stop.met.is_set)
        proxy.decide = lambda method, path: None
        proof = prove(shop.driver(), point, shop.scratch)
        assert proof.ok, proof.reason
        shop.driver().discard(shop.scratch)
        assert not shop.exists(scratch)
        assert shop.wrong(point) == []
