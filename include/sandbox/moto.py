"""moto's server: stands for AWS over real HTTP. Holds everything in memory: each start is empty and is seeded again.

Knows nothing of who reads it; clients reach it with ``endpoint_url`` and any credentials.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airlock.errors import TemporaryError
from sandbox import processes, reach

REGION = "us-east-1"
ZONE = "shop.test."
BALANCERS = {"prod": "shop-prod", "staging": "shop-staging"}
ROLE_PREFIX = "shop-"
REQUESTS = "moto-requests.log"
"""File name of the record of requests: method, path, action and status."""


@dataclass(frozen=True)
class Moto(processes.Server):
    """A running moto server. The ids of what was seeded: hosted zone, and load balancers by environment."""

    port: int = 0
    zone_id: str = ""
    load_balancers: tuple[tuple[str, str], ...] = ()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str) -> Any:
        """A boto3 client of *service* that talks to this server."""
        return client(self.url, service)


def client(url: str, service: str) -> Any:
    """A boto3 client of *service* at *url*."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="sandbox",
        aws_secret_access_key="sandbox",  # noqa: S106 - moto accepts any
        config=Config(retries={"max_attempts": 2}, connect_timeout=5, read_timeout=20),
    )


def start(folder: Path, port: int, run: Path | None = None) -> Moto:
    """Start moto and seed IAM, Route 53 and load balancing. Also a context manager.

    :raises TemporaryError: it did not start; the message has the tail of its log
    """
    from botocore.exceptions import BotoCoreError, ClientError

    folder.mkdir(parents=True, exist_ok=True)
    log = folder if run is None else run.parent / "log"
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    address = ("-H", "127.0.0.1", "-p", str(port))
    server = processes.start(
        processes.Program(
            name="moto",
            command=(sys.executable, "-m", "sandbox.recorded_moto", str(log / REQUESTS), *address),
            log=log / "moto.log",
            ready=lambda: reach.answers(f"http://127.0.0.1:{port}/moto-api/"),
            environment={**os.environ, "PYTHONPATH": path, "MOTO_ACCOUNT_ID": "123456789012", "NO_PROXY": "127.0.0.1"},
            folder=folder,
            deadline=60,
            grace=3,
        ),
        run or folder,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        seed_roles(client(url, "iam"))
        zone = seed_zone(client(url, "route53"))
        balancers = seed_balancers(client(url, "ec2"), client(url, "elbv2"))
    except (BotoCoreError, ClientError) as error:
        server.stop()
        raise TemporaryError(f"moto at 127.0.0.1:{port} could not be seeded: {error}") from error
    return Moto(**{**vars(server), "port": port, "zone_id": zone, "load_balancers": balancers})


def seed_roles(iam: Any) -> None:
    """Three roles of the shop with managed policies (one of several versions), an inline policy and tags."""
    for name, service in (("shop-app", "ec2"), ("shop-deploy", "codebuild"), ("shop-reports", "lambda")):
        trust = _document("sts:AssumeRole", Principal={"Service": f"{service}.amazonaws.com"})
        iam.create_role(
            RoleName=name,
            AssumeRolePolicyDocument=trust,
            Description=f"The role of {name}",
            MaxSessionDuration=7200,
            Tags=[{"Key": "service", "Value": "shop"}],
        )
    uploads = iam.create_policy(
        PolicyName="shop-uploads",
        Path="/shop/",
        PolicyDocument=_document("s3:GetObject", Resource="arn:aws:s3:::shop-uploads/*"),
        Description="Read and write what customers uploaded",
    )["Policy"]["Arn"]
    for actions in (["s3:GetObject", "s3:PutObject"], ["s3:GetObject", "s3:ListBucket", "s3:PutObject"]):
        document = _document(actions, Resource=["arn:aws:s3:::shop-uploads", "arn:aws:s3:::shop-uploads/*"])
        iam.create_policy_version(PolicyArn=uploads, PolicyDocument=document, SetAsDefault=True)
    reports = iam.create_policy(
        PolicyName="shop-reports",
        Path="/shop/",
        PolicyDocument=_document("athena:StartQueryExecution", Resource="*"),
    )["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="shop-app", PolicyArn=uploads)
    iam.attach_role_policy(RoleName="shop-deploy", PolicyArn=uploads)
    iam.attach_role_policy(RoleName="shop-reports", PolicyArn=reports)
    inline = _document("ssm:GetParameter", Resource=f"arn:aws:ssm:{REGION}:123456789012:parameter/shop/*")
    iam.put_role_policy(RoleName="shop-app", PolicyName="parameters", PolicyDocument=inline)


def seed_zone(route53: Any) -> str:
    """The hosted zone ``shop.test.``: simple, weighted, alias, text, mail and delegated records. Returns its id."""
    zone = route53.create_hosted_zone(Name=ZONE, CallerReference="sandbox", HostedZoneConfig={"Comment": "the shop"})
    zone_id = str(zone["HostedZone"]["Id"]).rpartition("/")[2]
    records: list[dict[str, Any]] = [
        _record("shop.test.", "A", 60, "127.0.0.1"),
        _record("shop.test.", "MX", 3600, "10 mail.shop.test.", "20 backup.shop.test."),
        _record("shop.test.", "TXT", 300, '"v=spf1 -all"', '"owner=shop-team"'),
        _record("www.shop.test.", "CNAME", 300, "shop.test."),
        _record("mail.shop.test.", "A", 300, "127.0.0.2", "127.0.0.3"),
        _record("_sip._tcp.shop.test.", "SRV", 300, "10 60 5060 mail.shop.test."),
        {**_record("api.shop.test.", "A", 30, "127.0.0.1"), "SetIdentifier": "stable", "Weight": 100},
        {**_record("api.shop.test.", "A", 30, "127.0.0.4"), "SetIdentifier": "canary", "Weight": 0},
        {
            "Name": "start.shop.test.",
            "Type": "A",
            "AliasTarget": {"HostedZoneId": zone_id, "DNSName": "shop.test.", "EvaluateTargetHealth": False},
        },
    ]
    changes = [{"Action": "CREATE", "ResourceRecordSet": record} for record in records]
    route53.change_resource_record_sets(HostedZoneId=zone_id, ChangeBatch={"Changes": changes})
    return zone_id


def seed_balancers(ec2: Any, elbv2: Any) -> tuple[tuple[str, str], ...]:
    """One load balancer per environment, each with target groups, a listener and rules. Returns their ARNs."""
    network = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"][:2]]
    found = []
    for environment, name in BALANCERS.items():
        arn = elbv2.create_load_balancer(
            Name=name, Subnets=subnets, Scheme="internal", Tags=[{"Key": "service", "Value": "shop"}]
        )["LoadBalancers"][0]["LoadBalancerArn"]
        groups = [_target_group(elbv2, f"{name}-{version}", network) for version in ("stable", "canary")]
        split = [{"TargetGroupArn": group, "Weight": weight} for group, weight in zip(groups, (100, 0), strict=True)]
        listener = elbv2.create_listener(
            LoadBalancerArn=arn,
            Protocol="HTTP",
            Port=80,
            DefaultActions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": split}}],
        )["Listeners"][0]["ListenerArn"]
        _rules(elbv2, listener, groups)
        found.append((environment, str(arn)))
    return tuple(found)


def _target_group(elbv2: Any, name: str, network: str) -> str:
    made = elbv2.create_target_group(
        Name=name,
        Protocol="HTTP",
        Port=8080,
        VpcId=network,
        TargetType="ip",
        HealthCheckPath="/health",
        HealthCheckIntervalSeconds=10,
        Matcher={"HttpCode": "200"},
    )
    return str(made["TargetGroups"][0]["TargetGroupArn"])


def _rules(elbv2: Any, listener: str, groups: list[str]) -> None:
    fixed = {"StatusCode": "503", "ContentType": "text/plain", "MessageBody": "back in a minute"}
    add: Callable[..., Any] = elbv2.create_rule
    add(
        ListenerArn=listener,
        Priority=10,
        Conditions=[{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/orders", "/orders/*"]}}],
        Actions=[{"Type": "forward", "TargetGroupArn": groups[0]}],
    )
    add(
        ListenerArn=listener,
        Priority=20,
        Conditions=[{"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Canary", "Values": ["yes"]}}],
        Actions=[{"Type": "forward", "TargetGroupArn": groups[1]}],
    )
    add(
        ListenerArn=listener,
        Priority=30,
        Conditions=[{"Field": "host-header", "HostHeaderConfig": {"Values": ["closed.shop.test"]}}],
        Actions=[{"Type": "fixed-response", "FixedResponseConfig": fixed}],
    )


def _record(name: str, kind: str, seconds: int, *values: str) -> dict[str, Any]:
    return {"Name": name, "Type": kind, "TTL": seconds, "ResourceRecords": [{"Value": value} for value in values]}


def _document(action: str | list[str], **rest: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, **rest}]})
