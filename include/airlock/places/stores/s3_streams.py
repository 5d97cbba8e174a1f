"""Objects of S3 as streams: written in parts that appear together at the end, read on where a connection broke."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airlock.errors import AirlockError, Damaged, PermanentError
from airlock.places.stores.retried import TRIES, again

if TYPE_CHECKING:
    from airlock.places.stores.s3 import S3Store
    from airlock.places.stores.s3_answers import Answer

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
            self._asked(lambda client: client.put_object(**self._where, **self._given, Body=bytes(self._held)))
            return
        if self._held:
            self._send()

        def complete(client: Any) -> bool:
            client.complete_multipart_upload(**self._where, UploadId=self._upload,
                                             MultipartUpload={"Parts": self._parts})
            return True

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
            begun = self._asked(lambda client: client.create_multipart_upload(**self._where, **self._given))
            self._upload = str(begun["UploadId"])
        number = len(self._parts) + 1
        if number > _MOST_PARTS:
            raise PermanentError(f"s3://{self._key} cannot be written: it is larger than S3 lets an object be in "
                                 f"{_MOST_PARTS} parts; split the resource")
        sent = self._asked(lambda client: client.upload_part(
            **self._where, UploadId=self._upload, PartNumber=number, Body=self._held))  # fmt: skip
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        self._held = bytearray()

    def _asked(self, act: Any) -> dict[str, Any]:
        """Return what *act* returns. Nothing is lost by asking again: a part has its number."""
        answer: dict[str, Any] = again(lambda: self._store.asked(act, "written", self._key, patient=True))
        return answer


class S3Reading:
    """A reader of one version of an object; ``found`` says whether there is one."""

    def __init__(self, store: S3Store, key: str, *, patient: bool = True) -> None:
        """Ask for the object *key*; *patient*: it may be large."""
        self._store, self._key, self._patient = store, key, patient
        self._bucket, _, self._name = key.partition("/")
        self._at = 0
        self.version = ""
        self._body = self._opened()
        self.found = self._body is not None

    def read(self, size: int = -1, /) -> bytes:
        """Return the next *size* bytes, or all that are left."""
        most = None if size < 0 else size
        tries = TRIES if self._patient else 2
        for number in range(tries):
            try:
                if self._body is None:
                    self._body = self._opened()
                data = self._store.asked(lambda _: bytes(self._body.read(most)), "read", self._key)
            except AirlockError as error:
                if isinstance(error, PermanentError) or number == tries - 1:
                    raise
                log.info("%s; it is read on from byte %d", error, self._at)
                self._body = None
            else:
                self._at += len(data)
                return data
        raise AssertionError("the last try either returns or raises")

    def __enter__(self) -> S3Reading:
        return self

    def __exit__(self, *_: object) -> None:
        if self._body is not None:
            self._body.close()

    def _opened(self) -> Any:
        """Return the bytes from where reading stopped, of the version that was begun with; ``None``: no such object."""
        on = {"Range": f"bytes={self._at}-", "IfMatch": self.version} if self._at else {}

        def refused(answer: Answer) -> dict[str, Any] | None:
            if self._at and answer.code in ("PreconditionFailed", "NoSuchKey"):
                raise Damaged(f"s3://{self._key} was replaced while it was read; read it again")
            if self._at and answer.status == 416:  # all was read, only the end was not seen
                return {"Body": _Nothing()}
            return {"Body": None} if answer.code == "NoSuchKey" else None

        found = self._store.asked(lambda client: client.get_object(Bucket=self._bucket, Key=self._name, **on), "read",
                                  self._key, refused, patient=self._patient)  # fmt: skip
        self.version = str(found.get("ETag") or self.version)
        return found["Body"]


class _Nothing:
    """The body of nothing."""

    def read(self, _: int | None = None) -> bytes:
        return b""

    def close(self) -> None:
        return None
