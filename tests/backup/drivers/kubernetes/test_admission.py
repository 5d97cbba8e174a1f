"""Admission webhooks as a real API server calls them: what they refuse, what they change, and when they are down.

The emulator knows no webhooks, and a cluster elsewhere cannot reach one of a test: there, these tests are skipped.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from airlock.errors import PermanentError, TemporaryError
from tests.backup.drivers.kubernetes.conftest import Home
from tests.backup.drivers.kubernetes.test_cluster import certificate
from tests.backup.drivers.kubernetes.test_scratch import odd

ROOT = "/apis/admissionregistration.k8s.io/v1"
INGRESSES = "networking.k8s.io/v1:ingresses"
LABELS = [{"op": "add", "path": "/metadata/labels", "value": {"injected": "yes"}}]
Verdict = tuple[bool, list[dict[str, Any]] | None]


@dataclass
class Webhook:
    """One webhook; ``decide`` says whether a request is allowed, and how its object is patched."""

    home: Home
    url: str
    authority: str
    decide: Callable[[dict[str, Any]], Verdict] = lambda request: (True, None)
    trials: list[bool] = field(default_factory=list)
    made: list[str] = field(default_factory=list)

    def register(self, sort: str, plural: str, group: str = "", client: dict[str, Any] | None = None) -> None:
        """Let the server ask it (or *client*) about every write to *plural*."""
        webhook = {
            "name": "check.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 2,
            "clientConfig": client or {"url": self.url, "caBundle": base64.b64encode(self.authority.encode()).decode()},
            "rules": [{"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
                       "resources": [plural]}],
        }  # fmt: skip
        path = f"{ROOT}/{sort}webhookconfigurations"
        if self.home.status("GET", path)[0] != 200:
            pytest.skip("this server knows no webhooks")
        self.home.ask("POST", path, {"metadata": {"name": self.home.name}, "webhooks": [webhook]})
        self.made.append(f"{path}/{self.home.name}")
        time.sleep(1.5)  # a server takes it up a moment later
        if client is None:
            probe = {"metadata": {"name": "probe"}, "spec": {"rules": [{"host": "probe.test"}]}}
            where = f"{group}/v1:{plural}" if group else plural
            if "failed calling webhook" in str(self.home.status("POST", f"{where}?dryRun=All", probe)[1]):
                pytest.skip("this server cannot reach the test")
        self.trials.clear()


@pytest.fixture
def webhook(home: Home, tmp_path: Path) -> Iterator[Webhook]:
    text, context = certificate(tmp_path, "webhook")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
            found.trials.append(bool(request.get("dryRun")))
            allowed, patch = found.decide(request)
            answer: dict[str, Any] = {"uid": request["uid"], "allowed": allowed}
            if not allowed:
                answer["status"] = {"code": 400, "message": "host a.test is already defined"}
            if patch:
                encoded = base64.b64encode(json.dumps(patch).encode()).decode()
                answer |= {"patchType": "JSONPatch", "patch": encoded}
            review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
            body = json.dumps(review).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    found = Webhook(home, f"https://127.0.0.1:{server.server_address[1]}/", text)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    for path in found.made:
        home.ask("DELETE", path)
    server.shutdown()
    server.server_close()
    thread.join()


def of_scratch(request: dict[str, Any]) -> bool:
    return str(request["namespace"]).startswith("airlock-")


def test_a_host_that_is_allowed_once_in_a_cluster_is_proven_where_it_belongs(home: Home, webhook: Webhook) -> None:
    home.make(INGRESSES, "new", **odd(home)[f"{INGRESSES}/new"])
    point = home.take()
    webhook.decide = lambda request: (not of_scratch(request), None)
    webhook.register("validating", "ingresses", "networking.k8s.io")
    proof = home.proven(point)
    assert proof.ok, proof.reason
    assert webhook.trials and all(webhook.trials), "it saw nothing but dry runs"
    webhook.decide = lambda request: (False, None)
    assert "denied the request: host a.test is already defined" in home.proven(point).reason
    home.gone(f"{INGRESSES}/new")
    with pytest.raises(PermanentError, match=r"nothing was changed.*denied the request: host a\.test"):
        home.restore(point)


def test_what_is_changed_only_in_some_namespaces_is_proven_where_it_belongs(home: Home, webhook: Webhook) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    point = home.take()
    webhook.decide = lambda request: (True, LABELS if request["name"] == "a" and of_scratch(request) else None)
    webhook.register("mutating", "configmaps")
    proof = home.proven(point)
    assert proof.ok, proof.reason
    webhook.decide = lambda request: (True, LABELS if request["name"] == "a" else None)
    assert "metadata.labels was added" in home.proven(point).reason


def test_a_webhook_that_does_not_answer_is_named(home: Home, webhook: Webhook) -> None:
    home.make("configmaps", "a", data={"a": "1"})
    point = home.take()
    webhook.register("validating", "configmaps", client={"url": "https://127.0.0.1:1/"})
    with pytest.raises(TemporaryError, match=r'failed calling webhook "check\.example\.com".*repair or remove'):
        home.proven(point)


def test_all_else_comes_back_where_the_namespaces_own_webhook_stays_down(
    home: Home, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airlock.backup.drivers.kubernetes.way_back._WEBHOOK_SECONDS", 3)
    home.make("configmaps", "a", data={"a": "1"})
    home.make("secrets", "s", data={"a": "MQ=="})
    home.make("services", "hook", spec={"ports": [{"port": 443}]})
    point = home.take()
    home.patch("configmaps/a", {"data": {"a": "2"}})
    home.patch("secrets/s", {"data": {"a": "Mg=="}})
    home.gone("services/hook")
    webhook.register("validating", "configmaps", client={"service": {"namespace": home.name, "name": "hook"}})
    with pytest.raises(TemporaryError, match=r"half done: done: secrets/s restored, services/hook restored"):
        home.restore(point)
    assert home.get("secrets/s")["data"] == {"a": "MQ=="}
    assert home.get("configmaps/a")["data"] == {"a": "2"}
