"""Which content of large files (LFS) a repository points to and does not hold. Knows pointers; writes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from airlock.backup.drivers.cicd.git_program import git

_POINTER = re.compile(r"version https://git-lfs\.github\.com/spec/v1\n(?:ext-.*\n)*oid sha256:([0-9a-f]{64})\n")
_POINTER_BYTES = range(120, 512)
_AT_ONCE = 2000


def missing_large(origin: Path, large: Path, label: str) -> list[str]:
    """Return what is to be said of large files of *origin* whose content is not in its folder *large*."""
    there = {path.name for path in large.rglob("*") if path.is_file()} if large.is_dir() else set()
    missing = {oid for oid in _pointers(origin, label) if oid not in there}
    return [f"the content of {len(missing)} large file(s) (LFS) is not in this repository"] if missing else []


def _pointers(origin: Path, label: str) -> Iterator[str]:
    """Yield the digest of every large file that some object points to, where any ref ever ruled that there are some."""
    ruled = git("log", "--all", "-1", "--format=%H", "-Gfilter=lfs", "--", ".gitattributes",
                ":(glob)**/.gitattributes", folder=origin, label=label)  # fmt: skip
    if not ruled:
        return
    listed = git("cat-file", "--batch-all-objects", "--batch-check=%(objecttype) %(objectsize) %(objectname)",
                 folder=origin, label=label)  # fmt: skip
    blobs = (line.split(" ") for line in listed.splitlines() if line.startswith("blob "))
    small = [name for _, size, name in blobs if int(size) in _POINTER_BYTES]
    for at in range(0, len(small), _AT_ONCE):
        contents = git("cat-file", "--batch", folder=origin, given="\n".join(small[at : at + _AT_ONCE]), label=label)
        for match in _POINTER.finditer(contents):
            yield match[1]
