from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.errors import AirlockError, InvalidInput, UnknownName
from airlock.models import Kind
from airlock.service import file as service_file
from airlock.service.find import find, load_services, read_services
from airlock.service.reading import load_file
from tests.service_data import TEXT, environment, write


def faults_of(folder: Path, text: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        load_services(write(folder, text).parent)
    return str(caught.value).splitlines()


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), start=1) if part in line)


def test_a_right_file_gives_one_frozen_environment(tmp_path):
    cafe = environment(tmp_path)
    assert (cafe.service, cafe.environment, cafe.tier, cafe.owner) == ("cafe", "live", 2, "cafe-team")
    assert cafe.groups["board"] == ("bert", "cleo", "olga")
    assert cafe.cycle.cron is None and cafe.production is False
    assert cafe.resources[0].kind is Kind.CONFIGURATION
    assert cafe.ledger == f"{tmp_path}/ledger"
    with pytest.raises(ValueError, match="frozen"):
        cafe.tier = 1


def test_the_shipped_file_is_right_and_production_has_all_ten_kinds(monkeypatch):
    from sandbox.layout import OFFSETS

    monkeypatch.setenv("AIRLOCK_HOME", "/srv/airlock")
    monkeypatch.setenv("AIRLOCK_HOSTED_ZONE", "Z1")
    for number, name in enumerate(OFFSETS):
        monkeypatch.setenv(f"AIRLOCK_{name.upper()}_PORT", str(28000 + number))
    folder = Path(__file__).resolve().parents[2] / "include" / "services"
    prod, staging = load_services(folder)
    assert (prod.environment, staging.environment) == ("prod", "staging")
    assert {resource.kind for resource in prod.resources} == set(Kind)
    assert {resource.kind for resource in staging.resources} | set(staging.without_kinds) == set(Kind)
    assert prod.after == "staging" and prod.production and not staging.production
    assert prod.artifact.options["path"] == "/srv/airlock/sandbox/artifacts/shop-{version}.pyz"


WRONG = [
    ("tier: 2", "tier: 9", "tier: 9", "tier: input should be less than or equal to 4, found '9'"),
    ("owner: cafe-team", "ower: cafe-team", "ower", "ower: unknown field; did you mean 'owner'?"),
    (
        "driver: env_file",
        "driver: env_fil",
        "env_fil",
        "resources.0.driver: unknown driver 'env_fil'; did you mean 'env_file'",
    ),
    (
        "kind: configuration",
        "kind: storage",
        "kind: storage",
        "driver 'env_file' is of kind 'configuration', not 'storage'",
    ),
    ("target: {name: supervisord}", "target: {name: supervisor}", "supervisor",
     "unknown target 'supervisor'; did you mean 'supervisord'"),
    ("target: {name: supervisord}", "target: {name: envoy}", "target: {name: envoy}",
     "target 'envoy' is no more; write target: {name: supervisord, ...} with the slots, and router: {name: envoy"),
    ("router: {name: envoy}", "router: {name: envoi}", "envoi", "unknown router 'envoi'; did you mean 'envoy'"),
    ("metrics: {name: envoy}", "metrics: {name: prom}", "prom", "unknown metric source 'prom'"),
    ("low: {service_owner: 1}", "low: {}", "low: {}", "approvals.low: dictionary should have at least 1 item"),
    (
        "low: {service_owner: 1}",
        "low: {service_ownr: 1}",
        "ownr",
        "unknown group 'service_ownr'; did you mean 'service_owner'",
    ),
    ("low: {service_owner: 1}", "low: {service_owner: 2}", "owner: 2", "wants 2 of 1 member(s)"),
    ("low: {service_owner: 1}", "low: {service_owner: 0}", "owner: 0", "greater than or equal to 1"),
    (
        "service_owner: [olga]",
        "service_owner: []",
        "owner: []",
        "groups.service_owner: tuple should have at least 1 item",
    ),
    ("Europe/Berlin", "Europe/Berlln", "Berlln", "unknown time zone 'Europe/Berlln'"),
    ("days: [mon, tue]", "days: [mon, tuesday]", "tuesday", "unknown day 'tuesday'; did you mean 'tue'"),
    ('from: "09:00"', 'from: "9:00"', '"9:00"', "'9:00' is no time of day"),
    ('to: "17:00"', 'to: "09:00"', '"09:00", to', "has no length"),
    ("  live:\n", "  live:\n    cycle: {cron: 0 6 * *}\n", "cron", "is no cron line"),
    ("  live:\n", "  live:\n    cycle: {cron: 0 6 * * 2}\n", "cron", "add after"),
    ("  live:\n", "  live:\n    after: test\n", "after", "unknown environment 'test'; declared are live"),
    ("  live:\n", "  live:\n    after: live\n", "after", "would come after itself"),
    ("  live:\n", "  live:\n    production: true\n", "resources:", "no resource of kind 'databases'"),
    (
        "  live:\n",
        "  live:\n    without_kinds: {configuration: there is none at all}\n",
        "without_kinds",
        "remove one of the two",
    ),
    (
        "artifact: {name: file, options: {path:",
        "artifacts: {path: {path:",
        "artifacts:",
        "artifacts: is the former spelling; write artifact: {name: file, options: {path: ...}}",
    ),
    ("artifact: {name: file", "artifact: {name: flie", "name: flie", "did you mean 'file'?"),
    *(
        ("    calendar:", f"    tickets: {{{block}}}\n    calendar:", "tickets:", sentence)
        for block, sentence in (
            ("name: jirra, connection: c", "unknown ticket system 'jirra'; did you mean 'jira'?"),
            ("name: jira, connection: c, decides_approval: true", "is empty although approval is decided in tickets"),
            ("name: jira, connection: c, people: {acc: 'о l'}", "is no log-in name"),
            ("name: jira, connection: c, fields: {title: 'a b'}", "tickets.fields.title"),
            ("name: jira, connection: c, look_every_seconds: 0", "tickets.look_every_seconds"),
            ("name: jira, conection: c", "did you mean 'connection'?"),
            ("system: jira, connection: c", "tickets.system: is the former spelling; write name"),
        )
    ),
    (
        "percent: 10, observe_seconds: 1}",
        "percent: 10, observe_seconds: 1}, {percent: 5, observe_seconds: 1}",
        "percent",
        "percents must rise, found [10, 5]",
    ),
    ("FOLDER/ledger", "${AIRLOCK_NO_SUCH}/ledger", "NO_SUCH", "environment variable AIRLOCK_NO_SUCH is not set"),
    ("FOLDER/ledger", "${HOME}/ledger", "HOME", "only ${AIRLOCK_NAME}, ${service} and ${environment} are"),
    (
        "  live:\n",
        "  live:\n    migrations: {resource: cafe_db, connection: c}\n",
        "migrations: {",
        "unknown resource 'cafe_db': what is migrated must be backed up",
    ),
    (
        "  live:\n",
        "  live:\n    migrations: {resource: settings, connection: c}\n",
        "migrations: {",
        "has driver 'env_file'; migrations can be run on resources of driver postgres",
    ),
    (
        "  live:\n",
        "  live:\n    migrations: {resource: settings, connection: c, folder: ../up}\n",
        "migrations: {",
        "should match pattern",
    ),
    *(
        ("timezone: Europe/Berlin", f"freezes: [{{name: a, from: {one}, to: 2026-12-24}}]", "freezes",
         "calendar.freezes.0.from: is no day or moment; write such as 2026-12-20 or 2026-12-20T06:00")
        for one in ("20261220", '"20261220"', "-1", "1.5", "true", "[a]", "December", '"1766188800"')
    ),
    *(
        ("timezone: Europe/Berlin", f"blackout_dates: [{{date: {one}, name: a}}]", "blackout",
         "calendar.blackout_dates.0.date: is no day; write such as 2026-12-20")
        for one in ("20261220", "86400", '"86400"', "true", "2026-12-24T06:00")
    ),
    ("  live:\n", "  live:\n    cycle: {bi-weekly: {day: tue, time: '06:00', anchor: 86400}}\n", "bi-weekly",
     "cycle.bi-weekly.anchor: is no day; write such as 2026-12-20"),
    ("maximum_risk: 60", "maximum_risk: 60\n        valid_until: 86400", "valid_until",
     "standard_changes.regular.valid_until: is no day; write such as 2026-12-20"),
    ("maximum_risk: 60", "maximum_risk: true", "maximum_risk", "maximum_risk: must be a number, found true or false"),
    ("low: {service_owner: 1}", "low: {service_owner: true}", "true}", "low.service_owner: must be a number, found"),
    ("observe_seconds: 1", "observe_seconds: true", "observe_", "steps.0.observe_seconds: must be a number, found"),
    ("timezone: Europe/Berlin", "override_by: {service_owner: 5}", "override_by",
     "calendar.override_by.service_owner: wants 5 of 1 member(s)"),
    ("timezone: Europe/Berlin", "override_by: {bord: 1}", "override_by",
     "calendar.override_by.bord: unknown group 'bord'; did you mean 'board'?"),
    ("board: [bert, cleo, olga]", "board: bert", "board: bert",
     "groups.board: must be a list, found a text; write '- "),
    ("low: {service_owner: 1}", "low: [service_owner]", "low: [", "must be a mapping of fields, found a list; write"),
    ("tier: 2", "tier: 2\ntier: 3", "tier: 3", "tier: is given twice, first on line 4"),
    ("tier: 2", "tier: !!python/name:os.system 2", "python", "is not allowed; remove it"),
    ("{path: FOLDER/.env}", "{path: [unclosed}", "unclosed", "is not valid YAML"),
]


@pytest.mark.parametrize(("old", "new", "line", "sentence"), WRONG, ids=[row[3][:40] for row in WRONG])
def test_each_fault_is_named_with_its_file_and_line(tmp_path, old, new, line, sentence):
    text = TEXT.replace(old, new, 1)
    faults = faults_of(tmp_path, text)
    named = [fault for fault in faults if sentence in fault]
    assert named, faults
    assert named[0].startswith(f"{tmp_path}/services/cafe.yaml:{line_of(text, line)}: ")


def test_all_faults_of_all_files_come_at_once(tmp_path):
    write(tmp_path, TEXT.replace("tier: 2", "tier: 7").replace("name: envoy", "name: envoi", 1))
    write(
        tmp_path,
        TEXT.replace("service: cafe", "service: bar").replace("driver: env_file", "driver: nothing"),
        "bar.yaml",
    )
    with pytest.raises(InvalidInput) as caught:
        load_services(tmp_path / "services")
    text = str(caught.value)
    assert "bar.yaml" in text and "cafe.yaml" in text
    assert "tier" in text and "envoi" in text and "nothing" in text


def test_typos_and_rules_are_reported_together(tmp_path):
    faults = faults_of(
        tmp_path,
        TEXT.replace("key_connection: key", "key_connection: key, replika: there")
        .replace("low: {service_owner: 1}", "low: {nobody: 1}"),
    )
    assert any("did you mean 'replica'" in fault for fault in faults)
    assert any("unknown group 'nobody'" in fault for fault in faults)


def test_production_may_say_why_a_kind_is_absent(tmp_path):
    reasons = "\n".join(f"      {kind}: there is none of these here" for kind in Kind if kind != "configuration")
    cafe = environment(tmp_path, ("  live:\n", f"  live:\n    production: true\n    without_kinds:\n{reasons}\n"))
    assert len(cafe.without_kinds) == 9


def test_environment_variables_are_expanded_and_can_be_escaped(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRLOCK_PLACE", "/srv/x")
    cafe = environment(
        tmp_path,
        ("ledger: FOLDER/ledger", "ledger: ${AIRLOCK_PLACE}/ledger"),
        ("description: A coffee house.", "description: costs $${5}"),
    )
    assert cafe.ledger == "/srv/x/ledger"
    assert cafe.description == "costs ${5}"


def test_one_service_in_two_files_is_refused(tmp_path):
    write(tmp_path, name="a.yaml")
    write(tmp_path, name="b.yaml")
    with pytest.raises(InvalidInput, match=r"b\.yaml:1: service: 'cafe' is declared in .*a\.yaml too"):
        load_services(tmp_path / "services")
    with pytest.raises(InvalidInput, match="rename or remove one"):
        find(tmp_path / "services", "cafe", "live")


@pytest.mark.parametrize("line", ["service: cafe", '"service": cafe', "service:   'cafe'", 'service: "c\\x61fe"',
                                  "service: ${AIRLOCK_NAME}", "service: &name cafe", "service: >-\n  cafe"])
def test_one_service_alone_is_loaded_however_its_name_is_written(tmp_path, monkeypatch, line):
    monkeypatch.setenv("AIRLOCK_NAME", "cafe")
    write(tmp_path, TEXT.replace("service: cafe", line), name="own.yaml")
    (tmp_path / "services" / "other.yaml").write_text("nothing: of a service")
    folder = tmp_path / "services"
    assert {one.service for one in read_services(folder, "cafe").declared} == {"cafe"}
    with pytest.raises(InvalidInput, match="other.yaml"):
        load_services(folder)
    write(tmp_path, name="twice.yaml")
    twice = read_services(folder, "cafe")
    assert twice.declared == () and "rename or remove one" in twice.faults[-1]


def test_find_ignores_faults_of_other_services_and_names_what_is_declared(tmp_path):
    write(tmp_path)
    write(tmp_path, "broken: [", "other.yaml")
    folder = tmp_path / "services"
    assert find(folder, "cafe", "live").environment == "live"
    (folder / "other.yaml").unlink()
    with pytest.raises(UnknownName, match="did you mean 'cafe live'"):
        find(folder, "cafe", "lives")


def test_a_missing_folder_or_file_is_one_sentence(tmp_path):
    with pytest.raises(InvalidInput, match="no such folder"):
        load_services(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_file(tmp_path / "nothing.yaml")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"[" * 9000,
        b"- " * 9000,
        b"- " * 100_000,
        b"[" * 450 + b"]" * 450,
        b"- " * 200,
        b"a: " + b"? " * 400,
        b"a: &a [*a]",
        b"\x00",
        b"? [1]\n: 2",
        b"a: b\n---\nc: d",
        b"environments: [1]",
        b"service: x\nenvironments: {p: {resources: 3}}",
        b"<<: {a: 1}",
        b"tier: " + b"9" * 9000,
        b"x: " + b"y" * 300_000,
        b"a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
        b"c: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d]",
    ],
)
def test_hostile_files_are_refused(tmp_path, raw):
    path = tmp_path / "x.yaml"
    path.write_bytes(raw)
    with pytest.raises(InvalidInput, match=r"x\.yaml:\d+: "):
        load_file(path)


@settings(max_examples=150, deadline=None)
@given(
    text=st.one_of(
        st.text(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["service", "groups", "environments", "prod", "rollout", "steps", "cycle", "resources", "tier"]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=15,
        ).map(json.dumps),
    )
)
def test_any_text_ends_in_environments_or_in_an_error_of_airlock(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(AirlockError, match=r"any\.yaml:\d+: "):
        load_file(path)


@settings(max_examples=100, deadline=None)
@given(
    position=st.integers(0, len(TEXT) - 1),
    what=st.sampled_from(["", ":", "{", "[", "\t", "\x00", "&a", "*a", "- ", "9", "\n"]),
)
def test_a_damaged_file_never_ends_in_another_error(tmp_path_factory, position, what):
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_text(TEXT[:position] + what + TEXT[position + 1 :])
    try:
        assert load_file(path)[0].environment
    except AirlockError as error:
        assert "damaged.yaml:" in str(error)


def test_plain_values_stay_what_was_written():
    raw = b"a: 22:00\nb: yes\nc: 010\nd: 2026-12-20\ne: 1.5\nf: true\ng: ~\nh: '1'\ni: -3\n"
    document = service_file.parse(raw, Path("x"), {})
    assert document.data == {
        "a": "22:00",
        "b": "yes",
        "c": "010",
        "d": "2026-12-20",
        "e": 1.5,
        "f": True,
        "g": None,
        "h": "1",
        "i": -3,
    }


def test_loading_imports_nothing_heavy(tmp_path):
    write(tmp_path)
    code = (
        "import sys; from airlock.service.find import load_services; load_services(sys.argv[1]); "
        "print([m for m in ('boto3', 'botocore', 'kubernetes', 'hvac', 'airflow', 'scipy', 'numpy', 'psycopg', "
        "'croniter', 'airlock.backup.driver') if m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "services")],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "include")},
    )
    assert ended.stdout.strip() == "[]"


def test_an_environment_that_comes_after_none_by_a_mistake_is_a_fault_of_that_one_alone(tmp_path):
    text = TEXT.replace("  live:\n", "  live:\n    after: test\n") + "  test: {after: [x]}\n"
    with pytest.raises(InvalidInput, match=r"environments\.test\.after: input should be a valid string"):
        load_file(write(tmp_path, text))


@pytest.mark.parametrize("content", ["5", "true", "3.5", "text", "[a]", ""])
def test_a_file_that_is_called_nearly_like_what_all_share_is_named(tmp_path, content):
    with pytest.raises(InvalidInput, match=r"_default\.yaml:1: file: is read as the file of a service"):
        load_file(write(tmp_path, content, "_default.yaml"))
