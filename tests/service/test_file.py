"""Hostile service files: whatever they hold ends in environments, or in sentences with file and line."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.errors import InvalidInput
from airlock.plain_text import fault_in
from airlock.service import file as service_file
from airlock.service.deep_check import check_deep
from airlock.service.find import load_services
from airlock.service.reading import load_file
from tests.service_data import TEXT, write

SHIPPED = Path(__file__).resolve().parents[2] / "include" / "services" / "shop.yaml"
SHOP = SHIPPED.read_text()
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture(scope="module", autouse=True)
def variables():
    with pytest.MonkeyPatch.context() as patch:
        for name in re.findall(r"\$\{(AIRLOCK_\w+)", SHOP):
            patch.setenv(name, "/srv/airlock" if name == "AIRLOCK_HOME" else "28000")
        yield


def faults_in(path: Path) -> list[str]:
    """Return the faults of the file at *path*; each must be one printable line that begins with file and line."""
    try:
        for environment in load_file(path):
            check_deep(environment)
    except InvalidInput as error:
        lines = str(error).split("\n")
        for line in lines:
            assert re.match(rf"{re.escape(str(path))}:\d+: [^ ]", line), line
            assert fault_in(line) is None and len(line) < 2000, line
        return lines
    return []


def places(node: Any, place: tuple = ()) -> list[tuple]:
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place, *(found for key, child in below for found in places(child, (*place, key)))]


DATA = yaml.load(SHOP, Loader=yaml.BaseLoader)
PLACES = [place for place in places(DATA) if place]
HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.just({}),
    st.just([]),
    st.just(""),
    st.sampled_from(
        [
            "../../etc/passwd",
            "/dev/zero",
            "zzz://x/{version}",
            "s3://",
            "{version}",
            "http://[",
            "http://h:99999",
            "http://..",
            "http://a b",
            "\x1b[2J",
            "a\u202eb",
            "\u043ewner",
            "9" * 400,
            "x" * 5000,
            "00:00",
            "24:00",
            "2026-01-01",
            "9999-12-31T23:59:59-23:59",
            "0001-01-01T00:00:00+23:59",
            "* * * * *",
            "0 0 31 2 *",
            "low",
            "-1",
            "1e999",
            ".inf",
            "NaN",
            "{{ conn.x }}",
            "${AIRLOCK_HOME}",
            "${HOME}",
            "${",
            "prod",
            "shop_db",
            "databases",
            "envoy",
            "postgres",
            "Europe/../../etc/passwd",
            "/etc/passwd",
            "localtime",
            "?",
            "on",
            "no",
        ]
    ),
    st.sampled_from(PLACES).map(lambda place: copy.deepcopy(at(DATA, place))),
)


def at(node: Any, place: tuple) -> Any:
    for step in place:
        node = node[step]
    return node


@st.composite
def mutated(draw) -> str:
    """The shipped file with one to three of its nodes removed, replaced, renamed or repeated."""
    data = copy.deepcopy(DATA)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(PLACES))
        try:
            around = at(data, place[:-1])
            around[place[-1]]
        except (KeyError, IndexError, TypeError):
            continue
        act = draw(st.sampled_from(["remove", "replace", "rename", "repeat"]))
        if not isinstance(around, dict | list) or act == "remove":
            del around[place[-1]]
        elif act == "replace":
            around[place[-1]] = draw(HOSTILE)
        elif isinstance(around, list):
            around.insert(place[-1], copy.deepcopy(around[place[-1]]))
        else:
            around[draw(st.text(max_size=8) | st.sampled_from(["<<", "__class__", "1", "null"]))] = around[place[-1]]
            if act == "rename":
                del around[place[-1]]
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=draw(st.booleans()))
    if draw(st.booleans()):
        lines = text.splitlines()
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(lines)))
        text = "\n".join(lines)
    return text


@pytest.mark.campaign
@settings(max_examples=150)
@given(text=mutated())
def test_any_change_of_the_shipped_file_loads_or_is_named_with_file_and_line(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "shop.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    faults_in(path)


@settings(max_examples=100)
@given(
    raw=st.binary(max_size=300)
    | st.text(alphabet=" \n:-[]{}&*!|>?#'\"%@`,ab\t\r\ufeff\u2028", max_size=200).map(str.encode)
)
def test_any_bytes_are_named_with_file_and_line(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(raw)
    assert faults_in(path)


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (BOMB, "aliases repeat too much"),
        ("service: !!python/object/apply:os.system [id]\n", "tag"),
        ("service: !!python/object/new:os.system {}\n", "tag"),
        ("service: !local x\n", "tag"),
        ("service: !!binary aGk=\n", "tag"),
        ("tier: !!str 2\n", "tag"),
        ("people: !!null people.yaml\n", "tag"),
        ('tier: !!int "2"\n', "tag"),
        ("service: !!set {a}\n", "tag"),
        ("x" * 10_000_000, "is larger than"),
        ("{" * 10_000, "nested deeper than"),
        ("\ufffe", "is not valid YAML"),
        ('service: "a\\e[2Jb"\n', "contains a control character"),
        ('"a\\e[2Jb": x\n', "contains a control character"),
        ('service: "a\\u202eb"\n', "contains an invisible or direction character"),
        ('"ser\\u200bvice": x\n', "contains an invisible or direction character"),
        ("%YAML 9.9\n---\na: b\n", "is not valid YAML"),
        ("service: a\n...\nservice: b\n", "is not valid YAML"),
    ],
    ids=lambda value: str(value)[:30].strip() if len(str(value)) < 60 else "long",
)
def test_what_a_parser_could_choke_on_is_a_sentence(tmp_path, raw, what):
    path = tmp_path / "x.yaml"
    path.write_text(raw, encoding="utf-8")
    assert any(what in fault for fault in faults_in(path)), faults_in(path)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-32", "cp037"])
def test_another_encoding_is_a_sentence(tmp_path, encoding):
    path = tmp_path / "x.yaml"
    path.write_bytes(TEXT.replace("A coffee house.", "Ein Café.").encode(encoding))
    assert len(faults_in(path)) == 1


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path):
    plain = load_file(write(tmp_path))
    path = tmp_path / "services" / "cafe.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_file(path) == plain


@pytest.mark.parametrize("value", ["a\nb: c", "a\rb", "a\x1b[2J", "a\u202eb", "\ud800"])
def test_a_variable_cannot_bring_what_the_file_could_not_hold(value):
    document = service_file.parse(b"ledger: ${AIRLOCK_X}/ledger\n", Path("x.yaml"), {"AIRLOCK_X": value})
    assert document.report() == [
        "x.yaml:1: ledger: environment variable AIRLOCK_X holds a line break or what cannot be seen; "
        "set it to plain text"
    ]


def test_what_a_variable_holds_is_not_expanded_again():
    document = service_file.parse(b"a: ${AIRLOCK_X}", Path("x"), {"AIRLOCK_X": "${AIRLOCK_Y} $${", "AIRLOCK_Y": "no"})
    assert document.data == {"a": "${AIRLOCK_Y} $${"} and not document.faults


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("[bert, cleo, olga]", "[bert, Bert, olga]", "'Bert' looks like 'bert'"),
        ("[bert, cleo, olga]", "[bert, cleo, 0lga]", "'0lga' looks like 'olga'"),
        ("[bert, cleo, olga]", "[bert, cle\u043e, olga]", "is no log-in name"),
        ("[bert, cleo, olga]", "[bert, cleo, \uff4flga]", "is no log-in name"),
        ("[bert, cleo, olga]", '[bert, "cleo\\u200b", olga]', "invisible"),
        ("board:", "bo\u0430rd:", "string should match pattern"),
        ("  live:", f"  {'l' * 63}:", "together, at most 90 are allowed"),
        ("service: cafe", "service: ../cafe", "string should match pattern"),
        ("service: cafe", 'service: "cafe\\n"', "string should match pattern"),
        ("  live:", "  ../live:", "is no name"),
        ("name: settings", "name: a/../b", "string should match pattern"),
        ("owner: cafe-team", "owner: " + "x" * 101, "string should match pattern"),
        ("FOLDER/ledger", "zzz://ledger", "'zzz://ledger' cannot be opened"),
        ("{service_owner: 1}", "{service_owner: on}", "found 'on'"),
    ],
)
def test_names_and_paths_of_a_service_are_plain(tmp_path, old, new, what):
    text = TEXT.replace("service: cafe", "service: cafe-of-a-very-very-long-name") if "together" in what else TEXT
    faults = faults_in(write(tmp_path, text.replace(old, new, 1)))
    assert any(what in fault for fault in faults), faults


def test_only_regular_files_of_the_folder_are_read(tmp_path):
    folder = write(tmp_path).parent
    os.mkfifo(folder / "pipe.yaml")
    (folder / "device.yaml").symlink_to("/dev/zero")
    (folder / "gone.yaml").symlink_to("nowhere.yaml")
    (folder / "folder.yaml").mkdir()
    (folder / ".#cafe.yaml").symlink_to("an-editor-was-here")
    outside = tmp_path / "elsewhere.yaml"
    outside.write_text("secret: [word")
    (folder / "outside.yaml").symlink_to(outside)
    (folder / "inside.yml").symlink_to("cafe.yaml")
    with pytest.raises(InvalidInput) as caught:
        load_services(folder)
    faults = {re.match(r".*/(\w+)\.ya?ml:1: ", line)[1]: line for line in str(caught.value).splitlines()}
    assert set(faults) == {"pipe", "device", "gone", "folder", "outside", "inside"}
    assert "is not a regular file" in faults["pipe"] and "Is a directory" in faults["folder"]
    assert "cannot be read" in faults["gone"] and "word" not in faults["outside"]
    assert "leads out of its folder" in faults["device"] and "leads out of its folder" in faults["outside"]


def test_services_check_prints_the_sentences_and_ends_with_2(tmp_path):
    folder = tmp_path / "services"
    folder.mkdir()
    for number, raw in enumerate(
        [
            BOMB.encode(),
            b"\xff\xfe",
            b"",
            SHOP.replace("tier: 3", "tier: [3]").encode(),
            b"service: !!python/name:os.system x",
            b'"\\e[2J": 1',
            b"x" * 1_000_000,
        ]
    ):
        (folder / f"{number}.yaml").write_bytes(raw)
    done = subprocess.run(
        [sys.executable, "-m", "airlock", "services", "check", str(folder)],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"COLUMNS": "80"},
    )
    assert (done.returncode, done.stderr) == (2, "")
    *faults, last = done.stdout.splitlines()
    assert {line.partition(".yaml:")[0] for line in faults} == {f"{folder}/{number}" for number in range(7)}
    assert all(line.isprintable() for line in faults) and "fault(s) in 7 service file(s)" in last
