"""One sandbox with the service files as shipped, for every module that needs no settings or servers of its own.

What one module leaves behind is there for the next, as in production: each names the releases that are its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import folder_open_to_servers
from tests.running_sandbox import Running, running_sandbox


@pytest.fixture(scope="package")
def shipped_sandbox() -> Iterator[Running]:
    with folder_open_to_servers() as home, running_sandbox(home) as running:
        yield running
