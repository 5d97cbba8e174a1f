"""Asks a place (a folder or an object store) whether Airlock can work there: write, create once, replace, delete.

The one probe that writes: one object in a folder of its own, ``.airlock-doctor``, which it removes again.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from upath import UPath

from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.measures import room
from airlock.errors import AirlockError
from airlock.places import objects, paths
from airlock.places.paths import Location
from airlock.places.remote import store_of

FOLDER = ".airlock-doctor"
_FIRST, _SECOND, _THIRD = b"airlock doctor", b"airlock doctor, again", b"airlock doctor, once more"


def ask(subject: Subject, place: Location, *, kept_for_good: bool) -> Iterator[Finding]:
    """Write an object into *place*, try to create it again, read it, and remove it.

    :param kept_for_good: what is kept there should be removed by nobody, as records are
    """
    root = paths.root_path(place)
    here = paths.local(root)
    if here is not None and here.is_symlink() and not here.exists():
        yield subject.fault(f"{here} is a link that leads nowhere", "a release keeps what it does there",
                            "mount or make what it leads to, or correct the path")  # fmt: skip
        return
    if here is not None and not here.exists():
        yield _to_be_made(subject, here)
        return
    path = root / FOLDER / secrets.token_hex(8)
    try:
        created = objects.create(path, _FIRST)
    except AirlockError as error:
        yield subject.fault(f"{place}: nothing can be written: {error}", "a release keeps what it does there",
                            "let this process write there, or install what is missing")  # fmt: skip
        return
    try:
        yield from _judged(subject, place, path, created=created)
    finally:
        removed = _removed(path)
    if kept_for_good:
        yield _kept(subject, place, removed=removed)
    elif not removed:
        yield subject.fault(f"{place}: what was written cannot be removed ({path})",
                            "expired recovery points would stay, and so does what a failed attempt left",
                            "let this process delete there")  # fmt: skip


def _to_be_made(subject: Subject, here: Path) -> Finding:
    """Say whether a folder that is not there can be made; doctor makes none."""
    above = next(one for one in here.parents if one.exists())
    if above.is_dir() and os.access(above, os.W_OK | os.X_OK, effective_ids=True):
        return subject.found(Gravity.NOTE, f"{here} is not there yet", "a release makes it in " + str(above))
    return subject.fault(f"{here} is not there, and user {os.geteuid()} cannot make it in {above}",
                         "a release keeps what it does there", "make it, or correct the path")  # fmt: skip


def _judged(subject: Subject, place: Location, path: UPath, *, created: bool) -> Iterator[Finding]:
    if not created or objects.read(path) != _FIRST:
        yield subject.fault(f"{place}: what was written is not what is read", "records and backups would be lost",
                            "look at what stands between: a cache, a proxy, a full quota")  # fmt: skip
        return
    if objects.create(path, _SECOND) or objects.read(path) != _FIRST:
        yield subject.fault(f"{place}: an object that is there can be created a second time",
                            "two tasks at once would overwrite each other's record",
                            "use a store that knows conditional writes (If-None-Match)")  # fmt: skip
        return
    if not _keeps_writers_apart(path):
        yield subject.fault(f"{place}: an object that was changed meanwhile is replaced all the same",
                            "two tasks could act at once, each sure to be the only one",
                            "use a store that knows conditional writes (If-Match)")  # fmt: skip
        return
    yield subject.fine(f"{place}: can be written, and what is there is not created twice (probe removed again)")


def _keeps_writers_apart(path: UPath) -> bool:
    """Return whether *path* is replaced only as it was read, where a lease would rely on it."""
    store, found = store_of(path), objects.content(path)
    if store is None or not store.conditional or found is None:
        return True
    return (objects.replace_unchanged(path, _SECOND, found.version) is not None
            and objects.replace_unchanged(path, _THIRD, found.version) is None)


def _kept(subject: Subject, place: Location, *, removed: bool) -> Finding:
    if not removed:
        return subject.fine(f"{place}: the store refuses to delete, so records stay (the probe in {FOLDER} too)")
    return subject.found(
        Gravity.NOTE, f"{place}: this process can delete what it wrote",
        why="whoever has its rights can take whole releases off the record; the chain of seals then shows it, and the "
            "records are gone",
        mend="let the store keep versions and lock objects (S3 Object Lock; a version that stays is not seen here), or "
             "take the right to delete away",
    )  # fmt: skip


def _removed(path: UPath) -> bool:
    try:
        objects.withdraw(path)
        gone = objects.read(path) is None
    except AirlockError:
        return False
    here = paths.local(path.parent)
    if here is not None and gone:
        with_nothing_left(here)
    return gone


def with_nothing_left(folder: Path) -> None:
    """Remove the probe's folder, if no other doctor is at work in it."""
    try:
        folder.rmdir()
    except OSError:
        return


def disk(subject: Subject, place: Location, wanted: int | None) -> Iterator[Finding]:
    """Ask how much room there is at *place*, for *wanted* bytes."""
    here = paths.local(paths.root_path(place))
    if here is None:
        yield subject.not_asked("the room that is left", f"{place} is an object store, which does not tell")
        return
    existing = next((one for one in (here, *here.parents) if one.exists()), here)
    try:
        free = shutil.disk_usage(existing).free
    except OSError as error:
        yield subject.fault(f"{place} cannot be looked at ({type(error).__name__})", "nothing can be kept there",
                            "correct the path, or mount it")  # fmt: skip
        return
    yield room(subject, free, wanted)
