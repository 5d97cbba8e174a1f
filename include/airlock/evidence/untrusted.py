"""What a stranger may have written: as a value, or as it may appear in a message. Knows no record."""

from __future__ import annotations

import json
from typing import Any

from airlock.errors import EvidenceInvalid


def parse_json(data: bytes, what: str) -> Any:
    """Return the JSON value in *data*, whatever a stranger put there.

    :raises EvidenceInvalid: not UTF-8, not JSON, nested too deeply, or with numbers that JSON does not have
    """
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON number")

    try:
        return json.loads(data.decode("utf-8"), parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise EvidenceInvalid(f"{what} is not UTF-8 text") from error
    except RecursionError as error:
        raise EvidenceInvalid(f"{what} is nested too deeply") from error
    except ValueError as error:
        raise EvidenceInvalid(f"{what} is not JSON: {str(error)[:100]}") from error


def shown(name: str) -> str:
    """Return *name* as it may appear in a message: printable and at most 160 characters."""
    if len(name) <= 160 and name.isprintable():
        return name
    printable = "".join(character if character.isprintable() else "?" for character in name)
    return printable if len(printable) <= 160 else printable[:157] + "..."
