"""The emulated Kubernetes API over HTTP: addresses, verbs, paging, patches and error documents of a real server.

Run as ``python -m sandbox.cluster.http PORT``; the bearer token comes in ``AIRLOCK_KUBERNETES_TOKEN``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import jsonpatch
import yaml
from aiohttp import web

from sandbox.cluster import apply
from sandbox.cluster.access import Access
from sandbox.cluster.extensions import delegated
from sandbox.cluster.kinds import NAMESPACES, Document, Kind, built_in, groups, resource_list
from sandbox.cluster.listing import page, select
from sandbox.cluster.refusal import Refused
from sandbox.cluster.store import Key, Store

GOING_SECONDS = 0.3
STORE = web.AppKey("store", Store)
ACCESS = web.AppKey("access", Access)
VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.0-airlock-sandbox", "platform": "linux/amd64"}


def application(token: str) -> web.Application:
    """The web application; every request needs *token* as bearer."""
    app = web.Application(middlewares=[_errors], client_max_size=4 * 2**20)
    app[STORE] = store = Store()
    app[ACCESS] = Access(store, token)
    for path in ("/healthz", "/readyz", "/livez"):
        app.router.add_get(path, _healthy)
    app.router.add_get("/version", _version)
    app.router.add_get("/version/", _version)
    for path in ("/api", "/api/", "/apis", "/apis/", "/api/v1", "/api/v1/", "/apis/{group}", "/apis/{group}/{version}"):
        app.router.add_get(path, _discover)
    app.router.add_get("/apis/{group}/", _discover)
    app.router.add_get("/apis/{group}/{version}/", _discover)
    app.router.add_post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", _review)
    for prefix in ("/api/{version:v1}", "/apis/{group}/{version}"):
        # The object's own address first: /api/v1/namespaces/NAME would also read as a collection inside it.
        for middle in ("", "/namespaces/{namespace}"):
            app.router.add_route("*", f"{prefix}{middle}/{{plural}}", _collection)
            app.router.add_route("*", f"{prefix}{middle}/{{plural}}/{{name}}", _object)
            app.router.add_route("*", f"{prefix}{middle}/{{plural}}/{{name}}/status", _status_of_object)
    app.router.add_post("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", _token)
    return app


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        if request.path not in ("/healthz", "/readyz", "/livez"):
            request["user"] = request.app[ACCESS].user(request.headers.get("Authorization", ""))
        answer: web.StreamResponse = await handler(request)
        return answer
    except Refused as refused:
        return _status(refused.code, refused.reason, str(refused), refused.details)
    except web.HTTPNotFound:
        return _status(404, "NotFound", "the server could not find the requested resource")
    except web.HTTPException as error:
        return _status(error.status, "BadRequest", error.reason)


def _status(code: int, reason: str, message: str, details: Document | None = None) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    return web.json_response({**body, "reason": reason, "details": details or {}, "code": code}, status=code)


async def _healthy(request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _version(request: web.Request) -> web.Response:
    return web.json_response(VERSION)


async def _discover(request: web.Request) -> web.Response:
    parts = [part for part in request.path.split("/") if part]
    if parts == ["api"]:
        return web.json_response({"kind": "APIVersions", "versions": ["v1"]})
    store = request.app[STORE]
    elsewhere = delegated(store.list(built_in("apiservices"), None))
    served = {name: _group(name, versions) for name, versions in {**groups(store.kinds()), **elsewhere}.items()}
    if parts == ["apis"]:
        return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": list(served.values())})
    if parts[0] == "apis" and len(parts) == 2 and parts[1] in served:
        return web.json_response({"kind": "APIGroup", "apiVersion": "v1", **served[parts[1]]})
    if parts[0] == "apis" and parts[-1] in elsewhere.get(parts[1], ()):
        return web.Response(status=503, text="service unavailable\n")
    found = resource_list(store.kinds(), "" if parts[0] == "api" else parts[1], parts[-1])
    if found is None:
        raise web.HTTPNotFound
    return web.json_response(found)


def _group(name: str, versions: list[str]) -> Document:
    rows = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": rows, "preferredVersion": rows[0]}


def _kind(request: web.Request) -> Kind:
    place = request.match_info
    kind = request.app[STORE].find(place.get("group", ""), place["version"], place["plural"])
    if kind is None or (not kind.namespaced and "namespace" in place):
        raise web.HTTPNotFound
    verb = _verb(request, named="name" in place)
    # who may do what in a namespace is said there, and so is what is done to it
    where = place.get("namespace", "") if kind is not NAMESPACES else ""
    plural = kind.plural + ("/status" if request.path.endswith("/status") else "")
    request.app[ACCESS].check(request["user"], verb, kind.group, plural, where, place.get("name", ""))
    return kind


def _verb(request: web.Request, *, named: bool) -> str:
    verbs = {"GET": "get" if named else "list", "POST": "create", "PUT": "update", "PATCH": "patch",
             "DELETE": "delete" if named else "deletecollection"}  # fmt: skip
    return verbs.get(request.method, request.method.lower())


async def _collection(request: web.Request) -> web.Response:
    kind, namespace, store = _kind(request), request.match_info.get("namespace"), request.app[STORE]
    if request.method == "GET":
        if "watch" in request.query and request.query["watch"] not in ("0", "false"):
            raise Refused(405, "MethodNotAllowed", "this emulator has no watch: list again instead")
        return web.json_response(page(request, kind, select(request, store.list(kind, namespace)), store.version))
    if kind.namespaced and namespace is None:
        raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    if request.method == "POST":
        document = await _body(request)
        made = store.create(kind, namespace or "", document, _owner(request), dry_run=_dry_run(request))
        return web.json_response(made, status=201)
    if request.method == "DELETE" and kind.namespaced:
        gone = select(request, store.list(kind, namespace))
        for item in gone:
            store.delete(kind, namespace or "", item["metadata"]["name"], dry_run=_dry_run(request))
        return web.json_response({"kind": f"{kind.name}List", "apiVersion": kind.api_version, "items": gone})
    raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


async def _object(request: web.Request) -> web.Response:
    kind, store = _kind(request), request.app[STORE]
    key: Key = (request.match_info.get("namespace", ""), request.match_info["name"])
    if kind.namespaced and not key[0]:
        raise web.HTTPNotFound
    if request.method == "GET":
        return web.json_response(store.get(kind, *key))
    options = await _body(request) if request.method == "DELETE" and request.can_read_body else {}
    dry_run = _dry_run(request) or options.get("dryRun") == ["All"]
    if request.method == "PUT":
        owner = (_owner(request), "Update")
        return web.json_response(
            store.replace(kind, store.get(kind, *key), await _body(request), owner, dry_run=dry_run)
        )
    if request.method == "PATCH":
        return await _patch(request, kind, key)
    if request.method == "DELETE":
        gone = store.delete(kind, *key, dry_run=dry_run, options=options)
        if kind is NAMESPACES and not dry_run:
            asyncio.get_running_loop().call_later(GOING_SECONDS, store.finish_namespace, key[1])
            return web.json_response(gone)
        if gone["metadata"].get("deletionTimestamp"):
            return web.json_response(gone)
        details = {"name": key[1], "kind": kind.plural, "uid": gone["metadata"]["uid"]}
        body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return web.json_response(body)
    raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


async def _status_of_object(request: web.Request) -> web.Response:
    kind, store = _kind(request), request.app[STORE]
    live = store.get(kind, request.match_info.get("namespace", ""), request.match_info["name"])
    if request.method == "GET":
        return web.json_response(live)
    if request.method not in ("PUT", "PATCH"):
        raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    given = await _body(request)
    after = given if request.method == "PUT" else apply.merge_patch(live, given)
    return web.json_response(store.set_status(kind, live, after.get("status") or {}, dry_run=_dry_run(request)))


async def _review(request: web.Request) -> web.Response:
    return web.json_response(request.app[ACCESS].review(request["user"], await _body(request)), status=201)


async def _token(request: web.Request) -> web.Response:
    place = request.match_info
    request.app[ACCESS].check(request["user"], "create", "", "serviceaccounts/token", place["namespace"], place["name"])
    return web.json_response(request.app[ACCESS].issue(place["namespace"], place["name"]), status=201)


async def _patch(request: web.Request, kind: Kind, key: Key) -> web.Response:
    store, form, dry_run = request.app[STORE], request.content_type, _dry_run(request)
    patch = await _body(request, list_allowed=form == "application/json-patch+json")
    if form == "application/apply-patch+yaml":
        manager = request.query.get("fieldManager")
        if not manager:
            text = "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch"
            raise Refused(422, "Invalid", text)
        existed = any(item["metadata"]["name"] == key[1] for item in store.list(kind, key[0]))
        force = request.query.get("force", "").lower() == "true"
        done = store.apply(kind, key, patch, manager, force=force, dry_run=dry_run)
        return web.json_response(done, status=200 if existed else 201)
    live = store.get(kind, *key)
    if form == "application/merge-patch+json":
        after = apply.merge_patch(live, patch)
    elif form == "application/strategic-merge-patch+json":
        after = apply.strategic_merge(live, patch)
    elif form == "application/json-patch+json":
        try:
            after = jsonpatch.apply_patch(live, patch)
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
            raise Refused(422, "Invalid", f"the patch cannot be applied: {error}") from error
    else:
        raise Refused(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {form}")
    return web.json_response(store.replace(kind, live, after, (_owner(request), "Update"), dry_run=dry_run))


async def _body(request: web.Request, *, list_allowed: bool = False) -> Any:
    try:
        text = await request.text()
        # as YAML, what JSON writes of one sign in two halves would stay two
        document = json.loads(text) if "json" in request.content_type else yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Refused(400, "BadRequest", f"the body cannot be read: {error}") from error
    if not isinstance(document, dict) and not (list_allowed and isinstance(document, list)):
        raise Refused(400, "BadRequest", "the body is not an object")
    return document


def _owner(request: web.Request) -> str:
    return request.query.get("fieldManager") or request.headers.get("User-Agent", "unknown").partition("/")[0]


def _dry_run(request: web.Request) -> bool:
    given = request.query.get("dryRun")
    if given not in (None, "", "All"):
        raise Refused(422, "Invalid", f'dryRun: Unsupported value: "{given}": supported values: "All"')
    return given == "All"


if __name__ == "__main__":
    web.run_app(
        application(os.environ["AIRLOCK_KUBERNETES_TOKEN"]), host="127.0.0.1", port=int(sys.argv[1]), access_log=None
    )
