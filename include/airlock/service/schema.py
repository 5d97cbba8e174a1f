"""JSON Schemas of service files, for editors: made from the models and from the options of whatever is registered.

They help while writing; ``services check`` decides. A schema asks for nothing that defaults could give, and takes
``null`` where that takes a default away. Imports every implementation, so no parse of the DAGs may load it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from airlock import registry
from airlock.service.described import Schema, described, documented
from airlock.service.model import EnvironmentSettings, ServiceSettings
from airlock.service.values import CHOSEN_FROM

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCHEMAS = {"service": "service.schema.json", "defaults": "defaults.schema.json"}
"""Which schema -> the name of its file, beside the service files."""
_NAME = r"^[a-z][a-z0-9_-]{0,62}$"
_VARIABLE = r"\$\{(AIRLOCK_[A-Z0-9_]+|service|environment)\}"
_MOMENT = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$"
_WORDS = re.compile(r"\^\(([a-z_]+(?:\|[a-z_]+)+)\)\$")
_MERGED_BY_NAME = "resources"


def text_of(which: str) -> str:
    """Return what ``schema`` returns as the text of its file."""
    return json.dumps(schema(which), indent=1, ensure_ascii=False) + "\n"


def write(folder: Path, *, missing: bool = False) -> tuple[Path, ...]:
    """Write the schemas into *folder*, or those alone that are *missing* there; return the files."""
    wanted = {folder / name: which for which, name in SCHEMAS.items() if not (missing and (folder / name).exists())}
    for path, which in wanted.items():
        path.write_text(text_of(which), encoding="utf-8")
    return tuple(wanted)


def schema(which: str) -> Schema:
    """Return the JSON Schema of a service file (``service``), or of what all services share (``defaults``)."""
    definitions = _Definitions()
    environment = definitions.reference("", described(EnvironmentSettings), merged=True)
    top = definitions.converted("", described(ServiceSettings), merged=True)["properties"]
    defaults = _or_null({"description": "What the environments have in common; each may say otherwise.", **environment})
    shared = {name: one for name, one in top.items() if name != "service"} | {"defaults": defaults}
    if which == "service":
        environments = {
            "description": "Where the service is released: the name of each environment, and what is its own there.",
            "type": "object", "minProperties": 1, "additionalProperties": False,
            "patternProperties": {_NAME: _or_null(environment)},
        }
        name = definitions.converted("", described(ServiceSettings), merged=False)["properties"]["service"]
        properties, required = {"service": name, **shared, "environments": environments}, ["service", "environments"]
        title, what = "Airlock service file", documented(ServiceSettings)
    else:
        properties, required = shared, []
        title, what = "Airlock defaults", "What all service files of a folder share; each may say otherwise."
    return {"$schema": DIALECT, "title": title, "description": what, "type": "object", "additionalProperties": False,
            "properties": properties, "required": required, "$defs": dict(sorted(definitions.found.items()))}


@dataclass
class _Definitions:
    """What schemas refer to. A *merged* one is of a map that lies over another one: nothing of it is asked for, and
    ``null`` takes away; one that stands in a list, which is replaced, is whole."""

    found: dict[str, Schema] = field(default_factory=dict)

    def reference(self, prefix: str, whole: Schema, *, merged: bool, name: str = "") -> Schema:
        """Return a reference to *whole*, which is defined under its title or *name*, with all that it refers to."""
        key = (f"{prefix}{name or whole['title']}" if merged or "properties" not in whole
               else f"{prefix}{name or whole['title']} (whole)")
        if key not in self.found:
            self.found[key] = {}  # it may refer to itself
            self.found[key] = self.converted(prefix, whole, merged=merged)
        return {"$ref": f"#/$defs/{key}"}

    def converted(self, prefix: str, whole: Schema, *, merged: bool) -> Schema:
        """Return *whole*, a schema of pydantic, as it holds in a file."""
        return self._node(whole, _Scope(prefix, whole.get("$defs", {}), merged))

    def _node(self, node: Schema, scope: _Scope) -> Schema:
        kept = {key: value for key, value in node.items()
                if key not in ("$defs", "title", "required", CHOSEN_FROM) and (key, value) != ("default", None)}
        if "$ref" in node:
            name = node["$ref"].rpartition("/")[2]
            target = {"title": name, **scope.definitions[name], "$defs": scope.definitions}
            return {**kept, **self.reference(scope.prefix, target, merged=scope.merged, name=name)}
        for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            if key in node:
                kept[key] = [self._node(inner, scope) for inner in node[key]]
        if "items" in node:
            kept["items"] = self._node(node["items"], scope.whole())
        for key in ("additionalProperties", "propertyNames"):
            if isinstance(node.get(key), dict):
                kept[key] = self._value(node[key], scope) if key == "additionalProperties" else node[key]
                if "$ref" in kept[key]:
                    kept[key] = self._node(node[key], scope)
        if "patternProperties" in node:
            patterns = node["patternProperties"].items()
            kept["patternProperties"] = {keys: self._value(one, scope) for keys, one in patterns}
            kept["additionalProperties"] = False
        if "properties" in node:
            self._properties(node, kept, scope)
        return _widened(kept)

    def _properties(self, node: Schema, kept: Schema, scope: _Scope) -> None:
        kept["properties"] = {name: self._property(name, one, scope) for name, one in node["properties"].items()}
        if not scope.merged and "required" in node:
            kept["required"] = node["required"]
        for name, one in node["properties"].items():
            if CHOSEN_FROM in one and "options" in node["properties"]:
                kept["allOf"] = self._choices(name, one[CHOSEN_FROM], scope)

    def _property(self, name: str, node: Schema, scope: _Scope) -> Schema:
        said = node.get("description") or _of_reference(node, scope.definitions)
        if name == _MERGED_BY_NAME and scope.merged and "items" in node:
            rest = {key: value for key, value in node.items() if key not in ("items", "minItems")}
            found = {**self._node(rest, scope), "items": {**self._node(node["items"], scope), "required": ["name"]}}
        else:
            found = self._node(node, scope)
        found = {"description": said, **{key: value for key, value in found.items() if key != "description"}}
        return _or_null(found) if scope.merged else found

    def _value(self, node: Schema, scope: _Scope) -> Schema:
        found = self._node(node, scope)
        return _or_null(found) if scope.merged else found

    def _choices(self, chooser: str, what: str, scope: _Scope) -> list[Schema]:
        """Return for each registered implementation what its options are."""
        table = getattr(registry, f"{what.upper().replace(' ', '_')}S")
        found = []
        for name in sorted(table):
            said = {"description": f"Options of the {what} {name}."}
            options = said | described(registry.resolve(table, what, name).Options)
            reference = self.reference(f"{what}.{name}.", options, merged=scope.merged, name="options")
            found.append({
                "if": {"properties": {chooser: {"const": name}}, "required": [chooser]},
                "then": {"properties": {"options": _or_null(reference) if scope.merged else reference}},
            })
        return found


@dataclass(frozen=True)
class _Scope:
    """Where a node of a schema of pydantic stands."""

    prefix: str
    definitions: dict[str, Schema]
    merged: bool

    def whole(self) -> _Scope:
        return _Scope(self.prefix, self.definitions, merged=False)


def _of_reference(node: Schema, definitions: dict[str, Schema]) -> str:
    """Return what the model says of itself that *node* refers to, if it does."""
    for one in (node, *node.get("anyOf", ()), node.get("items", {})):
        if "$ref" in one:
            return str(definitions[one["$ref"].rpartition("/")[2]].get("description", ""))
    return ""


def _widened(node: Schema) -> Schema:
    """Return *node* with what stands for a value besides: a variable of the environment, a name of the file."""
    sort, pattern = node.get("type"), node.get("pattern")
    if sort in ("integer", "number", "boolean"):
        said = f"must be of type {sort}, or a variable such as ${{AIRLOCK_NAME}}"
        return {**node, "type": [sort, "string"], "pattern": _VARIABLE, "patternErrorMessage": said}
    if sort != "string" or "enum" in node or "const" in node:
        return node
    if pattern and (words := _WORDS.fullmatch(pattern)):
        return {**{key: value for key, value in node.items() if key != "pattern"}, "enum": words[1].split("|")}
    if node.get("format") == "date-time":
        pattern = _MOMENT  # local times are welcome, which are none of the standard's
    kept = {key: value for key, value in node.items() if key not in ("format", "pattern")}
    return {**kept, "pattern": f"(?:{pattern})|{_VARIABLE}"} if pattern else node


def _or_null(node: Schema) -> Schema:
    if node.get("type") == "null" or any(one.get("type") == "null" for one in node.get("anyOf", ())):
        return node
    if "enum" in node:
        return {**node, "type": [node["type"], "null"], "enum": [*node["enum"], None]} if "type" in node else node
    if "anyOf" in node:
        return {**node, "anyOf": [*node["anyOf"], {"type": "null"}]}
    if "$ref" in node:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return {**rest, "anyOf": [{"$ref": node["$ref"]}, {"type": "null"}]}
    sorts = node.get("type")
    return {**node, "type": [*(sorts if isinstance(sorts, list) else [sorts]), "null"]} if sorts else node
