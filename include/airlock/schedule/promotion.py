"""What was promoted where, and what follows: the version that a cycle takes, and the one that a rollback returns to.

Pure; must not know how promotions are stored, nor whether a request is good.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import AwareDatetime

from airlock.models import Frozen


class Promotion(Frozen):
    """One version that reached an environment. ``came_from`` is the version that it replaced, with the digest that was
    seen of that one; ``undoes`` the release that it took back, where it was a rollback, and ``train`` the departure of
    the release train that wanted that, because of another service."""

    version: str
    digest: str
    at: AwareDatetime
    release: str = ""
    came_from: str = ""
    came_from_digest: str = ""
    undoes: str | None = None
    train: str | None = None


class Hint(Frozen):
    """What an event says was promoted. Whoever may write events can say anything: it decides nothing by itself."""

    version: str
    digest: str


@dataclass(frozen=True)
class Candidate:
    """What a cycle would release, and the sentence that says why."""

    version: str
    digest: str
    sentence: str


@dataclass(frozen=True)
class NothingNew:
    """A cycle that ends as skipped, and the sentence that says why."""

    sentence: str


@dataclass(frozen=True)
class WayBack:
    """The version before, what its content was, and the release that a return takes back."""

    version: str
    digest: str
    undoes: str
    sentence: str


@dataclass(frozen=True)
class NoWayBack:
    """Why there is no version to return to."""

    sentence: str


def candidate(
    before: Sequence[Promotion],
    here: Sequence[Promotion],
    rolled_back_here: Sequence[Promotion] = (),
    hints: Sequence[Hint] | None = None,
) -> Candidate | NothingNew:
    """Return the newest version that stands in the environment before, unless it was here already.

    :param before: promotions in the environment before; any order. One that was taken back there since does not count.
    :param here: promotions in this environment; any order
    :param rolled_back_here: versions that came back from this environment: a cycle does not try the same content twice,
        unless a train took it back because of another service
    :param hints: what the events say that started this run: nothing else is taken. ``None`` when none did.
    """
    standing = _standing(before)
    if hints is not None:
        standing = [one for one in standing if Hint(version=one.version, digest=one.digest) in hints]
        if not standing:
            named = ", ".join(f"{hint.version[:64]} ({hint.digest[:19]})" for hint in hints[:5]) or "nothing"
            return NothingNew(f"nothing new: the event names {named}, of which nothing stands as promoted in the "
                              "environment before, as its ledger says")
    if not standing:
        return NothingNew("nothing new: nothing was promoted in the environment before")
    newest = max(standing, key=lambda one: one.at)
    label = f"{newest.version}, promoted in the environment before on {_shown(newest)},"
    kept = _standing(here)
    for one in sorted(kept, key=lambda one: one.at, reverse=True):
        if one.digest == newest.digest:
            return NothingNew(f"nothing new: {label} was promoted here on {_shown(one)} already")
    forgiven = {one.undoes for one in here if one.train}
    undone = [one for one in here if one not in kept and not one.undoes and one.release not in forgiven]
    for one in sorted((*rolled_back_here, *undone), key=lambda one: one.at, reverse=True):
        if one.digest == newest.digest:
            return NothingNew(f"nothing new: {label} was rolled back here on {_shown(one)}; "
                              "to try it again, trigger a release by hand")
    return Candidate(newest.version, newest.digest, f"{label} is new here")


def version_before(promotions: Sequence[Promotion], stable: str) -> WayBack | NoWayBack:
    """Return the version to go back to from *stable*, which has all traffic now: the one that it replaced.

    Each rollback takes the newest release off again, so that two in a row lead back by two versions, not to and fro.

    :param promotions: everything promoted in the environment, rollbacks too; any order
    """
    releases: list[Promotion] = []
    for one in sorted(promotions, key=lambda one: one.at):
        if one.undoes is None:
            releases.append(one)
        elif any(one.undoes == other.release for other in releases):
            while releases.pop().release != one.undoes:
                pass
    if not releases:
        return NoWayBack(f"no way back from {stable}: no release on record brought it here; release by hand the "
                         "version that is wanted")
    newest = releases[-1]
    if newest.version != stable:
        return NoWayBack(f"no way back from {stable}: the newest release on record here is {newest.release} of "
                         f"{newest.version}, so somebody released past Airlock; release by hand the version that is "
                         "wanted")
    digest = newest.came_from_digest or next(
        (one.digest for one in reversed(releases[:-1]) if one.version == newest.came_from), "")
    if not digest:
        return NoWayBack(f"no way back from {stable}: what {newest.came_from} was is not on record, so its artifact "
                         "cannot be checked; release it by hand")
    return WayBack(newest.came_from, digest, newest.release,
                   f"{newest.release} replaced {newest.came_from} by {stable} on {_shown(newest)}")


def _standing(promotions: Sequence[Promotion]) -> list[Promotion]:
    """Return the releases that were not taken back; what took them back is no version to go on with."""
    undone = {one.undoes for one in promotions if one.undoes}
    return [one for one in promotions if one.undoes is None and (not one.release or one.release not in undone)]


def hints_of(extras: Iterable[object]) -> tuple[Hint, ...]:
    """Return what the extras of events say; one that is not readable says nothing."""
    found = []
    for extra in extras:
        if not isinstance(extra, dict):
            continue
        version, digest = extra.get("version"), extra.get("digest")
        if isinstance(version, str) and isinstance(digest, str):
            found.append(Hint(version=version[:100], digest=digest[:100]))
    return tuple(found)


def _shown(promotion: Promotion) -> str:
    return f"{promotion.at:%d %b %Y %H:%M %Z}"
