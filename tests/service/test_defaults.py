"""Defaults of a service file and of a whole company: how they merge, and what is said of values that come from them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.errors import InvalidInput
from airlock.service.defaults import merged
from airlock.service.document import Place
from airlock.service.file import parse
from airlock.service.find import load_services, read_services
from airlock.service.provenance import settings_of
from airlock.service.reading import load_file
from tests.service_data import TEXT, write

SHARED = TEXT.partition("environments:\n  live:\n")[2]
TOP = TEXT.partition("environments:\n")[0]
DEFAULTS = f"defaults:\n{SHARED.replace(chr(10) + '    ', chr(10) + '  ').removeprefix('  ')}"
"""All that the environment of ``TEXT`` says, as defaults."""


def file(path: str, text: str) -> Any:
    return parse(text.encode(), Path(path), {"AIRLOCK_X": "x"}, named=True)


def effective(text: str, company: str = "", environment: str = "prod") -> Any:
    document = merged(file("s.yaml", text), file("_defaults.yaml", company) if company else None)
    assert document.report() == []
    return document.data["environments"][environment]


def lines_of(text: str, company: str = "") -> list[str]:
    return merged(file("s.yaml", text), file("_defaults.yaml", company) if company else None).report()


def company(folder: Path, text: str) -> Path:
    return write(folder, text, "_defaults.yaml")


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), start=1) if part in line)


def test_an_environment_lies_over_the_defaults_of_its_file_and_these_over_those_of_the_company() -> None:
    text = "service: s\ndefaults: {a: 2, b: 2}\nenvironments: {prod: {a: 3}}"
    found = effective(text, "defaults: {a: 1, b: 1, c: 1}")
    assert found == {"a": 3, "b": 2, "c": 1}


@pytest.mark.parametrize(("defaults", "own", "merged_to"), [
    ("{m: {a: 1, b: {c: 2}}}", "{m: {b: {d: 3}}}", {"m": {"a": 1, "b": {"c": 2, "d": 3}}}),
    ("{l: [1, 2]}", "{l: [3]}", {"l": [3]}),
    ("{l: [1, 2]}", "{l: []}", {"l": []}),
    ("{l: [{name: a, x: 1}]}", "{l: [{name: a, y: 2}]}", {"l": [{"name": "a", "y": 2}]}),
    ("{m: {a: 1}}", "{m: text}", {"m": "text"}),
    ("{m: text}", "{m: {a: 1}}", {"m": {"a": 1}}),
    ("{m: 1}", "{m: null}", {}),
    ("{m: {a: 1, b: 2}}", "{m: {a: null}}", {"m": {"b": 2}}),
    ("{m: null}", "{m: {a: 1}}", {"m": {"a": 1}}),
    ("{m: {a: 1}}", "{n: {}}", {"m": {"a": 1}, "n": {}}),
    ("{m: {}}", "{m: {}}", {"m": {}}),
    ("{m: {a: null}}", "{}", {"m": {}}),
    ("{m: {a: {b: 1}}}", "{m: {a: {b: null, c: null}}}", {"m": {"a": {}}}),
    ("{l: [{a: null}]}", "{}", {"l": [{"a": None}]}),
    ("{m: 0}", "{m: false}", {"m": False}),
    ("{m: true}", "{m: 0}", {"m": 0}),
])  # fmt: skip
def test_maps_merge_by_key_null_takes_away_and_everything_else_is_replaced(
    defaults: str, own: str, merged_to: dict[str, Any]
) -> None:
    assert effective(f"service: s\ndefaults: {defaults}\nenvironments: {{prod: {own}}}") == merged_to
    between = f"service: s\ndefaults: {own}\nenvironments: {{prod: {{}}}}"
    assert effective(between, f"defaults: {defaults}") == merged_to, "the same between any two layers"


def test_what_is_taken_away_in_between_does_not_come_back() -> None:
    text = "service: s\ndefaults: {m: null, o: 1}\nenvironments: {prod: {m: {b: 2}, o: {c: 1}}}"
    assert effective(text, "defaults: {m: {a: 1}, o: {a: 1}}") == {"m": {"b": 2}, "o": {"c": 1}}


@pytest.mark.parametrize(("own", "merged_to"), [
    ("{options: {x: 2}}", {"name": "envoy", "options": {"x": 2, "y": 1}}),
    ("{name: envoy, options: {x: 2}}", {"name": "envoy", "options": {"x": 2, "y": 1}}),
    ("{name: haproxy, options: {z: 2}}", {"name": "haproxy", "options": {"z": 2}}),
    ("{name: haproxy}", {"name": "haproxy"}),
])  # fmt: skip
def test_options_of_another_implementation_are_never_mixed(own: str, merged_to: dict[str, Any]) -> None:
    shared = "defaults: {target: {name: envoy, options: {x: 1, y: 1}}}"
    text = f"service: s\n{shared}\nenvironments: {{prod: {{target: {own}}}}}"
    assert effective(text) == {"target": merged_to}


def test_a_block_without_a_name_takes_options_of_the_name_that_it_gets_only() -> None:
    text = "service: s\ndefaults: {target: {name: haproxy}}\nenvironments: {prod: {target: {options: {z: 1}}}}"
    found = effective(text, "defaults: {target: {name: envoy, options: {x: 1}}}")
    assert found == {"target": {"name": "haproxy", "options": {"z": 1}}}
    shared = "defaults: {tickets: {name: jira, connection: j}}"
    text = f"service: s\n{shared}\nenvironments: {{prod: {{tickets: {{name: servicenow}}}}}}"
    assert effective(text) == {"tickets": {"name": "servicenow"}}


def test_approval_by_policy_and_by_seats_are_not_mixed() -> None:
    seats = "approvals: {low: {a: 1}, valid_hours: 3}"
    for below, above in ((seats, "approvals: {policy: p.yaml}"), ("approvals: {policy: p.yaml}", seats)):
        text = f"service: s\ndefaults: {{{below}}}\nenvironments: {{prod: {{{above}}}}}"
        assert effective(text) == effective(f"service: s\nenvironments: {{prod: {{{above}}}}}")
    longer = "service: s\ndefaults: {approvals: {high: {a: 2}}}\nenvironments: {prod: {approvals: {low: {b: 1}}}}"
    assert effective(longer, f"defaults: {{{seats}}}") == {
        "approvals": {"low": {"a": 1, "b": 1}, "valid_hours": 3, "high": {"a": 2}}}


@pytest.mark.parametrize("group", ["name", "driver"])
def test_a_group_may_be_called_like_a_field_that_chooses_and_none_of_its_seats_is_lost(group: str) -> None:
    shared = f"defaults: {{approvals: {{low: {{{group}: 2, board: 1}}}}}}"
    text = f"service: s\n{shared}\nenvironments: {{prod: {{approvals: {{low: {{{group}: 1}}}}}}}}"
    assert effective(text) == {"approvals": {"low": {group: 1, "board": 1}}}
    groups = merged(file("s.yaml", f"service: s\ngroups: {{{group}: [a]}}\nenvironments: {{}}"),
                    file("_defaults.yaml", f"groups: {{{group}: [b], board: [c]}}"))
    assert groups.data["groups"] == {group: ["a"], "board": ["c"]}


def test_resources_merge_by_name_and_new_ones_are_added_behind() -> None:
    text = """\
service: s
defaults:
  resources:
    - {name: db, kind: databases, driver: postgres, options: {connection: c, database: d}}
    - {name: env, kind: configuration, driver: env_file, options: {path: /e}}
environments:
  prod:
    resources:
      - {name: logs, kind: logs, driver: log_files}
      - {name: db, options: {database: other}}
      - {name: env, kind: configuration, driver: vault_kv, options: {mount: m}}
"""
    assert effective(text)["resources"] == [
        {"name": "db", "kind": "databases", "driver": "postgres", "options": {"connection": "c", "database": "other"}},
        {"name": "env", "kind": "configuration", "driver": "vault_kv", "options": {"mount": "m"}},
        {"name": "logs", "kind": "logs", "driver": "log_files"},
    ]


def test_resources_that_the_rules_refuse_reach_the_rules() -> None:
    own = "environments: {prod: {resources: [{name: a, x: 1}, {name: a}, {}]}}"
    found = effective(f"service: s\ndefaults: {{resources: [{{name: a}}, 7]}}\n{own}")["resources"]
    assert found.count({"name": "a"}) == 1 and {"name": "a", "x": 1} in found and 7 in found and {} in found
    shared = "defaults: {resources: [{name: d, x: 1}, {name: a}, {name: d, x: 2}]}"
    text = f"service: s\n{shared}\nenvironments: {{prod: {{resources: [{{name: e}}, {{name: a, y: 1}}]}}}}"
    assert effective(text)["resources"] == [
        {"name": "d", "x": 1}, {"name": "a", "y": 1}, {"name": "d", "x": 2}, {"name": "e"}], "nothing is lost or moved"


@pytest.mark.parametrize(("own", "what"), [
    ("m:", "m: has no value"), ("m: {}", "m: is {}"), ("m: {a: }", "m.a: has no value"),
    ("m: {a: 1, c: {}}", "m.c: is {}"), ("resources: []", "resources: is []"),
])  # fmt: skip
def test_what_could_mean_both_keep_and_take_away_is_refused(own: str, what: str) -> None:
    shared = "defaults:\n  m: {a: 1, c: {d: 1}}\n  resources: [{name: a}]\n"
    faults = lines_of(f"service: s\n{shared}environments:\n  prod:\n    {own}\n")
    assert len(faults) == 1
    assert faults[0].startswith(f"s.yaml:7: environments.prod.{what}, and s.yaml:") and "write null" in faults[0]
    assert lines_of(f"service: s\nenvironments:\n  prod:\n    {own}\n") == [], "there is nothing to take away"


def test_an_environment_may_take_everything_from_the_defaults() -> None:
    for own in ("prod:", "prod: {}", "prod: null"):
        assert effective(f"service: s\ndefaults: {{a: 1}}\nenvironments:\n  {own}\n") == {"a": 1}


def test_names_are_filled_in_where_they_arrive() -> None:
    shared = "defaults: {a: 'x/${service}/${environment}', b: ['${environment}'], c: {d: '$${environment}'}}"
    text = f"service: s\n{shared}\nenvironments: {{prod: {{}}, dev: {{a: '${{environment}}-${{AIRLOCK_X}}'}}}}"
    assert effective(text) == {"a": "x/s/prod", "b": ["prod"], "c": {"d": "${environment}"}}
    assert effective(text, environment="dev")["a"] == "dev-x"
    assert "known only in defaults and environments" in lines_of("service: s\nowner: '${environment}'")[0]
    assert merged(file("s.yaml", "service: s\nowner: '${service}-team'")).data["owner"] == "s-team"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text("abc", max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abcdef"), inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=20)
PATCHES = st.none() | st.integers(-99, 99) | st.just([1]) | st.dictionaries(
    st.sampled_from("abcdef"), st.none() | st.integers(-99, 99) | st.just([2, 3]), min_size=1, max_size=3)


@given(st.dictionaries(st.sampled_from("abcdef"), VALUES, max_size=4),
       st.dictionaries(st.sampled_from("abcdef"), PATCHES, max_size=4))
def test_merging_is_the_merge_patch_of_the_standard(defaults: dict[str, Any], own: dict[str, Any]) -> None:
    """RFC 7386, beside what is refused because it says nothing."""

    def patched(target: Any, patch: Any) -> Any:
        if not isinstance(patch, dict):
            return patch
        result = dict(target) if isinstance(target, dict) else {}
        for key, value in patch.items():
            result.pop(key, None)
            if value is not None:
                result[key] = patched(target.get(key) if isinstance(target, dict) else None, value)
        return result

    written = json.dumps({"service": "s", "defaults": defaults, "environments": {"prod": own}})
    document = merged(file("s.yaml", written))
    assert document.data["environments"]["prod"] == patched(patched({}, defaults), own)


def test_a_fault_is_named_where_the_wrong_value_is_written_and_with_whom_it_reaches(tmp_path: Path) -> None:
    text = f"{TOP}{DEFAULTS}environments:\n  live:\n  test:\n"
    path = write(tmp_path, text.replace("percent: 10", "percent: 1000"))
    with pytest.raises(InvalidInput) as caught:
        load_file(path)
    line = line_of(text, "percent: 10")
    assert str(caught.value) == (
        f"{path}:{line}: defaults.rollout.steps.0.percent: input should be less than or equal to 100, found '1000'; "
        "correct the value (it reaches live, test)")
    path = write(tmp_path, text.replace("high: {service_owner: 1, board: 2}", "high: {service_owner: 1, bord: 2}"))
    with pytest.raises(InvalidInput) as caught:
        load_file(path)
    where = f"{path}:{line_of(text, 'high:')}: defaults.approvals.high.bord"
    assert str(caught.value).startswith(f"{where}: unknown group 'bord'")


def test_another_strategy_says_that_it_has_no_steps_of_the_defaults(tmp_path: Path) -> None:
    rollout = "rollout: {strategy: all_at_once, observe_seconds: 5"
    latency = "    analysis: {max_latency_ms: 900}\n"
    text = f"{TOP}{DEFAULTS}environments:\n  live:\n  test:\n    {rollout}}}\n{latency}"
    with pytest.raises(InvalidInput, match=r"yaml:[0-9]+: defaults\.rollout\.steps: .*\(it reaches test\)$"):
        load_file(write(tmp_path, text))
    live, test = load_file(write(tmp_path, text.replace(rollout, f"{rollout}, steps: null")))
    assert len(live.rollout.steps) == 1 and test.rollout.steps == () and test.rollout.strategy == "all_at_once"


def test_what_no_environment_takes_must_be_right_all_the_same(tmp_path: Path) -> None:
    wrong = DEFAULTS.replace("percent: 10", "percent: 1000")
    text = f"{TOP}{wrong}environments:\n  live: {{rollout: {{steps: [{{percent: 5, observe_seconds: 1}}]}}}}\n"
    with pytest.raises(InvalidInput, match=r"defaults\.rollout\.steps\.0\.percent: input should be less") as caught:
        load_file(write(tmp_path, text))
    assert "it reaches" not in str(caught.value)
    with pytest.raises(InvalidInput, match=r"yaml:8: defaults\.bakup: unknown field; did you mean 'backup'") as caught:
        load_file(write(tmp_path, TEXT.replace("environments:", "defaults: {bakup: {}}\nenvironments:")))


def test_faults_of_a_value_of_the_company_name_file_line_service_and_environment(tmp_path: Path) -> None:
    shared = "defaults:\n  approvals:\n    high: {auditors: 1}\n"
    path = company(tmp_path, shared)
    write(tmp_path)
    with pytest.raises(InvalidInput) as caught:
        load_services(path.parent)
    assert str(caught.value) == (f"{path}:3: defaults.approvals.high.auditors: unknown group 'auditors'; declared are "
                                 "service_owner, board (it reaches cafe live)")


def test_the_company_shares_groups_too_and_a_service_sets_its_own_beside_them(tmp_path: Path) -> None:
    groups = "owner: everybody\ngroups:\n  auditors: [ada]\n  board: [zoe]\n"
    company(tmp_path, f"{groups}defaults: {{ledger: 'FOLDER/all/${{service}}'}}\n")
    text = TEXT.replace("owner: cafe-team\n", "").replace("    ledger: FOLDER/ledger\n", "")
    (cafe,) = load_file(write(tmp_path, text))
    assert cafe.groups == {"auditors": ("ada",), "board": ("bert", "cleo", "olga"), "service_owner": ("olga",)}
    assert cafe.owner == "everybody" and cafe.ledger == f"{tmp_path}/all/cafe"


@pytest.mark.parametrize(("text", "fault"), [
    ("service: cafe\n", "1: service: belongs to a service file"),
    ("environments: {}\n", "1: environments: belongs to a service file"),
    ("defaults: [1]\n", "1: defaults: must be a mapping"),
    ("[1]\n", "1: file: must be a mapping"),
    ("defaults: {tier: 3}\n", "1: defaults.tier: unknown field"),
    ("defaults:\n  rollout: {bake_seconds: -1}\n", "2: defaults.rollout.bake_seconds: input should be greater"),
    ("defaults: {ledger: /a, ledger: /b}\n", "1: defaults.ledger: is given twice"),
    ("defaults: [\n", "2: file: is not valid YAML"),
    ("owner: &x team\n<<: *x\n", "2: <<: merge keys are not supported; share fields by defaults"),
    ("defaults: {ledger: 's3://me:secret@host/x'}\n", "1: defaults.ledger: has a password in an address"),
    ("defaults: {target: {name: envoi}}\n", "1: defaults.target.name: unknown target 'envoi'"),
])  # fmt: skip
def test_a_wrong_file_of_the_company_is_named_once_however_many_services_there_are(
    tmp_path: Path, text: str, fault: str
) -> None:
    path = company(tmp_path, text)
    for name in ("cafe", "bar", "inn"):
        write(tmp_path, TEXT.replace("service: cafe", f"service: {name}"), f"{name}.yaml")
    reading = read_services(path.parent)
    assert reading.declared == ()
    assert len([one for one in reading.faults if one.startswith(f"{path}:{fault}")]) == 1, reading.faults
    assert all(one.startswith(f"{path}:") for one in reading.faults) and len(reading.faults) <= 2
    assert all(one in reading.of(str(path.parent / "cafe.yaml")) for one in reading.faults), "it is a fault of each"


def test_an_empty_file_of_the_company_shares_nothing(tmp_path: Path) -> None:
    company(tmp_path, "# nothing yet\n")
    assert len(load_services(write(tmp_path).parent)) == 1


def test_a_file_that_could_be_taken_for_the_one_of_the_company_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "defaults: {}\n", "_defaults.yml")
    with pytest.raises(InvalidInput, match=r"_defaults\.yml:1: file: .*name it _defaults\.yaml"):
        load_services(write(tmp_path).parent)


@pytest.mark.parametrize("name", ["_default.yaml", "defaults.yaml", "default.yml"])
def test_a_slip_in_the_name_of_that_file_is_told(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path).parent
    write(tmp_path, "defaults: {ledger: /x}\n", name)
    with pytest.raises(InvalidInput, match=rf"{name}:1: file: is read as the file of a service; .*_defaults\.yaml"):
        load_services(folder)
    write(tmp_path, TEXT.replace("service: cafe", "service: default"), name)
    assert [one.service for one in load_services(folder)] == ["cafe", "default"], "a service may be called so"


def test_anchors_that_repeat_a_key_and_merge_keys_stay_refused(tmp_path: Path) -> None:
    for wrong, said in (("<<: *x", "merge keys are not supported"), ("ledger: /b", "is given twice")):
        text = TEXT.replace("    ledger: FOLDER/ledger\n", f"    ledger: &x /a\n    {wrong}\n")
        with pytest.raises(InvalidInput, match=said):
            load_file(write(tmp_path, text))


def test_it_is_known_where_each_value_is_written() -> None:
    shared = "service: s\ndefaults:\n  a: 1\n  m: {b: 2}\n  l: [{x: 1}]\n  cycle: manual\n"
    own = file("s.yaml", f"{shared}environments:\n  prod:\n    m: {{c: 3}}\n")
    document = merged(own, file("_defaults.yaml", "defaults:\n  m:\n    d: 4\n"))

    def place(*steps: str | int) -> tuple[str, int, Place] | None:
        found = document.written("prod", steps)
        return found and (found.path.name, found.line, found.place)

    assert place("a") == ("s.yaml", 3, ("defaults", "a"))
    assert place("m", "b") == ("s.yaml", 4, ("defaults", "m", "b"))
    assert place("m", "c") == ("s.yaml", 9, ("environments", "prod", "m", "c"))
    assert place("m", "d") == ("_defaults.yaml", 3, ("defaults", "m", "d"))
    assert place("l", 0, "x") == ("s.yaml", 5, ("defaults", "l", 0, "x"))
    assert place("cycle", "cron") == ("s.yaml", 6, ("defaults", "cycle"))
    assert place("l", 0, "y") is None and place("m", "e") is None and place("z") is None


def test_a_small_file_does_not_become_a_large_one() -> None:
    shared = "".join(f"  k{number}: 1\n" for number in range(5000))
    many = "".join(f"  e{number}:\n" for number in range(5000))
    found = merged(file("s.yaml", f"service: s\ndefaults:\n{shared}environments:\n{many}"))
    assert "are too many for so many defaults" in found.report()[0]
    assert found.data["environments"] == {}


def test_what_only_the_whole_could_be_wrong_about_is_no_fault_of_defaults(tmp_path: Path) -> None:
    shared = "defaults:\n  cycle: {cron: 0 6 * * 2}\n  approvals: {low: {}}\n"
    text = TEXT.replace("environments:\n", f"{shared}environments:\n")
    (cafe,) = load_file(write(tmp_path, text.replace("  live:\n", "  live:\n    cycle: {cron: null}\n")))
    assert cafe.cycle.cron is None and cafe.approvals.low == {"service_owner": 1}


NAMES = {name: st.sampled_from("xy") for name in ("name", "driver")}
RESOURCES = st.lists(st.fixed_dictionaries(
    {"name": st.sampled_from("pqr")}, optional={"driver": NAMES["driver"], "options": VALUES, "a": VALUES}), max_size=3)
SETTINGS = st.dictionaries(st.sampled_from("abcdef"), VALUES, max_size=4).flatmap(lambda found: st.fixed_dictionaries(
    {key: st.just(value) for key, value in found.items()}, optional={**NAMES, "resources": RESOURCES}))


def leaves(value: Any, place: Place = ()) -> Any:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from leaves(inner, (*place, key))
    if not isinstance(value, dict | list):
        yield place, value


@pytest.mark.campaign
@given(SETTINGS, SETTINGS, SETTINGS)
def test_every_value_that_counts_is_written_where_it_is_said_to_be(
    shared: dict[str, Any], defaults: dict[str, Any], own: dict[str, Any]
) -> None:
    files = {"_defaults.yaml": {"defaults": shared},
             "s.yaml": {"service": "s", "defaults": defaults, "environments": {"prod": own}}}
    texts = {name: json.dumps(data, indent=1) for name, data in files.items()}
    document = merged(file("s.yaml", texts["s.yaml"]), file("_defaults.yaml", texts["_defaults.yaml"]))
    for place, value in leaves(document.data["environments"]["prod"]):
        origin = document.written("prod", place)
        assert origin is not None, place
        found: Any = files[origin.path.name]
        for step in origin.place:
            found = found[step]
        assert found == value and type(found) is type(value)
        line = texts[origin.path.name].splitlines()[origin.line - 1]
        assert json.dumps(value) in line
        assert document.origin(("environments", "prod", *place)).place == origin.place


@pytest.mark.campaign
@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.floats(0, 1, exclude_max=True), st.sampled_from(
    ["", ":", "{", "[", "\t", "\x00", "&a", "*a", "- ", "9", "\n", "null", "${service}", "$${", "<<:"]))
def test_damaged_defaults_never_end_in_another_error(
    tmp_path_factory: pytest.TempPathFactory, of_the_company: bool, where: float, what: str
) -> None:
    text = f"{TOP}{DEFAULTS}environments:\n  live:\n    analysis: {{alpha: 0.02}}\n  test: {{}}\n"
    shared = ("groups:\n  auditors: [ada]\n"
              "defaults:\n  rollout:\n    bake_seconds: 3\n  resources:\n    - {name: settings}\n")
    damaged = shared if of_the_company else text
    at = int(where * len(damaged))
    damaged = damaged[:at] + what + damaged[at + 1 :]
    folder = tmp_path_factory.getbasetemp() / "damaged-defaults"
    folder.mkdir(exist_ok=True)
    company(folder, damaged if of_the_company else shared)
    path = write(folder, text if of_the_company else damaged)
    try:
        found = load_file(path)
    except InvalidInput as error:
        assert all(re.match(r".*/(_defaults|cafe)\.yaml:[0-9]+: \S", line) for line in str(error).splitlines()), error
    else:
        for one in found:
            assert settings_of(one)
