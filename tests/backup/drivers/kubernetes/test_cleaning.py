"""What of a live object belongs to a backup, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.backup.drivers.kubernetes import cleaning, sameness, writing

PROTECTIONS = (
    "kubernetes.io/pvc-protection", "foregroundDeletion",
    "snapshot.storage.kubernetes.io/pvc-as-source-protection",
    "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection",
    "snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection",
    "provisioner.storage.kubernetes.io/cloning-protection",
    "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection",
    "resource.kubernetes.io/delete-protection",
)  # fmt: skip


def claim(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "data", "resourceVersion": "7", "uid": "u"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
            "spec": {"resources": {"requests": {"storage": "1Gi"}}, **spec}}  # fmt: skip


@pytest.mark.parametrize("finalizer", PROTECTIONS)
def test_a_protection_of_the_moment_is_not_put_back(finalizer: str) -> None:
    """Whoever set it is done by then, and nobody would take it away again: the object could never go."""
    live = claim()
    live["metadata"]["finalizers"] = ["example.com/hold", finalizer]
    document = cleaning.clean(live, "shop")
    assert document[cleaning.ORIGIN]["finalizers"] == ["example.com/hold"]
    assert cleaning.sent_home(document, "shop")["metadata"]["finalizers"] == ["example.com/hold"]


def test_a_protection_that_is_there_stays() -> None:
    live = claim()
    live["metadata"]["finalizers"] = [PROTECTIONS[2]]
    sent = cleaning.sent_home(cleaning.clean(live, "shop"), "shop")
    assert writing.replacement(sent, live)["metadata"]["finalizers"] == [PROTECTIONS[2]]


def test_a_request_of_the_moment_is_not_made_again() -> None:
    """Argo CD takes the field away when it has begun; put back, it would sync once more."""
    live = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "shop"},
            "spec": {"project": "default"}, "operation": {"sync": {"revision": "abc"}}}  # fmt: skip
    assert cleaning.clean(live, "argocd").keys() == {"apiVersion", "kind", "metadata", "spec"}
    other = {**live, "apiVersion": "example.com/v1"}
    assert "operation" in cleaning.clean(other, "argocd")


def test_the_class_of_a_volume_comes_back_and_the_rest_of_a_bound_claim_stays() -> None:
    sent = cleaning.sent_home(cleaning.clean(claim(volumeAttributesClassName="slow"), "shop"), "shop")
    live = claim(volumeAttributesClassName="fast", volumeName="pv-1")
    replaced = writing.replacement(sent, live)["spec"]
    assert replaced == {**live["spec"], "volumeAttributesClassName": "slow"}
    # a server refuses to take a class away
    plain = cleaning.sent_home(cleaning.clean(claim(), "shop"), "shop")
    assert writing.replacement(plain, live)["spec"] == live["spec"]
    now = cleaning.clean(live, "shop")
    assert "cannot be taken away" in sameness.may_differ(cleaning.clean(claim(), "shop"), now)
    assert sameness.may_differ(cleaning.clean(claim(volumeAttributesClassName="slow"), "shop"), now) == ""
