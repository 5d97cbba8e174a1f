"""What an image or artifact holds, brought here from its repository: the file that is installed, and folders of files.

Knows manifests and layers; must not know what the files are for.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from airlock.deploy.artifact import LARGEST, LARGEST_CARRIED, MOST_CARRIED
from airlock.deploy.artifacts.carried_files import too_many
from airlock.deploy.artifacts.image import Image, labels_of
from airlock.deploy.artifacts.image_files import Entry, ImageFiles
from airlock.deploy.artifacts.repository import Descriptor, NotThere, Repository, decoded
from airlock.errors import InvalidInput, TemporaryError
from airlock.models import CarriedFile

_LARGEST_CONFIG = 4 << 20
_LAYER = re.compile(r"application/vnd\.[a-z.]+\.(layer|image\.rootfs)(\.[a-z0-9-]+)*\.tar(\.gzip|\+gzip|\+zstd)?")
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")


class ImageContent:
    """The content of one image or artifact."""

    def __init__(self, repository: Repository, image: Image) -> None:
        self._repository = repository
        self._image = image

    def labels(self) -> dict[str, str]:
        """Return the labels of an image; an artifact has none."""
        if not self._image.has_file_system:
            return {}
        return labels_of(decoded(self._repository.small(self._image.config, _LARGEST_CONFIG), self._image.what))

    def installed(self, file: str | None, folder: Path) -> tuple[Path, str]:
        """Bring the file that is installed into *folder*; return where it is, and its digest.

        :param file: its path in the image, or its title in the artifact
        :raises InvalidInput: there is no such file
        """
        image = self._image
        if not image.has_file_system:
            title, layer = image.file(file)
            path = folder / _name(title)
            self._repository.save(layer, path, LARGEST)
            return path, layer.digest
        if file is None:
            raise InvalidInput(f"{image.what} is an image; name the file in it that is installed in the option file")
        files = self._files(folder)
        entry = files.find(file)
        if entry is None:
            raise InvalidInput(f"{image.what} has no file {file[:200]!a}; correct the option file, or build it into "
                               "the image")
        if entry.size > LARGEST:
            raise InvalidInput(f"{image.what}: {file[:200]!a} is larger than {LARGEST >> 30} GiB; release less at once")
        return _written(files, entry, folder / _name(file))

    def files_in(self, path: str, folder: Path) -> tuple[CarriedFile, ...]:
        """Return the files directly in the folder *path* of the image, or those of an artifact with such titles; none
        if there is no such folder. *folder* is for what has to be brought here."""
        if not self._image.has_file_system:
            return self.titled_in(path)
        files = self._files(folder)
        found = files.below(path)
        if len(found) > MOST_CARRIED:
            raise too_many(self._image.what, len(found))
        contents = files.read_all(found.values(), LARGEST_CARRIED + 1)
        return tuple(CarriedFile(name=name, content=contents[entry]) for name, entry in sorted(found.items()))

    def titled_in(self, path: str, *, bare: bool = False) -> tuple[CarriedFile, ...]:
        """Return the files of an artifact whose titles are below *path*; with *bare*, also those that are below
        nothing."""
        wanted: dict[str, Descriptor] = {}
        for title, layer in self._image.titled().items():
            if title.startswith(f"{path}/"):
                wanted[title.removeprefix(f"{path}/")] = layer
            elif bare:
                wanted[title] = layer
        if len(wanted) > MOST_CARRIED:
            raise too_many(self._image.what, len(wanted))
        return tuple(CarriedFile(name=name, content=self._repository.small(layer, LARGEST_CARRIED))
                     for name, layer in sorted(wanted.items()))

    def _files(self, folder: Path) -> ImageFiles:
        layers = []
        place = folder / ".layers"
        place.mkdir(exist_ok=True)
        for number, layer in enumerate(self._image.layers):
            if not _LAYER.fullmatch(layer.media_type):
                raise InvalidInput(f"{self._image.what}: layer {number + 1} is {layer.media_type[:100]!a}, which is "
                                   "not read; build the image with layers that are tar archives")
            path = place / str(number)
            try:
                self._repository.save(layer, path, LARGEST)
            except NotThere as error:
                raise InvalidInput(f"{self._image.what}: the registry does not have layer {number + 1}; push the image "
                                   "again, with all of its layers") from error
            layers.append(path)
        return ImageFiles(layers, self._image.what)


def _written(files: ImageFiles, entry: Entry, path: Path) -> tuple[Path, str]:
    hasher = hashlib.sha256()
    content = files.read(entry)
    try:
        with path.open("wb") as file:
            for piece in content:
                hasher.update(piece)
                file.write(piece)
    except OSError as error:
        raise TemporaryError(f"{path.name} cannot be written to {path.parent} ({error.strerror}): free some space"
                             ) from error
    return path, f"sha256:{hasher.hexdigest()}"


def _name(title: str) -> str:
    """Return a name for a file here: the last part of *title*, where that is harmless."""
    last = title.rstrip("/").rpartition("/")[2]
    return last if _SAFE_NAME.fullmatch(last) else "artifact"
