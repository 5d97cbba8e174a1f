"""A release and its ticket, over HTTP and without Airflow: one ticket for each release, fields from it, approval in it,
state kept in step, and what hostile or broken tickets cannot do. Each with both ticket systems."""

from __future__ import annotations

import pytest

from airlock.change.approval import tally
from airlock.errors import AirlockError, GateRefused, InvalidInput, PermanentError, TemporaryError
from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import write_pack
from airlock.evidence.seal import seal
from airlock.flow.stages import approval, change, close, deploy, ticket_votes, tickets
from airlock.flow.stages.notices import notify
from airlock.flow.stages.settle import RunState, settle
from airlock.models import utc_now
from airlock.recompute.release import recompute
from airlock.signing import Signer
from tests.faulty_proxy import Fault, faulty_proxy
from tests.itsm import ticketed
from tests.itsm.ticketed import TicketedHouse
from tests.recompute import flown


@pytest.fixture(params=["jira", "servicenow"])
def house(request, tmp_path, monkeypatch):
    with ticketed.ticketed(tmp_path, request.param, monkeypatch) as made:
        made.site.approvers = ("acc-olga", "acc-bert")
        yield made


def ask(house: TicketedHouse, **form: str):
    """Return the plan, its request and the ticket that shows it."""
    plan = house.requested(**form)
    request = ticket_votes.asked(house.release, plan)
    return plan, request, house.release.latest("ticket")["key"]


def votes(house: TicketedHouse) -> list[tuple[str, str]]:
    return [(one.subject, one.data["vote"]["choice"]) for one in house.release.recorded("vote")]


# --- one ticket -------------------------------------------------------------------------------------------------------


def test_a_release_that_began_in_airflow_gets_one_ticket_that_shows_its_plan(house):
    plan, _, key = ask(house)
    assert house.site.carried("cafe-live-1") == [key]
    assert house.site.status(key) == "approval"
    (note,) = house.site.notes(key)
    assert plan.digest in note and "- 1 of service_owner: olga" in note and f"Risk: {plan.risk.score} of 100" in note
    assert "Conflicts\n" in note and "> New orders page" in note and "\\" not in note
    assert tickets.open_ticket(house.again()) == key
    ticket_votes.asked(house.again(), plan)
    assert len(house.site.notes(key)) == 1 and house.site.carried("cafe-live-1") == [key]


def test_a_crash_after_the_ticket_was_made_makes_no_second_one(house, monkeypatch):
    plan = house.requested()
    with faulty_proxy(house.site.url) as proxy:
        proxy.decide = lambda method, path: Fault(cut=3) if method == "POST" and "search" not in path else None
        house.connect(proxy.url)
        with pytest.raises(TemporaryError):
            tickets.open_ticket(house.again())
    house.connect(house.site.url)
    if house.name == "jira":
        house.site.indexed = set()
        with pytest.raises(TemporaryError, match="may have been created a moment ago"):
            tickets.open_ticket(house.again())
        house.site.indexed = None
    key = tickets.open_ticket(house.again())
    assert house.site.carried(plan.release) == [key]
    assert len(house.again().recorded("ticket_wanted")) == 1


# --- a request that comes from a ticket -------------------------------------------------------------------------------


def test_what_the_form_leaves_empty_comes_from_the_ticket(house):
    key = house.site.opened("Orders, newly", "because\nof customers", impact="3 - Low", u_version="1.1")
    plan = house.requested(ticket=key, title="", reason="", impact="")
    rfc = plan.rfc
    assert (rfc.ticket, rfc.title, rfc.reason) == (key, "Orders, newly", "because\nof customers")
    assert rfc.impact.startswith("low:") and plan.rfc.ticket == key
    assert tickets.open_ticket(house.release) == key
    assert house.site.carried("cafe-live-1") == [key]
    house.site.edit(key, ticketed.TITLES[house.name], "another title")
    assert house.again().rfc.title == "Orders, newly" and house.again().plan.digest == plan.digest


def test_form_and_ticket_must_not_contradict_each_other(house):
    key = house.site.opened("Orders, newly", u_version="1.2")
    with pytest.raises(InvalidInput, match=r"title: the form says.*version: the form says '1.1', the ticket '1.2'"):
        house.requested(ticket=key, reason="")


@pytest.mark.parametrize("text", ["x" * 400_000, "a\nb\tc", "{{ ti.xcom }}", "<script>alert(1)</script>", "\u202eabc"])
def test_hostile_fields_go_through_the_rules_of_the_form(house, text):
    key = house.site.opened("t", text)
    house.site.edit(key, ticketed.TITLES[house.name], text)
    try:
        plan = house.requested(ticket=key, title="", reason="")
    except InvalidInput as error:
        assert "title: " in str(error) and len(str(error)) < 5000
        return
    assert len(plan.rfc.title) <= 120 and "\n" not in plan.rfc.title and "\u202e" not in plan.rfc.title


def test_a_ticket_that_is_closed_gone_or_of_another_release_begins_nothing(house):
    closed, taken = house.site.opened("Orders, newly"), house.site.opened("Orders, newly")
    house.site.set_status(closed, "canceled")
    tickets.system_of(house.release.environment).adopt(taken, "cafe-live-0")
    gone = house.site.opened("x")
    house.site.delete(gone)
    for key, sentence in ((closed, "is closed"), (taken, "belongs to the release cafe-live-0"), (gone, "hidden")):
        with pytest.raises(PermanentError, match=sentence):
            house.requested(ticket=key)
    assert house.release.latest("rfc") is None


# --- approval ---------------------------------------------------------------------------------------------------------


def test_an_approval_in_the_ticket_is_an_ordinary_vote_and_carries_the_plan(house):
    plan, request, key = ask(house)
    seen = ticket_votes.copy_answers(house.release, plan, request)
    assert not votes(house) and not seen.closed
    house.site.answer(key, "acc-olga", "approve")
    after = ticket_votes.copy_answers(house.again(), plan, request)
    assert after.fingerprint != seen.fingerprint
    assert ticket_votes.carried(house.again(), plan, request)
    ticket_votes.copy_answers(house.again(), plan, request)
    house.release = house.again()
    assert votes(house) == [("olga", "approve")]
    change.permit(house.release)
    data = house.release.recorded("vote")[0].data
    assert data["via"] == f"ticket {key}" and data["ticket"]["account"] == "acc-olga"
    assert data["plan_digest"] == plan.digest


def test_own_record_stays_authoritative(house):
    plan, request, key = ask(house)
    house.site.answer(key, "acc-olga", "approve")
    ticket_votes.copy_answers(house.release, plan, request)
    house.site.answer(key, "acc-olga", "reject")
    house.site.delete(key)
    assert ticket_votes.carried(house.again(), plan, request)
    assert approval.look(house.again(), plan, utc_now()).decided == "approved"
    change.permit(house.again())


@pytest.mark.parametrize("account", ["olga", "OLGA", "acc-mallory", "jira:olga", "acc-olga "])
def test_an_account_that_nobody_mapped_does_not_count_whatever_it_calls_itself(house, account):
    plan, request, key = ask(house)
    house.site.ask_for_approval(key, account)
    house.site.answer(key, account, "approve")
    ticket_votes.copy_answers(house.release, plan, request)
    ticket_votes.copy_answers(house.release, plan, request)
    assert votes(house) == []
    (refused,) = house.release.recorded("vote_refused")
    assert "is in none of the groups" in refused.data["why"]
    told = [one for one in house.site.notes(key) if "This answer does not count" in one]
    assert len(told) == 1 and "is in none of the groups" in told[0], "said once, where the answer was given"
    assert not ticket_votes.carried(house.release, plan, request)


def test_the_requester_cannot_approve_their_own_change_in_a_ticket_either(house):
    plan, request, key = ask(house)
    house.site.ask_for_approval(key, "acc-rita")
    house.site.answer(key, "acc-rita", "approve")
    ticket_votes.copy_answers(house.release, plan, request)
    assert votes(house) == []
    assert "asked for this change" in house.release.recorded("vote_refused")[0].data["why"]


def test_an_approval_given_before_the_plan_was_shown_is_void_and_people_are_asked_anew(house):
    key = house.site.opened("Orders, newly", "because of customers")
    house.site.set_status(key, "approval")
    house.site.answer(key, "acc-olga", "approve")
    plan, request, _ = ask(house, ticket=key, title="", reason="")
    ticket_votes.copy_answers(house.release, plan, request)
    assert votes(house) == []
    house.site.answer(key, "acc-olga", "approve")
    ticket_votes.copy_answers(house.release, plan, request)
    assert votes(house) == [("olga", "approve")]


def test_a_plan_that_changes_makes_the_approval_void(house):
    plan, request, key = ask(house)
    house.site.answer(key, "acc-olga", "approve")
    ticket_votes.copy_answers(house.release, plan, request)
    house.path.write_text(house.path.read_text().replace("bake_seconds: 4", "bake_seconds: 5"))
    house.release = house.again()
    _, changed = change.refreeze(house.release)
    assert changed.digest != plan.digest
    second = ticket_votes.asked(house.release, changed)
    assert second != request
    ticket_votes.copy_answers(house.release, changed, second)
    assert not ticket_votes.carried(house.release, changed, second)
    with pytest.raises(GateRefused):
        change.permit(house.release)
    assert changed.digest in house.site.notes(key)[-1]
    house.site.answer(key, "acc-olga", "approve")
    ticket_votes.copy_answers(house.release, changed, second)
    assert ticket_votes.carried(house.again(), changed, second)


def test_a_rejection_ends_it_with_a_reason(house):
    plan, request, key = ask(house)
    house.site.answer(key, "acc-olga", "reject")
    ticket_votes.copy_answers(house.release, plan, request)
    with pytest.raises(GateRefused, match="^olga rejected it: "):
        approval.look(house.release, plan, utc_now())


def test_a_ticket_that_people_end_or_delete_is_said_in_a_sentence(house):
    plan, request, key = ask(house)
    house.site.set_status(key, "canceled")
    seen = ticket_votes.copy_answers(house.release, plan, request)
    with pytest.raises(GateRefused, match="closed as 'Canceled' before the plan was approved: service_owner lacks"):
        ticket_votes.refuse_closed(seen, approval.look(house.release, plan, utc_now()).sentence)
    house.site.delete(key)
    with pytest.raises(GateRefused, match="the ticket that was to be approved is gone"):
        ticket_votes.copy_answers(house.release, plan, request)


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(drop=True), Fault(status=200, body=b"<html>"),
                                   Fault(status=200, body=b'{"values": [], "result": []}')])  # fmt: skip
def test_a_ticket_system_that_is_away_or_lies_lets_nothing_pass(house, fault):
    plan, request, key = ask(house)
    house.site.answer(key, "acc-olga", "approve")
    with faulty_proxy(house.site.url) as proxy:
        proxy.always(fault)
        house.connect(proxy.url)
        with pytest.raises(AirlockError):
            ticket_votes.copy_answers(house.again(), plan, request)
        assert not ticket_votes.carried(house.again(), plan, request)
    house.connect(house.site.url)
    ticket_votes.copy_answers(house.again(), plan, request)
    assert ticket_votes.carried(house.again(), plan, request)


def test_seats_that_no_known_account_can_fill_are_refused_before_anybody_is_asked(tmp_path, monkeypatch):
    with ticketed.ticketed(tmp_path, "jira", monkeypatch, people={"acc-bert": "bert"}) as house:
        with pytest.raises(GateRefused, match=r"with the accounts in tickets.people, service_owner lacks 1 of 1"):
            ask(house)
        assert house.site.issues == {}


def test_in_servicenow_an_approval_that_an_administrator_wrote_does_not_count(tmp_path, monkeypatch):
    with ticketed.ticketed(tmp_path, "servicenow", monkeypatch) as house:
        house.site.approvers = ("acc-olga",)
        plan, request, key = ask(house)
        house.site.answer(key, "acc-olga", "approve", by="admin")
        ticket_votes.copy_answers(house.release, plan, request)
        ticket_votes.copy_answers(house.release, plan, request)
        (doubt,) = house.release.recorded("ticket_doubt")
        assert "written by admin in the name of acc-olga" in doubt.data["why"]
        assert not ticket_votes.carried(house.release, plan, request)


# --- in step ----------------------------------------------------------------------------------------------------------


def approved(house: TicketedHouse) -> str:
    plan, request, key = ask(house)
    house.site.answer(key, "acc-olga", "approve")
    ticket_votes.copy_answers(house.release, plan, request)
    return str(key)


def carry_out(house: TicketedHouse) -> str:
    """Take the release, approved in its ticket, through all stages; return the ticket."""
    keys = []
    flight = house.flight
    flight.request = lambda release, form: house.requested()
    flight._ask = lambda: keys.append(approved(house))
    flight.carry_out({})
    tickets.close_ticket(house.again())
    return keys[0]


@pytest.mark.parametrize(("samples", "outcome"), [(ticketed.GOOD, "promoted"), (ticketed.BAD, "rolled_back")])
def test_a_whole_release_is_followed_by_its_ticket_and_recomputes(house, samples, outcome):
    house.flight.release.metrics.samples = iter((samples,) * 12)
    key = carry_out(house)
    release = house.again()
    assert release.latest("outcome")["outcome"] == outcome
    assert house.site.status(key) == ("failed" if (outcome, house.name) == ("rolled_back", "jira") else "closed")
    said = "\n".join(house.site.notes(key))
    assert "Permit signed" in said and "Canary 1.1" in said
    tickets.close_ticket(release)
    found = recompute(house.folder / "evidence" / "cafe-live-1.zip", any_signer=True)
    assert found.ok, found.differing or found.problems
    assert any(one.decision == "answer in ticket" for one in found.decisions)


def test_the_ticket_of_a_refused_release_is_canceled(house):
    _, _, key = ask(house)
    house.release.record("fault", "change.approve", error="GateRefused", message="nobody decided")
    with pytest.raises(PermanentError, match="not sealed"):
        tickets.close_ticket(house.release)
    close.seal(house.release)
    tickets.close_ticket(house.again())
    assert house.site.status(key) == "canceled"


def test_an_outage_delays_no_release_and_the_end_catches_up(house):
    key = approved(house)
    house.site.down = True
    change.permit(house.release)
    now = utc_now()
    house.release.record("window", sentence="open", code="open", at=now.isoformat())
    notify(house.release, "begun", "The release begins", "open")
    assert house.site.status(key) == "approval"
    with pytest.raises(TemporaryError):
        tickets.in_step(house.release, "x", "y")
    house.site.down = False
    notify(house.release, "verdict", "Canary 1.1: pass", "fine")
    assert house.site.status(key) == "implement"
    assert [one.data.get("state") for one in house.release.recorded("notification") if one.subject == "ticket"] == [
        "scheduled", "implement",
    ]  # fmt: skip


def test_records_that_were_altered_are_found_by_computing_again(house, tmp_path):
    carry_out(house)
    records = house.again().records()

    def forged(kind: str, **change_to) -> list[str]:
        copy = Ledger(tmp_path / f"forged-{kind}-{len(change_to)}-{sorted(change_to)[0]}", "cafe", "live")
        for one in records:
            other = one.model_copy(update={"data": {**one.data, **change_to}})
            copy.append(other if one.type == kind else one)
        seal(copy, "cafe-live-1", Signer.from_pem(flown.KEY), records[-1].at)
        pack = write_pack(copy, "cafe-live-1", tmp_path / "packs" / kind / str(len(change_to)))
        found = recompute(pack, any_signer=True)
        return [line for one in found.differing for line in one.differences]

    answer = next(one for one in records if one.type == "vote").data["ticket"]
    assert any("person" in line for line in forged("vote", ticket={**answer, "account": "acc-mallory"}))
    assert any("there before the plan was shown" in line for line in forged("ticket_request", ignored=[answer["id"]]))
    assert any("doubt" in line for line in forged("vote", ticket={**answer, "doubt": "x"}, via="Airflow"))


def test_whoever_approves_in_airflow_instead_still_needs_a_seat(house):
    plan, request, _ = ask(house)
    assert tally(plan.approvals, change.votes_of(house.release, request), "rita").decided == "waiting"
    assert deploy.choose(house.release.records())[0] == "refuse"


@pytest.mark.parametrize("away", [False, True])
def test_settle_closes_the_ticket_of_a_release_whose_run_is_gone(house, away):
    _, _, key = ask(house)
    house.release.record("run", dag_id="release.cafe.live", run_id="gone", airflow="here")
    house.site.down = away
    said = settle(house.release, "here", lambda dag, run: RunState.GONE, utc_now())
    assert said == "cafe-live-1: settled as refused"
    house.site.down = False
    assert house.site.status(key) == ("approval" if away else "canceled")
