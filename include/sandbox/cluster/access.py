"""Who asks, and what they may do: tokens, Roles and their bindings, reviews. Works on the store; knows no HTTP."""

from __future__ import annotations

import hmac
import secrets
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
        if given in self.issued:
            return self.issued[given]
        raise Refused(401, "Unauthorized", "Unauthorized")

    def issue(self, namespace: str, account: str) -> Document:
        """A token for a service account, as a ``TokenRequest``."""
        self.store.get(built_in("serviceaccounts"), namespace, account)
        token = secrets.token_urlsafe(18)
        self.issued[token] = f"system:serviceaccount:{namespace}:{account}"
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
        """Whether a Role that is bound to *user* in *namespace* says so."""
        if user == ADMIN or (plural == "selfsubjectaccessreviews" and user != ANONYMOUS):
            return True
        roles = built_in("roles")
        for binding in self.store.list(built_in("rolebindings"), namespace) if namespace else ():
            subjects = [
                f"system:serviceaccount:{s.get('namespace')}:{s.get('name')}" for s in binding.get("subjects") or ()
            ]
            found = [
                r for r in self.store.list(roles, namespace) if r["metadata"]["name"] == binding["roleRef"]["name"]
            ]
            if user in subjects and any(
                _covers(rule, verb, group, plural) for r in found for rule in r.get("rules") or ()
            ):
                return True
        return False

    def review(self, user: str, asked: Document) -> Document:
        """The answer to a ``SelfSubjectAccessReview``."""
        given = (asked.get("spec") or {}).get("resourceAttributes") or {}
        names = [given.get(key, "") for key in ("verb", "group", "resource", "namespace")]
        kind = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1"}
        return {**kind, "spec": asked.get("spec"), "status": {"allowed": self.allowed(user, *names)}}


def _covers(rule: Document, verb: str, group: str, plural: str) -> bool:
    return all("*" in rule.get(key, ()) or wanted in rule.get(key, ())
               for key, wanted in (("verbs", verb), ("apiGroups", group), ("resources", plural)))  # fmt: skip
