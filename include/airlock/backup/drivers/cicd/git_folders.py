"""What of a repository lies beside its objects and refs, in folders: large files (LFS), settings, hooks.

A bundle holds none of it. Knows git's layout; runs no git.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from airlock.backup import archive
from airlock.backup.attributes import Attributes
from airlock.backup.files import fault, read_exactly, shown

LARGE = "lfs/objects"
"""Content of large files, each named after its digest."""
SETTINGS = (
    "config", "config.worktree", "custom_hooks", "description", "git-daemon-export-ok", "hooks", "info/attributes",
    "info/exclude", "info/grafts",
)  # fmt: skip
_HELD = frozenset({
    *(name.partition("/")[0] for name in SETTINGS), "HEAD", "lfs", "objects", "packed-refs", "refs", "reftable",
})  # fmt: skip
_NAMED = 20
_PASSING = frozenset({
    "AUTO_MERGE", "BISECT_LOG", "CHERRY_PICK_HEAD", "COMMIT_EDITMSG", "FETCH_HEAD", "MERGE_HEAD", "MERGE_MODE",
    "MERGE_MSG", "MERGE_RR", "ORIG_HEAD", "REBASE_HEAD", "REVERT_HEAD", "SQUASH_MSG", "branches", "filter-repo",
    "gc.log", "gc.pid", "gitk.cache", "index", "logs", "modules", "rebase-apply", "rebase-merge", "rr-cache",
    "sequencer", "shallow", "worktrees",
})  # fmt: skip
"""What work in progress leaves, what is told to be left out in any repository, and what git makes again by itself."""


def files_beside(repository: Path, names: tuple[str, ...] = ()) -> Iterator[tuple[str, Path]]:
    """Yield the name below the repository, and the path, of every file that a bundle leaves out and a backup takes, in
    one order; only those at or below *names*, when there are any. A link, such as a hook that many repositories share,
    is one of them and is not followed."""
    for name in names or (*SETTINGS, LARGE):
        top = repository / name
        found = sorted(top.rglob("*"), key=os.fsencode) if top.is_dir() else [top]
        for path in found:
            if path.is_symlink() or path.is_file():
                yield str(path.relative_to(repository)), path


def left_beside(repository: Path) -> list[str]:
    """Return what is to be said of what lies in *repository* and is neither taken nor git's own, such as the content
    that git-annex keeps. Empty folders and what begins with a dot are nothing."""
    found = (path for path in repository.iterdir() if path.name not in _HELD | _PASSING)
    names = sorted(shown(path.name) for path in found
                   if not path.name.startswith(".") and not path.name.endswith((".lock", ".bak", "~"))
                   and (not path.is_dir() or any(path.iterdir())))  # fmt: skip
    return [f"beside the objects: {', '.join(names[:_NAMED])}"] if names else []


def packed(repository: Path, label: str) -> Iterator[bytes]:
    """Yield an archive of ``files_beside``."""
    for name, path in files_beside(repository):
        seen = _status(path, label)
        attributes = Attributes(stat.S_IMODE(seen.st_mode), (seen.st_uid, seen.st_gid))
        if stat.S_ISLNK(seen.st_mode):
            yield from archive.Member(name, seen, attributes, os.readlink(path)).pack(iter(()))  # noqa: PTH115 - as it is
        else:
            yield from archive.Member(name, seen, attributes).pack(read_exactly(path, seen, label))
    yield archive.end()


def digests(repository: Path, label: str, names: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Return mode and sha256 of each of ``files_beside``, by name; of a link, where it leads."""
    found = {}
    for name, path in files_beside(repository, names):
        seen, digest = _status(path, label), hashlib.sha256()
        if stat.S_ISLNK(seen.st_mode):
            found[shown(name)] = ["link", shown(path.readlink())]
            continue
        for chunk in read_exactly(path, seen, label):
            digest.update(chunk)
        found[shown(name)] = [f"{stat.S_IMODE(seen.st_mode):04o}", digest.hexdigest()]
    return found


def replace(fresh: Path, repository: Path) -> None:
    """Put the files of *fresh* in the place of those of *repository*. Large files are only added: each is named after
    its content, so that one too many harms nobody.

    :raises OSError: one cannot be replaced
    """
    wanted = dict(files_beside(fresh))
    for name, path in list(files_beside(repository)):
        if name not in wanted and not name.startswith(LARGE):
            path.unlink()
    for name, path in wanted.items():
        target = repository / name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)


def _status(path: Path, label: str) -> os.stat_result:
    try:
        return path.lstat()
    except OSError as error:
        raise fault(error, label, "look at", path) from error
