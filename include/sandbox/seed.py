"""What the shop's hosts hold on disk: settings, certificate, uploads, logs, Terraform state, git, version 1.0.

Every function is safe to repeat: what is there stays as it is, so that a sandbox can be stopped and started again.
Starts nothing, apart from ``git``.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import secrets
import subprocess
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airlock.errors import PermanentError
from sandbox import shop_database
from sandbox.credentials import Credentials
from sandbox.layout import ENVIRONMENTS, Layout

FIRST_VERSION = "1.0"


def files(layout: Layout, held: Credentials) -> None:
    """Make everything on disk that a release of the shop backs up."""
    layout.create()
    for environment in ENVIRONMENTS:
        settings(layout, held, environment)
        certificate(layout.host(environment) / "tls", f"shop-{environment}.test")
        uploads(layout.host(environment) / "uploads")
        logs(layout.host(environment) / "logs")
        install(layout, environment)
    terraform(layout)
    repository(layout)


def settings(layout: Layout, held: Credentials, environment: str) -> None:
    """Write the host's ``.env`` (mode 600); the shop reads its database's address from it."""
    path = layout.host(environment) / ".env"
    port, database = layout.port("postgres"), shop_database.DATABASES[environment]
    url = f"postgresql://{shop_database.ROLE}:{held.shop_app}@127.0.0.1:{port}/{database}"
    if path.exists() and f"DATABASE_URL={url}\n" in path.read_text():
        return
    lines = [
        "# Settings of the shop",
        f"DATABASE_URL={url}",
        f"SHOP_ENVIRONMENT={environment}",
        'SHOP_BANNER="Grüße aus dem Laden = heute offen"',
        "SHOP_EMPTY=",
        f"SESSION_KEY={secrets.token_hex(16)}",
    ]
    _write(path, ("\n".join(lines) + "\n").encode(), 0o600)


def certificate(folder: Path, name: str) -> None:
    """Write ``server.crt`` and ``server.key`` (mode 600) for *name*, valid for a year."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    chain, private = folder / "server.crt", folder / "server.key"
    if chain.exists() and private.exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name), x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    _write(private, key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()), 0o600)
    _write(chain, made.public_bytes(serialization.Encoding.PEM), 0o644)


def uploads(folder: Path) -> None:
    """Files of many sizes, modes and names, an empty folder and a link."""
    if (folder / "readme.txt").exists():
        return
    chance = random.Random(folder.parent.name)  # noqa: S311 - the same files on every machine
    sizes = {"2025/01/photo.jpg": 180_000, "2025/01/thumb.jpg": 4_096, "2025/02/scan.pdf": 1_500_000, "empty.bin": 0}
    sizes |= {"invoices/Rechnung Nr. 17 – Müller.pdf": 35_001, "large/video.mp4": 6 * 1024**2 + 7}
    for number in range(40):
        sizes[f"avatars/{number:03d}.png"] = chance.randint(200, 9_000)
    for number, (name, size) in enumerate(sizes.items()):
        _write(folder / name, chance.randbytes(size), (0o644, 0o640, 0o600)[number % 3])
    _write(folder / "scripts" / "import.sh", b"#!/bin/sh\nexit 0\n", 0o755)
    (folder / "inbox").mkdir(exist_ok=True)
    (folder / "inbox").chmod(0o750)
    (folder / "latest").symlink_to("2025/02")
    # Last: it says that the rest is complete.
    _write(folder / "readme.txt", b"What customers uploaded.\n", 0o444)


def logs(folder: Path) -> None:
    """Rotated logs, one of them compressed, beside a live one that the shop's log may grow next to."""
    if (folder / "access.log").exists():
        return
    start = datetime(2026, 1, 1, tzinfo=UTC)
    parts = []
    for part in range(4):
        lines = []
        for number in range(900):
            when = start + timedelta(days=part, seconds=61 * number)
            code = 500 if number % 211 == 0 else 200
            lines.append(f'{when.isoformat()} 127.0.0.1 "GET /orders/{number + 1}" {code}\n')
        parts.append("".join(lines).encode())
    _write(folder / "access.log.3.gz", gzip.compress(parts[0], mtime=0), 0o640)
    _write(folder / "access.log.2", parts[1], 0o640)
    _write(folder / "access.log.1", parts[2], 0o640)
    _write(folder / "access.log", parts[3], 0o640)


def terraform(layout: Layout) -> None:
    """A Terraform state, version 4, with data sources, counted and keyed resources, a module and a sensitive output."""
    if layout.terraform_state.exists():
        return
    provider = 'provider["registry.terraform.io/hashicorp/aws"]'

    def resource(kind: str, name: str, *instances: dict[str, object], **more: object) -> dict[str, object]:
        rows = [{"schema_version": 0, "sensitive_attributes": [], **instance} for instance in instances]
        return {"mode": "managed", "type": kind, "name": name, "provider": provider, "instances": rows, **more}

    document = {
        "version": 4,
        "terraform_version": "1.9.8",
        "serial": 42,
        "lineage": str(uuid.uuid4()),
        "outputs": {
            "url": {"value": "https://shop.test", "type": "string"},
            "database_password": {"value": secrets.token_hex(12), "type": "string", "sensitive": True},
        },
        "resources": [
            resource("aws_region", "current", {"attributes": {"name": "us-east-1"}}, mode="data"),
            resource("aws_s3_bucket", "uploads", {"attributes": {"id": "shop-uploads", "tags": {"service": "shop"}}}),
            resource(
                "aws_instance",
                "web",
                {"index_key": 0, "attributes": {"id": "i-0a1", "ami": "ami-1"}},
                {"index_key": 1, "attributes": {"id": "i-0a2", "ami": "ami-1"}},
            ),
            resource(
                "aws_route53_record", "names", {"index_key": "www", "attributes": {"ttl": 300}}, module="module.dns"
            ),
        ],
        "check_results": None,
    }
    _write(layout.terraform_state, (json.dumps(document, indent=2) + "\n").encode(), 0o600)


def repository(layout: Layout) -> None:
    """A git repository with a CI workflow, branches and tags: bare, with a work tree beside it.

    :raises PermanentError: git is missing or fails
    """
    if (layout.git_repository / "complete").exists():
        return
    tree = layout.git_work_tree
    _git("init", "--quiet", "--bare", "--initial-branch=main", str(layout.git_repository))
    _git("init", "--quiet", "--initial-branch=main", str(tree))
    workflow = (
        "name: ci\non: [push]\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n"
        "      - uses: actions/checkout@v4\n      - run: make test\n"
    )
    release = (
        "name: release\non:\n  push:\n    tags: ['v*']\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps: []\n"
    )
    _commit(tree, "Open the shop", {"README.md": "# Shop\n", ".github/workflows/ci.yaml": workflow})
    _commit(tree, "Take orders", {"shop/__main__.py": "print('shop 1.0')\n", "Makefile": "test:\n\ttrue\n"})
    _git("-C", str(tree), "tag", "--force", "-a", "v1.0", "-m", "Version 1.0")
    _commit(tree, "Release by tag", {".github/workflows/release.yaml": release})
    _git("-C", str(tree), "tag", "--force", "v1.1-rc1")
    _git("-C", str(tree), "branch", "--force", "hotfix/prices", "v1.0")
    remote = str(layout.git_repository)
    _git("-C", str(tree), "push", "--quiet", "--force", remote, "--all")
    _git("-C", str(tree), "push", "--quiet", "--force", remote, "--tags")
    (layout.git_repository / "complete").touch()


def install(layout: Layout, environment: str) -> None:
    """Build the versions and put 1.0 into slot a of *environment*, unless something is installed there."""
    from airlock.deploy.routers.envoy import EnvoyRouter
    from airlock.deploy.targets.version_slots import Slot, mark_stable
    from sandbox import envoy, shop

    digests = shop.build(layout.artifacts)
    folder = layout.host(environment) / "slots"
    if (folder / "stable").is_symlink():
        return
    slot = Slot("a", layout.slot(environment, "a"))
    slot.install(FIRST_VERSION, layout.artifacts / f"shop-{FIRST_VERSION}.pyz", digests[FIRST_VERSION])
    EnvoyRouter(envoy.router_options(layout, environment)).set_fallback("a")
    mark_stable(folder, "a")


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(content)
        os.fchmod(stream.fileno(), mode)  # whatever the caller's umask is


def _commit(tree: Path, message: str, content: dict[str, str]) -> None:
    for name, text in content.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    _git("-C", str(tree), "add", "--all")
    _git("-C", str(tree), "commit", "--quiet", "--allow-empty", "-m", message)


def _git(*arguments: str) -> None:
    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    who = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in _PERSON}
    # Neither the hooks, the signing key nor the templates of whoever runs the sandbox.
    environment = {**own, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    try:
        done = subprocess.run(
            ["git", *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    except FileNotFoundError as error:
        raise PermanentError("git is not installed: install it, then start again") from error
    if done.returncode:
        raise PermanentError(f"git {' '.join(arguments[:4])} failed: {done.stderr.strip()[-400:]}")


_PERSON = (("NAME", "Shop Team"), ("EMAIL", "team@shop.test"), ("DATE", "2026-01-02T03:04:05+00:00"))
