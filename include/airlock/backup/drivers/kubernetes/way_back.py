"""The way back into the origin: what is changed, in which order, what is made anew, and what is never touched.

Everything is tried by dry runs before anything is done, and all that stands in the way is named at once. Knows the
rules of Kubernetes' own kinds; of custom ones only that their controllers act when an object goes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airlock.backup.drivers.kubernetes import cleaning, jobs, ordering, refusals, remaking, sameness, taken, writing
from airlock.backup.drivers.kubernetes.cluster import Cluster
from airlock.backup.drivers.kubernetes.resources import ApiResource, is_kind
from airlock.errors import AccessRefused, AirlockError, PermanentError, TemporaryError

log = logging.getLogger(__name__)
Document = dict[str, Any]
_TRIAL = "airlock-trial"
_ROOM_SECONDS = 60
_GOING_SECONDS = 60
_WEBHOOK_SECONDS = 120
_ADDRESS_TAKEN = ("already allocated", "is not in the valid range")
_ADDRESSES = {"nodePort": ("nodePorts",), "healthCheckNodePort": ("healthCheckNodePort",),
              "clusterIP": ("clusterIP", "clusterIPs")}  # fmt: skip


class WayBack:
    """One restore into *namespace* of what was there at the moment *since*, by the server's clock. *resources* has the
    resource of every document's key."""

    def __init__(
        self, cluster: Cluster, namespace: str, label: str, resources: Mapping[str, ApiResource], since: datetime
    ) -> None:
        self._since = since
        self._cluster, self._namespace, self._label, self._resources = cluster, namespace, label, resources
        self.notes: dict[str, str] = {}
        self.done: list[str] = []
        self._going: dict[str, str] = {}
        self._postponed: set[str] = set()
        self._makes_room = False

    def run(self, changed: Mapping[str, Document], extra: Mapping[str, Document]) -> None:
        """Put every *changed* document back and remove what is *extra*.

        :raises PermanentError: something stands in the way, and nothing was changed; or it stopped half way, and what
            was done is named
        :raises TemporaryError: all was done but for what is being deleted, and does not go
        """
        removed = {key: document for key, document in extra.items() if not self._kept(key, document)}
        live = {key: self._live(key) for key in changed}
        steps = ordering.steps(changed, live, removed)
        self._makes_room = bool(removed) or any(ordering.is_quota(document) for document in changed.values())
        self._try(steps, changed)
        steps, deadline = list(steps), time.monotonic() + _WEBHOOK_SECONDS
        while steps:
            act, key = steps.pop(0)
            try:
                if act == ordering.REMOVE:
                    self._remove(key, dry_run=False)
                else:
                    self._put_where_room_is(key, changed[key], wait=bool(self.done))
            except refusals.WebhookDown as error:
                if not self._is_own(error) or time.monotonic() > deadline:
                    raise self._half_way(error, [(act, key), *steps]) from error
                if all(waiting in self._postponed for _, waiting in [(act, key), *steps]):
                    time.sleep(1)
                self._postponed.add(key)
                steps.append((act, key))
                continue
            except AirlockError as error:
                raise self._half_way(error, [(act, key), *steps]) from error
            if key not in self._going:
                self.done.append(f"{key} {'removed' if act == ordering.REMOVE else 'restored'}")
        for note in self.notes.values():
            log.warning("%s: %s", self._label, note)
        if self._going:
            stuck = "; ".join(f"{key} is being deleted and does not go: {held}" for key, held in self._going.items())
            raise TemporaryError(
                f"{self._label}: namespace {self._namespace} is restored but for {len(self._going)} object(s): "
                f"{stuck}; look for what must let go, then restore again"
            )

    # --- parts --------------------------------------------------------------------------------------------------------

    def _path(self, key: str) -> str:
        return self._resources[key].path(self._namespace, key.partition("/")[2])

    def _live(self, key: str) -> Document | None:
        return self._cluster.get(self._path(key))

    def _kept(self, key: str, document: Document) -> bool:
        """Return whether what the backup does not hold stays: it was there before, or data goes when it goes."""
        why = ordering.why_kept(document, self._since)
        if why:
            self.notes[key] = f"{key} {why}"
        return bool(why)

    def _try(self, steps: list[tuple[str, str]], changed: Mapping[str, Document]) -> None:
        blockers: dict[str, PermanentError] = {}
        for act, key in steps:
            if self._cluster.is_delegated(self._resources[key]):
                continue  # a trial could be the real thing there
            try:
                if act == ordering.REMOVE:
                    self._remove(key, dry_run=True)
                else:
                    self._put_back(key, changed[key], dry_run=True)
            except refusals.OverQuota as error:
                if not self._makes_room:
                    blockers[key] = error
            except refusals.WebhookDown as error:
                if not self._is_own(error):
                    raise
            except PermanentError as error:
                blockers[key] = error
        if blockers:
            sort = AccessRefused if all(isinstance(e, AccessRefused) for e in blockers.values()) else PermanentError
            listed = "; ".join(str(error).removeprefix(f"{self._label}: ") for error in blockers.values())
            raise sort(
                f"{self._label}: nothing was changed in namespace {self._namespace}: {len(blockers)} of {len(steps)} "
                f"step(s) cannot be done: {listed}"
            )

    def _is_own(self, error: refusals.WebhookDown) -> bool:
        """Return whether the webhook is served from this namespace: it answers when that is back."""
        return f".{self._namespace}.svc" in str(error)

    def _remove(self, key: str, *, dry_run: bool) -> None:
        def once() -> None:
            live = self._live(key)
            if live is not None:
                self._cluster.delete(self._path(key), uid=live["metadata"]["uid"], dry_run=dry_run)

        writing.on_what_is_there(once)

    def _put_where_room_is(self, key: str, document: Document, *, wait: bool) -> None:
        """Put *document* back; where something was done before, a quota may count that only some seconds later."""
        deadline = time.monotonic() + (_ROOM_SECONDS if wait and self._makes_room else 0)
        while True:
            try:
                self._put_back(key, document, dry_run=False)
                return
            except refusals.OverQuota:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(1)

    def _put_back(self, key: str, document: Document, *, dry_run: bool) -> None:
        writing.on_what_is_there(lambda: self._put_once(key, document, dry_run=dry_run))

    def _put_once(self, key: str, document: Document, *, dry_run: bool) -> None:
        live = self._live(key)
        if live is not None and live["metadata"].get("deletionTimestamp"):
            if dry_run:
                self._try_under_another_name(key, document)
                return
            held = self._cluster.held(self._path(key), live["metadata"]["uid"], _GOING_SECONDS)
            if held:
                self._going[key] = held
                return
            live = self._live(key)
        if live is None:
            self._make(key, document, dry_run=dry_run)
        elif taken.is_finished(live):
            self.notes[key] = f"{key} has finished since the backup and is left as it is"
            return
        elif not self._is_same(document, live):
            recorded, document = document, dict(ordering.not_shrunk(document, live))
            if document != recorded:
                self.notes[key] = f"{key} keeps the replicas it has: with fewer it would delete claims"
            try:
                self._replace(key, document, live, dry_run=dry_run)
            except refusals.Invalid as error:
                if self._is_left(key, document, error):
                    return
                if not remaking.may_be_remade(document, live):
                    raise
                self._remake(key, document, live, dry_run=dry_run)
        if not dry_run:
            self._give_back_owners(key, document)

    def _is_same(self, document: Document, live: Document) -> bool:
        scaled = "replicas" in (document.get(cleaning.ORIGIN) or {})
        return sameness.is_same(document, cleaning.clean(live, self._namespace, autoscaled=scaled))

    def _replace(self, key: str, document: Document, live: Document, *, dry_run: bool) -> None:
        if is_kind(document, "", "Service"):
            if why := remaking.why_service(document, live):
                raise refusals.Invalid(f"{self._label}: {key}: {why}")
            fixed = ("clusterIP", "clusterIPs") if not remaking.may_be_remade(document, live) else ()
            self._asking(key, document, lambda sent: writing.replace(
                self._cluster, self._resources[key], self._namespace, sent, live, dry_run=dry_run), fixed)  # fmt: skip
            return
        if is_kind(document, "", "PersistentVolumeClaim"):
            self._say_of_claim(key, document, live)
        sent = cleaning.sent_home(document, self._namespace)
        if "replicas" in (document.get(cleaning.ORIGIN) or {}):
            sent["spec"].pop("replicas")  # an autoscaler decides now
        writing.replace(self._cluster, self._resources[key], self._namespace, sent, live, dry_run=dry_run)

    def _make(self, key: str, document: Document, *, dry_run: bool) -> None:
        if is_kind(document, "batch", "Job"):
            document = jobs.kept_from_running(document, lambda job: writing.create(
                self._cluster, self._resources[key], self._namespace, cleaning.sent(job, self._namespace),
                dry_run=True))  # fmt: skip
        if is_kind(document, "batch", "Job") and cleaning.SUSPENDED in document["metadata"].get("annotations", {}):
            self.notes[key] = f"{key} was gone and is made again suspended: it would run again; resume it by hand"
        if is_kind(document, "", "PersistentVolumeClaim"):
            self.notes[key] = f"{key} was gone: it is made again and gets another volume, without the data"
        if is_kind(document, "", "Service") and document["spec"].get("type") == "LoadBalancer":
            self.notes[key] = f"{key} was gone: it is made again and gets another load balancer, with another address"
        self._asking(key, document, lambda sent: writing.create(
            self._cluster, self._resources[key], self._namespace, sent, dry_run=dry_run))  # fmt: skip

    def _asking(self, key: str, document: Document, write: Any, taken_already: tuple[str, ...] = ()) -> None:
        """Write with the recorded addresses; without those that somebody else has by now, which is said."""
        lost: set[str] = set(taken_already)
        while True:
            try:
                write(cleaning.sent_home(document, self._namespace, lost))
                return
            except refusals.Invalid as error:
                if not any(words in str(error) for words in _ADDRESS_TAKEN):
                    raise
                told = str(error).rpartition(": 422")[2]
                fields = next((f for word, f in _ADDRESSES.items() if word in told), ("clusterIP", "clusterIPs"))
                if set(fields) <= lost:
                    raise
                lost.update(fields)
                recorded = (document.get(cleaning.ORIGIN) or {}).get("addresses", {}).get(fields[0])
                self.notes[key] = f"{key}: {fields[0]} {recorded} is taken by another Service, it gets another one"

    def _remake(self, key: str, document: Document, live: Document, *, dry_run: bool) -> None:
        """Delete the live object and make it anew: something in it cannot be changed."""
        if dry_run:
            self._try_under_another_name(key, document)
            self._cluster.delete(self._path(key), uid=live["metadata"]["uid"], dry_run=True)
            return
        # the pods and claims of a StatefulSet stay and are adopted by the new one
        policy = "Orphan" if is_kind(document, "apps", "StatefulSet") else "Background"
        self._cluster.delete(self._path(key), uid=live["metadata"]["uid"], policy=policy, wait=True)
        self.done.append(f"{key} removed to be made anew")
        self.notes[key] = f"{key} is made anew, because a field of it cannot be changed"
        self._make(key, document, dry_run=False)

    def _try_under_another_name(self, key: str, document: Document) -> None:
        trial = cleaning.sent(document, self._namespace)
        trial["metadata"]["name"] = _TRIAL
        writing.create(self._cluster, self._resources[key], self._namespace, trial, dry_run=True)

    def _is_left(self, key: str, document: Document, error: PermanentError) -> bool:
        """Return whether this object stays as it is: making it anew would lose data, or run something again."""
        if is_kind(document, "", "PersistentVolumeClaim"):
            self.notes[key] = f"{key} is another claim by now and is left as it is: {error}"
        elif is_kind(document, "batch", "Job"):
            self.notes[key] = f"{key} is another Job by now and is left as it is: {error}"
        else:
            return False
        return True

    def _say_of_claim(self, key: str, document: Document, live: Document) -> None:
        held = ((live.get("spec") or {}).get("resources") or {}).get("requests") or {}
        wanted = (document["spec"].get("resources") or {}).get("requests") or {}
        if writing.grows({"resources": {"requests": wanted}}, held):
            self.notes[key] = (
                f"{key} has grown from {wanted.get('storage')} to {held.get('storage')}; a claim cannot shrink"
            )

    def _give_back_owners(self, key: str, document: Document) -> None:
        """Give the fields back to the managers that owned them: their next server-side apply meets no other."""
        managers = (document.get(cleaning.ORIGIN) or {}).get("managers")
        if not managers:
            return
        try:
            self._cluster.merge(self._path(key), {"metadata": {"managedFields": managers}})
        except PermanentError as error:
            log.warning("%s: %s: its fields stay owned by 'airlock': %s", self._label, key, error)

    def _half_way(self, error: AirlockError, left: list[tuple[str, str]]) -> AirlockError:
        if not self.done:
            return error
        sort: type[AirlockError] = TemporaryError if isinstance(error, TemporaryError) else PermanentError
        rest = ", ".join(key for _, key in left)
        return sort(
            f"{error}; the way back of namespace {self._namespace} is half done: done: {', '.join(self.done)}; "
            f"not done: {rest}; next: mend the cause and restore again, what is done is not done twice"
        )
