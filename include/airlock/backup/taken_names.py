"""The name of a folder that something else took after the backup: a file, or a link to somebody's folder.

Must not know what a folder holds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from airlock.backup.files import beside, remove_tree


@contextlib.contextmanager
def folder_at(root: Path, *, linked: bool, keep: bool = False) -> Iterator[None]:
    """See that a folder is at *root*. A file or a link that took its name goes when the block ends well, else it is put
    back; but what a link leads to that was there before is never replaced.

    :param linked: whether the folder was reached by a link when it was backed up
    :param keep: whether a file that took its name is kept, in the folder, under the same name
    """
    aside = beside(root, ".airlock-aside", hidden=True)
    taken = not linked and (root.is_symlink() or (root.exists() and not root.is_dir()))
    if taken:
        root.rename(aside)
    root.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if taken:
            remove_tree(root)
            aside.rename(root)
        raise
    if keep and taken and not aside.is_symlink():
        aside.rename(root / root.name)
    aside.unlink(missing_ok=True)
