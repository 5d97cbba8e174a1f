"""The trigger form: the fields that ``change.form`` declares, as Airflow params. Holds no rule of its own."""

from __future__ import annotations

from airflow.sdk import Param

from airlock.change.form import CHANGE_TYPES, FIELD_OF, FIELDS, FormField


def rollback_params() -> dict[str, Param]:
    """Return the params of a rollback DAG: why, and for which incident. What is returned to is read, not asked."""
    params = {}
    for name in ("reason", "incident"):
        field = FIELD_OF[name]
        schema = {**field.schema, "type": ["null", "string"]} if name == "incident" else dict(field.schema)
        params[name] = Param(title=field.title, description_md=field.description, section=field.section, **schema,
                             **({"default": None} if name == "incident" else {}))
    return params


def form_params(scheduled: bool) -> dict[str, Param]:
    """Return the params of a release DAG, in the order of the form.

    A *scheduled* DAG starts runs without a form, so each of its fields may be empty; the rules still refuse a person's
    run whose form lacks something.
    """
    params: dict[str, Param] = {}
    for field in FIELDS:
        schema = field.json_schema(optional=scheduled)
        empty = {} if field.default is None and "null" not in schema["type"] else {"default": field.default}
        params[field.name] = Param(
            **empty, title=field.title, description_md=_description(field), section=field.section, **schema
        )
    return params


def _description(field: FormField) -> str:
    needed = [one for one in CHANGE_TYPES if one in field.needed_for]
    if not needed or len(needed) == len(CHANGE_TYPES):
        return field.description
    return f"{field.description} *Needed for a change of type {' or '.join(needed)}.*"
