"""The trigger form: the fields that ``change.form`` declares, as Airflow params. Holds no rule of its own."""

from __future__ import annotations

from airflow.sdk import Param

from airlock.change.form import FIELDS


def form_params() -> dict[str, Param]:
    """Return the params of a release DAG, in the order of the form."""
    return {
        field.name: Param(
            default=field.default,
            title=field.title,
            description_md=field.description,
            section=field.section,
            **field.schema,
        )
        for field in FIELDS
    }
