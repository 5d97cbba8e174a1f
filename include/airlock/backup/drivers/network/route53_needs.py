"""What the driver ``aws_route53`` needs, in the words of IAM. Knows no other code of the driver."""

from __future__ import annotations

from airlock.models.needs import CONNECTION, ConnectionNeed, Needs, Permission, Stage, System

_READ = (Stage.INSPECT, Stage.BACKUP, Stage.PROOF, Stage.RESTORE)
_WRITE = (Stage.PROOF, Stage.RESTORE)
_ZONE, _CHECK = "arn:aws:route53:::hostedzone/*", "arn:aws:route53:::healthcheck/*"


def _route53(stages: tuple[Stage, ...], on: str, *actions: str, why: str = "", seldom: str = "") -> Permission:
    return Permission(system=System.AWS, actions=tuple(f"route53:{action}" for action in actions), on=on,
                      stages=stages, connection=CONNECTION, why=why, seldom=seldom)


NEEDS = Needs(
    connections=(ConnectionNeed(sort="AWS", stages=_READ),),
    permissions=(
        _route53(_READ, "*", "ListHostedZones", "ListHealthChecks"),
        _route53(_READ, _ZONE, "GetHostedZone", "ListResourceRecordSets", "ListTagsForResource",
                 why="the zone may be given by its name, and is found in the list of all"),
        _route53(_WRITE, "*", "CreateHostedZone", why="a restore test makes a zone of its own; the way back makes one "
                 "only where the zone is gone"),
        _route53(_WRITE, _ZONE, "ChangeResourceRecordSets"),
        _route53((Stage.PROOF,), _ZONE, "DeleteHostedZone", why="the zone of the restore test goes again"),
        _route53(_WRITE, "arn:aws:route53:::change/*", "GetChange",
                 seldom="while AWS still spreads a change to its servers"),
        _route53((Stage.RESTORE,), _ZONE, "UpdateHostedZoneComment", "ChangeTagsForResource",
                 "AssociateVPCWithHostedZone", "DisassociateVPCFromHostedZone",
                 seldom="where comment, tags or networks of the zone were changed since the backup"),
        _route53((Stage.RESTORE,), _CHECK, "CreateHealthCheck", seldom="where a health check is gone"),
        Permission(system=System.AWS, actions=("ec2:DescribeVpcs", "ec2:DescribeRegions"), on="*", stages=_WRITE,
                   connection=CONNECTION, why="of private zones",
                   seldom="no call of its own: Route 53 checks it where a zone is put into a network"),
    ),
)  # fmt: skip
