"""Local files, for the drivers that read and write them: whole or not at all, and every fault named.

Must not know what the files hold.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast

from pydantic import Field

from airlock.backup.attributes import LEFT_OUT, RIGHTS, Attributes, attributes_of, give
from airlock.backup.driver import Place
from airlock.errors import AirlockError, BackupDamaged, InvalidInput, PermanentError, TemporaryError

log = logging.getLogger(__name__)
CHUNK = 1 << 20
FILE_LEAVES_OUT = ("the time of the last change", "attributes of the user name space", LEFT_OUT)
Owners = Annotated[bool, Field(description="whether owners come back, which only root can do for those of others")]
_LASTING = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR,
    errno.ENAMETOOLONG, errno.ELOOP, errno.EBUSY, errno.EEXIST, errno.ENOTEMPTY,
})  # fmt: skip
_NAME_BYTES = 255


def shown(path: Path | str) -> str:
    """Return *path* as text that can be written anywhere: bytes of it that are no UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def beside(path: Path, ending: str, *, hidden: bool = False) -> Path:
    """Return a path in the folder of *path* that is named after it and ends so: always the same one, so that a retry
    finds what was left, and no longer than a file system takes."""
    name, longest = f"{'.' if hidden else ''}{path.name}{ending}", _NAME_BYTES
    with contextlib.suppress(OSError):  # the folder is not there; a file system that encrypts takes fewer bytes
        longest = os.pathconf(path.parent, "PC_NAME_MAX")
    if len(os.fsencode(name)) > longest:
        digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
        kept = os.fsencode(path.name)[: longest - len(os.fsencode(ending)) - len(digest) - 2]
        name = f"{'.' if hidden else ''}{os.fsdecode(kept)}-{digest}{ending}"
    return path.with_name(name)


def fault(error: OSError, label: str, act: str, path: Path | str) -> AirlockError:
    """Return *error* as a permanent or temporary error that names the resource, the act and the path."""
    reason = error.strerror or type(error).__name__
    if error.errno == errno.EPERM:
        reason += (
            "; only root may give a file to another owner: run as root, or set the option 'owners: false'"
            if os.geteuid() != 0 else "; a file flag may forbid it: look with lsattr, and take it off"
        )  # fmt: skip
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        reason += "; free space there, then run this task again"
    kind = PermanentError if error.errno in _LASTING else TemporaryError
    return kind(f"{label}: cannot {act} {shown(path)}: {reason}")


def read_exactly(path: Path, seen: os.stat_result, label: str) -> Iterator[bytes]:
    """Yield the ``seen.st_size`` bytes of a file that must not change meanwhile. Memory is constant.

    :raises TemporaryError: it was changed, replaced or removed since *seen*
    """
    try:
        with path.open("rb") as file:
            left = seen.st_size
            while left and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk
            now = os.fstat(file.fileno())
    except FileNotFoundError as error:
        raise TemporaryError(f"{label}: {shown(path)} was removed while it was read; take the backup again") from error
    except OSError as error:
        raise fault(error, label, "read", path) from error
    if left or (now.st_ino, now.st_size, now.st_mtime_ns) != (seen.st_ino, seen.st_size, seen.st_mtime_ns):
        raise TemporaryError(f"{label}: {shown(path)} changed while it was read; take the backup again")


def read_whole(path: Path, label: str) -> Iterator[bytes]:
    """Yield the bytes of one regular file that must not change meanwhile.

    :raises InvalidInput: it is not there, or is no regular file
    :raises TemporaryError: it was changed while it was read
    """
    yield from read_exactly(path, regular(path, label), label)


def present(path: Path, label: str) -> bool:
    """Return whether something is at *path* (links are followed)."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise fault(error, label, "look at", path) from error
    return True


def regular(path: Path, label: str) -> os.stat_result:
    """Return what the system says of a regular file (links are followed).

    :raises InvalidInput: it is not there, or is no regular file
    """
    try:
        seen = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidInput(f"{label}: {shown(path)} is not there; check the path in the service file") from error
    except OSError as error:
        raise fault(error, label, "look at", path) from error
    if not path.is_file():
        raise InvalidInput(f"{label}: {shown(path)} is not a regular file; check the path in the service file")
    return seen


def rights_of(path: Path, seen: os.stat_result, label: str, *, owners: bool) -> dict[str, Any]:
    """Return, as facts, who may do what with a file whose status is *seen*; links are followed, as in ``regular``.

    :param owners: whether its owner is recorded
    """
    try:
        return attributes_of(end_of(path, label), seen, owners=owners, names=RIGHTS).facts()
    except OSError as error:
        raise fault(error, label, "look at", path) from error


def recorded(facts: object, label: str) -> Attributes:
    """Return the attributes that ``rights_of`` recorded.

    :raises BackupDamaged: they are something else
    """
    try:
        return Attributes.of_facts(cast(dict[str, Any], facts))
    except ValueError as error:
        raise BackupDamaged(f"{label}: the recovery point holds {error}; next: take the backup again") from error


def sha256_of(path: Path, label: str) -> str:
    """Return the hex digest of a file; errors as in ``read_whole``."""
    found = hashlib.sha256()
    for chunk in read_whole(path, label):
        found.update(chunk)
    return found.hexdigest()


def end_of(path: Path, label: str) -> Path:
    """Return where the links at *path* lead.

    :raises PermanentError: in a circle
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        raise PermanentError(
            f"{label}: the links at {shown(path)} lead in a circle; next: take them away, or let them lead to what is "
            "meant, then run this task again"
        ) from None


def replace_file(
    path: Path, chunks: Iterable[bytes], wanted: Attributes, label: str, *, linked: bool = True
) -> None:
    """Write *chunks* to *path*, which keeps its old content until all of them are on the disk.

    It gets the attributes that are *wanted*; without an owner among them, that of the file that is replaced is kept,
    when this process may. A link stays a link where *linked* says that one was backed up: its end is replaced. Else it
    came later, and what it leads to is somebody else's: the link itself is replaced, and so is an empty folder, which
    container engines put where a file that they mount is missing.
    """
    end = end_of(path, label) if linked else path
    part = beside(end, ".airlock-part", hidden=True)
    try:
        end.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise fault(error, label, "write", path) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                _write(file, chunk, label, path)
            try:
                file.flush()
                if wanted.owner is None and os.geteuid() == 0 and end.exists():
                    os.fchown(file.fileno(), end.stat().st_uid, end.stat().st_gid)
                give(file.fileno(), wanted)
                os.fsync(file.fileno())
                if end.is_dir() and not end.is_symlink():
                    end.rmdir()
                part.replace(end)
            except OSError as error:
                raise fault(error, label, "write", path) from error
    finally:
        part.unlink(missing_ok=True)


def _write(file: BinaryIO, chunk: bytes, label: str, path: Path) -> None:
    """Write one chunk; only its own faults are named, those of the producer are not."""
    try:
        file.write(chunk)
    except OSError as error:
        raise fault(error, label, "write", path) from error


def scratch_folder(place: Place, label: str) -> Path:
    """Make and return the folder of a scratch place."""
    folder = _own_folder(place, label)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise fault(error, label, "make", folder) from error
    return folder


def has_holes(path: Path, seen: os.stat_result) -> bool:
    """Return whether a file has parts that take no place on the disk."""
    if seen.st_blocks * 512 >= seen.st_size:
        return False
    with path.open("rb") as file:
        return os.lseek(file.fileno(), 0, os.SEEK_HOLE) < os.fstat(file.fileno()).st_size


def remove_tree(path: Path) -> None:
    """Remove a folder with all that is in it, however deep; succeeds when it is not there.

    :raises OSError: something cannot be removed
    """
    if not path.exists():
        return
    if os.geteuid() != 0:
        _open_up(path)
    try:
        shutil.rmtree(path)
    except RecursionError:
        # deeper than Python's calls; rm holds no call and no open file for each level either
        subprocess.run(["rm", "-rf", "--", str(path)], check=False, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        if path.exists():
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path)) from None


def _open_up(path: Path) -> None:
    """Let the owner, who is not root, empty every folder of his own: a restored one may be read-only."""
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        with contextlib.suppress(PermissionError):
            folder.chmod(0o700)
        with os.scandir(folder) as found:
            waiting += [Path(one.path) for one in found if one.is_dir(follow_symlinks=False)]


def discard_folder(place: Place, label: str) -> None:
    """Remove the folder of a scratch place; succeeds when it is not there.

    :raises InvalidInput: the place is the origin
    """
    folder = _own_folder(place, label)
    try:
        if folder.exists():
            remove_tree(folder)
            log.info("%s: removed the scratch folder %s", label, folder)
    except OSError as error:
        raise fault(error, label, "remove", folder) from error


def _own_folder(place: Place, label: str) -> Path:
    """Return the folder, after a look that it can be nobody else's: it is removed with all that is in it."""
    folder = Path(place.folder)
    if place.origin or not place.name or folder.name != place.name or not folder.is_absolute():
        raise InvalidInput(f"{label}: {place.folder or 'the origin'} is no scratch place; nothing was touched")
    return folder
