"""The driver ``manifests`` against an API server over HTTP, directly and behind a proxy that fails."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.backup.driver import Place
from airlock.backup.drivers.kubernetes import cleaning
from airlock.errors import InvalidInput, PermanentError, TemporaryError
from sandbox import kubernetes_api
from tests.backup.drivers.kubernetes.conftest import ORIGIN, Home, define, workload
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest, documents, without
from tests.contracts.driver_forms import EDGE_NAMES, Damage, Form
from tests.faulty_proxy import Fault, faulty_proxy
from tests.real_servers import set_connection

RBAC = "rbac.authorization.k8s.io/v1"
SET_BY_THE_SERVER = ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields", "status",
                     "deployment.kubernetes.io/revision")  # fmt: skip


def test_a_namespace_is_restored_compared_and_removed(shop: Home) -> None:
    subject, point = shop.driver(), shop.take()
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
    subject.restore(point, shop.scratch)
    assert [check for check in subject.prove(point, shop.scratch) if not check.ok] == []
    scratch = Home(shop.server, shop.store, f"airlock-{shop.scratch.name}")
    for path in (
        "networking.k8s.io/v1:ingresses/shop",  # a gateway could act on it
        "rbac.authorization.k8s.io/v1:rolebindings/shop-reader",  # people could
    ):
        assert not scratch.exists(path)
    subject.restore(point, shop.scratch)
    subject.discard(shop.scratch)
    subject.discard(shop.scratch)
    assert not shop.exists(f"/api/v1/namespaces/{scratch.name}")


def test_a_difference_fails_the_proof(shop: Home) -> None:
    subject, point = shop.driver(), shop.take()
    subject.restore(point, shop.scratch)
    scratch = Home(shop.server, shop.store, f"airlock-{shop.scratch.name}")
    scratch.patch("secrets/shop-database", {"data": {"password": base64.b64encode(b"other").decode()}})
    scratch.ask("DELETE", "configmaps/shop-logo")
    broken = {check.name for check in subject.prove(point, shop.scratch) if not check.ok}
    assert broken == {"names of documents", "content of secrets/shop-database", "content of configmaps/shop-logo"}
    subject.discard(shop.scratch)


def test_a_restore_into_the_origin_brings_back_what_was_there(shop: Home) -> None:
    point = shop.take()
    labels = {"metadata": {"labels": {"added": "later"}}, "spec": {"paused": True}}
    shop.patch("apps/v1:deployments/shop", labels)
    shop.gone("services/shop")
    shop.make("configmaps", "made-later")
    shop.restore(point)
    assert shop.wrong(point) == []
    assert not shop.exists("configmaps/made-later")


def test_secrets_are_in_no_fact(shop: Home) -> None:
    encoded = shop.get("secrets/shop-database")["data"]["password"]
    text = shop.take().model_dump_json() + shop.driver().inspect().model_dump_json()
    assert encoded not in text and base64.b64decode(encoded).decode() not in text


def test_labels_and_exclusions_narrow_the_backup(shop: Home) -> None:
    documents = shop.driver(label_selector="app=shop", exclude=("configmaps",)).export(ORIGIN)
    assert "serviceaccounts/default" not in documents
    assert not any(name.startswith("configmaps/") for name in documents)
    assert "deployments.apps/shop" in documents


@pytest.fixture
def proxied(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    with faulty_proxy(home.server.url) as proxy:
        kubernetes_api.write_kubeconfig(tmp_path / "config", proxy.url, home.server.token)
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
    home: Home, proxied: Any, fault: Fault, error: type[Exception]
) -> None:
    proxied.always(fault)
    with pytest.raises(error, match=r"kubernetes\.objects"):
        home.driver().inspect()


def test_lists_come_in_pages_and_begin_again_when_a_page_has_expired(
    shop: Home, proxied: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airlock.backup.drivers.kubernetes.cluster._PAGE", 5)
    proxied.once("configmaps?limit=5&continue", Fault(status=410, body=b"{}"))
    documents = shop.driver().export(ORIGIN)
    lists = [path for method, path in proxied.seen if "/configmaps?" in path]
    assert len([name for name in documents if name.startswith("configmaps/")]) == 14
    assert len([path for path in lists if "continue" not in path]) == 2


def test_a_namespace_that_always_expires_is_temporary(home: Home, proxied: Any) -> None:
    proxied.decide = lambda method, path: Fault(status=410, body=b"{}") if "/secrets?" in path else None
    with pytest.raises(TemporaryError, match="expired"):
        home.driver().inspect()


def test_everything_is_tried_before_anything_is_applied(shop: Home, proxied: Any) -> None:
    subject, point = shop.driver(), shop.take()
    refusal = Fault(
        status=422, body=b'{"kind": "Status", "reason": "Invalid", "details": {"causes": [{"field": "spec.x"}]}}'
    )
    proxied.decide = lambda method, path: refusal if method == "POST" and "/ingresses?" in path else None
    with pytest.raises(PermanentError, match=r"ingresses.*spec\.x"):
        subject.restore(point, shop.scratch)
    applied = [path for method, path in proxied.seen if method in ("POST", "PUT") and "dryRun=All" not in path]
    assert [path.partition("?")[0] for path in applied] == ["/api/v1/namespaces"]
    proxied.decide = lambda method, path: None
    subject.discard(shop.scratch)


def test_a_namespace_that_airlock_did_not_make_is_left_alone(home: Home) -> None:
    path = f"/api/v1/namespaces/airlock-{home.scratch.name}"
    home.ask("POST", "/api/v1/namespaces", {"metadata": {"name": path.rpartition("/")[2]}})
    subject = home.driver()
    with pytest.raises(PermanentError, match="not made by Airlock"):
        subject.discard(home.scratch)
    with pytest.raises(PermanentError, match="not made by Airlock"):
        subject.restore(home.take(), home.scratch)
    with pytest.raises(InvalidInput, match="origin"):
        subject.discard(ORIGIN)
    home.ask("DELETE", path)


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


def deep(depth: int) -> Any:
    found: Any = "bottom"
    for number in range(depth):
        found = {"a": found} if number % 2 else [found]
    return found


@pytest.mark.campaign
class TestContract(DriverContract):
    @pytest.fixture
    def case(self, shop: Home) -> Iterator[Case]:
        group = f"{shop.name}.example.com"
        definition = define(shop, group, "Tree", "v1")
        password = shop.get("secrets/shop-database")["data"]["password"]
        namespace = f"/api/v1/namespaces/{shop.name}"

        def change() -> None:
            size = int(shop.get("configmaps/shop-settings")["data"]["SHOP_PAGE_SIZE"])
            shop.patch("configmaps/shop-settings", {"data": {"SHOP_PAGE_SIZE": str(size + 1)}})

        def spoil(place: Place) -> None:
            shop.ask("DELETE", f"/api/v1/namespaces/airlock-{place.name}/configmaps/shop-settings")

        def left_over(place: Place) -> list[str]:
            name = f"airlock-{place.name}"
            return [name] if shop.exists(f"/api/v1/namespaces/{name}") else []

        def held() -> list[Any]:
            status, itself = shop.status("GET", namespace)
            if status == 404:
                return []
            found: list[Any] = [itself["metadata"].get("labels"), itself["metadata"].get("annotations")]
            for plural in ("configmaps", "secrets", "services", "apps/v1:deployments",
                           "networking.k8s.io/v1:ingresses", f"{RBAC}:roles", f"{RBAC}:rolebindings",
                           f"{group}/v1:trees"):  # fmt: skip
                items = shop.get(plural)["items"]
                found.append([one for one in items if one.get("type") != "kubernetes.io/service-account-token"])
            return found

        def emptied() -> None:
            for plural in ("configmaps", "secrets", "services", "apps/v1:deployments",
                           "networking.k8s.io/v1:ingresses", f"{RBAC}:roles"):  # fmt: skip
                for item in shop.get(plural)["items"]:
                    if item["metadata"]["name"] != "kube-root-ca.crt":
                        shop.status("DELETE", f"{plural}/{item['metadata']['name']}")
            shop.until(lambda: not shop.exists("apps/v1:deployments/shop"))

        def added() -> None:
            for path in ("configmaps", "secrets", "serviceaccounts"):
                shop.make(path, "later")
            shop.make("services", "later", spec={"ports": [{"port": 80}]})
            shop.make("apps/v1:deployments", "later", spec=workload())
            shop.make(f"{RBAC}:roles", "later?too", rules=[])
            shop.make(f"{group}/v1:trees", "later", apiVersion=f"{group}/v1", kind="Tree")

        def settings() -> None:
            shop.patch(namespace, {"metadata": {"labels": {"team": "other"}, "annotations": {"owner": None, "x": "y"}}})
            for path in ("configmaps/shop-settings", "apps/v1:deployments/shop", "services/shop"):
                shop.patch(path, {"metadata": {"labels": {"app": "other"}, "annotations": {"x": "y"}}})

        def otherwise() -> None:
            """Objects of the same names whose like cannot be changed into what they were."""
            shop.gone("apps/v1:deployments/shop")
            shop.make("apps/v1:deployments", "shop", spec=workload({"app": "other"}))
            shop.gone("services/shop")
            shop.make("services", "shop", spec={"type": "ExternalName", "externalName": "elsewhere.test"})

        def gone() -> None:
            shop.ask("DELETE", namespace)
            shop.until(lambda: not shop.exists(namespace), 90)

        def without_text() -> None:
            binary = base64.b64encode(bytes(range(256))).decode()
            shop.make("configmaps", "later-bytes", binaryData={"a.bin": binary}, data={"text": "\u2028\x00\ufeffü"})
            shop.make("secrets", "later-bytes", data={"a": binary})

        def edges() -> None:
            for name in EDGE_NAMES:
                if "/" not in name and "%" not in name and name.strip():
                    shop.status("POST", f"{RBAC}:roles", {"metadata": {"name": name}, "rules": []})
            shop.make("configmaps", "n" * 253, data={"k" * 253: "", "-._a": "\n"})
            shop.make("configmaps", "later.a-b.c", metadata={"labels": {"a.test/" + "k" * 63: "v" * 63, "e": ""}})
            assert len(shop.get(f"{RBAC}:roles")["items"]) > 9

        def modes() -> None:
            volumes = [{"name": "s", "secret": {"secretName": "shop-database", "defaultMode": 0o400}}]
            spec = workload({"app": "modes"})
            spec["template"]["spec"] |= {"volumes": volumes, "securityContext": {"fsGroup": 1000, "runAsUser": 0}}
            shop.make("apps/v1:deployments", "later-modes", spec=spec)

        def empty() -> None:
            for path in ("configmaps", "secrets", "serviceaccounts"):
                shop.make(path, "later-empty")
            shop.make(f"{RBAC}:roles", "later-empty")
            shop.make("configmaps", "later-void", data={}, binaryData={}, metadata={"labels": {}, "annotations": {}})
            shop.make(f"{group}/v1:trees", "later-empty", apiVersion=f"{group}/v1", kind="Tree", spec={}, status={})

        def huge() -> None:
            shop.make("configmaps", "later-huge", data={"a": "ü" * 500_000})
            for number in range(260):
                shop.make("configmaps", f"later-{number}", data={"a": str(number)})

        def nested() -> None:
            shop.make(f"{group}/v1:trees", "later-deep", apiVersion=f"{group}/v1", kind="Tree", spec=deep(150))

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
        shop.patch(namespace, {"metadata": {"labels": {"team": "shop"}, "annotations": {"owner": "shop"}}})
        shop.make(f"{group}/v1:trees", "one", apiVersion=f"{group}/v1", kind="Tree", spec={"a": [1, None, {"b": None}]})
        shop.until(lambda: shop.exists("endpoints/shop"))
        yield Case(
            driver=shop.driver(),
            change=change,
            spoil=spoil,
            origin=lambda: digest(without(held(), "status", "resourceVersion", "generation", "managedFields")),
            restored=lambda: without(held(), *SET_BY_THE_SERVER),
            useless=useless,
            left_over=left_over,
            secrets=(password, base64.b64decode(password).decode()),
            damages={"emptied": Damage(emptied), "added": Damage(added), "settings": Damage(settings),
                     "gone": Damage(gone), "taken": Damage(otherwise), "linked": "an object has no links"},
            forms={
                "text that is not UTF-8": Form(without_text),
                "names at the edges": Form(edges),
                "modes and owners": Form(modes),
                "disappears while it is read": Form(during=lambda: shop.gone("configmaps/shop-logo")),
                "grows while it is read": Form(during=lambda: shop.make("configmaps", "later-grown", data={"a": "1"})),
                "empty": Form(empty),
                "huge": Form(huge),
                "deeply nested": Form(nested),
            },
        )  # fmt: skip
        shop.status("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition}")
