"""What every registered implementation declares that it needs, as a page for people: ``docs/least-rights.md``.

Knows the registry and the declarations; asks nothing of any system.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from airlock import registry
from airlock.models.needs import Need, Needs, Permission
from airlock.registry import Entry, resolve

_FIRST = ("DRIVERS", "TARGETS")
_HEAD = """# Least rights

What each implementation needs, by what it is needed for: `inspect` (before anybody is asked), `backup`, `proof` (the
restore test), `restore` (the way back), `delivery`, `check`, `analysis`, `calendar`, `ticket`, `notice`.
Options of a service file stand in `{...}`.

This page is written by `./airlock drivers --markdown` from what the code declares; a test compares it, and the tests of
drivers, targets, routers, artifact and metric sources compare that with the calls that are really made.
"""


def tables() -> Iterator[tuple[str, Mapping[str, Entry]]]:
    """Yield every table of the registry with what it holds in words, drivers and targets first."""
    found = {name: table for name, table in vars(registry).items() if name.isupper() and isinstance(table, Mapping)}
    for name in (*_FIRST, *sorted(set(found) - set(_FIRST))):
        words = name.lower().replace("_", " ")
        yield f"{words[:-3]}y" if words.endswith("ies") else words.removesuffix("s"), found[name]


def plural(what: str) -> str:
    """Return the name of a table that holds *what*."""
    return f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"


def page() -> str:
    """Return the whole page.

    :raises AirlockError: a registered implementation cannot be loaded
    """
    parts = [_HEAD]
    for what, table in tables():
        parts.append(f"## {plural(what).capitalize()}\n")
        parts += [section(name, resolve(table, what, name).needs) for name in sorted(table)]
    return "\n".join(parts)


def section(name: str, needs: Needs, what: str = "") -> str:
    """Return what one implementation needs, below its name and, where it stands alone, *what* it is."""
    lines = [f"### `{name}`{f' ({what})' if what else ''}", ""]
    lines += [f"- program `{one.name}`{f' from version {one.least} on' if one.least else ''}{_rest(one)}"
              for one in needs.programs]  # fmt: skip
    lines += [f"- connection `{one.id}`: {one.sort}{_rest(one)}" for one in needs.connections]
    lines += [f"- address `{one.url}`{_rest(one)}" for one in needs.addresses]
    lines += [f"- {one}" for one in needs.also]
    if not needs.all and not needs.also:
        lines.append("- nothing")
    if needs.permissions:
        lines += ["", "| system | what | on | for |", "|---|---|---|---|", *map(_row, needs.permissions)]
    return "\n".join(lines) + "\n"


def _row(one: Permission) -> str:
    said = "; ".join(filter(None, (_when(one), one.why, one.seldom)))
    actions = ", ".join(f"`{action}`" for action in one.actions)
    return f"| {one.system} | {actions} | `{one.on}` | {', '.join(one.stages)}{f': {said}' if said else ''} |"


def _rest(one: Need) -> str:
    said = "; ".join(filter(None, (_when(one), one.why)))
    return f" ({', '.join(one.stages)}{f': {said}' if said else ''})"


def _when(one: Need) -> str:
    if not one.when:
        return ""
    return f"without `{one.when[1:]}`" if one.when.startswith("!") else f"with `{one.when}`"
