"""What a process may do with files, asked of the kernel; as a user who is not root."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.probes import files
from airlock.models.needs import Permission, Stage, System
from tests.another_user import as_another_user

SUBJECT = Subject("resources", "storage.uploads")


def asked(path: Path | str, *actions: str) -> list[Finding]:
    permission = Permission(system=System.FILES, actions=actions, on=str(path), stages=(Stage.RESTORE,), why="because")
    return list(files.ask(SUBJECT, [permission]))


def test_what_is_there_and_allowed_is_fine(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert [one.gravity for one in asked(tmp_path / "file", "read", "replace")] == [Gravity.FINE]


def test_what_is_not_there_is_said_once(tmp_path: Path) -> None:
    (found,) = asked(tmp_path / "gone", "read", "replace")
    assert found.gravity is Gravity.FAULT
    assert "is not there" in found.what


def test_a_link_to_nothing_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    assert "is not there" in asked(tmp_path / "link", "read")[0].what


def test_of_a_path_with_a_place_for_a_name_the_folder_is_asked(tmp_path: Path) -> None:
    assert asked(tmp_path / "shop-{version}.pyz", "read", "search")[0].gravity is Gravity.FINE
    assert asked(tmp_path / "gone" / "shop-{version}.pyz", "read")[0].gravity is Gravity.FAULT


def test_what_lies_in_an_object_storage_is_not_asked_of_the_kernel() -> None:
    assert asked("s3://bucket/state", "read")[0].gravity is Gravity.NOT_ASKED


@pytest.mark.skipif(os.geteuid() != 0, reason="to be another user takes root")
def test_each_missing_right_is_named_with_where_to_mend_it(open_folder: Path) -> None:
    secret = open_folder / "secret"
    secret.write_text("x")
    secret.chmod(0o600)

    def said() -> str:
        return " | ".join(f"{one.gravity}: {one.what} -> {one.mend}" for one in asked(secret, "read", "replace"))

    text = as_another_user(said, open_folder)
    assert "may not read or replace" in text
    assert f"of {open_folder} " in text  # a file is replaced in its folder
    secret.chmod(0o644)
    assert "may not replace" in as_another_user(said, open_folder)
    assert "may not read" not in as_another_user(said, open_folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="to be another user takes root")
def test_a_folder_that_hides_what_is_in_it_is_not_mistaken(open_folder: Path) -> None:
    hidden = open_folder / "closed"
    hidden.mkdir()
    (hidden / "file").write_text("x")
    hidden.chmod(0o700)
    said = as_another_user(lambda: asked(hidden / "file", "read")[0].what, open_folder)
    assert "is not there, or hidden from user" in said


def test_a_socket_that_is_an_address_of_a_network_is_connected_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as running:
        address = f"127.0.0.1:{running.getsockname()[1]}"
        assert [one.gravity for one in asked(address, "read", "write")] == [Gravity.FINE]
    (found,) = asked(address, "read", "write")
    assert found.gravity is Gravity.FAULT
    assert "does not answer" in found.what
