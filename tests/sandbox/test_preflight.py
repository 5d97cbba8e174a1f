"""A machine that cannot carry the sandbox is told so in one sentence."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from airlock.errors import InvalidInput, PermanentError
from sandbox import __main__, preflight, stack
from sandbox.layout import OFFSETS, Layout


def free_base() -> int:
    """A port base whose ports are all free, below the range that the system hands out."""
    for base in range(20_000 + os.getpid() % 100 * 90, 32_000, 100):
        try:
            preflight.check_ports(Layout(Path("/"), Path("/"), base))
        except InvalidInput:
            continue
        return base
    pytest.fail("no free range of ports")


def test_a_busy_port_is_named_with_its_program_and_the_way_out(tmp_path: Path) -> None:
    layout = Layout(tmp_path, tmp_path / "home", free_base())
    preflight.check(layout)
    with socket.create_server(("127.0.0.1", layout.port("vault"))), pytest.raises(InvalidInput) as raised:
        preflight.check(layout)
    said = str(raised.value)
    assert f"port {layout.port('vault')}" in said
    assert f"by process {os.getpid()}" in said
    assert f"AIRLOCK_PORT_BASE={layout.port_base + 1000}" in said
    assert "\n" not in said


def test_a_busy_port_stops_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = free_base()
    monkeypatch.setenv("AIRLOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRLOCK_PORT_BASE", str(base))
    with socket.create_server(("127.0.0.1", base + OFFSETS["moto"])):
        assert __main__.main(["up"]) == 1
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert f"port {base + OFFSETS['moto']}" in printed.err


def test_nothing_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AIRLOCK_HOME", str(tmp_path / "home"))
    assert __main__.main(["down"]) == 0
    assert "was not running" in capsys.readouterr().out
    assert __main__.main(["status"]) == 1
    assert capsys.readouterr().out.count("stopped") == len(stack.SERVERS)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "DISK_BYTES", 2**60)
    with pytest.raises(PermanentError, match=r"MiB free and the sandbox needs .* AIRLOCK_HOME"):
        preflight.check(Layout(tmp_path, tmp_path / "home", free_base()))


def test_a_folder_too_long_for_sockets(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"too long.* 107; set AIRLOCK_HOME"):
        preflight.check(Layout(tmp_path, tmp_path / ("deep" * 30), 28000))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(PermanentError, match="cannot be made"):
        preflight.check(Layout(tmp_path, tmp_path / "home", free_base()))


@pytest.mark.parametrize("text", ["", "28000"])
def test_port_base_by_default(text: str) -> None:
    assert Layout.from_environment({"AIRLOCK_PORT_BASE": text}).port_base == 28000


@pytest.mark.parametrize("text", ["eighty", "80", "-1", "65535", "28_000", "２８０００"])
def test_port_base_that_cannot_be(text: str) -> None:
    with pytest.raises(InvalidInput, match="AIRLOCK_PORT_BASE"):
        Layout.from_environment({"AIRLOCK_PORT_BASE": text})


def test_ports_are_distinct() -> None:
    assert len(set(OFFSETS.values())) == len(OFFSETS)


def test_two_commands_at_once(tmp_path: Path) -> None:
    layout = Layout(tmp_path, tmp_path / "home", free_base())
    layout.create()
    with stack._alone(layout), pytest.raises(InvalidInput, match="another command"):
        stack.stop_all(layout)
