"""What the driver ``aws_elbv2`` needs, in the words of IAM. Knows no other code of the driver."""

from __future__ import annotations

from airlock.models.needs import CONNECTION, ConnectionNeed, Needs, Permission, Stage, System

_READ = (Stage.INSPECT, Stage.BACKUP, Stage.PROOF, Stage.RESTORE)
_WRITE = (Stage.PROOF, Stage.RESTORE)
_ARN = "arn:aws:elasticloadbalancing:*:*"


def _elb(stages: tuple[Stage, ...], on: str, *actions: str, why: str = "", seldom: str = "") -> Permission:
    return Permission(system=System.AWS, actions=tuple(f"elasticloadbalancing:{action}" for action in actions), on=on,
                      stages=stages, connection=CONNECTION, why=why, seldom=seldom)


NEEDS = Needs(
    connections=(ConnectionNeed(sort="AWS", stages=_READ),),
    permissions=(
        _elb(_READ, "*", "DescribeLoadBalancers", "DescribeLoadBalancerAttributes", "DescribeListeners",
             "DescribeListenerAttributes", "DescribeRules", "DescribeTargetGroups",
             "DescribeTargetGroupAttributes", "DescribeTags", why="ELB grants its Describe actions on * only"),
        _elb((Stage.BACKUP,), "*", "DescribeTargetHealth"),
        _elb(_READ, "*", "DescribeListenerCertificates", seldom="where a listener has certificates"),
        _elb(_WRITE, f"{_ARN}:loadbalancer/*", "CreateLoadBalancer",
             why="a restore test makes an internal copy, named airlock-..."),
        _elb(_WRITE, f"{_ARN}:*", "CreateListener", "CreateRule", "CreateTargetGroup", "DeleteTargetGroup",
             "ModifyListener", "ModifyTargetGroup", "DeleteListener", "DeleteRule"),
        _elb(_WRITE, f"{_ARN}:*", "AddTags", "AddListenerCertificates", "ModifyLoadBalancerAttributes",
             "ModifyListenerAttributes", "ModifyTargetGroupAttributes",
             seldom="where there are tags, certificates, or attributes that are not as they come"),
        _elb((Stage.PROOF,), f"{_ARN}:loadbalancer/*", "DeleteLoadBalancer", why="the copy goes again"),
        _elb((Stage.RESTORE,), f"{_ARN}:*", "SetIpAddressType", "SetSubnets", "SetSecurityGroups", "ModifyRule",
             "RemoveListenerCertificates", "RemoveTags", "RegisterTargets",
             seldom="where exactly that was changed since the backup, or a target group must be made anew"),
        Permission(
            system=System.AWS, on="*", stages=_WRITE, connection=CONNECTION,
            actions=("ec2:DescribeAccountAttributes", "ec2:DescribeAddresses", "ec2:DescribeInternetGateways",
                     "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs"),
            seldom="no call of its own: ELB asks EC2 with the caller's rights where it makes a load balancer",
        ),
        Permission(
            system=System.AWS, actions=("iam:CreateServiceLinkedRole",), stages=_WRITE, connection=CONNECTION,
            on="arn:aws:iam::*:role/aws-service-role/elasticloadbalancing.amazonaws.com/*",
            seldom="no call of its own: AWS checks it where an account makes its first load balancer",
        ),
    ),
)  # fmt: skip
