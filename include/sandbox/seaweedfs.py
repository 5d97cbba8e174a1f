"""SeaweedFS: stands for S3, with conditional writes, versions and Object Lock. Knows nothing of who reads it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airlock.errors import TemporaryError
from sandbox import processes, reach

REGION = "us-east-1"
KEY, SECRET = "sandbox", "sandbox-secret"
_PARTS = ("s3", "master", "volume", "filer", "admin")
_OFFSET = 10_000
"""Each part listens for its fellows so far above its port."""


@dataclass(frozen=True)
class SeaweedFS(processes.Server):
    """A running server; the port is that of S3."""

    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Any:
        """A boto3 client of S3 that talks to this server and may do everything."""
        import boto3
        from botocore.config import Config

        return boto3.client("s3", endpoint_url=self.url, region_name=REGION, aws_access_key_id=KEY,
                            aws_secret_access_key=SECRET, config=Config(retries={"max_attempts": 3}))

    def stop(self) -> None:
        super().stop()
        _forget_sockets(self.port)


def start(folder: Path, port: int = 0, run: Path | None = None) -> SeaweedFS:
    """Start it with its data in *folder*, S3 at *port* (0: a free one). Also a context manager.

    :raises TemporaryError: it did not start; the message has the tail of its log
    """
    data, scratch = folder / "data", folder / "tmp"
    for one in (data, scratch):
        one.mkdir(parents=True, exist_ok=True)
    ports = dict(zip(_PARTS, (port or _free_port(), *(_free_port() for _ in _PARTS[1:])), strict=True))
    for one in ports.values():
        _forget_sockets(one)
    server = processes.start(
        processes.Program(
            name="seaweedfs",
            command=(str(Path(sys.executable).parent / "weed"), "mini", f"-dir={data}", "-ip=127.0.0.1",
                     "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
                     *(f"-{part}.port={one}" for part, one in ports.items())),
            log=folder / "seaweedfs.log",
            ready=lambda: reach.answers(f"http://127.0.0.1:{ports['s3']}/healthz"),
            environment={**os.environ, "TMPDIR": str(scratch),
                         "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET},
            folder=folder,
            deadline=60,
            grace=5,
        ),
        run or folder,
    )
    return SeaweedFS(**{**vars(server), "port": ports["s3"]})


def _free_port() -> int:
    """Return a port that is free, as is the one so far above it."""
    for _ in range(100):
        port = reach.free_port()
        if port + _OFFSET < 65_536 and not reach.listens(port + _OFFSET):
            return port
        low = port - 2 * _OFFSET  # the ports that a system gives begin high
        if low > 1024 and not reach.listens(low) and not reach.listens(low + _OFFSET):
            return low
    raise TemporaryError("no free port of 127.0.0.1 was found for SeaweedFS: end what listens on so many")


def _forget_sockets(port: int) -> None:
    """Remove the sockets that it leaves in a folder which it lets nobody choose."""
    for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 - chosen by SeaweedFS
        socket.unlink(missing_ok=True)
