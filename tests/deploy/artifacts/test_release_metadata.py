"""What an artifact says of itself is a stranger's word."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.deploy.artifacts.release_metadata import (
    AUTHORS_LABEL,
    all_authors,
    authors_in,
    authors_of,
    commit_of,
    metadata_of,
)
from airlock.errors import InvalidInput
from tests.contracts.artifact_contract import zipped


def archive(text: str | bytes) -> io.BytesIO:
    return io.BytesIO(zipped({"release.json": text if isinstance(text, bytes) else text.encode()}))


def test_authors_are_read_from_the_archive() -> None:
    found = metadata_of(archive(json.dumps({"authors": ["b <b@x.example>", "a"], "more": 1})), "x")
    assert authors_of(found, "x") == ("a", "b <b@x.example>")
    assert metadata_of(io.BytesIO(b"no archive"), "x") is None
    assert authors_of({}, "x") is None


@pytest.mark.parametrize(
    "authors", [[], "olga", [1], [""], [" ; "], ["a" * 300], ["a\nb"], ["a\u202eb"], ["x"] * 201, None]
)
def test_authors_that_cannot_be_told_stop_the_release(authors: object) -> None:
    with pytest.raises(InvalidInput, match="author"):
        authors_of({"authors": authors}, "x")


@given(raw=st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_hostile_metadata_never_ends_in_a_stack_trace(raw: bytes) -> None:
    try:
        found = metadata_of(archive(raw), "x")
        authors_of(found, "x")
    except InvalidInput:
        return
    assert found is None or isinstance(found, dict)


@pytest.mark.parametrize(
    ("label", "authors"),
    [
        ("Olga P. <olga@cafe.example>", ("Olga P. <olga@cafe.example>",)),
        ("b <b@x.example>, a", ("a", "b <b@x.example>")),
        ("a; b\nc", ("a", "b", "c")),
        ("", None),
        (" , ", None),
    ],
)
def test_a_label_names_one_or_more_authors(label: str, authors: tuple[str, ...] | None) -> None:
    assert authors_in({AUTHORS_LABEL: label}, "x") == authors


def test_whoever_is_named_anywhere_is_an_author() -> None:
    assert all_authors([None, ("b",), ("a", "b")]) == ("a", "b")
    assert all_authors([None, None]) is None


def test_a_commit_is_shown_harmless_and_short() -> None:
    assert commit_of("c0ffee\u202e") == "c0ffee"
    assert commit_of("x" * 500) == "x" * 100
    assert commit_of(None) is commit_of(" ") is commit_of(5) is None
