"""The trigger form as data: sections, fields and JSON schemas. One source for Airflow's form, rules and documents.

Knows no Airflow; must not know whether a request is good, only how it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airlock.models import Category
from airlock.service.values import CHANGE_TYPES as CHANGE_TYPES  # noqa: PLC0414 - part of the form

WHAT = "What"
WHY = "Why and risk"
BACK = "Way back"
WHEN = "When"
SECTIONS = (WHAT, WHY, BACK, WHEN)
QUESTIONS = {
    "users": ("nobody", "some", "many", "everyone"),
    "tested": ("production_like", "elsewhere", "not_tested"),
    "done_before": ("often", "rarely", "never"),
    "downtime": ("none", "short", "long"),
}
"""The risk questions of the form, by field, each with its answers. What an answer weighs stands in the risk policy."""
IMPACTS = ("low", "medium", "high")
_ALL = ("standard", "normal", "emergency")
_WRITTEN = ("normal", "emergency")
_MANY_LINES_FROM = 2000


@dataclass(frozen=True)
class FormField:
    """One field. ``needed_for``: the change types that must fill it in; ``schema``: JSON schema without the type null.

    ``default`` is what the form shows first; ``None`` is an empty field.
    """

    name: str
    section: str
    title: str
    description: str
    schema: dict[str, Any]
    needed_for: tuple[str, ...] = ()
    default: Any = None

    def json_schema(self, optional: bool = False) -> dict[str, Any]:
        """Return the schema of the field; it allows null unless every change type needs it and it is not *optional*."""
        schema = dict(self.schema)
        if optional or set(self.needed_for) != set(_ALL):
            schema["type"] = ["null", schema["type"]]
            if "enum" in schema:
                schema["enum"] = [None, *schema["enum"]]
        return schema


def _text(longest: int, shortest: int = 1, **more: Any) -> dict[str, Any]:
    lines = {"format": "multiline"} if longest >= _MANY_LINES_FROM else {}
    return {"type": "string", "minLength": shortest, "maxLength": longest, **lines, **more}


def _question(name: str, title: str, description: str) -> FormField:
    return FormField(name, WHY, title, f"{description} Counts as the worst answer when it is left empty.",
                     {"type": "string", "enum": list(QUESTIONS[name])})


FIELDS: tuple[FormField, ...] = (
    FormField("version", WHAT, "Version", "The version to release, exactly as its artifact is named, for example 1.1.",
              _text(64, pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$"), _ALL),
    FormField("change_type", WHAT, "Type of change",
              "Normal: people approve it. Standard: pre-approved template of this environment. "
              "Emergency: an incident is open; same gates, fewer people, and they approve it once more afterwards.",
              {"type": "string", "enum": list(CHANGE_TYPES)}, _ALL, "normal"),
    FormField("template", WHAT, "Template",
              "Standard change only: the name of its template; may stay empty where the environment has one.",
              _text(63, pattern=r"^[a-z][a-z0-9_-]{0,62}$")),
    FormField("category", WHAT, "Category", "What the change touches.",
              {"type": "string", "enum": [category.value for category in Category]}, _ALL,
              Category.APPLICATION.value),
    FormField("title", WHAT, "Title", "One line that approvers and auditors will read first.", _text(120, 5), _WRITTEN),
    FormField("reason", WHY, "Reason", "Why this change is made, and who needs it.", _text(2000, 5), _WRITTEN),
    FormField("impact", WHY, "Impact", "What users would notice if it goes wrong.",
              {"type": "string", "enum": list(IMPACTS)}, _WRITTEN),
    FormField("impact_details", WHY, "Impact in words", "Who would notice what, and for how long.", _text(2000)),
    _question("users", "Users affected", "How many would notice if it goes wrong."),
    _question("tested", "Tested", "Whether it was tested in an environment like production."),
    _question("done_before", "Done before", "How often a change like this was made here before."),
    _question("downtime", "Downtime", "Whether the change itself interrupts the service, and for how long."),
    FormField("incident", WHY, "Incident", "The incident that an emergency change mends, for example INC-1042.",
              _text(64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{1,63}$"), ("emergency",)),
    FormField("justification", WHY, "Why it cannot wait", "Emergency only: why a normal change would be too late.",
              _text(2000, 5), ("emergency",)),
    FormField("ticket", WHY, "Ticket",
              "The change ticket that this comes from, for example CHG-42: what is empty here is taken from it.",
              _text(64, pattern=r"^[A-Z][A-Z0-9_]{1,15}-?[0-9]{1,12}$")),
    FormField("rollback_plan", BACK, "Rollback plan", "How the service comes back if the release fails, data included.",
              _text(4000, 10), _WRITTEN),
    FormField("start_after", WHEN, "Not before", "Earliest moment of the first change; empty means at once.",
              {"type": "string", "format": "date-time"}),
    FormField("calendar_override", WHEN, "Act although the calendar is closed",
              "Why it cannot wait until the calendar opens. What closes it at the time of the request is put to "
              "further approvers, and does not stop the release if they agree. Empty: it waits.", _text(2000, 10)),
)
FIELD_OF = {field.name: field for field in FIELDS}
