"""Debian's ``docker-registry`` for tests, on a free port of 127.0.0.1, and what is pushed into it over plain HTTP.

A real registry and its real storage; only the pushing is written out here, so that a test can push what no tool would.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox import processes, reach
from tests.real_servers import program_of_debian

PROGRAM = "docker-registry"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"
SECONDS = 30


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def tar_of(members: Iterable[tuple[tarfile.TarInfo | str, bytes]]) -> bytes:
    """Return a tar archive of *members*: a name or a whole header each, with the content."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for head, content in members:
            info = tarfile.TarInfo(head) if isinstance(head, str) else head
            if info.isreg():
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return packed.getvalue()


def layer_of(files: Mapping[str, bytes]) -> bytes:
    """Return a layer of an image, as builders write it: a compressed tar archive of *files*."""
    return gzip.compress(tar_of(files.items()), mtime=0)


def _unpacked_digest(layer: bytes) -> str:
    try:
        return digest_of(gzip.decompress(layer))
    except (OSError, EOFError):  # none that any builder would write
        return digest_of(layer)


@dataclass
class Repository:
    """One repository of a registry, into which tests push."""

    url: str
    name: str
    login: tuple[str, str] | None = None
    token: str = ""

    def send(self, method: str, url: str, headers: Mapping[str, str] | None = None, **more: Any) -> httpx.Response:
        """Send a request as whoever may push."""
        given = {**(headers or {}), **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        return httpx.request(method, url, auth=self.login, timeout=SECONDS, headers=given, **more)

    @property
    def reference(self) -> str:
        """The repository as an image is named: ``host:port/name``."""
        return f"{self.url.partition('://')[2]}/{self.name}"

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        answer = self.send(method, f"{self.url}/v2/{self.name}/{path}", **more)
        answer.raise_for_status()
        return answer

    def push_blob(self, content: bytes) -> str:
        """Push *content* and return its digest."""
        digest = digest_of(content)
        place = self.ask("POST", "blobs/uploads/").headers["location"]
        where = place if "://" in place else self.url + place
        answer = self.send("PUT", where + ("&" if "?" in where else "?") + f"digest={digest}", content=content,
                           headers={"Content-Type": "application/octet-stream"})
        answer.raise_for_status()
        return digest

    def push_manifest(self, manifest: Mapping[str, Any] | bytes, tag: str = "", media_type: str = MANIFEST) -> str:
        """Push *manifest* under *tag*, or by its digest alone; return its digest."""
        content = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        self.ask("PUT", f"manifests/{tag or digest_of(content)}", content=content,
                 headers={"Content-Type": media_type})
        return digest_of(content)

    def descriptor(self, content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        """Push *content* and return its descriptor."""
        return {"mediaType": media_type, "digest": self.push_blob(content), "size": len(content), **more}

    def push_artifact(
        self, tag: str, files: Mapping[str, bytes], *, annotations: Mapping[str, str] | None = None,
        artifact_type: str = "application/vnd.example.release", subject: Mapping[str, Any] | None = None,
    ) -> str:
        """Push *files* as ``oras push`` does: a layer of its own for each, which carries its name; return the digest of
        the manifest."""
        return self.push_manifest({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": artifact_type,
            "config": self.descriptor(b"{}", EMPTY),
            "layers": [self.descriptor(content, "application/octet-stream", annotations={TITLE: title})
                       for title, content in files.items()],
            **({"subject": dict(subject)} if subject else {}),
            **({"annotations": dict(annotations)} if annotations else {}),
        }, tag)  # fmt: skip

    def push_image(
        self, tag: str, layers: Sequence[bytes | Mapping[str, bytes]], *, labels: Mapping[str, str] | None = None,
        platform: str = "linux/amd64", annotations: Mapping[str, str] | None = None, layer_type: str = LAYER,
    ) -> str:
        """Push an image as builders do, and return the digest of its manifest. A layer is bytes, or names of files and
        their content; without a *tag* the image is there by its digest alone."""
        packed = [one if isinstance(one, bytes) else layer_of(one) for one in layers]
        system, machine = platform.split("/")[:2]
        unpacked = {"type": "layers", "diff_ids": [_unpacked_digest(one) for one in packed]}
        config = {"os": system, "architecture": machine, "rootfs": unpacked,
                  "config": {"Labels": dict(labels or {})}}
        return self.push_manifest({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": self.descriptor(json.dumps(config).encode(), CONFIG),
            "layers": [self.descriptor(one, layer_type) for one in packed],
            **({"annotations": dict(annotations)} if annotations else {}),
        }, tag)  # fmt: skip

    def push_index(self, tag: str, manifests: Mapping[str, str], annotations: Mapping[str, str] | None = None) -> str:
        """Push an index of images, platform -> digest, and return its digest."""
        listed = []
        for platform, digest in manifests.items():
            system, machine, *variant = platform.split("/")
            listed.append({"mediaType": MANIFEST, "digest": digest, "size": self.size_of(digest), "platform": {
                "os": system, "architecture": machine, **({"variant": variant[0]} if variant else {})}})
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed,
                 **({"annotations": dict(annotations)} if annotations else {})}
        return self.push_manifest(index, tag, INDEX)

    def size_of(self, digest: str) -> int:
        accept = {"Accept": f"{MANIFEST}, {INDEX}"}
        return int(self.ask("HEAD", f"manifests/{digest}", headers=accept).headers["content-length"])

    def attach(self, subject: str, manifest: str, **more: Any) -> None:
        """Name *manifest* in the index of what is attached to *subject*, whose tag stands for the referrers API in a
        registry without one."""
        tag = subject.replace(":", "-")
        accept = {"Accept": INDEX}
        before = self.send("GET", f"{self.url}/v2/{self.name}/manifests/{tag}", headers=accept)
        listed = before.json()["manifests"] if before.status_code == httpx.codes.OK else []
        entry = {"mediaType": MANIFEST, "digest": manifest, "size": self.size_of(manifest), **more}
        self.push_manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": [*listed, entry]}, tag, INDEX)


@dataclass
class Registry:
    """A running registry. ``folder`` holds what it stores."""

    url: str
    folder: Path

    def repository(self, name: str, login: tuple[str, str] | None = None) -> Repository:
        return Repository(self.url, name, login)


def start(folder: Path, port: int, authentication: Mapping[str, Any] | None = None) -> processes.Server:
    """Start a registry that keeps what it holds below *folder*. Also a context manager."""
    settings = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
        **({"auth": authentication} if authentication else {}),
    }
    (folder / "registry.yaml").write_text(json.dumps(settings))
    return processes.start(
        processes.Program(
            name="registry",
            command=(PROGRAM, "serve", str(folder / "registry.yaml")),
            log=folder / "registry.log",
            ready=lambda: reach.answers(f"http://127.0.0.1:{port}/v2/", status=401 if authentication else 200),
            folder=folder,
        ),
        folder,
    )


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that lets everybody in."""
    program_of_debian(PROGRAM)
    folder, port = tmp_path_factory.mktemp("registry"), reach.free_port()
    with start(folder, port):
        yield Registry(f"http://127.0.0.1:{port}", folder)
