"""A refusal as a real API server words it. Knows no objects."""

from __future__ import annotations

from typing import Any

from sandbox.cluster.kinds import Document, Kind


class Refused(Exception):
    """The answer is a ``Status`` document with this HTTP code, reason and message."""

    def __init__(self, code: int, reason: str, message: str, details: Document | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details or {}


def invalid(kind: Kind, name: str, *causes: tuple[str, str, str]) -> Refused:
    """A 422 with *causes*: reason, field and sentence of each."""
    told = [f"{field}: {sentence}" for _, field, sentence in causes]
    message = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    qualified = f"{kind.name}.{kind.group}" if kind.group else kind.name
    listed = [{"reason": reason, "message": sentence, "field": field} for reason, field, sentence in causes]
    details = {"name": name, "group": kind.group, "kind": kind.name, "causes": listed}
    return Refused(422, "Invalid", f'{qualified} "{name}" is invalid: {message}', details)


def value(field: str, given: Any, sentence: str) -> tuple[str, str, str]:
    """The cause for a value that is not valid; a real server repeats the value."""
    shown = f'"{given}"' if isinstance(given, str) else str(given)
    return "FieldValueInvalid", field, f"Invalid value: {shown}: {sentence}"


def forbidden(field: str, sentence: str) -> tuple[str, str, str]:
    """The cause for a change that is never allowed."""
    return "FieldValueForbidden", field, f"Forbidden: {sentence}"


def required(field: str) -> tuple[str, str, str]:
    """The cause for a field that must be there."""
    return "FieldValueRequired", field, "Required value"
