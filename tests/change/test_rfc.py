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
        "version: '../../etc/passwd' is not allowed",
        "titel: unknown field; did you mean 'title'",
        "title: is missing",
        "rollback_plan: is missing",
        "incident: is missing",
        "justification: is missing",
        "requester:",
    ):
        assert part in text


PROSE = ["title", "reason", "impact_details", "rollback_plan"]


@pytest.mark.parametrize("name", PROSE)
@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("bell \x07 rings", "control character"),
        ("nul \x00 byte", "control character"),
        ("escape \x1b[2J clears", "control character"),
        ("a half \ud800 of a pair", "control character"),
        ("turned \u202e round", "invisible"),
        ("isolated \u2067 here", "invisible"),
        ("zero\u200bwidth space", "invisible"),
        ("soft\u00adhyphen in it", "invisible"),
        ("two \u2028 lines", "invisible"),
        ("a \u3164 filler of Hangul", "invisible"),
        ("smuggled \U000e0041\U000e0042 tags", "invisible"),
        ("no meaning \ue000 at all", "without a meaning"),
        ("z" + "\u0335" * 40 + "algo text", "tower of accents"),
        ("x" * 1_048_576, "at most"),
        ("\u200d" * 12, "visible characters"),
    ],
)
def test_what_a_reader_cannot_see_is_refused_in_every_text_field(cafe, name, text, what):
    message = refusal({**FORM, name: text}, cafe)
    if name == "impact_details" and what == "visible characters":
        assert message
        return
    assert f"{name}: " in message and what in message and len(message) < 500


@pytest.mark.parametrize("name", PROSE)
@pytest.mark.parametrize(
    "text",
    [
        "Größere Tassen für alle 🎉👨‍👩‍👧 🏴󠁧󠁢󠁷󠁬󠁳󠁿",
        "修复结账页面的错误，请批准",
        "إصلاح خطأ في صفحة الدفع",
        "می‌خواهیم این را تغییر دهیم",
        "แก้ไขข้อผิดพลาดในหน้าชำระเงิน",
        "see {{ conn.x.password }} and {% raw %} here",
        "costs ${HOME} or ${AIRLOCK_HOME} %(x)s {version} {0.__class__} a day",
        "read ../../etc/passwd or %2e%2e/x",
        "p95 <b>below</b> 100 ms & more",
        "[approve](http://x) ![me](y) `now`",
    ],
)
def test_prose_of_any_language_and_any_marks_stays_as_it_was_written(cafe, name, text):
    rfc = rfc_from_form({**FORM, name: text}, "rita", cafe)
    assert text in (rfc.title, rfc.reason, rfc.rollback_plan, rfc.impact.removeprefix("low: "))


def test_one_spelling_of_a_text_is_kept(cafe):
    decomposed = rfc_from_form({**FORM, "title": "Cafe\u0301 opens"}, "rita", cafe)
    composed = rfc_from_form({**FORM, "title": "Caf\u00e9 opens"}, "rita", cafe)
    assert decomposed == composed and decomposed.title == "Caf\u00e9 opens"
    assert rfc_from_form({**FORM, "reason": "one\r\ntwo\rthree"}, "rita", cafe).reason == "one\ntwo\nthree"


@pytest.mark.parametrize("text", ["two\nlines here", "two\rlines here", "a\ttab is here"])
def test_a_title_is_one_line(cafe, text):
    assert "title: must be one line" in refusal({**FORM, "title": text}, cafe)


def test_a_thousand_lines_are_too_many(cafe):
    assert "rollback_plan: has more than 60 lines" in refusal({**FORM, "rollback_plan": "x\n" * 1000 + "y"}, cafe)


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("name", [field.name for field in FIELDS])
@pytest.mark.parametrize(
    ("value", "what"),
    [
        (10**4000, "int"),
        (float("nan"), "float"),
        (1.1, "float"),
        (True, "bool"),
        ({"a": 1}, "dict"),
        (deep(10_000), "list"),
        (b"1.1", "bytes"),
    ],
    ids=["huge number", "nan", "number", "truth", "object", "nested", "bytes"],
)
def test_what_is_no_text_is_named_by_its_type(cafe, name, value, what):
    message = refusal({**FORM, name: value}, cafe)
    assert f"{name}: must be text, found {what}" in message and len(message) < 500


def test_a_hundred_thousand_unknown_fields_give_a_short_answer(cafe):
    message = refusal({**FORM, **{f"{number}{'x' * 1000}": 1 for number in range(100_000)}}, cafe)
    assert message.count("unknown field") == 20 and len(message) < 8000
    assert "\\x1b" in refusal({**FORM, "\x1b[2J": 1}, cafe)


@pytest.mark.parametrize(
    "requester",
    ["\u043ewner", "owner\u200b", "\uff4fwner", "ow ner", "owner\n", "{{ conn.x }}", "<b>", "ow\u0435r", "o" * 129, ""],
)
def test_a_requester_whose_name_could_pass_for_another_is_refused(cafe, requester):
    assert "requester: " in refusal(FORM, cafe, requester)


@pytest.mark.parametrize("requester", ["rita", "Rita.R@example.org", "auth0|5f7c", "CORP\\rita", "42", "rita-2+ops"])
def test_ordinary_log_in_names_are_fine(cafe, requester):
    assert rfc_from_form(FORM, requester, cafe).requester == requester


@pytest.mark.parametrize(
    "version",
    [
        "../1.0",
        "/etc/passwd",
        "1/2",
        "1\\2",
        "%2e%2e%2f1",
        "-1",
        "a b",
        "1..2",
        "{{ds}}",
        "{version}",
        "1.0\n",
        "v" * 65,
        "1.0;rm",
        "$(id)",
        "1.0\x00",
        "\uff11.0",
        "\u0661.1",
        "1.0\u200b",
        "\u202e1.0",
        "\ud800",
        "1\n2",
    ],
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
    start = "    standard_changes:\n"
    from tests.service_data import TEXT

    block = TEXT[TEXT.index(start) : TEXT.index("    artifact:")]
    assert "has no template of standard changes" in refusal(
        {"version": "1.1", "change_type": "standard"}, environment(tmp_path, (block, ""))
    )


@pytest.mark.parametrize(
    "moment",
    [
        "tomorrow",
        "2026-11-24T20:00:00",
        "2026-13-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+14:00",
        "1e9",
        "\uff12026-01-01T00:00:00Z",
    ],
)
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
