"""Looks, before anything starts, whether the machine can carry the sandbox. Each fault is one sentence."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from contextlib import suppress

import psutil

from airlock.errors import InvalidInput, PermanentError
from sandbox.layout import OFFSETS, Layout

DISK_BYTES = 2 * 1024**3
LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107


def check(layout: Layout) -> None:
    """Check disk space, path lengths and ports.

    :raises InvalidInput: a port is in use, or the folder's name is too long
    :raises PermanentError: the disk is too full, or the folder cannot be written
    """
    check_folder(layout)
    check_ports(layout)


def check_folder(layout: Layout) -> None:
    """Check that the sandbox's folder can be made, has room, and leaves room for the names of sockets in it."""
    longest = len(os.fsencode(layout.run / "supervisor.sock"))
    if longest > LONGEST_SOCKET:
        raise InvalidInput(
            f"AIRLOCK_HOME {layout.home} is too long: a socket in it would have {longest} characters and the system "
            f"allows {LONGEST_SOCKET}; set AIRLOCK_HOME to a shorter folder, such as ~/airlock"
        )
    try:
        layout.create()
    except OSError as error:
        raise PermanentError(
            f"the folder {error.filename or layout.home} cannot be made ({error.strerror}): mend that, "
            "or set AIRLOCK_HOME to another folder"
        ) from error
    free = shutil.disk_usage(layout.home).free
    if free < DISK_BYTES:
        raise PermanentError(
            f"{layout.home} has {free / 1024**2:.0f} MiB free and the sandbox needs {DISK_BYTES / 1024**2:.0f} MiB: "
            "free some space, or set AIRLOCK_HOME to a folder on another disk"
        )


def check_ports(layout: Layout) -> None:
    """Check that every port of the sandbox is free."""
    for name in OFFSETS:
        port = layout.port(name)
        with socket.socket() as probe:
            # As the servers do: a port that only waits for the last packets of an ended server is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise InvalidInput(
                    f"port {port}, which the sandbox needs for {name.replace('_', ' ')}, is in use{_by(port)}: end "
                    f"that program, or choose other ports with AIRLOCK_PORT_BASE={_other(layout)} (and the same for "
                    "every later command)"
                ) from None


def _by(port: int) -> str:
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            address = connection.laddr
            if connection.pid and connection.status == psutil.CONN_LISTEN and address and address.port == port:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""


def _other(layout: Layout) -> int:
    return layout.port_base + 1000 if layout.port_base + 1000 + max(OFFSETS.values()) <= 65535 else 28000
