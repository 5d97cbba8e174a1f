"""Plain data of a YAML document -> a frozen model, with every fault noted at its line. Knows no model of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from airlock.errors import InvalidInput
from airlock.service import file as service_file
from airlock.service.defaults import DEFAULTS_FILE
from airlock.service.document import Document, Place
from airlock.service.values import TAGS
from airlock.spelling import did_you_mean

_PASSWORD = re.compile(r"://[^/\s@:]*:[^/\s@]+@")
_WHOLE = ("value_error", "too_short")
"""Sorts of faults that a map may have only because the rest of it is missing."""
Model = TypeVar("Model", bound=BaseModel)
Declared = TypeVar("Declared")


@dataclass(frozen=True)
class Reading(Generic[Declared]):
    """What the files of a folder say: all that those without a fault declare, and the faults, a line each. ``sources``
    are the files without a fault that were read for it, and the sha256 of what they held."""

    declared: tuple[Declared, ...]
    faults: tuple[str, ...]
    sources: tuple[tuple[Path, str], ...] = ()

    def of(self, source: str) -> tuple[str, ...]:
        """Return the faults of the file *source*, and of what it shares with others."""
        files = (f"{source}:", f"{Path(source).with_name(DEFAULTS_FILE)}:")
        return tuple(fault for fault in self.faults if fault.startswith(files))

    def shared(self, folder: Path | str) -> tuple[str, ...]:
        """Return what is wrong with what all files of *folder* share, if that keeps all of them from being read."""
        file = f"{Path(folder) / DEFAULTS_FILE}:"
        return () if self.declared else tuple(fault for fault in self.faults if fault.startswith(file))

    def complete(self) -> tuple[Declared, ...]:
        """Return what is declared.

        :raises InvalidInput: some file is wrong; one line for each fault of all files
        """
        if self.faults:
            raise InvalidInput("\n".join(self.faults))
        return self.declared


def policies_folder() -> Path:
    """Return the folder of policy files: ``AIRLOCK_POLICIES``, else ``include/policies``."""
    return Path(os.environ.get("AIRLOCK_POLICIES") or Path(__file__).resolve().parents[2] / "policies")


def load_policy(path: Path, model: type[Model]) -> Model:
    """Return the policy file at *path* as *model*.

    :raises InvalidInput: one line ``file:line: path: what; what to do`` for each fault
    """
    document = service_file.read(path, os.environ)
    found = validated(model, document.data, (), document) if not document.faults else None
    if document.faults or found is None:
        raise InvalidInput("\n".join(document.report()))
    return found


def validated(
    model: type[Model], data: Any, place: Place, document: Document, also: tuple[str, ...] = (), *, partly: bool = False
) -> Model | None:
    """Return *data*, which stands at *place* of *document*, as *model*, with unknown fields reported and left out;
    ``None`` when something else is wrong. *also* are further fields at the top of *model*, which others read. What is
    missing is no fault of data that are *partly* given."""
    try:
        return _without_truths(model.model_validate(data), data, place, document)
    except ValidationError as error:
        unknown = []
        found = error.errors(include_url=False)
        for fault in found:
            where = place_of(fault["loc"])
            if fault["type"] == "too_short" and any(
                len(one["loc"]) > len(where) and one["loc"][: len(where)] == where for one in found
            ):
                continue  # it is short only because its items are wrong, which is reported already
            of_a_map = isinstance(fault.get("input"), dict)
            if partly and (fault["type"] == "missing" or (of_a_map and fault["type"] in _WHOLE)):
                continue
            if fault["type"] == "extra_forbidden":
                unknown.append(where)
                document.fault((*place, *where), unknown_field(model, where, also))
            else:
                document.fault((*place, *where), sentence_of(fault["type"], fault["msg"], given_at(where, fault)))
        if len(unknown) < error.error_count():
            return None
    return _without_truths(model.model_validate(_without(data, unknown)), data, place, document)


def place_of(steps: Place) -> Place:
    """Return where a fault is in a file, of the *steps* that pydantic names."""
    return tuple(step for step in steps if step not in TAGS)


def _without_truths(made: Model, data: Any, place: Place, document: Document) -> Model | None:
    """Return *made* of *data*, unless true or false was taken for a number in it."""
    wrong = list(truths(data, made))
    for where, text in wrong:
        document.fault((*place, *where), text)
    return None if wrong else made


def truths(given: Any, made: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield each place where *given* says true or false, and a number was *made* of it, which nobody meant."""
    if isinstance(given, bool):
        if isinstance(made, int | float) and not isinstance(made, bool):
            yield place, "must be a number, found true or false; correct the value"
    elif isinstance(given, dict):
        for name, value in given.items():
            yield from truths(value, _entry(made, name), (*place, name))
    elif isinstance(given, list) and isinstance(made, tuple):
        for index, (value, entry) in enumerate(zip(given, made, strict=False)):
            yield from truths(value, entry, (*place, index))


def _entry(made: Any, name: str) -> Any:
    """Return what *made*, a model or a map, has for *name*."""
    if isinstance(made, BaseModel):
        fields = type(made).model_fields
        return next((getattr(made, field) for field, info in fields.items() if name in (field, info.alias)), None)
    return made.get(name) if isinstance(made, dict) else None


def _without(data: Any, places: list[Place]) -> Any:
    if not places:
        return data
    inner = {place[0] for place in places if len(place) > 1}
    gone = {place[0] for place in places if len(place) == 1}

    def below(key: str | int) -> list[Place]:
        return [place[1:] for place in places if place[0] == key and len(place) > 1]

    if isinstance(data, dict):
        return {key: _without(value, below(key)) if key in inner else value
                for key, value in data.items() if key not in gone}
    return [_without(value, below(index)) for index, value in enumerate(data)]


def unknown_field(model: type[BaseModel], where: Place, also: tuple[str, ...]) -> str:
    """Return the sentence for the unknown field of *model* at *where*; *also* are further fields at its top.

    A model says in ``FORMER_FIELDS`` how what was a field once is written now.
    """
    within = _model_at(model, where[:-1])
    former: Mapping[str, str] = getattr(within, "FORMER_FIELDS", {})
    if str(where[-1]) in former:
        return f"is the former spelling; {former[str(where[-1])]}"
    known = [*(info.alias or name for name, info in within.model_fields.items()), *(also if len(where) == 1 else ())]
    hint = did_you_mean(str(where[-1]), known)
    return f"unknown field; {hint}known are {', '.join(sorted(known))}"


def _model_at(model: type[BaseModel], where: Place) -> type[BaseModel]:
    for step in where:
        if isinstance(step, str) and (step_field := _field(model, step)) is not None:
            model = step_field
    return model


def _field(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    info = model.model_fields.get(name)
    candidates: list[Any] = [info.annotation] if info else []
    while candidates:
        candidate = candidates.pop()
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
        candidates.extend(get_args(candidate))
    return None


class Hidden:
    """Stands for a value that no message shows."""


def given_at(where: Place, fault: Mapping[str, Any]) -> Any:
    """Return the value that a *fault* of pydantic was found in; nothing of one that names a connection, because who
    writes a password there must not read it in a log."""
    if any(str(step).endswith("connection") for step in where):
        return Hidden()
    return None if fault["type"] == "missing" else fault.get("input")


def sentence_of(sort: str, message: str, given: Any) -> str:
    """Return pydantic's fault of *sort* as a sentence of ours; *given* is the value that was found."""
    if sort == "missing":
        return "is missing; add it"
    if sort in ("model_type", "dict_type"):
        return f"must be a mapping of fields, found {_sort_of(given)}; write 'field: value' lines below it"
    if sort in ("tuple_type", "list_type"):
        return f"must be a list, found {_sort_of(given)}; write '- value' lines below it"
    text = message.removeprefix("Value error, ")
    if sort == "value_error":
        return text
    shown = f", found {str(given)[:60]!r}" if isinstance(given, str | int | float | bool) or given is None else ""
    return f"{text[:1].lower()}{text[1:]}{shown}; correct the value"


def _sort_of(given: Any) -> str:
    names = {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "a list",
             dict: "a mapping", type(None): "nothing"}
    return next((name for sort, name in names.items() if isinstance(given, sort)), "something else")


def passwords(data: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield each text of a service file that has a password in an address, without saying it."""
    if isinstance(data, str) and _PASSWORD.search(data):
        yield place, ("has a password in an address; keep log-in and password in an Airflow connection, and write the "
                      "address without them")
    elif isinstance(data, dict):
        for name, value in data.items():
            yield from passwords(value, (*place, str(name)))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from passwords(value, (*place, index))
