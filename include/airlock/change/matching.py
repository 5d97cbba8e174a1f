"""People to seats: as many seats as can be filled, where a person sits once and a member's seat is taken once, under
whatever names.

A maximum flow from voters through the members in whose seats they may sit to the groups (Ford and Fulkerson 1956; with
breadth-first paths Edmonds and Karp 1972). Pure; knows no votes and no rules.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

_Node: TypeAlias = tuple[str, str]
_Edges: TypeAlias = dict[_Node, dict[_Node, int]]
_SOURCE: _Node = ("source", "")
_SINK: _Node = ("sink", "")
_MOST_CHOICES = 256
"""Ways to choose names that are tried; beyond them a seat may stay empty, but none is filled twice."""


@dataclass(frozen=True, order=True)
class Seat:
    """One filled seat: *person* sits there, in the place of *member* (often the same)."""

    person: str
    member: str


def largest_matching(
    groups: Sequence[tuple[int, Collection[str]]], voters: Mapping[str, Sequence[str]], people: Mapping[str, str]
) -> list[tuple[Seat, ...]]:
    """Return, per group, the seats that are filled, sorted: the most that can be filled in all groups together.

    :param groups: seats and members of each
    :param voters: person -> the members in whose seats the person may sit
    :param people: every name of a voter or member -> one name of whoever it may belong to
    """
    names: dict[str, list[str]] = {}
    for member in sorted({member for members in voters.values() for member in members}):
        names.setdefault(people[member], []).append(member)
    # Of a member who is called by several names one is chosen, as is best: by each of them other groups may be entered.
    choices = itertools.islice(itertools.product(*names.values()), _MOST_CHOICES)
    return max((_filled(groups, voters, people, frozenset(chosen)) for chosen in choices),
               key=lambda filled: sum(map(len, filled)))


def _filled(
    groups: Sequence[tuple[int, Collection[str]]], voters: Mapping[str, Sequence[str]], people: Mapping[str, str],
    chosen: frozenset[str],
) -> list[tuple[Seat, ...]]:
    room: _Edges = {}
    for person in sorted(voters):
        _connect(room, _SOURCE, ("one", people[person]), 1)
        _connect(room, ("one", people[person]), ("person", person), 1)
        for member in sorted(chosen.intersection(voters[person])):
            _connect(room, ("person", person), ("member", member), 1)
    for member in sorted(chosen):
        _connect(room, ("member", member), ("seat of", member), 1)
        for index, (_, members) in enumerate(groups):
            if member in members:
                _connect(room, ("seat of", member), ("group", str(index)), 1)
    for index, (quorum, _) in enumerate(groups):
        _connect(room, ("group", str(index)), _SINK, quorum)
    while path := _path(room):
        for one, other in itertools.pairwise(path):
            room[one][other] -= 1
            room[other][one] += 1
    return [_seats(room, index, voters) for index in range(len(groups))]


def _connect(room: _Edges, one: _Node, other: _Node, capacity: int) -> None:
    room.setdefault(one, {})[other] = capacity
    room.setdefault(other, {}).setdefault(one, 0)


def _path(room: _Edges) -> list[_Node]:
    """Return the shortest way with room from source to sink, or nothing."""
    came: dict[_Node, _Node] = {}
    waiting = deque([_SOURCE])
    while waiting:
        node = waiting.popleft()
        if node == _SINK:
            path = [node]
            while path[-1] != _SOURCE:
                path.append(came[path[-1]])
            return path[::-1]
        for following, free in room.get(node, {}).items():
            if free > 0 and following != _SOURCE and following not in came:
                came[following] = node
                waiting.append(following)
    return []


def _seats(room: _Edges, index: int, voters: Mapping[str, Sequence[str]]) -> tuple[Seat, ...]:
    taken = {node[1] for node, flow in room.get(("group", str(index)), {}).items()
             if node[0] == "seat of" and flow > 0}
    return tuple(sorted(Seat(person, member) for person, members in voters.items() for member in members
                        if member in taken and room["person", person].get(("member", member)) == 0))
