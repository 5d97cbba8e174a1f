"""An object store that behaves as clients of real ones do: it remembers listings, lists the marker of a folder within
that folder, and says by errors of its own kind that the store is away."""

from __future__ import annotations

from typing import Any

import fsspec
from fsspec.implementations.memory import MemoryFileSystem
from upath.implementations.cloud import CloudPath
from upath.registry import register_implementation

PROTOCOL = "remembering"


class StoreIsAway(Exception):
    """As clients raise: no OSError, and none of Airlock's."""


class RememberingStore(MemoryFileSystem):
    """See the module; as s3fs, it answers from a listing that it remembers, whatever was written since by others."""

    protocol = PROTOCOL
    store: dict[str, Any] = {}
    pseudo_dirs = [""]
    away = False

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(str(path).replace(f"{PROTOCOL}://", "memory://", 1))

    def ls(self, path: str, detail: bool = True, **given: Any) -> list[Any]:
        """Return what is in *path*, as it was when that was first asked for, its own marker among it."""
        self._refuse_away()
        path = self._strip_protocol(path)
        if path not in self.dircache:
            found = super().ls(path, detail=True, **given)
            marker = f"{path}/"
            if marker in self.store:
                found = [{"name": marker, "size": 0, "type": "file"},
                         *(one for one in found if one["name"].rstrip("/") != path)]
            self.dircache[path] = found
        return self.dircache[path] if detail else [one["name"] for one in self.dircache[path]]

    def info(self, path: str, **given: Any) -> Any:
        """Return what the remembered listing says, if there is one."""
        self._refuse_away()
        path = self._strip_protocol(path)
        if (above := self.dircache.get(self._parent(path))) is not None:
            for one in above:
                if one["name"].rstrip("/") == path:
                    return one
            raise FileNotFoundError(path)
        return super().info(path, **given)

    def exists(self, path: str, **given: Any) -> bool:
        """Return whether ``info`` knows it."""
        try:
            self.info(path, **given)
        except FileNotFoundError:
            return False
        return True

    def isdir(self, path: str) -> bool:
        """Return whether ``info`` knows it as a folder."""
        try:
            return bool(self.info(path)["type"] == "directory")
        except FileNotFoundError:
            return False

    def _open(self, path: str, mode: str = "rb", **given: Any) -> Any:
        self._refuse_away()
        if mode == "rb":
            self.info(path)
        return super()._open(path, mode, **given)

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove *path*, and all whose name begins with it, as clients do with the marker of a folder."""
        self._refuse_away()
        for name in [one for one in self.store if one == path or one.startswith(f"{path.rstrip('/')}/")]:
            del self.store[name]
        self.invalidate_cache()

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **given: Any) -> None:
        """Write *value*, and forget the listings that this client remembers."""
        self._refuse_away()
        super().pipe_file(path, value, mode=mode, **given)
        self.invalidate_cache()

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget every listing."""
        self.dircache.clear()

    def _refuse_away(self) -> None:
        if type(self).away:
            raise StoreIsAway("Could not connect to the endpoint")


fsspec.register_implementation(PROTOCOL, RememberingStore, clobber=True)
register_implementation(PROTOCOL, CloudPath, clobber=True)


def written_by_another(path: str, content: bytes) -> None:
    """Write *content*, as a process of another machine does: what clients here remember stays as it is."""
    from fsspec.implementations.memory import MemoryFile

    RememberingStore.store[path] = MemoryFile(RememberingStore(), path, content)
