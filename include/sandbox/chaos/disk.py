"""A small disk for the ledger, so that it can be filled: a ``tmpfs`` mounted over the folder. Needs root, and Linux."""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path

log = logging.getLogger(__name__)
SIZE = "24m"


def mount(folder: Path) -> bool:
    """Mount a small empty disk over *folder*; return whether that was allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    unmount(folder)
    program = shutil.which("mount")
    if program is None:
        return False
    done = subprocess.run(
        (program, "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "tmpfs", str(folder)), capture_output=True, check=False
    )
    log.info("small disk at %s: %s", folder, done.stderr.decode(errors="replace").strip() or "mounted")
    return done.returncode == 0


def unmount(folder: Path) -> None:
    """Take the disk away, with what is on it; an ordinary folder is left alone."""
    program = shutil.which("umount")
    if program is not None and folder.is_mount():
        subprocess.run((program, "--lazy", str(folder)), capture_output=True, check=False)
