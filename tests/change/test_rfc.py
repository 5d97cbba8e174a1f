from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.change.form import FIELDS, SECTIONS
from airlock.change.rfc import rfc_from_form
from airlock.errors import AirlockError, InvalidInput
from airlock.models import Rfc
from tests.service_data import environment

FORM = {
    "version": "1.1",
    "change_type": "normal",
    "title": "Better coffee",
    "reason": "Guests asked for it.",
    "impact": "low",
    "impact_details": "Nobody waits.",
    "rollback_plan": "All traffic goes back to 1.0.",
    "start_after": None,
    "incident": None,
    "justification": "",
}


@pytest.fixture(scope="module")
def cafe(tmp_path_factory):
    return environment(tmp_path_factory.mktemp("cafe"))


def refusal(form, cafe, requester="rita"):
    with pytest.raises(InvalidInput) as caught:
        rfc_from_form(form, requester, cafe)
    return str(caught.value)


def test_a_whole_form_becomes_a_request(cafe):
    rfc = rfc_from_form({**FORM, "start_after": "2026-11-24T20:00:00+01:00"}, "rita", cafe)
    assert (rfc.service, rfc.environment, rfc.version, rfc.requester) == ("cafe", "live", "1.1", "rita")
    assert rfc.impact == "low: Nobody waits."
    assert rfc.start_after == datetime(2026, 11, 24, 19, tzinfo=UTC)


@pytest.mark.parametrize("name", ["version", "title", "reason", "impact", "rollback_plan"])
@pytest.mark.parametrize("empty", [None, "", "  \n"])
def test_a_normal_change_needs_its_fields(cafe, name, empty):
    assert f"{name}: is missing" in refusal({**FORM, name: empty}, cafe)


def test_all_faults_come_at_once(cafe):
    text = refusal({"version": "../../etc/passwd", "change_type": "emergency", "titel": "x"}, cafe, requester=" ")
    for part in (
        "version: contains a path",
        "titel: unknown field; did you mean 'title'",
        "title: is missing",
        "rollback_plan: is missing",
        "incident: is missing",
        "justification: is missing",
        "requester:",
    ):
        assert part in text


@pytest.mark.parametrize("name", ["title", "reason", "impact_details", "rollback_plan"])
@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("see {{ conn.x }} here", "template text"),
        ("see {% if x %} here", "template text"),
        ("costs ${HOME} a day", "template"),
        ("read ../../etc/passwd", "parent folder"),
        ("bell \x07 rings", "control character"),
        ("turned \u202e round", "invisible"),
        ("click <script>alert(1)</script>", "HTML tag"),
        ("[approve](http://x) me", "markdown"),
        ("![x](y) is here", "markdown"),
        ("x" * 1_048_576, "at most"),
    ],
)
def test_hostile_text_is_refused_in_every_text_field(cafe, name, text, what):
    message = refusal({**FORM, name: text}, cafe)
    assert f"{name}: " in message and what in message and len(message) < 500


@pytest.mark.parametrize(
    "version", ["../1.0", "1/2", "-1", "a b", "1..2", "{{ds}}", "1.0\n", "v" * 65, "1.0;rm", "$(id)"]
)
def test_versions_cannot_be_paths_or_commands(cafe, version):
    if version == "1.0\n":
        assert rfc_from_form({**FORM, "version": version}, "rita", cafe).version == "1.0"
    else:
        assert "version: " in refusal({**FORM, "version": version}, cafe)


def test_an_emergency_needs_an_incident_and_a_justification(cafe):
    form = {**FORM, "change_type": "emergency"}
    assert "incident: is missing" in refusal(form, cafe)
    rfc = rfc_from_form({**form, "incident": "INC-7", "justification": "Guests are waiting."}, "rita", cafe)
    assert rfc.incident == "INC-7" and "Guests are waiting." in rfc.reason
    assert "belongs to an emergency" in refusal({**FORM, "justification": "Because I say so."}, cafe)


def test_a_standard_change_takes_the_words_of_its_template(cafe, tmp_path):
    rfc = rfc_from_form({"version": "1.1", "change_type": "standard"}, "rita", cafe)
    assert (rfc.title, rfc.rollback_plan) == ("Regular release", "All traffic goes back.")
    assert "uses the words of its template" in refusal(
        {"version": "1.1", "change_type": "standard", "rollback_plan": "We do not need one."}, cafe
    )
    start = "    standard_change:\n"
    from tests.service_data import TEXT

    block = TEXT[TEXT.index(start) : TEXT.index("    artifacts:")]
    assert "has no standard_change template" in refusal(
        {"version": "1.1", "change_type": "standard"}, environment(tmp_path, (block, ""))
    )


@pytest.mark.parametrize("moment", ["tomorrow", "2026-11-24T20:00:00", "2026-13-01T00:00:00Z"])
def test_start_after_needs_a_date_with_its_offset(cafe, moment):
    assert "start_after: " in refusal({**FORM, "start_after": moment}, cafe)


values = st.one_of(
    st.none(),
    st.text(max_size=40),
    st.integers(),
    st.lists(st.text(max_size=3), max_size=2),
    st.sampled_from(["normal", "standard", "emergency", "1.1", "low", "INC-1", "2026-01-01T00:00:00Z"]),
)


@settings(max_examples=300, deadline=None)
@given(
    form=st.dictionaries(st.sampled_from([field.name for field in FIELDS]) | st.text(max_size=5), values),
    requester=st.none() | st.text(max_size=10),
)
def test_any_form_ends_in_a_request_or_an_error_of_airlock(cafe, form, requester):
    try:
        rfc = rfc_from_form(form, requester, cafe)
    except AirlockError as error:
        assert str(error)
    else:
        assert Rfc.model_validate_json(rfc.model_dump_json()) == rfc


def test_the_form_is_valid_json_schema_and_sorted_by_section():
    import jsonschema

    order = [SECTIONS.index(field.section) for field in FIELDS]
    assert order == sorted(order)
    for field in FIELDS:
        schema = field.json_schema()
        jsonschema.Draft7Validator.check_schema(schema)
        if field.default is not None:
            jsonschema.validate(field.default, schema)
        jsonschema.validate(None, field.json_schema(optional=True))
