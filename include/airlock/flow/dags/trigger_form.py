"""The trigger form: the fields that ``change.form`` declares, as Airflow params. Holds no rule of its own."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param

from airlock.change.form import CHANGE_TYPES, FIELD_OF, FIELDS, FormField

NOT_CHOSEN = "(not chosen)"


def rollback_params() -> dict[str, Param]:
    """Return the params of a rollback DAG: why, and for which incident. What is returned to is read, not asked."""
    params = {}
    for name in ("reason", "incident"):
        field = FIELD_OF[name]
        schema = {**field.schema, "type": ["null", "string"]} if name == "incident" else dict(field.schema)
        params[name] = Param(title=field.title, description_md=field.description, **schema,
                             **({"default": None} if name == "incident" else {}))
    return params


def form_params(scheduled: bool) -> dict[str, Param]:
    """Return the params of a release DAG, in the order of the form.

    A *scheduled* DAG starts runs without a form, so each of its fields may be empty; the rules still refuse a person's
    run whose form lacks something.
    """
    params: dict[str, Param] = {}
    for field in FIELDS:
        schema = _shown(field, scheduled)
        # Airflow shows what is in no section first, and open; all other sections are closed.
        if "normal" not in field.needed_for:
            schema["section"] = field.section
        params[field.name] = Param(title=field.title, description_md=_description(field), **schema)
    return params


def _shown(field: FormField, scheduled: bool) -> dict[str, Any]:
    """Return schema and default of *field*. What is not chosen is an empty text: Airflow would offer the word null."""
    schema: dict[str, Any] = field.json_schema(optional=scheduled)
    if field.default is not None or "null" in schema["type"]:
        schema["default"] = field.default
    if None in schema.get("enum", ()):
        choices = [one for one in schema["enum"] if one is not None]
        if field.default is not None:
            return {**schema, "enum": choices}
        return {**schema, "enum": ["", *choices], "default": "", "values_display": {"": NOT_CHOSEN}}
    return schema


def _description(field: FormField) -> str:
    needed = [one for one in CHANGE_TYPES if one in field.needed_for]
    if not needed or len(needed) == len(CHANGE_TYPES):
        return field.description
    return f"{field.description} *Needed for a change of type {' or '.join(needed)}.*"
