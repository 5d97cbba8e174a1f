"""Links that say what is current, changed by one rename. Knows nothing of what they lead to."""

from __future__ import annotations

import os
from pathlib import Path


def point_link(path: Path, destination: str) -> None:
    """Let the link *path* lead to *destination*, by one rename."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(destination)
    draft.replace(path)
