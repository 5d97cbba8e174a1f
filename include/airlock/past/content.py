"""What the ledgers say of one content, by its digest: in its environment, and in those that it comes from."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from airlock.change.content import Appearance, ContentPast
from airlock.deploy.landing import acted
from airlock.evidence.ledger import Ledger
from airlock.models import Outcome, Record
from airlock.past import debts, ledgers
from airlock.past.released import released
from airlock.service.find import ServiceEnvironment, find


def content_past(
    environment: ServiceEnvironment, digest: str, comes_from: Collection[str], *, signed: bool = True
) -> ContentPast:
    """Return every release of the content *digest* that has ended, here and in the environments it *comes_from*.

    :param signed: whether records without a trusted signature are refused
    :raises EvidenceInvalid: a record was altered, or is not signed by a trusted key
    :raises UnknownName: an environment that it comes from is not declared
    """
    folder = Path(environment.source).parent
    places = [environment, *(find(folder, environment.service, name) for name in comes_from
                             if name != environment.environment)]
    found = (one for place in places for one in _appearances(place, digest, signed=signed))
    return ContentPast(digest=digest, here=environment.environment, comes_from=tuple(comes_from),
                       appearances=tuple(found))


def _appearances(place: ServiceEnvironment, digest: str, *, signed: bool) -> Iterator[Appearance]:
    ledger = ledgers.releases(place, signed=signed)
    blamed = debts.blamed(ledgers.stream(place, ledgers.FOLLOW_UP, signed=signed))
    asked = {release: record for release in ledger.releases()
             if (record := ledger.latest(release, "rfc")) is not None}
    undone = _undone(ledger, asked)
    for release, request in asked.items():
        content = released(ledger, release)
        ended = ledger.latest(release, "outcome") if content is not None and content.digest == digest else None
        if content is None or ended is None or ended.data["outcome"] == Outcome.SKIPPED:
            continue
        records = ledger.read(release)
        by = undone.get(release)
        yield Appearance(
            release=release, environment=place.environment, version=content.version, at=ended.at,
            outcome=Outcome(ended.data["outcome"]), why=str(ended.data["why"]), acted=acted(records),
            rejected=any(one.type == "vote" and one.data["vote"]["choice"] == "reject" for one in records),
            taken_back=by.release if by and not by.train else None, sent_back=by.release if by and by.train else None,
            blamed=release in blamed, undoes=request.data["rfc"].get("undoes"),
        )


class _Return:
    """A return that was carried out: its release, and whether a train wanted it because of another service."""

    def __init__(self, release: str, train: str | None) -> None:
        self.release, self.train = release, train


def _undone(ledger: Ledger, asked: dict[str, Record]) -> dict[str, _Return]:
    found = {}
    for release, request in asked.items():
        undoes, train = request.data["rfc"].get("undoes"), request.data["rfc"].get("train")
        ended = ledger.latest(release, "outcome") if undoes else None
        if ended is not None and ended.data["outcome"] == Outcome.PROMOTED:
            found[undoes] = _Return(release, train)
    return found
