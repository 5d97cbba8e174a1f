"""Each task that acts checks the permit itself, against the service file, the artifact and the keys of that moment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airlock.change.approval import rules_for
from airlock.change.basis import basis_of
from airlock.change.permit import issue
from airlock.change.planning import build_plan
from airlock.change.rfc import rfc_from_form
from airlock.change.risk import assess
from airlock.change.risk_policy import load_risk_policy
from airlock.deploy.progress import CanaryProgress
from airlock.deploy.resolution import resolve_artifact
from airlock.errors import CalendarClosed, EvidenceInvalid, GateRefused, PermitInvalid
from airlock.flow.operators.approval import request_text
from airlock.flow.operators.task import attempt_of
from airlock.flow.stages import backup, deploy
from airlock.flow.stages.calendar_gate import held_until
from airlock.flow.stages.change import permit, refreeze
from airlock.flow.stages.following_release import approved_before, newest, next_release
from airlock.flow.stages.permitted_act import forward
from airlock.flow.stages.release import Release
from airlock.models import Plan, RecoveryPoint, Vote, utc_now
from airlock.service import last_good
from airlock.service.defaults import DEFAULTS_FILE
from airlock.service.find import ServiceEnvironment
from airlock.service.reading import load_file
from airlock.service.touched import touched
from airlock.signing import Signer, generate_pem
from tests import service_data
from tests.flow.operators.test_approval import FORM
from tests.real_servers import set_connection
from tests.recompute.flown import delivered

SELDOM = '{days: [mon, tue], from: "09:00", to: "17:00"}'
ALWAYS = '{days: [mon, tue, wed, thu, fri, sat, sun], from: "00:00", to: "24:00"}'
KEY = generate_pem()


@dataclasses.dataclass(frozen=True)
class Approved:
    """A release of the cafe whose plan olga, bert and cleo approved."""

    folder: Path
    release: Release
    plan: Plan

    def change_file(self, old: str, new: str) -> None:
        path = Path(self.release.environment.source)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def reloaded(self) -> Release:
        """The release as a task sees it that begins now."""
        return Release(load_file(self.release.environment.source)[0], self.release.id, "task later")

    def record_permit(self, signer: Signer, hours: float = 1, now: datetime | None = None) -> None:
        at = now or utc_now()
        envelope = issue(self.plan, votes(at), at, hours, signer)
        self.release.record("permit", envelope=envelope, plan_digest=self.plan.digest)


def votes(at: datetime | None = None) -> tuple[Vote, ...]:
    people = ("olga", "bert", "cleo")
    return tuple(Vote(person=person, choice="approve", at=at or utc_now()) for person in people)


def keys(monkeypatch: pytest.MonkeyPatch, private: str, *trusted: str) -> None:
    set_connection(monkeypatch, "signing", conn_type="generic", password=private, extra={"trusted": list(trusted)})


def basis(release: Release) -> dict[str, Any]:
    return basis_of(release.environment, load_risk_policy()).model_dump(mode="json")


def frozen(cafe: ServiceEnvironment, identity: str) -> Plan:
    rfc = rfc_from_form(FORM, "rita", cafe)
    risk = assess(rfc, cafe, {"now": utc_now(), "current_version": "1.0"}, load_risk_policy())
    rules, touches = rules_for(risk, rfc, cafe), touched(cafe, rfc)
    return build_plan(identity, rfc, cafe, resolve_artifact(cafe, "1.1"), "1.0", rules, risk, touches)


@pytest.fixture
def approved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Approved:
    keys(monkeypatch, KEY)
    (tmp_path / "cafe-1.1.bin").write_bytes(b"oat milk")
    (tmp_path / ".env").write_text("A=1\n")
    cafe = service_data.environment(tmp_path, (SELDOM, ALWAYS), *delivered(tmp_path))
    plan = frozen(cafe, "r1")
    release = Release(cafe, "r1", "test")
    release.record("rfc", rfc=plan.rfc.model_dump(mode="json"))
    release.record("plan", plan=plan.model_dump(mode="json"), digest=plan.digest, basis=basis(release))
    release.record("approval_request", request="one", plan_digest=plan.digest)
    for vote in votes():
        data = vote.model_dump(mode="json")
        release.record("vote", vote.person, request="one", plan_digest=plan.digest, vote=data)
    permit(release)
    return Approved(tmp_path, release, plan)


CHANGES = {
    "analysis": ("steps: [{percent: 10, observe_seconds: 1}]", "steps: [{percent: 10, observe_seconds: 2}]",
                 r"rollout\.steps\.10\.observe_seconds: 1\.0 -> 2\.0"),
    "calendar": ("timezone: Europe/Berlin", "timezone: Europe/Paris", r'calendar\.timezone: "Europe/Berlin" -> "Europ'),
    "approvers": ("board: [bert, cleo, olga]", "board: [bert, cleo, olga, eve]",
                  r'settings\.groups\.board\.3: \(nothing\) -> "eve"'),
    "words": ("A coffee house.", "A coffee h0use.", r'settings\.description: "A coffee house\." -> "A coffee h0use\."'),
    "keys": ("signing_connection: signing", "signing_connection: singing", r"settings\.signing_connection: "),
    "seats": ("low: {service_owner: 1}", "low: {board: 1}", r"settings\.approvals\.low"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_the_service_file_is_seen_by_a_task_that_runs_already_and_by_one_that_begins(
    approved: Approved, old: str, new: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_connection(monkeypatch, "singing", conn_type="generic", password=KEY)
    assert approved.release.permitted("act").plan_digest == approved.plan.digest
    approved.change_file(old, new)
    for release in (approved.release, approved.reloaded()):
        with pytest.raises(PermitInvalid, match=f"stale.*{line}.*clear the task change.approve"):
            release.permitted("act")
    approved.change_file(new, old)
    approved.release.permitted("act")


def test_what_a_task_began_with_counts_although_the_file_was_put_back(approved: Approved) -> None:
    approved.change_file("percent: 10", "percent: 100")
    began = approved.reloaded()
    approved.change_file("percent: 100", "percent: 10")
    with pytest.raises(PermitInvalid, match="stale"):
        began.permitted("act")


def test_a_comment_changes_nothing_and_an_unreadable_or_missing_file_stops(approved: Approved) -> None:
    approved.change_file("tier: 2", "tier: 2  # as agreed")
    approved.release.permitted("act")
    path = Path(approved.release.environment.source)
    text = path.read_text()
    for wrong, sentence in (("service: [", "cannot be read"), (text.replace("  live:", "  later:"), "not declare")):
        path.write_text(wrong)
        with pytest.raises(PermitInvalid, match=sentence):
            approved.release.permitted("act")
    path.unlink()
    with pytest.raises(PermitInvalid, match="cannot be read"):
        approved.release.permitted("act")


def test_a_mistake_in_the_file_is_no_change_of_what_was_approved(approved: Approved) -> None:
    cafe = approved.release.environment
    path = Path(cafe.source)
    last_good.keep(path.parent, [cafe])
    text = path.read_text()
    others = (text.replace("  live:", "  later:"), text.replace("service: cafe", "service: bar"))
    for wrong in ("service: [", *others, None):
        path.unlink() if wrong is None else path.write_text(wrong)
        approved.release.permitted("act")
        Release(last_good.kept(path.parent)[0], approved.release.id, "task later").permitted("act")
    path.write_text(text.replace("tier: 2", "tier: 3"))
    with pytest.raises(PermitInvalid, match="settings.tier"):
        approved.release.permitted("act")
    last_good.keep(path.parent, load_file(path))
    path.write_text("service: [")
    with pytest.raises(PermitInvalid, match="settings.tier"):  # good last, and not what was approved
        approved.release.permitted("act")


def test_what_a_company_shares_is_part_of_what_was_approved(approved: Approved) -> None:
    path = Path(approved.release.environment.source)
    last_good.keep(path.parent, [approved.release.environment])
    shared = path.with_name(DEFAULTS_FILE)
    shared.write_text("defaults: {rollout: {steps: [{percent: 99, observe_seconds: 1}]}}")
    approved.release.permitted("act")  # the service file says otherwise
    shared.write_text("defaults: {rollout: {bake_seconds: 3}}")
    for release in (approved.release, approved.reloaded()):
        with pytest.raises(PermitInvalid, match=r"stale.*rollout\.bake_seconds: 60\.0 -> 3\.0"):
            release.permitted("act")
    for wrong in ("defaults: [", "default: {}"):
        shared.write_text(wrong)
        approved.release.permitted("act")  # a mistake is no change
    approved.change_file("    ledger:", "    rollback: {seats: {service_owner: 1}}\n    ledger:")
    shared.write_text("defaults: {ledger: /elsewhere}")
    with pytest.raises(PermitInvalid, match="stale"):
        approved.release.permitted("act")


POINT = RecoveryPoint.model_validate({
    "id": "p", "taken_at": "2026-01-01T00:00:00Z", "seconds": 1,
    "resource": {"name": "settings", "kind": "configuration", "driver": "env_file"},
})  # fmt: skip
ACTS: dict[str, Callable[[Release], object]] = {
    "take": lambda release: backup.start(release, release.plan.resources[0]),
    "prove": lambda release: backup.prove(release, release.plan.resources[0]),
    "stage": deploy.stage,
    "shift": lambda release: held_until(release, "shift, step 1", utc_now()),
    "validate": deploy.validate,
    "promote": lambda release: held_until(release, "promote", utc_now()),
    "retire": lambda release: (release.record("verdict", "bake", move="pass"), deploy.retire(release)),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_every_task_that_acts_refuses_other_content_of_the_same_version(
    approved: Approved, act: Callable[[Release], object]
) -> None:
    (approved.folder / "cafe-1.1.bin").write_bytes(b"oat milk!")
    with pytest.raises(PermitInvalid, match="stale.*artifact.digest: "):
        act(approved.release)
    assert approved.release.recorded("act") == ()
    assert not (approved.folder / "backups").exists()


@pytest.mark.parametrize("act", [lambda release: deploy.shift(release, CanaryProgress()), deploy.promote])
def test_no_traffic_moves_while_a_backup_is_not_proved(approved: Approved, act: Callable[[Release], object]) -> None:
    with pytest.raises(GateRefused, match="no proof, no deploy"):
        act(approved.release)
    approved.release.record("restore_set", points=["p"], skew_seconds=0, slowest_restore_seconds=0)
    approved.release.record("recovery_point", "configuration.settings", point=POINT.model_dump(mode="json"))
    with pytest.raises(GateRefused, match=r"settings has only a recovery point from before its settings"):
        act(approved.release)
    assert approved.release.recorded("act") == ()


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_permit_outlives_a_rotation_only_while_the_former_key_is_trusted(
    approved: Approved, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, successor = Signer.from_pem(KEY), generate_pem()
    keys(monkeypatch, successor, former.public_pem)
    approved.reloaded().permitted("act")
    approved.record_permit(Signer.from_pem(successor))
    approved.reloaded().permitted("act")
    keys(monkeypatch, successor)
    with pytest.raises(EvidenceInvalid, match=f"signed by the unknown key {former.key_id}; trusted are"):
        approved.reloaded().permitted("act")


def test_a_permit_of_a_stranger_is_refused_and_is_no_approval_to_compare_with(approved: Approved) -> None:
    approved.record_permit(Signer.from_pem(generate_pem()))
    with pytest.raises(PermitInvalid, match="unknown key"):
        approved.release.permitted("act")
    assert approved_before(approved.release) is None


# --- time -------------------------------------------------------------------------------------------------------------


def test_an_expired_permit_refuses_the_next_step(approved: Approved) -> None:
    approved.record_permit(Signer.from_pem(KEY), 0.5, utc_now() - timedelta(hours=1))
    with pytest.raises(PermitInvalid, match="expired at"):
        held_until(approved.release, "shift, step 2", utc_now())


def closed(approved: Approved, begin: datetime, end: datetime, on_freeze: str) -> Release:
    """The release with a plan that has a freeze from *begin* to *end*, approved for an hour."""
    rollout = "rollout: {steps: [{percent: 10, observe_seconds: 1}]"
    approved.change_file(rollout, f"{rollout}, on_freeze: {on_freeze}")
    freeze = f"{{name: party, from: '{begin.isoformat()}', to: '{end.isoformat()}'}}"
    approved.change_file("      windows:", f"      freezes: [{freeze}]\n      windows:")
    release = approved.reloaded()
    _, plan = refreeze(release)
    dataclasses.replace(approved, release=release, plan=plan).record_permit(Signer.from_pem(KEY))
    return release


def test_a_freeze_in_the_approved_calendar_holds_the_next_step_until_it_ends(approved: Approved) -> None:
    now = utc_now().replace(microsecond=0)
    begin, end = now + timedelta(minutes=5), now + timedelta(minutes=20)
    release = closed(approved, begin, end, "hold")
    assert held_until(release, "shift, step 2", now) is None
    for moment in (begin, begin, end - timedelta(seconds=1)):
        assert held_until(release, "shift, step 2", moment) == end
    assert held_until(release, "shift, step 2", end) is None
    (hold,) = release.recorded("hold")
    assert (hold.data["code"], hold.data["until"]) == ("frozen", end.astimezone(UTC).isoformat())


def test_a_hold_ends_with_the_permit(approved: Approved) -> None:
    now = utc_now()
    release = closed(approved, now - timedelta(minutes=1), now + timedelta(days=7), "hold")
    until = held_until(release, "promote", now)
    assert until == release.permitted("promote").expires_at


def test_a_freeze_rolls_back_where_the_plan_says_so(approved: Approved) -> None:
    now = utc_now()
    release = closed(approved, now - timedelta(minutes=1), now + timedelta(days=7), "roll_back")
    with pytest.raises(GateRefused, match="freeze 'party'.*the plan says roll back"):
        held_until(release, "shift, step 2", now)


def test_a_freeze_that_begins_in_the_moment_of_the_act_is_obeyed(approved: Approved) -> None:
    now = utc_now()
    release = closed(approved, now - timedelta(minutes=1), now + timedelta(days=7), "hold")
    with pytest.raises(CalendarClosed, match="a moment ago"), forward(release, "shift", in_window=True):
        pytest.fail("the act was done")
    assert not release.recorded("act")


# --- asking again -----------------------------------------------------------------------------------------------------


def refuse_and_seal(release: Release) -> None:
    from airlock.flow.stages.close import seal

    release.record("fault", "change.window", error="PermitInvalid", message="the permit is stale")
    seal(release)


def test_asking_again_begins_a_release_that_follows_the_refused_one(approved: Approved) -> None:
    release = approved.release
    assert next_release(release, "r1") is release
    refuse_and_seal(release)
    assert newest(release.environment, "r1") == "r1"
    second = next_release(release, "r1")
    assert second.id == "r1-2"
    second.record("fault", "change.validate", error="InvalidInput", message="no")
    assert newest(release.environment, "r1") == "r1-2"
    refuse_and_seal(second)
    assert next_release(second, "r1").id == "r1-3"


@pytest.mark.parametrize(
    ("tries", "most", "retry"),
    [(1, 2, False), (2, 2, True), (3, 2, True), (2, 3, False), (3, 3, True), (5, 6, False), (3, 4, False)],
)
def test_only_a_person_who_clears_a_task_asks_again_not_a_try_that_airflow_took_for_lost(
    approved: Approved, tries: int, most: int, retry: bool
) -> None:
    run = SimpleNamespace(dag_id="release.cafe.live", run_id="r1")
    task = SimpleNamespace(try_number=tries, max_tries=most)
    attempt = attempt_of({"dag_run": run, "ti": task, "task": SimpleNamespace(retries=2)})
    assert (attempt.number, attempt.retry) == (tries, retry)
    refuse_and_seal(approved.release)
    approved.release.attempt = attempt
    if retry:
        with pytest.raises(GateRefused, match="tries this task again by itself: nothing more is done; clear the task"):
            next_release(approved.release, "r1")
    else:
        assert next_release(approved.release, "r1").id == "r1-2"


def test_nothing_follows_a_release_that_changed_something(approved: Approved) -> None:
    approved.release.record("act", "stage")
    approved.release.record("rolled_back", state={}, why="it failed")
    refuse_and_seal(approved.release)
    with pytest.raises(GateRefused, match="has ended, rolled back, and is sealed.*trigger a new run"):
        next_release(approved.release, "r1")


def following(approved: Approved) -> Release:
    """The release that continues the refused one, with its plan frozen from the service file as it is now."""
    refuse_and_seal(approved.release)
    second = next_release(approved.reloaded(), "r1")
    second.record("rfc", rfc=approved.plan.rfc.model_dump(mode="json"), continues="r1")
    plan = frozen(second.environment, second.id)
    second.record("plan", plan=plan.model_dump(mode="json"), digest=plan.digest, basis=basis(second))
    return second


def test_approvers_see_just_the_difference_to_what_was_approved(approved: Approved) -> None:
    approved.change_file("observe_seconds: 1", "observe_seconds: 7")
    second = following(approved)
    text = request_text(second, second.plan, second.plan)
    assert "observe\\_seconds\\: 1\\.0 \\-\\> 7\\.0" in text
    assert approved.plan.digest in text
    assert second.plan.digest in text
    assert FORM["rollback_plan"].rstrip(".") not in text
    assert "r1" not in text.split("What changed")[1]


def test_a_difference_that_is_too_long_to_show_is_shown_with_the_whole_plan(approved: Approved) -> None:
    steps = ", ".join(f"{{percent: {n}, observe_seconds: 1}}" for n in range(1, 40))
    approved.change_file("{percent: 10, observe_seconds: 1}", steps)
    second = following(approved)
    text = request_text(second, second.plan, second.plan)
    assert "further differences" in text
    assert "#### Rollout" in text


def test_a_forged_permit_does_not_shorten_what_approvers_read(approved: Approved) -> None:
    approved.record_permit(Signer.from_pem(generate_pem()))
    second = following(approved)
    assert "#### Rollout" in request_text(second, second.plan, second.plan)


def test_votes_for_another_plan_do_not_carry_this_one(approved: Approved) -> None:
    release, plan = approved.release, approved.plan
    release.record("approval_request", request="two", plan_digest=plan.digest)
    for vote in votes():
        data = vote.model_dump(mode="json")
        release.record("vote", vote.person, request="two", plan_digest="sha256:" + "0" * 64, vote=data)
    with pytest.raises(GateRefused, match="do not carry the plan"):
        permit(release)
