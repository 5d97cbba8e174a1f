"""What the artifact source ``oci`` is told, with every rule that concerns one option. Asks no registry."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from airlock.connections import ConnectionId
from airlock.deploy.artifacts.repository import place_of
from airlock.models.needs import Address, ConnectionNeed, Needs, Permission, Stage, System
from airlock.options import Options
from airlock.service.values import Folder

_STAGES = (Stage.INSPECT, Stage.DELIVERY)
_LOOPBACK = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?")


def _tag(text: str) -> str:
    if text.count("{version}") != 1 or set("{}") & set(text.replace("{version}", "")):
        raise ValueError("must contain {version} once and no other braces; write such as v{version}")
    return text


class OciOptions(Options):
    """What the source is told."""

    registry: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:\[\]-]{1,255}$")] = Field(
        description="host of the registry, with a port where it has one, for example registry.example.com")
    repository: Annotated[str, StringConstraints(max_length=255)] = Field(
        description="name of the repository there, without a tag, for example team/shop")
    connection: ConnectionId | None = Field(
        None, description="Airflow connection with log-in and password (or a token, without a log-in); none: anonymous")
    tag: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.{}-]{1,128}$"), AfterValidator(_tag)] = Field(
        "{version}", description="the tag of a version, for example v{version}")
    platform: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+/[a-z0-9_-]+(/[a-z0-9_.]+)?$")] | None = Field(
        None, description="operating system and architecture, for example linux/amd64, where a tag has several")
    file: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = Field(
        None, description="the file that is installed: its path in the image, or its title in the artifact")
    migrations_in: Literal["file", "image", "attached"] = Field(
        "file", description="where migrations.folder is: in the installed file, in the image (a path from its root), "
                            "or in an artifact that is attached to it")
    certificates: Folder | None = Field(None, description="file with the authorities that sign its certificate")
    plain_http: bool = Field(False, description="ask without TLS; on this machine only")
    token_hosts: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+$")], ...] = Field(
        (), description="other hosts to which the registry may send the log-in for a token")

    @property
    def reference(self) -> str:
        """Return the repository as an image is named."""
        return f"{self.registry}/{self.repository}"

    @model_validator(mode="after")
    def _reached(self) -> OciOptions:
        place_of(self.reference)
        if self.plain_http and not _LOOPBACK.fullmatch(self.registry):
            raise ValueError(f"plain_http is for a registry on this machine only, not for {self.registry}; remove it")
        return self


NEEDS = Needs(
    connections=(ConnectionNeed(sort="registry of images", stages=_STAGES, when="connection"),),
    permissions=(Permission(system=System.REGISTRY, actions=("pull",), on="{repository}", connection="{connection}",
                            stages=_STAGES),),
    addresses=(Address(url="https://{registry}/v2/", when="!plain_http", stages=_STAGES),
               Address(url="http://{registry}/v2/", when="plain_http", stages=_STAGES)),
    also=("with an Airflow connection of type aws: ecr:GetAuthorizationToken, ecr:BatchGetImage and "
          "ecr:GetDownloadUrlForLayer on the repository, and ecr:ListImages to offer its versions",),
)  # fmt: skip
