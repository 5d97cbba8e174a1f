"""The trigger form -> a validated request for change. Knows the rules of requests, not risk, approval or Airflow.

Everything a person typed is treated as hostile until it passed here. Identifiers are of a strict ASCII pattern. Prose
may say anything in any language, ``{{ templates }}`` and ``<markup>`` too: it is never rendered, and whoever shows it
escapes it. It may only not hold what a reader cannot see, or what moves other text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from itertools import islice
from typing import Any, get_args
from unicodedata import normalize

from airlock.change.form import CHANGE_TYPES, FIELD_OF, FIELDS, QUESTIONS, FormField
from airlock.change.templates import template_of, variations
from airlock.errors import InvalidInput, PermanentError
from airlock.models import Category, Rfc
from airlock.plain_text import LOGIN_NAME, LOGIN_NAME_RULE, fault_in, visible_length
from airlock.service.find import ServiceEnvironment
from airlock.service.standard_changes import Varying

_SHOWN_UNKNOWN = 20
_MOST_LINES = 60
_ONE_LINE_UP_TO = 120
_YEARS = range(2000, 2200)
_PATIENCE = timedelta(minutes=5)
"""How long somebody may take to fill in the form, and clocks may differ."""


def rfc_from_form(
    form: Mapping[str, Any], requester: str | None, environment: ServiceEnvironment, asked_at: datetime | None = None
) -> Rfc:
    """Return the request for change that *form* asks for.

    :param form: values by field name (see ``airlock.change.form``); ``None`` and blank text mean "not given"
    :param requester: who triggered the run
    :param asked_at: when they did, if what they ask for may not lie before it
    :raises InvalidInput: every fault of the form at once, each with its field and what to do
    """
    faults: list[str] = []
    if not isinstance(form, Mapping):
        raise InvalidInput(f"the form must be a mapping of fields, found {type(form).__name__}; trigger the DAG again")
    faults.extend(_unknown(form))
    values = {field.name: _value(field, form.get(field.name), faults) for field in FIELDS}
    change_type = values["change_type"] or "normal"
    if change_type == "standard":
        _fill_from_template(values, environment, faults)
    elif change_type in CHANGE_TYPES and values["template"]:
        faults.append("template: belongs to a standard change only; empty it, or change the type")
    if change_type != "standard" and values["impact"]:
        values["impact"] = f"{values['impact']}: {values['impact_details'] or 'no details given'}"
    values["category"] = values["category"] or Category.APPLICATION
    for field in FIELDS:
        given = field.name in form and not _blank(form[field.name])
        if change_type in field.needed_for and values[field.name] is None and not given:
            faults.append(f"{field.name}: is missing, a {change_type} change needs it; {field.description}")
    if change_type != "emergency" and values["justification"] is not None:
        faults.append("justification: belongs to an emergency change only; empty it, or change the type")
    faults.extend(_requester(requester))
    start_after = _moment(values["start_after"], faults)
    if start_after is not None and asked_at is not None and start_after < asked_at - _PATIENCE:
        faults.append(f"start_after: {start_after:%Y-%m-%d %H:%M} UTC has passed; give a later moment, or leave it "
                      "empty to begin at once")
    if faults:
        raise InvalidInput(f"the request for {environment.service} in {environment.environment} is wrong: "
                           + " | ".join(faults))
    reason = str(values["reason"])
    if values["justification"]:
        reason = f"{reason}\nWhy it cannot wait: {values['justification']}"
    return Rfc(
        service=environment.service, environment=environment.environment, version=str(values["version"]),
        change_type=change_type, title=str(values["title"]), reason=reason, impact=str(values["impact"]),
        rollback_plan=str(values["rollback_plan"]), requester=str(requester), start_after=start_after,
        incident=values["incident"], category=Category(str(values["category"])), template=values["template"],
        answers={name: answer for name in QUESTIONS if (answer := values[name]) is not None}, ticket=values["ticket"],
        calendar_override=values["calendar_override"],
    )


def _unknown(form: Mapping[str, Any]) -> list[str]:
    faults = []
    for name in islice((str(name)[:40] for name in form if name not in FIELD_OF), _SHOWN_UNKNOWN):
        near = get_close_matches(name, FIELD_OF, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(FIELD_OF)}"
        faults.append(f"{_shown(name)[1:-1]}: unknown field; {hint}")
    return faults


def _blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _shown(text: str) -> str:
    return ascii(text[:40])


def _value(field: FormField, value: Any, faults: list[str]) -> str | None:
    if _blank(value):
        return None
    if not isinstance(value, str):
        faults.append(f"{field.name}: must be text, found {type(value).__name__}; write it in quotes")
        return None
    longest, shortest = field.schema.get("maxLength", 64), field.schema.get("minLength", 1)
    # Composed once, here: what is compared, counted and signed from now on is one spelling of the same text.
    text = value if len(value) > 4 * longest else _composed(value)
    if len(text) > longest:
        faults.append(f"{field.name}: has {len(text)} characters, at most {longest} are allowed; shorten it")
        return None
    what = fault_in(text)
    if what:
        faults.append(f"{field.name}: contains {what}; write plain text")
    elif longest <= _ONE_LINE_UP_TO and ("\n" in text or "\t" in text):
        faults.append(f"{field.name}: must be one line; remove line breaks and tabs")
    elif text.count("\n") >= _MOST_LINES:
        faults.append(f"{field.name}: has more than {_MOST_LINES} lines; shorten it")
    elif visible_length(text) < shortest:
        faults.append(f"{field.name}: has {visible_length(text)} visible characters, at least {shortest} are needed; "
                      f"{field.description}")
    elif "enum" in field.schema and text not in field.schema["enum"]:
        faults.append(f"{field.name}: {_shown(text)} is not one of {', '.join(field.schema['enum'])}; choose one")
    elif "pattern" in field.schema and (not re.fullmatch(field.schema["pattern"], text) or ".." in text):
        faults.append(f"{field.name}: {_shown(text)} is not allowed; {field.description}")
    else:
        return text
    return None


def _composed(value: str) -> str:
    return normalize("NFC", value.replace("\r\n", "\n").replace("\r", "\n").strip())


def _fill_from_template(values: dict[str, str | None], environment: ServiceEnvironment, faults: list[str]) -> None:
    try:
        values["template"], template = template_of(environment, values["template"])
    except PermanentError as error:
        faults.append(f"template: {error}")
        return
    for name in ("impact", "impact_details", "rollback_plan", *QUESTIONS):
        if values[name] is not None and values[name] != getattr(template, name, None):
            faults.append(f"{name}: a standard change uses the words of its template; empty it, "
                          "or ask for a normal change")
    faults.extend(variations(template, {name: values[name] for name in get_args(Varying)}))
    values["category"] = values["category"] or template.categories[0]
    if values["category"] not in template.categories:
        faults.append(f"category: the template {values['template']!r} is for {', '.join(template.categories)}; choose "
                      "one of these, or ask for a normal change")
    values["impact"], values["rollback_plan"] = template.impact, template.rollback_plan
    values["title"] = values["title"] or template.title
    values["reason"] = values["reason"] or template.reason


def _requester(requester: str | None) -> list[str]:
    if not isinstance(requester, str) or not requester.strip():
        return ["requester: nobody is known to have asked for this; trigger the run as a logged-in person"]
    if not LOGIN_NAME.fullmatch(requester):
        return [f"requester: {_shown(requester)} is no log-in name ({LOGIN_NAME_RULE}), so it could pass for that of "
                "another; trigger the run as a person with such a name"]
    return []


def _moment(text: str | None, faults: list[str]) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        # In UTC from now on, and far from the ends of the calendar, where arithmetic overflows.
        known = moment.astimezone(UTC) if moment.tzinfo is not None and moment.year in _YEARS else None
    except (ValueError, OverflowError):
        known = None
    if known is None:
        faults.append(f"start_after: {_shown(text)} is no moment from {_YEARS[0]} to {_YEARS[-1]}; write date, time "
                      "and offset such as 2026-11-24T20:00:00+01:00")
    return known
