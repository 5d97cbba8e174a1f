"""Places in S3: the contract on a real server, and what a server and the way to it can do in between."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from upath import UPath

from airlock.errors import AccessRefused, InvalidInput, PermanentError, TemporaryError, UnknownConnection
from airlock.places import objects, streams
from airlock.places.stores import s3, s3_streams
from sandbox import seaweedfs
from tests.contracts.places_contract import PlacesContract
from tests.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.object_stores import s3_connection, s3_place, seaweedfs_server

pytestmark = pytest.mark.campaign

__all__ = ["seaweedfs_server"]
ACTS: dict[str, Callable[[UPath], object]] = {
    "create": lambda place: objects.create(place / "new", b"x"),
    "exists": lambda place: objects.exists(place / "one"),
    "latest": objects.latest,
    "names": objects.names,
    "read": lambda place: objects.read(place / "one"),
    "remove": lambda place: objects.remove_folder(place / "folder"),
    "replace": lambda place: objects.replace(place / "one", b"y"),
    "replace unchanged": lambda place: objects.replace_unchanged(place / "one", b"y", '"a"'),
    "sha256": lambda place: streams.sha256(place / "one"),
    "size": lambda place: objects.size(place / "one"),
    "stream": lambda place: stream(place / "two", 40),
    "unchanged": lambda place: objects.unchanged_since(place / "one"),
}


def stream(path: UPath, mebibytes: int) -> None:
    with streams.created(path) as append:
        for number in range(mebibytes):
            append(bytes([number % 251]) * streams.CHUNK)


def error(code: str, status: int, words: str = "for a test") -> Fault:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{words}</Message></Error>".encode()
    return Fault(status=status, body=body, content_type="application/xml")


@pytest.fixture
def place(seaweedfs_server: seaweedfs.SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> UPath:
    return s3_place(monkeypatch, seaweedfs_server)


@pytest.fixture
def proxy(seaweedfs_server: seaweedfs.SeaweedFS) -> Iterator[FaultyProxy]:
    with faulty_proxy(seaweedfs_server.url) as running:
        yield running


@pytest.fixture
def behind(seaweedfs_server: seaweedfs.SeaweedFS, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> UPath:
    """A place that is reached through the proxy, with one object in it."""
    found = s3_place(monkeypatch, seaweedfs_server, proxy.url)
    objects.create(found / "one", b"first")
    proxy.seen.clear()
    return found


def uploads(server: seaweedfs.SeaweedFS, place: UPath) -> list[str]:
    """Return the keys of what was begun and neither finished nor dropped."""
    found = server.client().list_multipart_uploads(Bucket=place.path.partition("/")[0])
    own = place.path.partition("/")[2]
    return [one["Key"] for one in found.get("Uploads", ()) if one["Key"].startswith(own)]


class TestContract(PlacesContract):
    """The contract, on SeaweedFS."""


@pytest.mark.parametrize("name", ACTS)
def test_a_server_that_fails_or_throttles_for_a_moment_is_asked_again(
    name: str, behind: UPath, proxy: FaultyProxy
) -> None:
    proxy.once("/", error("SlowDown", 503))
    ACTS[name](behind)
    assert len(proxy.seen) > 1


@pytest.mark.parametrize(("code", "status"), [("SlowDown", 503), ("InternalError", 500), ("TooManyRequests", 429)])
@pytest.mark.parametrize("name", ["create", "names", "read", "stream"])
def test_a_server_that_goes_on_failing_is_a_temporary_error(
    name: str, code: str, status: int, behind: UPath, proxy: FaultyProxy
) -> None:
    proxy.always(error(code, status))
    with pytest.raises(TemporaryError, match=rf"^s3://.* cannot be .*{status} {code} for a test; .*try again later"):
        ACTS[name](behind)


@pytest.mark.parametrize("name", ACTS)
def test_what_is_refused_is_said_with_what_to_do(name: str, behind: UPath, proxy: FaultyProxy) -> None:
    proxy.always(error("AccessDenied", 403))
    with pytest.raises(AccessRefused, match=r"^s3://.* cannot be .*403.*; let connection 's3_.*' do this there"):
        ACTS[name](behind)


def test_a_write_whose_answer_was_lost_is_the_writers_own(behind: UPath, proxy: FaultyProxy) -> None:
    proxy.once("new", Fault(lose=True))
    assert objects.create(behind / "new", b"mine")
    assert sum(method == "PUT" for method, _ in proxy.seen) == 2
    assert not objects.create(behind / "new", b"mine"), "a second writer is another one, with the same bytes too"
    found = objects.content(behind / "new")
    assert found is not None
    proxy.once("new", Fault(lose=True))
    version = objects.replace_unchanged(behind / "new", b"again mine", found.version)
    assert version is not None
    assert objects.replace_unchanged(behind / "new", b"not mine", found.version) is None
    assert objects.content(behind / "new") == objects.Content(b"again mine", version)


def test_a_write_whose_answers_are_all_lost_may_be_done_and_is_said_to_be_unknown(
    behind: UPath, proxy: FaultyProxy
) -> None:
    proxy.always(Fault(lose=True))
    with pytest.raises(TemporaryError, match="no whole answer of S3 came"):
        objects.create(behind / "new", b"mine")
    proxy.decide = lambda method, path: None
    assert objects.read(behind / "new") == b"mine"


@pytest.mark.parametrize("lost", ["uploads", "partNumber=2", "uploadId="])
def test_a_stream_survives_lost_answers(
    lost: str, behind: UPath, proxy: FaultyProxy, seaweedfs_server: seaweedfs.SeaweedFS
) -> None:
    left = [Fault(lose=True)]
    proxy.decide = lambda method, path: left.pop() if left and re.search(
        rf"{lost}$|{lost}[^&]*$|{lost}&", path) and "partNumber=1&" not in path else None  # fmt: skip
    stream(behind / "two", 40)
    assert not left
    assert objects.size(behind / "two") == 40 * streams.CHUNK
    with streams.opened(behind / "two") as source:
        assert [source.read(streams.CHUNK)[:1][0] for _ in range(40)] == list(range(40))


def test_a_lost_answer_to_the_end_of_a_stream_is_no_failure(behind: UPath, proxy: FaultyProxy) -> None:
    left = [Fault(lose=True)]
    proxy.decide = lambda method, path: left.pop() if left and method == "POST" and "uploadId=" in path else None
    stream(behind / "two", 40)
    assert not left
    assert objects.size(behind / "two") == 40 * streams.CHUNK


def test_a_stream_that_breaks_leaves_nothing_to_pay_for(
    behind: UPath, proxy: FaultyProxy, seaweedfs_server: seaweedfs.SeaweedFS
) -> None:
    proxy.decide = lambda method, path: error("InternalError", 500) if "partNumber=2" in path else None
    with pytest.raises(TemporaryError, match="cannot be written"):
        stream(behind / "two", 40)
    assert objects.names(behind) == ("one",)
    assert uploads(seaweedfs_server, behind) == []
    proxy.decide = lambda method, path: None
    with pytest.raises(RuntimeError, match="the source"), streams.created(behind / "two") as append:
        append(b"x" * (40 << 20))
        assert uploads(seaweedfs_server, behind)
        raise RuntimeError("the source broke")
    assert uploads(seaweedfs_server, behind) == []


def test_a_connection_that_breaks_while_an_object_is_read_is_taken_up_again(behind: UPath, proxy: FaultyProxy) -> None:
    stream(behind / "two", 20)
    expected = streams.sha256(behind / "two")
    proxy.seen.clear()
    left = [Fault(cut=5 << 20), Fault(cut=3), Fault(cut=0)]
    proxy.decide = lambda method, path: left.pop() if left and method == "GET" else None
    assert streams.sha256(behind / "two") == expected
    assert not left
    left = [Fault(cut=3)]
    assert objects.read(behind / "one") == b"first"
    assert not left
    proxy.always(Fault(cut=0))
    with pytest.raises(TemporaryError, match="cannot be read: no whole answer of S3 came"):
        objects.read(behind / "one")


def test_an_object_that_is_replaced_while_it_is_read_is_not_read_half_of_each(
    behind: UPath, proxy: FaultyProxy
) -> None:
    stream(behind / "two", 5)
    left = [Fault(cut=2 << 20)]
    proxy.decide = lambda method, path: left.pop() if left and method == "GET" else None
    replaced = pytest.raises(PermanentError, match="was replaced while it was read")
    with replaced, streams.opened(behind / "two") as source:
        source.read(streams.CHUNK)
        stream(behind / "two", 6)
        source.read()


def test_others_who_write_the_same_key_at_once_are_waited_for(behind: UPath, proxy: FaultyProxy) -> None:
    left = [error("ConditionalRequestConflict", 409) for _ in range(3)]
    proxy.decide = lambda method, path: left.pop() if left and method == "PUT" else None
    assert objects.create(behind / "new", b"x")
    assert not left
    proxy.always(error("ConditionalRequestConflict", 409))
    with pytest.raises(TemporaryError, match="others write it at the same time; try again"):
        objects.create(behind / "newer", b"x")


@pytest.mark.parametrize("name", ACTS)
def test_a_credential_that_expires_is_asked_for_anew(
    name: str, behind: UPath, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy stands for the server's clock: what is asked with the first token is refused."""
    connection = s3_connection(monkeypatch, proxy.url, token="the first")
    place = UPath(str(behind), connection=connection)
    proxy.always(Fault(status=404))
    assert objects.size(place) is None  # now a client with the first token is at hand

    def refuse(method: str, path: str) -> Fault | None:
        old = proxy.headers.get("x-amz-security-token") == "the first"
        return None if not old else Fault(status=400) if method == "HEAD" else error("ExpiredToken", 400)

    proxy.decide = refuse
    with pytest.raises(TemporaryError, match=f"the credential of connection '{connection}' has expired; renew it"):
        ACTS[name](place)
    s3_connection(monkeypatch, proxy.url, token="", name=connection)
    ACTS[name](place)


def test_a_server_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = s3_connection(monkeypatch, "http://127.0.0.1:9")
    place = UPath("s3://bucket/place", connection=connection)
    for act in ACTS.values():
        with pytest.raises(TemporaryError, match=rf"^s3://bucket/place.*endpoint of connection '{connection}'"):
            act(place)


def test_what_is_no_s3_is_named(behind: UPath, proxy: FaultyProxy) -> None:
    proxy.always(Fault(status=200, body=b"<html>log in here</html>", content_type="text/html"))
    for name, act in ACTS.items():
        with pytest.raises(TemporaryError, match="^s3://.* no whole answer of S3 came"):
            act(behind)
            pytest.fail(name)


def test_a_bucket_that_is_not_there_is_named(place: UPath) -> None:
    other = UPath("s3://no-such-bucket-here/place", connection=place.storage_options["connection"])
    for act in (ACTS["names"], ACTS["read"], ACTS["latest"]):  # this server makes a bucket that is written to
        with pytest.raises(PermanentError, match="there is no bucket 'no-such-bucket-here'; create it"):
            act(other)
    assert not objects.is_folder(other)
    with pytest.raises(InvalidInput, match="correct the path"):
        objects.names(UPath("s3://B_A?D/place", connection=place.storage_options["connection"]))


def test_wrong_keys_and_unknown_connections_are_named(
    seaweedfs_server: seaweedfs.SeaweedFS, place: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = s3_connection(monkeypatch, seaweedfs_server.url, secret="wrong")
    with pytest.raises(AccessRefused, match=f"SignatureDoesNotMatch.*connection '{wrong}'") as raised:
        objects.names(UPath(str(place), connection=wrong))
    assert "wrong" not in str(raised.value).replace(wrong, "")
    with pytest.raises(UnknownConnection, match="'nobody_knows'"):
        objects.names(UPath(str(place), connection="nobody_knows"))
    with pytest.raises(InvalidInput, match="takes no connection"):
        objects.names(UPath("memory://place", connection="nobody_knows"))


def test_without_a_connection_the_machines_own_credential_counts(
    seaweedfs_server: seaweedfs.SeaweedFS, place: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airlock.places import remote

    objects.create(place / "one", b"x")
    for name, value in (("AWS_ACCESS_KEY_ID", seaweedfs.KEY), ("AWS_SECRET_ACCESS_KEY", seaweedfs.SECRET),
                        ("AWS_ENDPOINT_URL_S3", seaweedfs_server.url), ("AWS_DEFAULT_REGION", seaweedfs.REGION)):
        monkeypatch.setenv(name, value)
    remote._opened.cache_clear()
    assert objects.names(UPath(str(place))) == ("one",)
    remote._opened.cache_clear()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(AccessRefused, match="name an Airflow connection beside the path"):
        objects.names(UPath(str(place)))
    remote._opened.cache_clear()


def test_a_listing_of_more_than_one_page_is_whole(
    behind: UPath, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "PAGE", 7)
    for number in range(25):
        objects.create(behind / f"{number:02}", b"x")
        objects.create(behind / f"folder {number:02}" / "inner", b"x")
    proxy.seen.clear()
    assert len(objects.names(behind)) == 51
    assert len(proxy.seen) >= 8
    assert len(objects.holding(behind, "inner")) == 25
    objects.remove_others(behind, ())
    assert [name for name in objects.names(behind) if objects.exists(behind / name)] == []


def test_parts_grow_so_that_a_stream_may_be_as_large_as_s3_allows(
    behind: UPath, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_streams, "PART", 5 << 20)
    monkeypatch.setattr(s3_streams, "_GROWS_AFTER", 2)
    stream(behind / "two", 45)  # 5, 5, 10, 10, 15
    assert sum("partNumber" in path for _, path in proxy.seen) == 5
    assert objects.size(behind / "two") == 45 * streams.CHUNK
    monkeypatch.setattr(s3_streams, "_MOST_PARTS", 2)
    with pytest.raises(PermanentError, match="larger than S3 lets an object be in 2 parts; split the resource"):
        stream(behind / "three", 45)


def test_no_secret_is_in_a_message(behind: UPath, proxy: FaultyProxy) -> None:
    proxy.always(error("AccessDenied", 403))
    with pytest.raises(AccessRefused) as raised:
        objects.names(behind)
    assert seaweedfs.SECRET not in json.dumps(str(raised.value))
