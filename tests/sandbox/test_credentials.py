"""The sandbox's own secrets: who can read them, and where they must not be seen."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest

from airlock.errors import PermanentError
from sandbox import credentials, environment_file, openbao, postgres, reach
from sandbox.layout import Layout


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_only_the_owner_gets_at_them_whatever_the_umask(tmp_path: Path) -> None:
    held = credentials.load(tmp_path)
    layout = Layout(repository=tmp_path, home=tmp_path, port_base=20000)
    environment_file.keep(layout, {"AIRFLOW__X": held.jwt, "HOME": "/"})
    assert environment_file.kept(layout) == {"AIRFLOW__X": held.jwt}
    for folder, name in ((tmp_path, "credentials.json"), (layout.sandbox, "environment.json")):
        assert (mode(folder / "private"), mode(folder / "private" / name)) == (0o700, 0o600)
        assert list((folder / "private").iterdir()) == [folder / "private" / name], "no draft is left"


def test_what_was_opened_to_others_is_closed_again(tmp_path: Path) -> None:
    held = credentials.load(tmp_path)
    path = tmp_path / "private" / "credentials.json"
    path.chmod(0o644)
    path.parent.chmod(0o755)
    assert credentials.load(tmp_path) == held
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)


def test_what_is_not_the_sandboxes_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text("{}")
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "credentials.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(PermanentError, match="not the sandbox's own"):
        credentials.load(tmp_path)
    assert mode(tmp_path / "elsewhere.json") != 0o600, "nothing is changed through a link"


def test_what_was_made_before_there_was_a_broker_is_kept_and_completed(tmp_path: Path) -> None:
    held = credentials.load(tmp_path)
    path = credentials.private(tmp_path, "credentials.json")
    credentials.write_private(path, {name: value for name, value in asdict(held).items() if name != "broker"})
    completed = credentials.load(tmp_path)
    assert {**asdict(completed), "broker": held.broker} == asdict(held)
    assert completed.broker != held.broker
    assert credentials.load(tmp_path) == completed


def test_a_damaged_file_is_named_and_not_told(tmp_path: Path) -> None:
    path = credentials.private(tmp_path, "credentials.json")
    path.write_text('{"vault": "a secret"')
    with pytest.raises(PermanentError, match=r"credentials.json is damaged") as caught:
        credentials.load(tmp_path)
    assert "a secret" not in str(caught.value)
    path.write_text('{"a-secret": 1}')
    with pytest.raises(PermanentError) as caught:
        credentials.load(tmp_path)
    assert "a-secret" not in str(caught.value)


def command_lines() -> Iterator[tuple[Path, bytes]]:
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            yield entry, (entry / "cmdline").read_bytes()


def test_no_command_line_and_no_log_of_a_server_holds_one(open_folder: Path) -> None:
    held = credentials.load(open_folder)
    with (
        postgres.start(open_folder / "shop", reach.free_port(), held.postgres, databases=["kept"]) as database,
        openbao.start(open_folder / "bao", reach.free_port(), held.vault) as vault,
    ):
        lines = dict(command_lines())
        for server in (database, vault):
            assert lines[Path(f"/proc/{server.pid}")], "the server's own command line is among them"
        secrets = {name: value for name, value in asdict(held).items() if isinstance(value, str)}
        secrets["vault backup token"] = vault.backup_token
        logs = [path for path in open_folder.rglob("*.log") if path.is_file()]
        for name, value in secrets.items():
            if name == "backup_recipient":
                continue  # it is public
            assert not [entry for entry, line in lines.items() if value.encode() in line], f"{name} in a command line"
            assert not [path for path in logs if value.encode() in path.read_bytes()], f"{name} in a log"
