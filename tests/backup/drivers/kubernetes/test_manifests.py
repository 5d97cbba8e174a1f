"""The driver ``manifests`` against an API server over HTTP, directly and behind a proxy that fails."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.backup.driver import Place
from airlock.backup.drivers.kubernetes import cleaning
from airlock.backup.drivers.kubernetes.manifests import ManifestsDriver
from airlock.backup.store import BackupStore
from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.models import Kind, RecoveryPoint, Resource
from sandbox import kubernetes_api, reach
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest, documents, without
from tests.contracts.driver_forms import DAMAGES, FORMS
from tests.faulty_proxy import Fault, faulty_proxy
from tests.real_servers import set_connection

SET_BY_THE_SERVER = ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields", "status")
SCRATCH = Place(name="proof1")
ORIGIN = Place(origin=True)


@pytest.fixture(autouse=True)
def connection(kubernetes_server: kubernetes_api.Kubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(
        monkeypatch,
        "test_kubernetes",
        conn_type="kubernetes",
        extra={"kube_config_path": str(kubernetes_server.kubeconfig)},
    )


def ask(server: kubernetes_api.Kubernetes, method: str, path: str, body: Any = None) -> Any:
    return reach.call(method, f"{server.url}{path}", body, {"Authorization": f"Bearer {server.token}"})


def driver(store: BackupStore, **options: Any) -> ManifestsDriver:
    given = {"connection": "test_kubernetes", "namespace": "shop-prod", **options}
    return ManifestsDriver(Resource(name="objects", kind=Kind.KUBERNETES, driver="manifests", options=given), store)


def take(subject: ManifestsDriver, token: str = "point-1") -> RecoveryPoint:
    return subject.finish(subject.start(token))


def test_a_namespace_is_restored_compared_and_removed(
    store: BackupStore, kubernetes_server: kubernetes_api.Kubernetes
) -> None:
    subject = driver(store)
    point = take(subject)
    names = set(point.facts["documents"])
    assert {
        "deployments.apps/shop",
        "secrets/shop-database",
        "services/shop",
        "ingresses.networking.k8s.io/shop",
        "rolebindings.rbac.authorization.k8s.io/shop-reader",
        "configmaps/shop-page-11",
    } <= names
    assert "configmaps/kube-root-ca.crt" not in names
    subject.restore(point, SCRATCH)
    assert [check for check in subject.prove(point, SCRATCH) if not check.ok] == []
    for group, name in (
        ("networking.k8s.io", "ingresses/shop"),  # a gateway could act on it
        ("rbac.authorization.k8s.io", "rolebindings/shop-reader"),  # people could
    ):
        with pytest.raises(OSError, match="404"):
            ask(kubernetes_server, "GET", f"/apis/{group}/v1/namespaces/airlock-proof1/{name}")
    subject.restore(point, SCRATCH)
    subject.discard(SCRATCH)
    subject.discard(SCRATCH)
    with pytest.raises(OSError, match="404"):
        ask(kubernetes_server, "GET", "/api/v1/namespaces/airlock-proof1")


def test_a_difference_fails_the_proof(store: BackupStore, kubernetes_server: kubernetes_api.Kubernetes) -> None:
    subject = driver(store)
    point = take(subject)
    subject.restore(point, SCRATCH)
    path = "/api/v1/namespaces/airlock-proof1/secrets/shop-database"
    secret = ask(kubernetes_server, "GET", path)
    secret["data"]["password"] = base64.b64encode(b"other").decode()
    ask(kubernetes_server, "PUT", path, secret)
    ask(kubernetes_server, "DELETE", "/api/v1/namespaces/airlock-proof1/configmaps/shop-logo")
    broken = {check.name for check in subject.prove(point, SCRATCH) if not check.ok}
    assert broken == {"names of documents", "content of secrets/shop-database", "content of configmaps/shop-logo"}
    subject.discard(SCRATCH)


def test_a_restore_into_the_origin_brings_back_what_was_there(
    store: BackupStore, kubernetes_server: kubernetes_api.Kubernetes
) -> None:
    subject = driver(store, namespace="shop-staging")
    point = take(subject)
    root = "/apis/apps/v1/namespaces/shop-staging/deployments"
    deployment = ask(kubernetes_server, "GET", f"{root}/shop")
    deployment["spec"]["replicas"] = 9
    deployment["metadata"]["labels"]["added"] = "later"
    ask(kubernetes_server, "PUT", f"{root}/shop", deployment)
    ask(kubernetes_server, "DELETE", "/api/v1/namespaces/shop-staging/services/shop")
    ask(kubernetes_server, "POST", "/api/v1/namespaces/shop-staging/configmaps", {"metadata": {"name": "made-later"}})
    subject.restore(point, ORIGIN)
    assert [check for check in subject.prove(point, ORIGIN) if not check.ok] == []


def test_secrets_are_in_no_fact(store: BackupStore, kubernetes_server: kubernetes_api.Kubernetes) -> None:
    secret = ask(kubernetes_server, "GET", "/api/v1/namespaces/shop-prod/secrets/shop-database")
    encoded = secret["data"]["password"]
    subject = driver(store)
    text = take(subject).model_dump_json() + subject.inspect().model_dump_json()
    assert encoded not in text and base64.b64decode(encoded).decode() not in text


def test_labels_and_exclusions_narrow_the_backup(store: BackupStore) -> None:
    documents = driver(store, label_selector="app=shop", exclude=("configmaps",)).export(ORIGIN)
    assert "serviceaccounts/default" not in documents
    assert not any(name.startswith("configmaps/") for name in documents)
    assert "deployments.apps/shop" in documents


@pytest.fixture
def proxied(kubernetes_server: kubernetes_api.Kubernetes, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    with faulty_proxy(kubernetes_server.url) as proxy:
        kubernetes_api.write_kubeconfig(tmp_path / "config", proxy.url, kubernetes_server.token)
        set_connection(
            monkeypatch, "test_kubernetes", conn_type="kubernetes", extra={"kube_config_path": str(tmp_path / "config")}
        )
        yield proxy


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=429), TemporaryError),
        (Fault(status=503), TemporaryError),
        (Fault(status=500), TemporaryError),
        (Fault(status=200, body=b"<html></html>"), TemporaryError),
        (Fault(drop=True), TemporaryError),
        (Fault(status=403), PermanentError),
        (Fault(status=401), PermanentError),
    ],
)
def test_failing_answers_are_named_as_what_they_are(
    store: BackupStore, proxied: Any, fault: Fault, error: type[Exception]
) -> None:
    proxied.always(fault)
    with pytest.raises(error, match=r"kubernetes\.objects"):
        driver(store).inspect()


def test_lists_come_in_pages_and_begin_again_when_a_page_has_expired(
    store: BackupStore, proxied: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airlock.backup.drivers.kubernetes.cluster._PAGE", 5)
    proxied.once("configmaps?limit=5&continue", Fault(status=410, body=b"{}"))
    documents = driver(store).export(ORIGIN)
    lists = [path for method, path in proxied.seen if "/configmaps?" in path]
    assert len([name for name in documents if name.startswith("configmaps/")]) == 14
    assert len([path for path in lists if "continue" not in path]) == 2


def test_a_namespace_that_always_expires_is_temporary(store: BackupStore, proxied: Any) -> None:
    proxied.decide = lambda method, path: Fault(status=410, body=b"{}") if "/secrets?" in path else None
    with pytest.raises(TemporaryError, match="expired"):
        driver(store).inspect()


def test_everything_is_tried_before_anything_is_applied(store: BackupStore, proxied: Any) -> None:
    subject = driver(store)
    point = take(subject)
    refusal = Fault(
        status=422, body=b'{"kind": "Status", "reason": "Invalid", "details": {"causes": [{"field": "spec.x"}]}}'
    )
    proxied.decide = lambda method, path: refusal if method == "POST" and "/ingresses?" in path else None
    with pytest.raises(PermanentError, match=r"ingresses.*spec\.x"):
        subject.restore(point, SCRATCH)
    applied = [path for method, path in proxied.seen if method in ("POST", "PUT") and "dryRun=All" not in path]
    assert [path.partition("?")[0] for path in applied] == ["/api/v1/namespaces"]
    proxied.decide = lambda method, path: None
    subject.discard(SCRATCH)


def test_a_namespace_that_airlock_did_not_make_is_left_alone(
    store: BackupStore, kubernetes_server: kubernetes_api.Kubernetes
) -> None:
    ask(kubernetes_server, "POST", "/api/v1/namespaces", {"metadata": {"name": "airlock-mine"}})
    place = Place(name="mine")
    subject = driver(store)
    with pytest.raises(PermanentError, match="not made by Airlock"):
        subject.discard(place)
    with pytest.raises(PermanentError, match="not made by Airlock"):
        subject.restore(take(subject), place)
    with pytest.raises(InvalidInput, match="origin"):
        subject.discard(ORIGIN)


WORDS = st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=9), min_size=1, max_size=2)
KINDS = ["Service", "Job", "PersistentVolumeClaim", "ConfigMap", "RoleBinding", "Namespace"]
SPEC = {
    "selector": st.dictionaries(st.text(max_size=3), st.text(max_size=3)),
    "replicas": st.integers(0, 9),
    "clusterIP": st.sampled_from(["None", "10.0.0.1"]),
    "volumeName": st.text(max_size=3),
}
DOCUMENT = st.fixed_dictionaries(
    {
        "apiVersion": st.sampled_from(["v1", "example.com/v1", "batch/v1", "apps/v1"]),
        "kind": st.sampled_from(KINDS),
        "metadata": st.fixed_dictionaries({"name": st.just("a")}, optional={"labels": WORDS, "annotations": WORDS}),
    },
    optional={"spec": st.fixed_dictionaries({}, optional=SPEC)},
)


@given(document=DOCUMENT)
def test_a_clean_document_is_sent_and_read_back_as_it_is(document: dict[str, Any]) -> None:
    taken = cleaning.clean(document, "origin")
    assert cleaning.clean(cleaning.sent(taken, "scratch"), "scratch") == cleaning.comparable(taken)
    home = cleaning.clean(cleaning.sent_home(taken, "origin"), "origin")
    assert home == taken
    other = document["apiVersion"] == "example.com/v1"
    if other:  # another group's kind is only what it says, whatever its name
        assert taken.get("spec") == document.get("spec")


class TestContract(DriverContract):
    @pytest.fixture
    def case(self, store: BackupStore, kubernetes_server: kubernetes_api.Kubernetes) -> Case:
        root = "/api/v1/namespaces"
        password = ask(kubernetes_server, "GET", f"{root}/shop-staging/secrets/shop-database")["data"]["password"]

        def change() -> None:
            path = f"{root}/shop-staging/configmaps/shop-settings"
            settings = ask(kubernetes_server, "GET", path)
            settings["data"]["SHOP_PAGE_SIZE"] = str(int(settings["data"]["SHOP_PAGE_SIZE"]) + 1)
            ask(kubernetes_server, "PUT", path, settings)

        def spoil(place: Place) -> None:
            ask(kubernetes_server, "DELETE", f"{root}/airlock-{place.name}/configmaps/shop-settings")

        def left_over(place: Place) -> list[str]:
            names = [found["metadata"]["name"] for found in ask(kubernetes_server, "GET", root)["items"]]
            return [name for name in names if name == f"airlock-{place.name}"]

        def held() -> list[Any]:
            core = [f"{root}/shop-staging/{plural}" for plural in ("configmaps", "secrets", "services")]
            apps = "/apis/apps/v1/namespaces/shop-staging/deployments"
            return [ask(kubernetes_server, "GET", path)["items"] for path in (*core, apps)]

        stream = "documents.json"
        useless = (
            Useless("a secret", "names of documents", stream, documents(lambda d: d.pop("secrets/shop-database"))),
            Useless("replicas", "content of deployments.apps/shop", stream,
                    documents(lambda d: d["deployments.apps/shop"]["spec"].update(replicas=7))),
            Useless("what no cluster serves", "does not serve widgets.example.org", stream,
                    documents(lambda d: d.update({"widgets.example.org/a": d["services/shop"]}))),
            Useless("what the API refuses", "422", stream,
                    documents(lambda d: d["deployments.apps/shop"]["metadata"].update(name="Not A Name"))),
            Useless("no metadata", "cannot be used", stream, documents(lambda d: d["services/shop"].pop("metadata"))),
        )  # fmt: skip
        return Case(
            driver=driver(store, namespace="shop-staging"),
            change=change,
            spoil=spoil,
            origin=lambda: digest(held()),
            restored=lambda: without(held(), *SET_BY_THE_SERVER),
            useless=useless,
            left_over=left_over,
            secrets=(password,),
            damages=dict.fromkeys(DAMAGES[1:], "not tried yet"),
            forms=dict.fromkeys(FORMS, "not tried yet"),
        )
