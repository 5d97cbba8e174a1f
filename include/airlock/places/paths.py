"""Addresses of places, and what goes wrong there, in our words."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from upath import UPath

from airlock.errors import AirlockError, InvalidInput, PermanentError, TemporaryError
from airlock.places.address import Address
from airlock.places.remote import CONNECTION, LOCAL

Location = str | Path | UPath | Address
"""Whatever names a place."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_OWN = frozenset({"airlock", *sys.stdlib_module_names})
_LONGEST_WORDS = 300
_HOPELESS = frozenset({
    errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM, errno.EROFS,
})  # fmt: skip


def root_path(root: Location) -> UPath:
    """Return *root* as a path; a plain text is a local folder or an address such as ``s3://bucket/folder``.

    :raises InvalidInput: the text is empty, or names a store whose library is not installed
    """
    if not str(root):
        raise InvalidInput("the path of a place is empty")
    try:
        path = UPath(root.path, **{CONNECTION: root.connection}) if isinstance(root, Address) else UPath(root)
        str(path)  # an address that is none fails only here
    except (ValueError, ImportError) as error:
        raise InvalidInput(f"{root} cannot be opened: {error}") from error
    return path


def local(path: UPath) -> Path | None:
    """Return *path* as a local path, or ``None`` if it lies in an object store."""
    return Path(path.path) if path.protocol in LOCAL else None


def regular(here: Path | None) -> bool:
    """Return whether a local path, if it is anything, is a file or a link to one; others could block for ever."""
    return here is None or here.is_file() or not here.exists()


def fault(error: OSError, path: UPath | Path, done: str, full: type[AirlockError] = TemporaryError) -> AirlockError:
    """Return *error* as one of Airlock's, with a sentence that says what to do.

    :param done: what *path* cannot be: ``"written"``, ``"read"``...
    :param full: what a full disk is: to write little is worth trying again, to write much from the beginning is not
    """
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in _FULL:
        return full(f"{path} cannot be {done}: the disk is full ({reason}); free space there and try again")
    if error.errno in _HOPELESS or isinstance(error, PermissionError):
        return PermanentError(f"{path} cannot be {done}: {reason}; check the path and the rights of this process")
    return TemporaryError(f"{path} cannot be {done}: {reason}; is the storage reachable?")


@contextmanager
def clear_faults(done: str, path: UPath | Path, full: type[AirlockError] = TemporaryError) -> Iterator[None]:
    """Turn what goes wrong in the block into errors of Airlock. Parameters as of ``fault``.

    :raises TemporaryError: the disk is full or the place cannot be reached
    :raises PermanentError: the place refuses
    :raises InvalidInput: the address is none
    """
    try:
        yield
    except OSError as error:
        raise fault(error, path, done, full) from error
    except (ImportError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be {done}: {error}") from error
    except Exception as error:
        # Clients of stores raise errors of their own where a server is away, which are no OSError.
        if type(error).__module__.partition(".")[0] in _OWN:
            raise
        said = (str(error).splitlines() or [""])[0][:_LONGEST_WORDS]
        raise TemporaryError(f"{path} cannot be {done}: {type(error).__name__}: {said}; is the storage reachable, and "
                             "are its credentials right?") from error
