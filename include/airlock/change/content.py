"""What is known of the content that is to be released: how it fared here, and in the environments that it comes from.

Pure. Content is told by its digest, never by the name of its version: the same name may hold other content, and another
name the same. Must not know where the past is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC

from pydantic import AwareDatetime

from airlock.models import Digest, Frozen, Outcome, Risk
from airlock.service.standard_changes import StandardChange

CONTENT = "this content"
"""Name of the risk factor that says what is known of it."""
_SHOWN = 5
_LONGEST = 300


class Appearance(Frozen):
    """One release of the content that has ended.

    ``acted``: it had changed the target; ``rejected``: people said no to it; ``taken_back`` is the release that led
    back from it later, because of itself, and ``sent_back`` the one that did so for the sake of another service of a
    train; ``blamed``: a review names it as the cause of an emergency; ``undoes``: it led back to this content itself.
    """

    release: str
    environment: str
    version: str
    at: AwareDatetime
    outcome: Outcome
    why: str = ""
    acted: bool = False
    rejected: bool = False
    taken_back: str | None = None
    sent_back: str | None = None
    blamed: bool = False
    undoes: str | None = None

    @property
    def failed(self) -> bool:
        """Return whether it speaks against the content, or people did."""
        tried_in_vain = self.acted and self.outcome is not Outcome.PROMOTED
        return (self.outcome is Outcome.ROLLED_BACK or tried_in_vain or self.rejected or self.blamed
                or self.taken_back is not None)

    @property
    def stands(self) -> bool:
        """Return whether it was promoted, and is neither taken back nor blamed since."""
        return (self.outcome is Outcome.PROMOTED and not self.failed and self.sent_back is None
                and self.undoes is None)

    def sentence(self, here: str) -> str:
        """Return what happened, for people who look from the environment *here*."""
        where = "here" if self.environment == here else f"in {self.environment}"
        said = f"{self.version} was {self._word()} {where} on {self.at.astimezone(UTC):%d %b %Y %H:%M} UTC"
        return f"{said} ({self.release}){self._then()}"

    def _word(self) -> str:
        return "rejected" if self.rejected else self.outcome.replace("_", " ")

    def _then(self) -> str:
        if self.taken_back or self.sent_back:
            sake = "" if self.taken_back else " for the sake of another service"
            return f" and taken back by {self.taken_back or self.sent_back}{sake}"
        if self.blamed:
            return ", and a review names it as the cause of an emergency"
        return f": {self.why[:_LONGEST].rstrip('.')}" if self.failed else ""  # else it was not about the content


class ContentPast(Frozen):
    """Everything that is known of one content: here, and in the environments in which it must stand as promoted."""

    digest: Digest
    here: str
    comes_from: tuple[str, ...] = ()
    appearances: tuple[Appearance, ...] = ()

    @property
    def failed_here(self) -> tuple[Appearance, ...]:
        """Return where it failed here, the newest first."""
        return tuple(one for one in self._newest_first() if one.environment == self.here and one.failed)

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the environments in which it should stand as promoted, and does not."""
        standing = {one.environment for one in self.appearances if one.stands}
        return tuple(name for name in self.comes_from if name not in standing)

    @property
    def failed_before(self) -> bool:
        """Return whether it failed in an environment that it comes from, and does not stand there since."""
        return any(one.failed and one.environment in self.missing for one in self.appearances)

    @property
    def failed(self) -> bool:
        """Return whether something speaks against it, so that it is never let through unseen."""
        return bool(self.failed_here) or self.failed_before

    def sentences(self) -> tuple[str, ...]:
        """Return what is known, for people: what speaks against it first."""
        told = self._told()
        said = [one.sentence(self.here) for one in told[:_SHOWN]]
        if len(told) > _SHOWN:
            said.append(f"{len(told) - _SHOWN} more release(s) of it are on record")
        return (*said, *self._lacking()) or ("nothing is known of it: it was not released here yet",)

    def against(self) -> tuple[str, ...]:
        """Return those of the ``sentences`` that speak against it."""
        return (*(one.sentence(self.here) for one in self._told()[:_SHOWN] if one.failed), *self._lacking())

    def _told(self) -> Sequence[Appearance]:
        return sorted(self._newest_first(), key=lambda one: not one.failed)

    def _lacking(self) -> tuple[str, ...]:
        return tuple(f"it does not stand as promoted in {name}" for name in self.missing)

    def _newest_first(self) -> Sequence[Appearance]:
        return sorted(self.appearances, key=lambda one: (one.at, one.release), reverse=True)


def comes_from(after: str | None, templates: Iterable[StandardChange] = ()) -> tuple[str, ...]:
    """Return the environments in which content must stand as promoted: the one *after* which it is released, and those
    that *templates* name."""
    named = (after, *(template.promoted_in for template in templates))
    return tuple(dict.fromkeys(name for name in named if name is not None))


def worse(past: ContentPast, scored: Risk) -> str:
    """Return why a risk that was *scored* for other content is too low for this one; empty if it is not."""
    said = "; ".join(past.sentences())
    if past.failed or (past.missing and said != _known(scored)):
        return f"what is known of its content is not what the risk was scored with: {said}"
    return ""


def unseen(past: ContentPast, scored: Risk) -> str:
    """Return what speaks against the content and was not known when its risk was *scored*; empty if nothing does."""
    if not (past.failed or past.missing):
        return ""
    known = _known(scored)
    return "; ".join(sentence for sentence in past.against() if sentence not in known)


def _known(scored: Risk) -> str:
    return next((factor.reason for factor in scored.factors if factor.name == CONTENT), "")


def refusal(template: str, version: str, past: ContentPast) -> str:
    """Return why the standard change *template* does not carry the content, which nobody would look at; empty if it
    does. What is known is shown to the approvers of a normal change, who may release it all the same."""
    what = f"the content of {version} ({past.digest[:19]})"
    ask = "ask for a normal change, whose approvers read this"
    if past.failed_here:
        return (f"{what} failed here: {past.failed_here[0].sentence(past.here)}; a standard change ({template!r}) "
                f"carries nothing that failed: {ask}")
    if past.missing:
        return (f"{what} does not stand as promoted in {past.missing[0]}, and a standard change ({template!r}) carries "
                f"only what does: release it there first, or {ask}")
    return ""
