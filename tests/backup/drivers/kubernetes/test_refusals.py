"""What an API server refuses is said with the server's own reason, all of it at once, and without any value."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.backup.drivers.kubernetes import refusals
from airlock.backup.drivers.kubernetes.least_rights import cluster_role
from airlock.backup.run import prove
from airlock.errors import AccessRefused, PermanentError, TemporaryError
from sandbox import kubernetes_api, reach
from tests.backup.drivers.kubernetes.conftest import Home
from tests.faulty_proxy import Fault, faulty_proxy
from tests.real_servers import set_connection

RBAC = "rbac.authorization.k8s.io/v1"


def answer(code: int, reason: str, message: str, **details: Any) -> Fault:
    """What a real server says."""
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": reason, "details": details, "code": code}  # fmt: skip
    return Fault(status=code, body=json.dumps(body).encode(), content_type="application/json")


def connect(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    set_connection(monkeypatch, "test_kubernetes", conn_type="kubernetes", extra={"kube_config_path": str(path)})


@pytest.fixture
def proxied(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    with faulty_proxy(home.server.url) as proxy:
        kubernetes_api.write_kubeconfig(tmp_path / "config", proxy.url, home.server.token)
        connect(monkeypatch, tmp_path / "config")
        yield proxy


def when(method: str, part: str, fault: Fault) -> Callable[[str, str], Fault | None]:
    return lambda seen, path: fault if seen == method and part in path else None


# --- rights -----------------------------------------------------------------------------------------------------------


def account(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rules: list[dict[str, Any]]) -> None:
    """Let the driver go on as a service account that may do what *rules* say."""
    home.make("serviceaccounts", "robot")
    home.make(f"{RBAC}:roles", "robot", rules=rules)
    home.make(
        f"{RBAC}:rolebindings", "robot",
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "robot"},
        subjects=[{"kind": "ServiceAccount", "name": "robot", "namespace": home.name}],
    )  # fmt: skip
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    token = home.ask("POST", "serviceaccounts/robot/token", asked)["status"]["token"]
    kubernetes_api.write_kubeconfig(tmp_path / "robot", home.server.url, token)
    connect(monkeypatch, tmp_path / "robot")


def test_all_missing_rights_are_named_at_once(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    account(home, monkeypatch, tmp_path, [{"apiGroups": ["", "apps"], "resources": ["configmaps", "deployments"],
                                           "verbs": ["list", "get"]}])  # fmt: skip
    with pytest.raises(
        AccessRefused, match=r'User "system:serviceaccount:\S+:robot" cannot get .*"namespaces"'
    ) as told:
        home.driver().inspect()
    said = str(told.value)
    assert "docs/kubernetes.md" in said
    everywhere, _, here = said.partition("All rights that are missing: ")[2].partition(f"in namespace {home.name}: ")
    assert "get, create, update, patch, delete namespaces" in everywhere
    assert "get, list customresourcedefinitions.apiextensions.k8s.io" in everywhere
    assert "list, get, create, update, patch, delete" in here
    for name in ("secrets", "services", "ingresses.networking.k8s.io", "roles.rbac.authorization.k8s.io"):
        assert name in here
    assert "create, update, patch, delete configmaps, deployments.apps" in here


def test_missing_rights_are_not_blamed_on_the_backup(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    point = home.take()
    account(home, monkeypatch, tmp_path, [])
    with pytest.raises(AccessRefused, match="namespaces"):
        prove(home.driver(), point, home.scratch)


def test_the_role_that_is_shipped_is_the_one_that_is_documented_and_is_made_from_what_is_declared() -> None:
    root = Path(__file__).resolve().parents[4]
    shipped = (root / "include/airlock/backup/drivers/kubernetes/cluster_role.yaml").read_text()
    assert shipped.strip() in (root / "docs/kubernetes.md").read_text()
    assert shipped == cluster_role()


def test_expired_credentials_are_said_and_the_backup_is_not_blamed(home: Home, proxied: Any) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    point = home.take()
    proxied.always(answer(401, "Unauthorized", "Unauthorized"))
    with pytest.raises(AccessRefused, match=r"have expired; renew the token"):
        prove(home.driver(), point, home.scratch)


# --- what the server says ---------------------------------------------------------------------------------------------

POLICY = "ValidatingAdmissionPolicy 'teams' with binding 'teams-here' denied request: a team label is needed"
ANSWERS = [
    (answer(422, "Invalid", f'configmaps "a" is forbidden: {POLICY}', name="a", kind="configmaps",
            causes=[{"message": POLICY}]), PermanentError, POLICY),
    (answer(403, "Forbidden", 'admission webhook "v.test" denied the request: no'), PermanentError, r"denied .* no"),
    (answer(400, "BadRequest", 'admission webhook "v.test" does not support dry run'), PermanentError, "dry run"),
    (answer(500, "InternalError", 'Internal error occurred: failed calling webhook "dead.test": connection refused'),
     TemporaryError, r'failed calling webhook "dead\.test"'),
    (answer(500, "", 'conversion webhook for example.com/v1, Kind=Widget failed: Post "https://w.test": no route'),
     TemporaryError, "conversion webhook for example.com/v1, Kind=Widget failed"),
    (answer(403, "Forbidden", 'configmaps "a" is forbidden: exceeded quota: q, requested: configmaps=1, used: '
            "configmaps=2, limited: configmaps=2"), PermanentError, "exceeded quota: q"),
    (answer(403, "Forbidden", 'configmaps "a" is forbidden: unable to create new content in namespace x because it is '
            "being terminated", causes=[{"reason": "NamespaceTerminating", "message": "x"}]), TemporaryError,
     "being deleted"),
    (answer(403, "Forbidden", 'configmaps "a" is forbidden: status unknown for quota: q, resources: configmaps'),
     TemporaryError, "status unknown for quota"),
    (answer(403, "Forbidden", 'roles "r" is forbidden: user "u" (groups=["g"]) is attempting to grant RBAC permissions '
            'not currently held:\n{APIGroups:[""]}'), AccessRefused, "escalate and bind"),
    (answer(429, "TooManyRequests", "the server has received too many requests"), TemporaryError, "too many requests"),
    (answer(504, "Timeout", "the server was unable to return a response in the time allotted"), TemporaryError,
     "time allotted"),
    (answer(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728"), PermanentError, "too large"),
    (Fault(status=502, body=b"<html><body>bad gateway</body></html>"), TemporaryError, "502"),
]  # fmt: skip


@pytest.mark.campaign
@pytest.mark.parametrize(("fault", "error", "said"), ANSWERS)
def test_the_servers_reason_is_told(home: Home, proxied: Any, fault: Fault, error: type[Exception], said: str) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    point = home.take()
    proxied.decide = when("POST", "/configmaps?", fault)
    with pytest.raises(error, match=said):
        home.driver().restore(point, home.scratch)
    proxied.decide = lambda method, path: None
    home.driver().discard(home.scratch)


SECRET = base64.b64encode(b"correct horse").decode()
QUOTING = [
    (422, "Invalid", f'Secret "a" is invalid: data[x]: Invalid value: "{SECRET}": no', [
        {"reason": "FieldValueInvalid", "field": "data[x]", "message": f'Invalid value: "{SECRET}": no'}]),
    (403, "Forbidden", f'admission webhook "v.test" denied the request: x is correct horse or {SECRET}', []),
    (400, "BadRequest", f'json: error found in #10 byte of ...|"x":"{SECRET}"|...', []),
    (422, "Invalid", f'Secret "a" is invalid: x: Duplicate value: "{SECRET}"', [
        {"reason": "FieldValueDuplicate", "field": "x", "message": f'Duplicate value: "{SECRET}"'}]),
]  # fmt: skip


@pytest.mark.parametrize(("code", "reason", "message", "causes"), QUOTING)
def test_no_value_is_repeated(code: int, reason: str, message: str, causes: list[dict[str, str]]) -> None:
    body = {"kind": "Status", "message": message, "reason": reason, "details": {"causes": causes}}
    error = refusals.refused("a: POST /x", code, "Phrase", json.dumps(body), {"kind": "Secret", "data": {"x": SECRET}})
    assert SECRET not in str(error)
    assert "correct horse" not in str(error)
    assert str(code) in str(error)


@given(status=st.integers(400, 599), body=st.one_of(st.text(), st.binary(), st.none(), st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.sampled_from(
        ["details", "causes", "message", "reason", "field"]), inner))).map(json.dumps)))  # fmt: skip
def test_any_answer_gives_an_error_of_ours(status: int, body: Any) -> None:
    assert isinstance(refusals.refused("a", status, "Phrase", body), TemporaryError | PermanentError)


def test_a_policy_that_changes_objects_is_named_by_the_fields_it_changes(home: Home, proxied: Any) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    point = home.take()

    def labelled(body: bytes) -> bytes:
        document = json.loads(body)
        if document.get("kind") == "ConfigMap" and document["metadata"]["name"] == "a":
            document["metadata"]["labels"] = {"injected": "yes"}
        return json.dumps(document).encode()

    proxied.decide = lambda method, path: (
        Fault(alter=labelled) if method in ("POST", "PUT") and "dryRun=All" in path else None
    )
    proof = home.proven(point)
    assert not proof.ok
    assert "configmaps/a" in proof.reason
    assert "metadata.labels was added" in proof.reason


def test_a_place_that_is_discarded_while_it_is_proven_is_temporary(home: Home) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    point, subject = home.take(), home.driver()
    path = f"/api/v1/namespaces/airlock-{home.scratch.name}"
    subject.restore(point, home.scratch)
    home.patch(f"{path}/configmaps/a", {"metadata": {"finalizers": ["example.com/hold"]}})
    home.ask("DELETE", path)
    try:
        with pytest.raises(TemporaryError, match="is being deleted"):
            subject.restore(point, home.scratch)
    finally:
        home.status("PATCH", f"{path}/configmaps/a", {"metadata": {"finalizers": None}}, "application/merge-patch+json")


# --- no answer at all -------------------------------------------------------------------------------------------------


def test_hosts_that_cannot_be_reached_are_told_apart(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    closed = f"http://127.0.0.1:{reach.free_port()}"
    spoken = {
        closed: (TemporaryError, "connection refused"),
        "http://no-such-host.invalid:6443": (TemporaryError, "cannot be resolved"),
        home.server.url.replace("http://", "https://"): (PermanentError, "no TLS connection"),
    }
    for url, (error, said) in spoken.items():
        kubernetes_api.write_kubeconfig(tmp_path / "config", url, "token")
        connect(monkeypatch, tmp_path / "config")
        with pytest.raises(error, match=said) as told:
            home.driver().inspect()
        assert "MaxRetryError" not in str(told.value)


@pytest.mark.parametrize(
    ("error", "sort", "said"),
    [
        (ssl.SSLCertVerificationError(1, "x"), PermanentError, "not trusted"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), PermanentError, "TLS"),
        (TimeoutError("timed out"), TemporaryError, "no answer in time"),
        (ConnectionResetError("reset"), TemporaryError, "ConnectionResetError"),
    ],
)
def test_the_innermost_cause_decides(error: Exception, sort: type[Exception], said: str) -> None:
    from urllib3.exceptions import MaxRetryError

    wrapped = MaxRetryError(None, "/api", error)  # type: ignore[arg-type]
    found = refusals.unreachable("a: GET /api", wrapped)
    assert isinstance(found, sort)
    assert said in str(found)


def test_http_to_a_server_that_speaks_https_is_said() -> None:
    error = refusals.refused("a", 400, "Bad Request", "Client sent an HTTP request to an HTTPS server.\n")
    assert isinstance(error, PermanentError)
    assert "https://" in str(error)
