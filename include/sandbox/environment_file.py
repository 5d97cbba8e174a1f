"""Keeps the variables that a sandbox was started with, for later commands. The file holds secrets: mode 600."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from airlock.errors import PermanentError
from sandbox.layout import Layout

_NAME = "environment.json"
_OWN = ("AIRFLOW", "AIRLOCK_", "PYTHON", "NO_PROXY", "no_proxy")


def keep(layout: Layout, given: Mapping[str, str]) -> None:
    """Keep Airflow's and Airlock's own of the variables in *given*."""
    own = {key: value for key, value in given.items() if key.startswith(_OWN)}
    path = layout.sandbox / _NAME
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(own, stream, indent=1)


def kept(layout: Layout) -> dict[str, str]:
    """Return the variables that the sandbox was started with last; empty if it never was.

    :raises PermanentError: the file is damaged
    """
    path = layout.sandbox / _NAME
    try:
        return {str(key): str(value) for key, value in json.loads(path.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        raise PermanentError(f"{path} is damaged: start the sandbox anew") from error
