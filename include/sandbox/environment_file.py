"""Keeps the variables that a sandbox was started with, for later commands. They hold secrets, so beside those."""

from __future__ import annotations

import json
from collections.abc import Mapping

from airlock.errors import PermanentError
from sandbox.credentials import private, write_private
from sandbox.layout import Layout

_NAME = "environment.json"
_OWN = ("AIRFLOW", "AIRLOCK_", "PYTHON", "NO_PROXY", "no_proxy")


def keep(layout: Layout, given: Mapping[str, str]) -> None:
    """Keep Airflow's and Airlock's own of the variables in *given*."""
    own = {key: value for key, value in given.items() if key.startswith(_OWN)}
    write_private(private(layout.sandbox, _NAME), own)


def kept(layout: Layout) -> dict[str, str]:
    """Return the variables that the sandbox was started with last; empty if it never was.

    :raises PermanentError: the file is damaged
    """
    path = private(layout.sandbox, _NAME)
    try:
        return {str(key): str(value) for key, value in json.loads(path.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        raise PermanentError(f"{path} is damaged: start the sandbox anew") from error
