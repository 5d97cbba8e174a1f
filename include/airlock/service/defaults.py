"""What a service file says once for all its environments, and a company for all its services: layers that are merged.

One rule: an environment lies over the ``defaults`` of its file, and these over the ``defaults`` of ``_defaults.yaml``.
Maps merge by key, resources by name; everything else, lists too, is replaced; ``null`` takes away what lies below it.
A map that chooses something else (another ``name`` or ``driver``; approval by a ``policy``, or by seats) is
another thing, and is not merged.
What a layer says in vain (a key without a value, ``{}`` or an empty list over something) is refused: nobody knows
whether it was meant to take away or to keep.

Knows YAML documents; must not know what a service is made of, nor read a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from airlock.service.document import Document, Origin, Place, Unfilled

DEFAULTS_FILE = "_defaults.yaml"
"""Name of the file beside the service files that holds what a whole company shares."""
_CHOICES = ("name", "driver")
_MERGED_BY_NAME = ("resources",)
_MAXIMUM_VALUES = 500_000
_GONE = object()


class Layer(NamedTuple):
    """One of several values for the same key: where it stands, and what it is."""

    document: Document
    place: Place
    value: Any

    def below(self, key: str | int, value: Any) -> Layer:
        """Return the layer of one entry of this one."""
        return Layer(self.document, (*self.place, key), value)


Layers = tuple[Layer, ...]
"""The strongest first; never empty."""


@dataclass
class ServiceDocument(Document):
    """A service file with everything that its environments take from defaults. Its data are the effective ones, and its
    faults stand where the wrong value really is written."""

    raw: Document = field(default_factory=lambda: Document(Path()))
    company: Document | None = None
    top: Layers = ()
    environments: dict[str, Layers] = field(default_factory=dict)

    def origin(self, place: Place) -> Origin:
        """Return where the value at *place* of the effective data is written, or the nearest thing around it."""
        if len(place) > 1 and place[0] == "environments" and place[1] in self.environments:
            name = str(place[1])
            return _origin(self.environments[name], place[2:], self._reached(name))
        if self.top and place and place[0] != "environments":
            return _origin(self.top, place, self._reached(""))
        return super().origin(place)

    def written(self, environment: str | None, place: Place) -> Origin | None:
        """Return where the value at *place* of *environment*, or beside all of them, is written; ``None``: nowhere."""
        layers, rest = _walk(self.top if environment is None else self.environments[environment], place)
        document, at, value = layers[0]
        for step in rest:
            listed = isinstance(value, list) and isinstance(step, int) and step < len(value)
            if listed or (isinstance(value, dict) and step in value):
                value = value[step]
            elif isinstance(value, dict | list):
                return None
            else:
                break  # a short form, which stands for all that is below
            at = (*at, step)
        return Origin(document.path, document.line(at), at)

    def _reached(self, environment: str) -> dict[Path, str]:
        service = self.data.get("service") if isinstance(self.data, dict) else None
        found = {self.path: environment}
        if self.company is not None:
            found[self.company.path] = f"{service} {environment}".strip()
        return found


def merged(document: Document, company: Document | None = None) -> ServiceDocument:
    """Return *document*, a service file, with the defaults in every environment: its own, and those of *company*.

    What cannot be merged stays as it is, for the rules to refuse.
    """
    result = ServiceDocument(document.path, document.data, document.lines, document.faults, document.blank,
                             raw=document, company=company)
    if not isinstance(document.data, dict):
        return result
    files = (document, company) if company is not None and isinstance(company.data, dict) else (document,)
    parts = tuple(Layer(one, (), {key: value for key, value in one.data.items()
                                  if key not in ("defaults", "environments")}) for one in files)
    shared = tuple(Layer(one, ("defaults",), one.data["defaults"]) for one in files
                   if isinstance(one.data.get("defaults"), dict))
    names = {"service": str(document.data.get("service"))}
    result.top = parts
    result.data = _Merging(result, names).value(parts, ())
    entries = document.data.get("environments")
    if not isinstance(entries, dict):
        return result
    result.data["environments"] = {}
    if shared and len(entries) * sum(len(one.lines) for one in files) > _MAXIMUM_VALUES:
        result.fault(("environments",), "are too many for so many defaults; split the service, or say less in defaults")
        return result
    for name, value in entries.items():
        # An environment without a word of its own is one that takes everything from the defaults.
        own = Layer(document, ("environments", name), {} if value is None and shared else value)
        result.environments[name] = (own, *shared) if isinstance(own.value, dict) else (own,)
        merging = _Merging(result, {**names, "environment": name})
        found = merging.value(result.environments[name], ("environments", name))
        result.data["environments"][name] = None if found is _GONE else found
    return result


def defaults_of(document: Document) -> Any:
    """Return what *document* alone says below ``defaults``, as some environment could take it."""
    names = {"service": "service", "environment": "environment"}
    return _Merging(document, names).value((Layer(document, ("defaults",), document.data["defaults"]),), ("defaults",))


@dataclass(frozen=True)
class _Merging:
    """Makes the data of layers, for one environment, whose *names* fill texts."""

    document: Document
    names: Mapping[str, str]

    def value(self, layers: Layers, place: Place) -> Any:
        first = layers[0]
        if len(layers) == 1:
            return self._alone(first.value, place)
        if first.value is None:
            vain = self._refuse_vain(layers, first.place in first.document.blank, "has no value", place)
            return self.value(layers[1:], place) if vain else _GONE
        if isinstance(first.value, dict | list):
            deep = len(place) > 2 or place[:1] != ("environments",)
            self._refuse_vain(_same(layers), deep and not first.value, f"is {first.value}", place)
        if isinstance(first.value, dict):
            found = ((key, self.value(below, (*place, key))) for key, below in _entries(layers))
            return {key: value for key, value in found if value is not _GONE}
        if isinstance(first.value, list) and _by_name(first.place):
            return [self.value(below, (*place, index)) for index, below in _entries(layers)]
        return self._filled(first.value, place)

    def _alone(self, value: Any, place: Place) -> Any:
        """Return *value*, which lies over nothing: most of what a file says does."""
        if isinstance(value, dict):
            return {key: self._alone(inner, (*place, key)) for key, inner in value.items() if inner is not None}
        if isinstance(value, list) and _by_name(place):
            return [inner and self._alone(inner, (*place, index)) for index, inner in enumerate(value)]
        return _GONE if value is None else self._filled(value, place)

    def _refuse_vain(self, layers: Layers, vain: bool, what: str, place: Place) -> bool:
        """Note a layer that says something in *vain*, and return whether it does."""
        if vain and len(layers) > 1 and layers[1].value not in (None, {}, []):
            below = layers[1].document.origin(layers[1].place)
            self.document.fault(place, f"{what}, and {below.path.name}:{below.line} gives a default; write null to "
                                       "take that away, or remove this line to keep it")
            return True
        return False

    def _filled(self, value: Any, place: Place) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(inner, (*place, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._filled(inner, (*place, index)) for index, inner in enumerate(value)]
        if not isinstance(value, Unfilled):
            return value
        if unknown := [name for name in value.names if name not in self.names]:
            self.document.fault(place, f"${{{unknown[0]}}} is known only in defaults and environments; write the name")
            return ""
        return value.filled(self.names)


def _by_name(place: Place) -> bool:
    """Return whether the list at *place* of an environment or of defaults is merged by the names of its entries."""
    return place[-1] in _MERGED_BY_NAME and len(place) == (2 if place[0] == "defaults" else 3)


def _same(layers: Layers) -> Layers:
    """Return those of *layers*, from the strongest on, that are merged: maps of the same thing, or lists by name."""
    kept: list[Layer] = []
    chosen: dict[str, Any] = {}
    for layer in layers:
        if kept and type(layer.value) is not type(kept[0].value):
            break
        if isinstance(layer.value, dict):
            choices = _choices(layer)
            if any(chosen.get(key, value) != value for key, value in choices.items()):
                break
            chosen = {**choices, **chosen}
        elif kept and not (isinstance(layer.value, list) and _by_name(layer.place)):
            break
        kept.append(layer)
    return tuple(kept)


def _choices(layer: Layer) -> dict[str, Any]:
    """Return what the map *layer* chooses, which another one must not choose otherwise to be merged with it. Only a
    text chooses: a group may be called like that, too."""
    found = {key: layer.value[key] for key in _CHOICES if isinstance(layer.value.get(key), str)}
    return {**found, "by policy": "policy" in layer.value} if layer.place[-1:] == ("approvals",) else found


def _entries(layers: Layers) -> Iterator[tuple[str | int, Layers]]:
    """Yield each key of the merged maps, or index of the lists merged by name, with its layers, the weakest first."""
    kept = _same(layers)
    if isinstance(kept[0].value, dict):
        for key in dict.fromkeys(key for layer in reversed(kept) for key in layer.value):
            yield key, tuple(layer.below(key, layer.value[key]) for layer in kept if key in layer.value)
        return
    named: dict[Any, list[Layer]] = {}
    for layer in reversed(kept):
        seen = set()
        for index, value in enumerate(layer.value):
            name = value.get("name") if isinstance(value, dict) else None
            # What has no name, or the name of another entry beside it, stands alone, for the rules to refuse.
            alone = not isinstance(name, str) or name in seen
            seen.add(name if isinstance(name, str) else None)
            named.setdefault((layer.place, index) if alone else name, []).insert(0, layer.below(index, value))
    for index, found in enumerate(named.values()):
        yield index, tuple(found)


def _walk(layers: Layers, place: Place) -> tuple[Layers, Place]:
    """Return the layers of the value at *place* with what of *place* is left, where nothing is written any deeper."""
    for depth, step in enumerate(place):
        first = layers[0]
        if not isinstance(first.value, dict) and not (isinstance(first.value, list) and _by_name(first.place)):
            return layers, place[depth:]
        below = dict(_entries(layers)).get(step)
        if below is None:
            return layers, place[depth:]
        layers = below
    return layers, ()


def _origin(layers: Layers, place: Place, reached: Mapping[Path, str]) -> Origin:
    found, rest = _walk(layers, place)
    layer = found[0]
    where = (*layer.place, *rest)
    own = layer.place[:1] == ("environments",)
    return Origin(layer.document.path, layer.document.line(where), where, "" if own else reached[layer.document.path])
