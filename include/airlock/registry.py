"""Name -> class, resolved on use. An unknown name stops; nothing is guessed. Imports no implementation by itself.

Adding a driver, target, router, strategy, artifact source, check, metric source, signal, ticket system, object store or
notifier is one new file, its test, and one line here.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airlock.errors import PermanentError, UnknownName
from airlock.spelling import did_you_mean

_KINDS = "airlock.backup.drivers"


@dataclass(frozen=True)
class Entry:
    """Where an implementation lives, and the extra distribution that it needs beyond requirements.txt, if any."""

    path: str
    needs: str = ""


DRIVERS: Mapping[str, Entry] = {
    "artifact_file": Entry(f"{_KINDS}.artifacts.artifact_file:ArtifactFileDriver"),
    "aws_elbv2": Entry(f"{_KINDS}.network.aws_elbv2:AwsElbv2Driver"),
    "aws_iam": Entry(f"{_KINDS}.security.aws_iam:AwsIamDriver"),
    "aws_route53": Entry(f"{_KINDS}.network.aws_route53:AwsRoute53Driver"),
    "directory": Entry(f"{_KINDS}.storage.directory:DirectoryDriver"),
    "env_file": Entry(f"{_KINDS}.configuration.env_file:EnvFileDriver"),
    "git": Entry(f"{_KINDS}.cicd.git:GitDriver"),
    "log_files": Entry(f"{_KINDS}.logs.log_files:LogFilesDriver"),
    "manifests": Entry(f"{_KINDS}.kubernetes.manifests:ManifestsDriver"),
    "postgres": Entry(f"{_KINDS}.databases.postgres:PostgresDriver"),
    "postgres_pitr": Entry(f"{_KINDS}.databases.postgres_pitr:PostgresPitrDriver"),
    "restic": Entry(f"{_KINDS}.storage.restic:ResticDriver"),
    "terraform_state": Entry(f"{_KINDS}.iac_state.terraform_state:TerraformStateDriver"),
    "tls_certificate": Entry(f"{_KINDS}.security.tls_certificate:TlsCertificateDriver"),
    "vault_kv": Entry(f"{_KINDS}.configuration.vault_kv:VaultKvDriver"),
}
TARGETS: Mapping[str, Entry] = {"supervisord": Entry("airlock.deploy.targets.supervisord:SupervisordTarget")}
ROUTERS: Mapping[str, Entry] = {
    "envoy": Entry("airlock.deploy.routers.envoy:EnvoyRouter"),
    "haproxy": Entry("airlock.deploy.routers.haproxy:HaproxyRouter"),
}
CHECKS: Mapping[str, Entry] = {
    "command": Entry("airlock.deploy.checks.command:CommandCheck"),
    "http": Entry("airlock.deploy.checks.http:HttpCheck"),
    "sql": Entry("airlock.deploy.checks.sql:SqlCheck"),
}
ARTIFACT_SOURCES: Mapping[str, Entry] = {
    "file": Entry("airlock.deploy.artifacts.file:FileSource"),
    "oci": Entry("airlock.deploy.artifacts.oci:OciSource"),
}
STRATEGIES: Mapping[str, Entry] = {
    "all_at_once": Entry("airlock.deploy.strategies.all_at_once:AllAtOnce"),
    "blue_green": Entry("airlock.deploy.strategies.blue_green:BlueGreen"),
    "canary": Entry("airlock.deploy.strategies.canary:Canary"),
}
METRIC_SOURCES: Mapping[str, Entry] = {
    "envoy": Entry("airlock.analysis.sources.envoy:EnvoySource"),
    "haproxy": Entry("airlock.analysis.sources.haproxy:HaproxySource"),
}
TICKET_SYSTEMS: Mapping[str, Entry] = {
    "jira": Entry("airlock.itsm.jira:JiraServiceManagement"),
    "servicenow": Entry("airlock.itsm.servicenow:ServiceNow"),
}
SIGNALS: Mapping[str, Entry] = {
    "file": Entry("airlock.schedule.signals.file:FileSignal"),
    "http_json": Entry("airlock.schedule.signals.http_json:HttpJsonSignal"),
}
STORES: Mapping[str, Entry] = {"s3": Entry("airlock.places.stores.s3:S3Store")}
"""The first word of an address -> the object store that it leads to."""
NOTIFIERS: Mapping[str, Entry] = {"slack": Entry("airlock.notify.slack:SlackNotifier")}


def resolve(table: Mapping[str, Entry], what: str, name: str) -> Any:
    """Return the class that *name* stands for in *table*.

    :param what: what the table holds, for the message: ``"driver"``, ``"target"``...
    :raises UnknownName: the table has no such name
    :raises PermanentError: the name is registered, but its module or a distribution it needs is not installed
    """
    entry = table.get(name)
    if entry is None:
        hint = did_you_mean(name, table)
        raise UnknownName(f"unknown {what} {name!r}: {hint}known are {', '.join(sorted(table))}")
    module, _, attribute = entry.path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise PermanentError(
            f"{what} {name!r} cannot be loaded: {error}; install {entry.needs or 'the pinned requirements'}"
        ) from error
