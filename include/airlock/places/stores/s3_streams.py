"""Objects of S3 as streams: written in parts that appear together at the end, read on where a connection broke."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from airlock.errors import Damaged, PermanentError, TemporaryError
from airlock.places.stores.retried import TRIES, again
from airlock.places.stores.s3_answers import Answer, proper

if TYPE_CHECKING:
    from airlock.places.stores.s3 import S3Store

log = logging.getLogger(__name__)
PART = 16 << 20
"""How large a part is at first, in bytes; only one is held in memory."""
_LARGEST_PART = 128 << 20
_GROWS_AFTER = 1000
_MOST_PARTS = 10_000
"""S3 takes no more in one object, so later parts are larger."""


class S3Writing:
    """See ``store.Writing``. What fits into one part is one plain write."""

    def __init__(self, store: S3Store, key: str, given: dict[str, Any]) -> None:
        """Write to *key*, with what else is *given* to S3 beside the bytes."""
        self._store, self._key, self._given = store, key, given
        self._bucket, _, self._name = key.partition("/")
        self._held = bytearray()
        self._upload = ""
        self._parts: list[dict[str, Any]] = []

    def write(self, chunk: bytes | memoryview, /) -> object:
        self._held += chunk
        while len(self._held) > (size := min(PART * (1 + len(self._parts) // _GROWS_AFTER), _LARGEST_PART)):
            rest = self._held[size:]
            del self._held[size:]
            self._send()
            self._held = rest
        return len(chunk)

    def commit(self) -> None:
        if not self._upload:
            self._asked(lambda client: client.put_object(**self._where, **self._given, Body=bytes(self._held)), "ETag")
            return
        if self._held:
            self._send()

        def complete(client: Any) -> bool:
            return bool(proper(client.complete_multipart_upload(
                **self._where, UploadId=self._upload, MultipartUpload={"Parts": self._parts}), "ETag"))  # fmt: skip

        def is_done(answer: Answer) -> bool | None:
            # the answer to the first request was lost, and the upload is no more because it is the object now
            gone = answer.code == "NoSuchUpload"
            return True if gone and self._store.is_written_by(self._key, self._given["Metadata"]) else None

        again(lambda: self._store.asked(complete, "written to its end", self._key, is_done, patient=True))
        self._upload = ""

    def abort(self) -> None:
        self._held = bytearray()
        if self._upload:
            upload, self._upload = self._upload, ""
            self._store.asked(lambda client: client.abort_multipart_upload(**self._where, UploadId=upload) and True,
                              "cleaned up", self._key, lambda answer: answer.code == "NoSuchUpload" or None)

    @property
    def _where(self) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._name}

    def _send(self) -> None:
        """Send what is held as the next part."""
        if not self._upload:
            begun = self._asked(lambda client: client.create_multipart_upload(**self._where, **self._given), "UploadId")
            self._upload = str(begun["UploadId"])
        number = len(self._parts) + 1
        if number > _MOST_PARTS:
            raise PermanentError(f"s3://{self._key} cannot be written: it is larger than S3 lets an object be in "
                                 f"{_MOST_PARTS} parts; split the resource")
        sent = self._asked(lambda client: client.upload_part(
            **self._where, UploadId=self._upload, PartNumber=number, Body=self._held), "ETag")  # fmt: skip
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        self._held = bytearray()

    def _asked(self, act: Callable[[Any], dict[str, Any]], field: str) -> dict[str, Any]:
        """Return what *act* returns, which has *field*. Nothing is lost by asking again: a part has its number."""
        return again(lambda: self._store.asked(lambda client: proper(act(client), field), "written", self._key,
                                               patient=True))  # fmt: skip


class S3Reading:
    """A reader of one version of an object; ``found`` says whether there is one."""

    def __init__(self, store: S3Store, key: str, *, patient: bool = True) -> None:
        """Ask for the object *key*; *patient*: it may be large."""
        self._store, self._key, self._patient = store, key, patient
        self._bucket, _, self._name = key.partition("/")
        self._at = self._total = 0
        self.version = ""
        self._body = self._opened()
        self.found = self._body is not None

    def read(self, size: int = -1, /) -> bytes:
        """Return the next *size* bytes, or all that are left."""
        left = self._total - self._at
        wanted, found, tries = left if size < 0 else min(size, left), bytearray(), 0
        while rest := wanted - len(found):
            try:
                data = self._store.asked(partial(self._part, rest), "read", self._key)
            except TemporaryError as error:
                tries += 1
                if tries == (TRIES if self._patient else 2):
                    raise
                log.info("%s; it is read on from byte %d", error, self._at)
                self._body = None
                continue
            tries = 0
            self._at += len(data)
            found += data
        return bytes(found)

    def _part(self, most: int, _: Any) -> bytes:
        """Return some of the next bytes, at least one: a client takes a connection that ends early for the end."""
        if self._body is None:
            self._body = self._opened()
        data = bytes(self._body.read(most))
        if not data:
            raise ConnectionError("the connection ended before the object did")
        return data

    def close(self) -> None:
        """Give the connection back."""
        if self._body is not None:
            self._body.close()

    def _opened(self) -> Any:
        """Return the bytes from where reading stopped, of the version that was begun with; ``None``: no such object."""
        on = {"Range": f"bytes={self._at}-", "IfMatch": self.version} if self._at else {}

        def refused(answer: Answer) -> dict[str, Any] | None:
            if self._at and answer.code in ("PreconditionFailed", "NoSuchKey"):
                raise Damaged(f"s3://{self._key} was replaced while it was read; read it again")
            return {"Body": None} if answer.code == "NoSuchKey" else None

        def got(client: Any) -> dict[str, Any]:
            return proper(client.get_object(Bucket=self._bucket, Key=self._name, **on), "ETag")

        found = self._store.asked(got, "read", self._key, refused, patient=self._patient)
        self.version = str(found.get("ETag") or self.version)
        self._total = self._at + int(found.get("ContentLength") or 0)
        return found["Body"]
