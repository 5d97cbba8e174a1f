"""Object store ``s3``: Amazon S3, and what speaks as it does (SeaweedFS, MinIO, Ceph). Knows boto3's client.

Whoever creates or replaces writes a word of its own beside the bytes (``_WRITER``): where an answer is lost, boto3 asks
again by itself, and the word tells whether it was this writer whom the second answer speaks of.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from airlock.connections import aws_client
from airlock.models.needs import Needs, Permission, Stage, System
from airlock.places.store import Closable, Content, Entry, ObjectStore, State, Writing
from airlock.places.stores.retried import Busy, again
from airlock.places.stores.s3_answers import Answer, expired, faults, proper, said_of
from airlock.places.stores.s3_streams import S3Reading, S3Writing

_WRITER = "airlock-writer"
PAGE = 1000
"""How many names are asked for at once; S3 gives no more."""
_BUSY = ("ConditionalRequestConflict", "OperationAborted")
"""Another write of this key is under way: only a further try tells how it ended."""
_CHANGED = ("PreconditionFailed", "NoSuchKey")
Result = TypeVar("Result")


class S3Store(ObjectStore):
    """See the module and the contract."""

    needs = Needs(permissions=(
        Permission(system=System.AWS, actions=("s3:ListBucket",), on="arn:aws:s3:::BUCKET", connection="{connection}",
                   stages=(Stage.BACKUP, Stage.RESTORE), why="to tell what is there"),
        Permission(system=System.AWS, actions=("s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"),
                   on="arn:aws:s3:::BUCKET/*", connection="{connection}", stages=(Stage.BACKUP, Stage.RESTORE)),
        Permission(system=System.AWS, actions=("s3:DeleteObject",), on="arn:aws:s3:::BUCKET/*",
                   connection="{connection}", stages=(Stage.BACKUP,),
                   why="for what expires in a backup store and its replica, and the indexes beside the ledgers "
                       "(.open, .held); an anchor and the evidence go without it"),
    ))  # fmt: skip

    def __init__(self, connection: str) -> None:
        """Use the Airflow *connection*; if it is empty, what the machine itself has."""
        self._connection = connection
        self._made: dict[bool, Any] = {}

    def create(self, key: str, data: bytes) -> bool:
        return self._put(key, data, {"IfNoneMatch": "*"}) is not None

    def replace(self, key: str, data: bytes) -> None:
        self._put(key, data, {})

    def replace_unchanged(self, key: str, data: bytes, version: str) -> str | None:
        return self._put(key, data, {"IfMatch": version})

    def read(self, key: str, most: int) -> Content | None:
        reading = S3Reading(self, key, patient=False)
        return Content(reading.read(most), reading.version) if reading.found else None

    def state(self, key: str) -> State | None:
        found = self._head(key)
        return None if found is None else State(int(found["ContentLength"]), str(found["ETag"]), found["LastModified"])

    def entries(self, folder: str) -> Iterator[Entry]:
        prefix = _prefix(folder)
        for page in self._pages(folder, prefix, Delimiter="/"):
            for one in page.get("CommonPrefixes", ()):
                yield Entry(one["Prefix"][len(prefix):].rstrip("/"))
            for one in page.get("Contents", ()):
                if name := one["Key"][len(prefix):]:  # else it is the marker of the folder itself
                    yield Entry(name, State(int(one["Size"]), str(one["ETag"]), one["LastModified"]))

    def below(self, folder: str) -> Iterator[str]:
        bucket = folder.partition("/")[0]
        for page in self._pages(folder, _prefix(folder)):
            yield from (f"{bucket}/{one['Key']}" for one in page.get("Contents", ()))

    def is_folder(self, key: str) -> bool:
        prefix = _prefix(key)
        bucket = key.partition("/")[0]

        def look(client: Any) -> bool:
            found = proper(client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1), "Name")
            return not prefix or bool(found.get("KeyCount"))

        return self.asked(look, "looked up", key, lambda answer: False if answer.code == "NoSuchBucket" else None)

    def delete(self, key: str) -> None:
        bucket, _, name = key.partition("/")
        self.asked(lambda client: client.delete_object(Bucket=bucket, Key=name), "removed", key)

    def writing(self, key: str) -> Writing:
        return S3Writing(self, key, {"Metadata": {_WRITER: secrets.token_hex(16)}})

    def reading(self, key: str) -> Closable | None:
        reading = S3Reading(self, key)
        return reading if reading.found else None

    def asked(self, act: Callable[[Any], Result], done: str, key: str,
              otherwise: Callable[[Answer], Result | None] | None = None, *, patient: bool = False) -> Result:
        """Return what *act* returns, which asks a client; or what *otherwise* makes of an answer that is an error.

        A credential that has expired is asked for once more.

        :param patient: wait long for an answer, as is right for much
        """
        address = f"s3://{key}"
        for fresh in (False, True):
            try:
                return act(self._client(fresh=fresh, patient=patient))
            except faults() as error:
                answer = Answer.of(error)
                if answer is not None and otherwise is not None and (made := otherwise(answer)) is not None:
                    return made
                if not fresh and expired(answer):
                    continue
                raise said_of(error, address, done, self._connection) from error
        raise AssertionError("the second time either returns or raises")

    def is_written_by(self, key: str, metadata: dict[str, str]) -> str | None:
        """Return the version of the object if it was written with *metadata*, which only one writer has."""
        found = self._head(key)
        own = found is not None and found.get("Metadata", {}).get(_WRITER) == metadata[_WRITER]
        return str(found["ETag"]) if found is not None and own else None

    def _put(self, key: str, data: bytes, condition: dict[str, str]) -> str | None:
        """Write the object and return its version; ``None`` if the *condition* does not hold."""
        bucket, _, name = key.partition("/")
        metadata = {_WRITER: secrets.token_hex(16)}

        def put(client: Any) -> str:
            answer = client.put_object(Bucket=bucket, Key=name, Body=data, Metadata=metadata, **condition)
            return str(proper(answer, "ETag")["ETag"])

        def refused(answer: Answer) -> str | None:
            if answer.code in _BUSY:
                raise Busy(f"s3://{key} cannot be written: others write it at the same time; try again")
            return "" if condition and answer.code in _CHANGED else None

        made = again(lambda: self.asked(put, "written", key, refused), Busy)
        return made or self.is_written_by(key, metadata)

    def _head(self, key: str) -> dict[str, Any] | None:
        bucket, _, name = key.partition("/")
        found: dict[str, Any] = self.asked(
            lambda client: proper(client.head_object(Bucket=bucket, Key=name), "ETag"), "looked up", key,
            lambda answer: {} if answer.status == 404 else None)  # fmt: skip
        return found or None

    def _pages(self, folder: str, prefix: str, **more: str) -> Iterator[dict[str, Any]]:
        bucket, following = folder.partition("/")[0], dict[str, str]()
        while True:
            def listed(client: Any, following: dict[str, str] = following) -> dict[str, Any]:
                return proper(client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=PAGE, **more, **following),
                              "Name")  # fmt: skip

            page = self.asked(listed, "listed", folder)
            yield page
            if not page.get("IsTruncated"):
                return
            following = {"ContinuationToken": page["NextContinuationToken"]}

    def _client(self, *, fresh: bool, patient: bool) -> Any:
        if fresh:
            self._made.clear()
        if patient not in self._made:
            connect, read = (10, 60) if patient else (4, 8)
            self._made[patient] = aws_client(self._connection, "s3", connect_timeout=connect, read_timeout=read)
        return self._made[patient]


def _prefix(folder: str) -> str:
    """Return what the names of all objects in *folder* begin with; of a whole bucket, nothing."""
    name = folder.partition("/")[2].strip("/")
    return f"{name}/" if name else ""
