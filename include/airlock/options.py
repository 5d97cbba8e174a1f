"""Options of drivers, targets and metric sources: one base, one way to refuse wrong ones. Knows no implementation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from airlock.errors import InvalidInput


class Options(BaseModel):
    """Base of all options. Secrets are given only as ids of Airflow connections."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def identities(self) -> tuple[str, ...]:
        """Return what these options really lead to: see ``airlock.identity``. Two services whose options lead to the
        same must not be released at once. Empty: only the very same options lead to the same."""
        return ()


Given = TypeVar("Given", bound=Options)


def validated(model: type[Given], options: Mapping[str, Any], what: str) -> Given:
    """Return *options* as *model*.

    :param what: what the options belong to, for the message
    :raises InvalidInput: an option is missing, unknown or of the wrong type; every fault is named
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'options'}: {one['msg']}" for one in error.errors())
        raise InvalidInput(f"{what}: wrong options: {faults}") from error
