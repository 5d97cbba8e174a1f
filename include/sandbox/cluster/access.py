"""Who asks, and what they may do: tokens, Roles and their bindings, reviews. Works on the store; knows no HTTP."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from sandbox.cluster.kinds import Document, built_in
from sandbox.cluster.refusal import Refused
from sandbox.cluster.store import Store

ADMIN, ANONYMOUS = "airlock-admin", "system:anonymous"


@dataclass
class Access:
    """The tokens that were given, and the rule of who may do what."""

    store: Store
    admin_token: str
    issued: dict[str, str] = field(default_factory=dict)

    def user(self, authorization: str) -> str:
        """The user of a request's header.

        :raises Refused: 401, the token is nobody's
        """
        given = authorization.removeprefix("Bearer ")
        if not authorization:
            return ANONYMOUS
        if hmac.compare_digest(given.encode(), self.admin_token.encode()):
            return ADMIN
        if given in self.issued and self._is_there(self.issued[given]):
            return self.issued[given]
        raise Refused(401, "Unauthorized", "Unauthorized")

    def issue(self, namespace: str, account: str) -> Document:
        """A token for a service account, as a ``TokenRequest``."""
        self.store.get(built_in("serviceaccounts"), namespace, account)
        token = secrets.token_urlsafe(18)
        self.issued[token] = _account(namespace, account)
        return {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {"name": account},
                "status": {"token": token, "expirationTimestamp": "2099-01-01T00:00:00Z"}}  # fmt: skip

    def check(self, user: str, verb: str, group: str, plural: str, namespace: str, name: str) -> None:
        """Refuse what *user* may not do.

        :raises Refused: 403, in the words of a real server
        """
        if self.allowed(user, verb, group, plural, namespace):
            return
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        qualified = f"{plural}.{group}" if group else plural
        named = f' "{name}"' if name else ""
        text = (
            f'{qualified}{named} is forbidden: User "{user}" cannot {verb} resource "{plural}" in API group "{group}" '
        )
        details = {"kind": plural, "group": group, "name": name}
        raise Refused(403, "Forbidden", f"{text}{where}", details)

    def allowed(self, user: str, verb: str, group: str, plural: str, namespace: str) -> bool:
        """Whether a Role that is bound to *user* in *namespace*, or a ClusterRole anywhere, says so."""
        if user == ADMIN or (plural == "selfsubjectaccessreviews" and user != ANONYMOUS):
            return True
        everywhere = self._rules(user, "clusterrolebindings", "clusterroles", None)
        here = self._rules(user, "rolebindings", "roles", namespace) if namespace else iter(())
        return any(_covers(rule, verb, group, plural) for rules in (everywhere, here) for rule in rules)

    def _rules(self, user: str, bindings: str, roles: str, namespace: str | None) -> Iterator[Document]:
        for binding in self.store.list(built_in(bindings), namespace):
            if user in [_account(s.get("namespace", ""), s.get("name", "")) for s in binding.get("subjects") or ()]:
                for role in self.store.list(built_in(roles), namespace):
                    if role["metadata"]["name"] == binding["roleRef"]["name"]:
                        yield from role.get("rules") or ()

    def _is_there(self, user: str) -> bool:
        """Whether the service account of a token still exists; the token goes with it."""
        held = self.store.list(built_in("serviceaccounts"), None)
        return any(_account(one["metadata"]["namespace"], one["metadata"]["name"]) == user for one in held)

    def review(self, user: str, asked: Document) -> Document:
        """The answer to a ``SelfSubjectAccessReview``."""
        given = (asked.get("spec") or {}).get("resourceAttributes") or {}
        names = [given.get(key, "") for key in ("verb", "group", "resource", "namespace")]
        kind = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1"}
        return {**kind, "spec": asked.get("spec"), "status": {"allowed": self.allowed(user, *names)}}


def _account(namespace: str, name: str) -> str:
    return f"system:serviceaccount:{namespace}:{name}"


def _covers(rule: Document, verb: str, group: str, plural: str) -> bool:
    return all("*" in rule.get(key, ()) or wanted in rule.get(key, ())
               for key, wanted in (("verbs", verb), ("apiGroups", group), ("resources", plural)))  # fmt: skip
