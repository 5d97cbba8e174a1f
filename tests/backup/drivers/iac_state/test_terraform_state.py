from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from airlock.backup.driver import Place
from airlock.backup.drivers.iac_state.state_format import addresses, facts_of
from airlock.backup.drivers.iac_state.terraform_state import TerraformStateDriver
from airlock.backup.run import prove, restore_origin, take
from airlock.errors import InvalidInput, PermanentError, TemporaryError
from airlock.models import Kind, Resource
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest_of_folder, make_store
from tests.contracts.driver_forms import Damage, Form, taken_by_a_folder, taken_by_a_link

STATE = {
    "version": 4, "terraform_version": "1.9.0", "serial": 17, "lineage": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
    "outputs": {"password": {"value": "db-pass-4711-secret", "type": "string", "sensitive": True}},
    "resources": [
        {"mode": "managed", "type": "aws_lb", "name": "front", "provider": "p",
         "instances": [{"attributes": {"id": "lb"}}]},
        {"mode": "managed", "type": "aws_subnet", "name": "net", "provider": "p",
         "instances": [{"index_key": 0, "attributes": {}}, {"index_key": 1, "attributes": {}}]},
        {"module": "module.dns", "mode": "data", "type": "aws_route53_zone", "name": "zone", "provider": "p",
         "instances": [{"index_key": "eu", "attributes": {}}]},
    ],
}  # fmt: skip


def text(**changes: object) -> str:
    return json.dumps({**STATE, **changes}, indent=2)


def driver_for(path: object, store) -> TerraformStateDriver:
    resource = Resource(name="shop_tf", kind=Kind.IAC_STATE, driver="terraform_state", options={"path": str(path)})
    return TerraformStateDriver(resource, store)


class TestTerraformState(DriverContract):
    @pytest.fixture
    def case(self, store, tmp_path: Path) -> Case:
        path = tmp_path / "terraform" / "shop.tfstate"
        path.parent.mkdir()
        path.write_text(text())

        def spoil(place: Place) -> None:
            next(Path(place.folder).iterdir()).write_text(text(serial=18))

        return Case(
            driver_for(path, store),
            change=lambda: path.write_text(text(serial=18)) and None,
            spoil=spoil,
            origin=lambda: digest_of_folder(path.parent),
            useless=(
                Useless("lineage", "lineage", "terraform.tfstate", lambda _: text(lineage="another").encode()),
                Useless("truncated", "no JSON", "terraform.tfstate", lambda content: content[:-20]),
                Useless("serial", "serial", "terraform.tfstate", lambda _: text(serial=16).encode()),
                Useless("resources", "resource addresses", "terraform.tfstate", lambda _: text(resources=[]).encode()),
                Useless("no state", "lineage and serial", "terraform.tfstate", lambda _: b'{"version": 4}'),
            ),
            secrets=("db-pass-4711-secret",),
            restored=lambda: digest_of_folder(path.parent, times=False),
            damages={
                "emptied": Damage(lambda: path.write_text("")),
                "added": "the resource is one file; resources that are added are 'changed'",
                "settings": Damage(lambda: path.chmod(0o666)),
                "gone": Damage(path.unlink),
                "taken": taken_by_a_folder(path),
                "linked": taken_by_a_link(path, lambda: digest_of_folder(path.parent, times=False)),
            },
            forms={
                "text that is not UTF-8": Form(lambda: path.write_bytes(b'{"a": "\xff"}'), refused="not UTF-8"),
                "names at the edges": Form(lambda: path.write_text(text(outputs={"a\u2028?#": {"value": 1}}))),
                "modes and owners": Form(lambda: path.chmod(0)),
                "disappears while it is read": "it is read in one go, under Terraform's own lock",
                "grows while it is read": "it is read in one go, under Terraform's own lock",
                "empty": Form(lambda: path.write_text(""), refused="no state was written yet"),
                "huge": Form(lambda: path.write_text(text(outputs={"a": {"value": "x" * (4 << 20)}}))),
                "deeply nested": Form(lambda: path.write_text("[" * 100_000), refused="no JSON"),
            },
        )

    def test_a_state_that_lost_a_resource_is_found(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        case.driver.restore(point, place)
        next(Path(place.folder).iterdir()).write_text(text(resources=STATE["resources"][1:]))
        failed = {check.name for check in case.driver.prove(point, place) if not check.ok}
        assert failed == {"resource addresses", "bytes"}

    def test_rubbish_in_the_place_is_a_failed_check(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        case.driver.restore(point, place)
        next(Path(place.folder).iterdir()).write_text("{")
        assert [check.ok for check in case.driver.prove(point, place)] == [False]


def test_any_object_storage(tmp_path: Path) -> None:
    path = UPath("memory://states/shop.tfstate")
    path.fs.pipe(path.path, text().encode())
    driver = driver_for(path, make_store(tmp_path))
    place = Place(name="tf1", folder=str(tmp_path / "tf1"))
    point = take(driver, "t.1")
    assert prove(driver, point, place).ok
    path.fs.pipe(path.path, text(serial=99).encode())
    driver.restore(point, Place(origin=True))
    assert path.fs.cat(path.path) == text().encode()


def test_through_airflows_object_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tfstate").write_text(text())
    monkeypatch.setenv("AIRFLOW_CONN_DISK", '{"conn_type": "generic"}')
    resource = Resource(
        name="tf",
        kind=Kind.IAC_STATE,
        driver="terraform_state",
        options={"path": f"file://{tmp_path}/a.tfstate", "connection": "disk"},
    )
    driver = TerraformStateDriver(resource, make_store(tmp_path))
    assert driver.inspect().detail == {"serial": 17, "resources": 4}
    point = take(driver, "t.1")
    (tmp_path / "a.tfstate").write_text(text(serial=20))
    driver.restore(point, Place(origin=True))
    assert (tmp_path / "a.tfstate").read_text() == text()


def test_addresses_are_those_of_terraform() -> None:
    assert addresses(STATE) == [
        "aws_lb.front", "aws_subnet.net[0]", "aws_subnet.net[1]", 'module.dns.data.aws_route53_zone.zone["eu"]',
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        "{",
        '{"version": 3}',
        '{"version": 4}',
        "NaN",
        text(resources=[{"type": "x"}]),
        text(resources="no"),
        text(serial="17"),
        text(serial=1.5),
        text(lineage=7),
        text(lineage="\ud800"),
    ],
)
def test_what_is_no_state_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.tfstate"
    path.write_text(content)
    with pytest.raises(InvalidInput, match="bad.tfstate"):
        take(driver_for(path, make_store(tmp_path)), "t.1")


@given(st.binary())
def test_any_bytes_are_a_state_or_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="it "):
        facts_of(content)


OLDER = '{"version": 3, "serial": 2, "modules": [{"path": ["root", "net"], "resources": {"aws_vpc.main": {}}}]}'
NAMELESS = '{"version": 4, "terraform_version": "0.12.0", "resources": [], "outputs": {}}'
NO_LINEAGE = text(lineage="")
LONG_NUMBER = text(outputs={"a": {"value": 0}}).replace('"value": 0', '"value": ' + "1" * 5000)
ENCRYPTED = '{"serial": 7, "lineage": "l", "meta": {}, "encrypted_data": "AAAA", "encryption_version": "v0"}'


@pytest.mark.parametrize(
    ("content", "form", "named"),
    [
        (OLDER, "3", ["module.net.aws_vpc.main"]),
        (ENCRYPTED, "encrypted by OpenTofu", None),
        (NAMELESS, "4", []),
        (NO_LINEAGE, "4", facts_of(text().encode())["resource addresses"]),
        (LONG_NUMBER, "4", facts_of(text().encode())["resource addresses"]),
    ],
    ids=["older", "encrypted", "nameless", "no lineage", "a long number"],
)
def test_other_forms_that_the_programs_read_are_states(content: str, form: str, named: object) -> None:
    """Terraform compares lineage and serial when there are some; tools that write states leave them out."""
    facts = facts_of(content.encode())
    assert (facts["format"], facts["resource addresses"]) == (form, named)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_what_no_terraform_reads_is_no_state(encoding: str) -> None:
    with pytest.raises(ValueError, match="it is no JSON"):
        facts_of(text().encode(encoding))


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in (("folder", "not a regular file"), ("pipe", "not a regular file"), ("loop", "symbolic links")):
        driver = driver_for(tmp_path / name, make_store(tmp_path / "store"))
        for act in (driver.inspect, lambda driver=driver: take(driver, "t.1")):
            with pytest.raises(PermanentError, match=rf"^{driver.label}: .*{reason}"):
                act()


def test_a_state_that_may_not_be_locked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "shop.tfstate"
    path.write_text(text())

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")  # as file systems in a network answer

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    with pytest.raises(TemporaryError, match="cannot lock .*No locks available"):
        take(driver_for(path, make_store(tmp_path / "store")), "t.1")


def test_what_took_the_name_of_the_state_is_not_waited_for_and_what_a_link_leads_to_stays(tmp_path: Path) -> None:
    path, other = tmp_path / "shop.tfstate", tmp_path / "other"
    path.write_text(text())
    other.write_text("somebody else's")
    driver = driver_for(path, make_store(tmp_path / "store"))
    point = take(driver, "t.1")
    for act in (lambda: os.mkfifo(path), path.mkdir, lambda: path.symlink_to("other")):
        path.unlink()
        act()
        assert restore_origin(driver, point).ok
        assert (path.read_text(), path.is_symlink(), other.read_text()) == (text(), False, "somebody else's")
