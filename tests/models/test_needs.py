"""What an implementation needs, and what of it with which options."""

from __future__ import annotations

from pydantic import BaseModel

from airlock.models.needs import Address, ConnectionNeed, Needs, Permission, Program, Stage, System

STAGES = (Stage.BACKUP,)


class Slot(BaseModel):
    address: str


class Options(BaseModel):
    connection: str | None = None
    path: str = ""
    programs: str = ""
    command: tuple[str, ...] = ("{python}", "{artifact}")
    names: tuple[str, ...] = ()
    slots: dict[str, Slot] = {}


def permission(on: str, when: str = "") -> Permission:
    return Permission(system=System.VAULT, actions=("read",), on=on, stages=STAGES, when=when)


def ons(needs: Needs, options: Options) -> list[str]:
    return [one.on for one in needs.bound(options).permissions]


def test_options_fill_the_texts() -> None:
    needs = Needs(
        programs=(Program(name="{command.0}", folder="{programs}", stages=STAGES),),
        connections=(ConnectionNeed(sort="Vault", stages=STAGES),),
    )
    bound = needs.bound(Options(connection="vault", programs="/opt/bin"))
    # what an option holds is never read as a text to fill again
    assert [(one.name, one.folder) for one in bound.programs] == [("{python}", "/opt/bin")]
    assert [one.id for one in bound.connections] == ["vault"]


def test_a_list_or_a_mapping_is_each_of_its_members() -> None:
    needs = Needs(permissions=(permission("zone {names}"),),
                  addresses=(Address(url="{slots.*.address}/health", stages=STAGES),))  # fmt: skip
    options = Options(names=("a", "b"), slots={"x": Slot(address="http://x"), "y": Slot(address="http://y")})
    assert ons(needs, options) == ["zone a", "zone b"]
    assert [one.url for one in needs.bound(options).addresses] == ["http://x/health", "http://y/health"]
    assert needs.bound(Options()).addresses == ()


def test_what_an_option_makes_needless_is_left_out() -> None:
    needs = Needs(permissions=(permission("{path}/*", when="path"), permission("*", when="!path")))
    assert ons(needs, Options(path="a")) == ["a/*"]
    assert ons(needs, Options()) == ["*"]
    assert needs.bound(Options()).permissions[0].system is System.VAULT


def test_two_needs_are_both_and_each_once() -> None:
    one, two = Needs(permissions=(permission("a"),), also=("x",)), Needs(permissions=(permission("a"), permission("b")))
    assert [found.on for found in (one + two).permissions] == ["a", "b"]
    assert (one + two).also == ("x",)


def test_what_stands_beside_the_options_fills_the_texts_too() -> None:
    needs = Needs(connections=(ConnectionNeed(sort="Jira", stages=STAGES),))
    assert [one.id for one in needs.bound(None, connection="jira").connections] == ["jira"]
    assert needs.options == ("connection",)


def test_options_that_are_named_are_known() -> None:
    needs = Needs(permissions=(permission("{slots.*.address} {path}", when="!names"),))
    assert needs.options == ("names", "path", "slots")
