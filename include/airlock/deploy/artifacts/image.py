"""What the manifests of an image say: which of several platforms, its layers, its labels. Pure; asks no registry.

An *image* has a configuration and layers that add up to a file system; any other *artifact* has files for layers, each
under its title.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airlock.deploy.artifacts.repository import Descriptor, Manifest, descriptor
from airlock.errors import InvalidInput

_CONFIGURATIONS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_TITLE = "org.opencontainers.image.title"
_UNPACK = "io.deis.oras.content.unpack"
_MOST_LAYERS = 10_000


@dataclass(frozen=True)
class Image:
    """One manifest that is no index."""

    manifest: Manifest
    config: Descriptor
    layers: tuple[Descriptor, ...]
    what: str

    @property
    def has_file_system(self) -> bool:
        """Whether its layers add up to a file system."""
        return self.config.media_type in _CONFIGURATIONS

    @property
    def size(self) -> int:
        """The bytes of all that belongs to it, as they are stored."""
        return self.config.size + sum(layer.size for layer in self.layers)

    @property
    def type(self) -> str:
        """What kind of artifact it is."""
        return str(self.manifest.said.get("artifactType") or self.config.media_type)

    def annotations(self) -> dict[str, str]:
        """Return the annotations of the manifest."""
        return texts(self.manifest.said.get("annotations"))

    def titled(self) -> dict[str, Descriptor]:
        """Return title -> file of an artifact that is no image.

        :raises InvalidInput: two files have one title
        """
        found: dict[str, Descriptor] = {}
        for layer in self.layers:
            title = layer.annotations.get(_TITLE, layer.digest)
            if title in found:
                raise InvalidInput(f"{self.what} has two files {title[:200]!a}; publish it anew")
            found[title] = layer
        return found

    def file(self, title: str | None) -> tuple[str, Descriptor]:
        """Return the file with *title*, or its only one, of an artifact that is no image.

        :raises InvalidInput: there is none, or several
        """
        found = self.titled()
        names = ", ".join(f"{one[:100]!a}" for one in list(found)[:20]) or "none"
        if title is None and len(found) != 1:
            raise InvalidInput(f"{self.what} has {len(found)} files, not one: {names}; name one in the option file")
        chosen = title if title is not None else next(iter(found))
        if chosen not in found:
            raise InvalidInput(f"{self.what} has no file {chosen[:200]!a}, but {names}; correct the option file")
        if found[chosen].annotations.get(_UNPACK, "").lower() == "true":
            raise InvalidInput(f"{self.what}: {chosen[:200]!a} is a packed folder, but one file is installed; publish "
                               "that file")
        return chosen, found[chosen]


def image_of(manifest: Manifest, what: str) -> Image:
    """Return what *manifest*, which is no index, says.

    :raises InvalidInput: it is no manifest of an image or artifact
    """
    layers = manifest.said.get("layers")
    if not isinstance(layers, list) or not isinstance(manifest.said.get("config"), dict):
        raise InvalidInput(f"{what} is no manifest of an image or artifact that is read "
                           f"({manifest.media_type[:100]!a}); publish it as an OCI image or artifact")
    if len(layers) > _MOST_LAYERS:
        raise InvalidInput(f"{what} has more than {_MOST_LAYERS} layers; build it with fewer")
    return Image(manifest, descriptor(manifest.said["config"], what),
                 tuple(descriptor(one, what) for one in layers), what)


def chosen(index: Manifest, platform: str | None, what: str) -> tuple[Descriptor, str]:
    """Return the manifest of *platform* in *index*, and the name of that platform; without one, that of the only one.

    :raises InvalidInput: it is not there, or is there twice, or there are several to choose from
    """
    listed = index.said.get("manifests")
    if not isinstance(listed, list):
        raise InvalidInput(f"{what} is an index without manifests; build it anew")
    found: list[tuple[Descriptor, str]] = []
    for one in listed:
        name = _platform(one.get("platform") if isinstance(one, dict) else None)
        if name is not None:
            found.append((descriptor(one, what), name))
    fitting = [one for one in found if platform is None or _spelled(one[1]) == _spelled(platform)]
    names = ", ".join(name for _, name in found[:20]) or "none"
    if len({one.digest for one, _ in fitting}) != 1:
        if platform is None:
            raise InvalidInput(f"{what} is for {len(found)} platforms ({names}); name one in the option platform")
        raise InvalidInput(f"{what} has {len(fitting)} images for {platform}, not one; there are {names}: build it for "
                           "that platform, or correct the option platform")
    return fitting[0]


def _platform(said: Any) -> str | None:
    """Return the name of a platform; ``None`` for what is no image, such as the attestations that builders list."""
    if said is None:
        return "any"
    if not isinstance(said, dict) or said.get("os") == "unknown" or said.get("architecture") == "unknown":
        return None
    parts = [said.get("os"), said.get("architecture"), said.get("variant")]
    return "/".join(str(one)[:40] for one in parts if one)


def _spelled(platform: str) -> tuple[str, ...]:
    """Return *platform* in the one spelling of those that mean the same."""
    system, machine, *variant = [*platform.lower().split("/"), ""][:3]
    machine = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    usual = {"arm64": "v8", "arm": "v7", "amd64": "v1"}.get(machine, "")
    return (system, machine, (variant[0] if variant else "") or usual)


def labels_of(configuration: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels in the configuration of an image."""
    within = configuration.get("config")
    return texts(within.get("Labels") if isinstance(within, dict) else None)


def texts(said: Any) -> dict[str, str]:
    """Return what of a mapping is text."""
    return {str(name): text for name, text in said.items() if isinstance(text, str)} if isinstance(said, dict) else {}


def first(label: str, places: Sequence[Mapping[str, str]]) -> str | None:
    """Return the first that *places* say of *label*."""
    return next((one[label] for one in places if one.get(label)), None)
