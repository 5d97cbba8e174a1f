"""What holds for all tests: a home of Airflow's for each process, no deadlines of the clock, long tests first."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

# Airflow writes into its home when it is first imported: never into the caller's, and no two processes into the same.
_TOOLS = os.environ.get("AIRFLOW_HOME") or str(Path(__file__).parents[1] / ".airlock" / "tools")
os.environ["AIRFLOW_HOME"] = f"{_TOOLS}/{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
# Some tests start Python processes that import Airlock: they find it as these do.
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1] / "include")

ONE_SANDBOX = "tests/releases/as_shipped"
"""The folder whose files share one running sandbox."""

# Where all this runs in the background of a shell, SIGINT is ignored, also by every program that tests start and stop.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Set where a server that is missing is a fault of the machine, see tests.real_servers.
SERVERS_REQUIRED = "SERVERS_REQUIRED"

# How long an example takes says more about the machine's load than about the code.
settings.register_profile("any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_machine")


@pytest.fixture(scope="session", autouse=True)
def signing_connection() -> None:
    """The key that the service file of ``tests.service_data`` names: a release signs all that it records."""
    from airlock.signing import generate_pem

    given = json.dumps({"conn_type": "generic", "password": generate_pem()})
    os.environ.setdefault("AIRFLOW_CONN_SIGNING", given)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--servers-required", action="store_true",
                     help="fail, and do not skip, where a program that .ci/servers lists is missing")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--servers-required"):
        os.environ[SERVERS_REQUIRED] = "yes"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start whole releases first, so that the other process does all the rest meanwhile."""
    items.sort(key=lambda item: item.get_closest_marker("end_to_end") is None)


class _FilesAndSandboxes(LoadFileScheduling):  # type: ignore[misc] - xdist exports it untyped
    """Keeps the tests of a file in one process, and all files that share a running sandbox."""

    def _split_scope(self, nodeid: str) -> str:
        folder, _, _ = nodeid.partition("::")[0].rpartition("/")
        return folder if folder == ONE_SANDBOX else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    return _FilesAndSandboxes(config, log)


@contextmanager
def folder_open_to_servers() -> Iterator[Path]:
    """Make a folder that PostgreSQL's user can reach when root runs the tests: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="airlock-", dir="/var/tmp" if os.geteuid() == 0 else None) as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder of the module's own, see :func:`folder_open_to_servers`."""
    with folder_open_to_servers() as folder:
        yield folder


@pytest.fixture(autouse=True)
def last_good_versions(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of service files is that of these tests."""
    if "AIRLOCK_HOME" not in os.environ:
        monkeypatch.setenv("AIRLOCK_HOME", str(tmp_path_factory.getbasetemp() / "home"))
