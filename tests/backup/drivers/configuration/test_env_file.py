from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.backup.driver import Place
from airlock.backup.drivers.configuration.env_file import EnvFileDriver, parse_env
from airlock.backup.run import prove, restore_origin, take
from airlock.errors import InvalidInput, PermanentError
from airlock.models import Kind, Resource
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest_of_folder, documents, make_store
from tests.contracts.driver_forms import Damage, Form, taken_by_a_folder, taken_by_a_link

CONTENT = """# settings of the shop
export DATABASE_PASSWORD="hunter2-very-secret"
API_TOKEN='tok_9f8e7d6c5b4a'   # rotated monthly
GREETING=Grüße # a comment
EMPTY=
MULTI="first line
second=line"
"""


def driver_for(path: Path, store) -> EnvFileDriver:
    resource = Resource(name="shop_env", kind=Kind.CONFIGURATION, driver="env_file", options={"path": str(path)})
    return EnvFileDriver(resource, store)


class TestEnvFile(DriverContract):
    @pytest.fixture
    def case(self, store, tmp_path: Path) -> Case:
        path = tmp_path / "host" / ".env"
        path.parent.mkdir()
        path.write_text(CONTENT)
        path.chmod(0o640)

        def spoil(place: Place) -> None:
            restored = next(Path(place.folder).iterdir())
            restored.write_text(restored.read_text().replace("hunter2-very-secret", "hunter3-very-secret"))

        return Case(
            driver_for(path, store),
            change=lambda: path.write_text(CONTENT + "NEW=1\n"),
            spoil=spoil,
            origin=lambda: digest_of_folder(path.parent),
            useless=(
                Useless(
                    "a key",
                    "key API_TOKEN",
                    "documents.json",
                    lambda content: content.replace(b"API_TOKEN=", b"OTHER="),
                ),
                Useless("no file", "cannot be used", "documents.json", documents(dict.clear)),
                Useless(
                    "no assignment",
                    "names of documents",
                    "documents.json",
                    lambda content: content.replace(b"EMPTY=", b"EMPTY!"),
                ),
            ),
            secrets=("hunter2-very-secret", "hunter3-very-secret", "tok_9f8e7d6c5b4a"),
            restored=lambda: digest_of_folder(path.parent, times=False),
            damages={
                "emptied": Damage(lambda: path.write_text("")),
                "added": "the resource is one file; lines that are added are 'changed'",
                "settings": Damage(lambda: path.chmod(0o666)),
                "gone": Damage(path.unlink),
                "taken": taken_by_a_folder(path),
                "linked": taken_by_a_link(path, lambda: digest_of_folder(path.parent, times=False)),
            },
            forms={
                "text that is not UTF-8": Form(lambda: path.write_bytes(b"\xef\xbb\xbfA=caf\xe9\r\nB\r\n")),
                "names at the edges": Form(lambda: path.write_text("A.b-c=1\nexport  D = 2\n1X=3\n=4\nE\n A=5\n")),
                "modes and owners": Form(lambda: path.chmod(0o4000)),
                "disappears while it is read": "it is read in one go, and looked at again",
                "grows while it is read": "it is read in one go, and looked at again",
                "empty": Form(lambda: path.write_text("")),
                "huge": Form(lambda: path.write_text("A=" + "x" * (4 << 20))),
                "deeply nested": Form(lambda: path.write_text("A='" + "\n" * 20000)),
            },
        )

    def test_every_key_is_compared(self, case: Case, place: Place) -> None:
        proof = prove(case.driver, self.taken(case), place)
        names = {check.name for check in proof.checks}
        for key in ("DATABASE_PASSWORD", "API_TOKEN", "GREETING", "EMPTY", "MULTI"):
            assert f"content of key {key}" in names

    def test_the_file_comes_back_byte_for_byte_with_its_mode(self, case: Case, place: Place) -> None:
        case.driver.restore(self.taken(case), place)
        restored = next(Path(place.folder).iterdir())
        assert restored.read_text() == CONTENT
        assert restored.stat().st_mode & 0o777 == 0o640

    def test_a_changed_mode_is_found(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        case.driver.restore(point, place)
        next(Path(place.folder).iterdir()).chmod(0o644)
        failed = [check.name for check in case.driver.prove(point, place) if not check.ok]
        assert failed == ["content of mode"]

    def test_the_same_values_have_other_digests_in_another_backup(self, case: Case) -> None:
        first, second = take(case.driver, "a.1"), take(case.driver, "a.2")
        assert not set(first.facts["documents"].values()) & set(second.facts["documents"].values())


def test_a_missing_file_is_named(store_at, tmp_path: Path) -> None:
    driver = driver_for(tmp_path / "none.env", store_at)
    assert not driver.inspect().present
    with pytest.raises(InvalidInput, match=r"configuration\.shop_env"):
        take(driver, "t.1")


def test_a_dialect_of_its_own_is_kept_as_a_whole_and_nothing_of_it_shown(store_at, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\nsupersecret without equals\n")
    with pytest.raises(ValueError, match="line 2") as caught:
        parse_env(path.read_text())
    assert "supersecret" not in str(caught.value)
    point = take(driver_for(path, store_at), "t.1")
    assert "supersecret" not in point.model_dump_json()
    assert set(point.facts["documents"]) == {"whole text", "mode", "owner", "attributes"}


@pytest.fixture
def store_at(tmp_path: Path):
    from tests.contracts.driver_contract import make_store

    return make_store(tmp_path / "store")


def test_values() -> None:
    assert parse_env(CONTENT) == {
        "DATABASE_PASSWORD": "hunter2-very-secret", "API_TOKEN": "tok_9f8e7d6c5b4a", "GREETING": "Grüße", "EMPTY": "",
        "MULTI": "first line\nsecond=line",
    }  # fmt: skip


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True),
        st.text(st.characters(exclude_characters="'", exclude_categories=["Cs", "Cc", "Zl", "Zp"])),
    )
)
def test_quoted_values_come_back(values: dict[str, str]) -> None:
    assert parse_env("".join(f"{key}='{value}'\n" for key, value in values.items())) == values


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        found = parse_env(text)
    except ValueError:
        return
    assert all(key and key in text for key in found)


@pytest.mark.parametrize(
    "text",
    [
        "A='it\\'s\nhunter2=x'\n",  # whether a backslash protects in single quotes differs from reader to reader
        'A="x"y\n',
        "A=abc\\\nhunter2=1\n",
        "A=-----BEGIN KEY-----\nhunter2=\n",
        'A="x"\x0bB=1\n',
        "A='''hunter2'''\n",
    ],
)
def test_what_readers_understand_differently_is_no_list_of_names(text: str, store_at, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 1"):
        parse_env(text)
    path = tmp_path / ".env"
    path.write_text(text)
    driver = driver_for(path, store_at)
    point = take(driver, "t.1")
    assert "hunter2" not in point.model_dump_json()
    path.write_text("A=2\n")
    restore_origin(driver, point)
    assert path.read_text() == text


def test_values_in_backticks_may_have_several_lines() -> None:
    assert parse_env("A=`x\nhunter2=y\n`\nB='1' # note\n") == {"A": "x\nhunter2=y\n", "B": "1"}


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, "n" * 242])
def test_a_name_may_be_as_long_as_the_file_system_takes(name: str, store_at, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("A=1\n")
    driver = driver_for(path, store_at)
    point = take(driver, "t.1")
    path.write_text("A=2\n")
    restore_origin(driver, point)
    assert path.read_text() == "A=1\n"
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == [name]


def test_a_folder_that_took_the_name_of_the_file_goes_when_it_is_empty(tmp_path: Path) -> None:
    """Container engines make one where a file that they mount is missing."""
    path = tmp_path / ".env"
    path.write_text("A=1\n")
    driver = driver_for(path, make_store(tmp_path / "store"))
    point = take(driver, "t.1")
    path.unlink()
    path.mkdir()
    assert restore_origin(driver, point).ok
    assert path.read_text() == "A=1\n"
    path.unlink()
    (path / "somebody's").mkdir(parents=True)
    with pytest.raises(PermanentError, match="Directory not empty"):
        restore_origin(driver, point)
    assert [one.name for one in path.iterdir()] == ["somebody's"]
    assert not list(tmp_path.glob(".*.airlock-part"))


@pytest.mark.parametrize("leads_to", ["other", ".env", "nowhere/at all"])
def test_a_link_that_took_the_name_of_the_file_goes_and_what_it_leads_to_stays(leads_to: str, tmp_path: Path) -> None:
    path, other = tmp_path / ".env", tmp_path / "other"
    path.write_text("A=1\n")
    other.write_text("somebody else's\n")
    driver = driver_for(path, make_store(tmp_path / "store"))
    point = take(driver, "t.1")
    path.unlink()
    path.symlink_to(leads_to)
    assert restore_origin(driver, point).ok
    assert (path.is_symlink(), path.read_text(), other.read_text()) == (False, "A=1\n", "somebody else's\n")
    assert not (tmp_path / "nowhere").exists()


def test_a_link_that_was_backed_up_stays_one_and_a_circle_is_named(tmp_path: Path) -> None:
    path, end = tmp_path / ".env", tmp_path / "end"
    end.write_text("A=1\n")
    path.symlink_to("end")
    driver = driver_for(path, make_store(tmp_path / "store"))
    point = take(driver, "t.1")
    end.write_text("A=2\n")
    assert restore_origin(driver, point).ok
    assert (path.is_symlink(), end.read_text()) == (True, "A=1\n")
    end.unlink()
    end.symlink_to(".env")
    with pytest.raises(PermanentError, match="lead in a circle"):
        restore_origin(driver, point)
