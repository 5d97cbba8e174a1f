"""What the drivers of files and folders need of the machine that they run on. Knows no driver."""

from __future__ import annotations

from airlock.models.needs import Needs, Permission, Stage, System

OWNERS = "to give files their owners back, the process must be root or have CAP_CHOWN; the option 'owners' says whether"


def of_file(path: str) -> Needs:
    """Return what is needed to read one file and to put it back: it is replaced by a new one beside it."""
    return Needs(
        permissions=(
            Permission(system=System.FILES, actions=("read",), on=path,
                       stages=(Stage.INSPECT, Stage.BACKUP, Stage.RESTORE)),
            Permission(system=System.FILES, actions=("replace",), on=path, stages=(Stage.RESTORE,),
                       why="a file is put back as a new one beside it, which takes its place"),
        ),
        also=(OWNERS,),
    )  # fmt: skip


def of_folder(path: str) -> Needs:
    """Return what is needed to read all of a folder and to bring it back in place."""
    return Needs(
        permissions=(
            Permission(system=System.FILES, actions=("read", "search"), on=path,
                       stages=(Stage.INSPECT, Stage.BACKUP, Stage.RESTORE)),
            Permission(system=System.FILES, actions=("write",), on=path, stages=(Stage.RESTORE,),
                       why="files in the folder are replaced, added and removed"),
        ),
        also=(OWNERS,),
    )  # fmt: skip
