"""What the flow recorded is what its records give again; one changed number in a signed pack is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.errors import InvalidInput
from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import open_release, write_pack
from airlock.evidence.seal import seal
from airlock.evidence.stored import record_name, stored_bytes
from airlock.flow.stages import approval, change
from airlock.models import ArmSample, Vote, utc_now
from airlock.recompute import canary, history, verdicts
from airlock.recompute.release import Recomputation, recompute
from airlock.service.reading import load_file
from airlock.signing import Signer, generate_pem
from tests.recompute import flown
from tests.recompute.flown import BAD, FORM, GOOD, YES

SIGNER = Signer.from_pem(flown.KEY)
FOUND = ("results", 0, "found")
STATUS = (*FOUND, "answers", 0, "status")


@pytest.fixture(scope="module", autouse=True)
def keys() -> Iterator[None]:
    with flown.keys():
        yield


def fly(folder: Path, samples=(GOOD,) * 12, answers=YES, policy: str = "{}", form=FORM) -> Path:
    return flown.prepared(folder, policy, samples, answers).carry_out(form)


def explained(found: Recomputation) -> str:
    return "\n".join(f"{one.record}: {one.decision}: {one.differences}" for one in found.differing)


arms = st.builds(
    lambda requests, share, p95: ArmSample(
        version="-",
        requests=requests,
        errors=int(requests * share),
        latency_p95_ms=p95,
        latency_buckets=() if p95 is None else ((p95, int(requests * 0.95)), (2 * p95, requests)),
    ),
    st.integers(0, 5000),
    st.sampled_from([0, 0, 0, 0.001, 0.04, 0.5]),
    st.sampled_from([None, 5.0, 40.0, 300.0]),
)
people = st.tuples(
    st.sampled_from(["olga", "bert", "cleo", "rita", "mallory"]),
    st.sampled_from(["approve", "approve", "reject"]),
    st.sampled_from(["", "because"]),
)
policies = st.builds(
    lambda alpha, requests, extend, hold: json.dumps(
        {"alpha": alpha, "minimum_requests": requests, "extend_looks": extend, "hold_looks": hold}
    ),
    st.floats(0.001, 0.4),
    st.integers(1, 500),
    st.integers(0, 3),
    st.integers(0, 2),
)
samples = st.lists(st.one_of(st.just(GOOD), st.just(GOOD), st.tuples(arms, arms)), max_size=12)


@settings(max_examples=12)
@given(
    samples,
    st.one_of(st.just(YES), st.lists(people, max_size=5)),
    policies,
    st.sampled_from(["normal", "standard"]),
    st.sampled_from(["low", "medium", "high"]),
)
def test_whatever_a_release_met_its_decisions_are_the_same_again(samples, answers, policy, change_type, impact):
    form = FORM | {"impact": impact} if change_type == "normal" else {"version": "1.1", "change_type": "standard"}
    with tempfile.TemporaryDirectory() as folder:
        found = recompute(fly(Path(folder), samples, answers, policy, form), [SIGNER.public_pem])
    assert found.ok, explained(found)
    assert {"risk", "approval rules", "outcome"} <= {one.decision for one in found.decisions}


@pytest.fixture(scope="module")
def flights(tmp_path_factory) -> dict[str, Path]:
    """One release of each end; the folder that holds its ledger, by outcome."""
    made = {}
    for outcome, samples, answers in (
        ("promoted", (GOOD,) * 12, (("rita", "approve", ""), *YES)),
        ("rolled_back", (GOOD, GOOD, GOOD, BAD), YES),
        ("refused", (), (("bert", "reject", "not today"),)),
    ):
        folder = tmp_path_factory.mktemp(outcome)
        found = recompute(fly(folder, samples, answers), [SIGNER.public_pem])
        assert (found.ok, found.outcome) == (True, outcome), explained(found)
        made[outcome] = folder
    return made


def test_a_promoted_release_has_every_decision_of_the_flow(flights):
    found = recompute(flights["promoted"] / "evidence/cafe-live-1.zip")
    assert {one.decision for one in found.decisions} == {
        "conflicts",
        "resources held",
        "plan digest",
        "signatures",
        "risk",
        "way back",
        "approval rules",
        "who may vote",
        "vote counts",
        "votes counted",
        "vote refused",
        "permit",
        "permitted",
        "calendar",
        "window",
        "proof configuration.settings",
        "restore set",
        "act after its gate",
        "checks smoke",
        "staged digest",
        "verdict step-1",
        "move step-1",
        "verdict step-2",
        "move step-2",
        "canary",
        "checks validation",
        "validated digest",
        "decision",
        "checks bake",
        "verdict bake",
        "move bake",
        "baked",
        "outcome",
    }
    assert not found.ok and found.verdict == "all the same, unverified signer"
    assert "--public-key" in found.notes[0]
    assert {one.answer for one in found.decisions if one.decision.startswith("proof ")} == {"proven"}


def forged(folder: Path, kind: str, change, subject: str | None = None, last: bool = False) -> Recomputation:
    """Copy the ledger with one record changed, seal it with the right key, and compute it again."""
    source = Ledger(folder / "ledger", "cafe", "live")
    records = list(source.read("cafe-live-1"))
    places = [number for number, one in enumerate(records) if one.type == kind and subject in (None, one.subject)]
    place = places[-1 if last else 0]
    data = json.loads(json.dumps(records[place].data))
    change(data)
    assert data != records[place].data
    records[place] = records[place].model_copy(update={"data": data})
    with tempfile.TemporaryDirectory() as home:
        copy = Ledger(Path(home) / "ledger", "cafe", "live")
        for record in records:
            copy.append(record)
        seal(copy, "cafe-live-1", SIGNER, records[-1].at + timedelta(seconds=1))
        return recompute(write_pack(copy, "cafe-live-1", home), [SIGNER.public_pem])


def put(*path, value):
    def change(data):
        for step in path[:-1]:
            data = data[step]
        data[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("flight", "kind", "subject", "change", "decision", "field"),
    [
        ("promoted", "plan", None, put("plan", "risk", "score", value=7), "risk", "score: 7 ->"),
        (
            "promoted",
            "plan",
            None,
            put("plan", "risk", "factors", 2, "points", value=1),
            "risk",
            "factors.tier.points: 1 ->",
        ),
        ("promoted", "plan", None, put("plan", "approvals", value=[]), "approval rules", "approvals"),
        ("promoted", "plan", None, put("basis", "tier", value=4), "risk", "factors.tier.points"),
        ("promoted", "plan", None, put("facts", "content", value=None), "risk", "factors.this content.points"),
        ("promoted", "plan", None, put("facts", "content", "digest", value="sha256:" + "0" * 64), "risk", "digest"),
        ("promoted", "plan", None, put("facts", "content", "here", value="elsewhere"), "risk", "here"),
        ("promoted", "plan", None, put("plan", "risk", "failed_before", value=True), "risk", "failed_before"),
        ("promoted", "plan", None, put("plan", "analysis", "alpha", value=0.3), "plan digest", "digest"),
        (
            "promoted",
            "plan",
            None,
            put("plan", "artifact", "digest", value="sha256:" + "0" * 64),
            "permitted",
            "permit",
        ),
        (
            "promoted",
            "approval_request",
            None,
            put("eligible", 0, value="mallory"),
            "who may vote",
            'eligible.0: "mallory"',
        ),
        ("promoted", "vote", None, put("vote", "person", value="mallory"), "vote counts", "mallory is in none"),
        ("promoted", "vote", None, put("vote", "choice", value="reject"), "permit", "do not carry the plan"),
        ("promoted", "vote_refused", None, put("why", value="typing error"), "vote refused", "why"),
        ("promoted", "permit", None, put("plan_digest", value="sha256:" + "1" * 64), "permit", "plan_digest"),
        ("promoted", "permit", None, put("envelope", "payload", value="e30="), "permit", "does not fit"),
        ("promoted", "window", None, put("code", value="frozen"), "window", 'code: "frozen" -> "open"'),
        (
            "promoted",
            "proof",
            None,
            put("proof", "checks", 0, "ok", value=False),
            "proof configuration.settings",
            "ok: true -> false",
        ),
        (
            "promoted",
            "proof",
            None,
            put("proof", "checks", 0, "found", value="another"),
            "proof configuration.settings",
            "proof.checks.0.ok: true -> false",
        ),
        (
            "promoted",
            "proof",
            None,
            put("proof", "checks", 0, "expected", value={"least": 3}),
            "restore set",
            "points: configuration.settings is not proved",
        ),
        (
            "promoted",
            "proof",
            None,
            put("proof", "checks", value=[]),
            "proof configuration.settings",
            "ok: true -> false",
        ),
        ("promoted", "checks", "smoke", put(*STATUS, value=500), "staged digest", 'checks: "fail" -> "pass"'),
        ("promoted", "checks", "smoke", put(*STATUS, value=500), "checks smoke", "verdict.answer"),
        ("promoted", "checks", "smoke", put(*FOUND, "answers", 0, "path", value="/"), "staged digest", '"error"'),
        ("promoted", "checks", "smoke", put("results", value=[]), "staged digest", "0 checks are on record"),
        ("promoted", "checks", "smoke", put("results", 0, "name", value="sql"), "checks smoke", "of a check 'sql'"),
        ("promoted", "checks", "smoke", put(*FOUND, value=None), "checks smoke", "can only be an error"),
        ("promoted", "checks", "smoke", put("version", value="1.0"), "checks smoke", 'version: "1.0" -> "1.1"'),
        ("promoted", "checks", "validation", put(*STATUS, value=302), "validated digest", 'checks: "fail" -> "pass"'),
        ("promoted", "checks", "bake", put(*STATUS, value=404), "verdict bake", 'verdict.answer: "pass" -> "fail"'),
        ("promoted", "checks", "bake", put("look", value=9), "verdict bake", "look of the checks"),
        ("promoted", "verdict", "bake", put("judged", value=None), "verdict bake", "cannot be computed again"),
        ("promoted", "verdict", "step-1", put("judged", value={}), "verdict step-1", "judged"),
        ("promoted", "baked", None, put("state", "versions", 0, "weight", value=40), "baked", "weight: 40 -> 100"),
        (
            "promoted",
            "conflicts",
            None,
            put("seen", value={"checks": [{"name": "n", "expected": 1, "found": 2, "ok": True}], "ok": True}),
            "checks",
            "seen.ok: true -> false",
        ),
        ("promoted", "restore_set", None, put("skew_seconds", value=5), "restore set", "skew_seconds: 5 -> 0.0"),
        (
            "promoted",
            "verdict",
            "step-1",
            put("sample", "canary", "errors", value=60),
            "verdict step-1",
            'verdict.answer: "pass" -> "fail"',
        ),
        (
            "promoted",
            "verdict",
            "step-1",
            put("sample", "canary", "requests", value=101),
            "verdict step-1",
            "verdict.numbers.canary.requests",
        ),
        ("promoted", "verdict", "step-1", put("sample", value=None), "verdict step-1", "because there was no sample"),
        ("promoted", "verdict", "step-1", put("policy", "alpha", value=0.2), "verdict step-1", "policy.alpha"),
        ("promoted", "verdict", "step-1", put("move", value="pass"), "move step-1", 'move: "pass" -> "observe"'),
        ("promoted", "verdict", "step-1", put("progress", "looks", value=9), "move step-1", "progress"),
        ("promoted", "verdict", "step-1", put("percent", value=1), "move step-1", "percent: 1 -> 10"),
        ("promoted", "verdict", "bake", put("move", value="pass"), "move bake", 'move: "pass" -> "observe"'),
        ("promoted", "act", "shift", put("percent", value=99), "move step-1", "shifted to: 99 -> 10"),
        (
            "promoted",
            "staged",
            None,
            put("state", "versions", 1, "digest", value="sha256:00"),
            "staged digest",
            "digest",
        ),
        ("promoted", "staged", None, put("state", "stable", value="0.9"), "staged digest", 'stable: "0.9" -> "1.0"'),
        ("promoted", "staged", None, put("state", "versions", 1, "running", value=False), "staged digest", "running"),
        ("promoted", "validated", None, put("state", "stable", value="1.1"), "validated digest", "stable"),
        ("promoted", "baked", None, put("state", "stable", value="1.0"), "baked", 'stable: "1.0" -> "1.1"'),
        ("promoted", "baked", None, put("state", "versions", 0, "running", value=False), "baked", "running"),
        ("promoted", "baked", None, put("state", "versions", 0, "digest", value="sha256:00"), "baked", "digests"),
        ("promoted", "act", "stage", put("version", value="1.0"), "act after its gate", 'version: "1.0" -> "1.1"'),
        ("promoted", "act", "retire", put("version", value="1.1"), "act after its gate", 'version: "1.1" -> "1.0"'),
        ("rolled_back", "act", "roll_back", put("version", value="1.1"), "act after its gate", "version"),
        ("rolled_back", "rolled_back", None, put("state", "stable", value="1.1"), "rolled back", "stable"),
        ("rolled_back", "rolled_back", None, put("state", "versions", 0, "running", value=False), "rolled back", "run"),
        ("promoted", "tally", None, put("request", value="another"), "votes counted", 'request: "another"'),
        (
            "promoted",
            "proof",
            None,
            lambda data: data["proof"]["checks"].pop(),
            "proof configuration.settings",
            "none of 1 is on record, such as 'content of ",
        ),
        (
            "promoted",
            "recovery_point",
            None,
            put("point", "resource", "name", value="others"),
            "proof configuration.settings",
            'of: "configuration.others" -> "configuration.settings"',
        ),
        ("promoted", "canary", None, put("move", value="roll back"), "canary", 'move: "roll back" -> "pass"'),
        ("promoted", "decision", None, put("choice", value="roll_back"), "decision", "choice"),
        (
            "promoted",
            "outcome",
            None,
            put("outcome", value="rolled_back"),
            "outcome",
            'outcome: "rolled_back" -> "promoted"',
        ),
        ("rolled_back", "canary", None, put("why", value="it was fine"), "canary", "why"),
        (
            "rolled_back",
            "rolled_back",
            None,
            put("state", "versions", 0, "weight", value=99),
            "rolled back",
            "weight: 99 -> 100",
        ),
        (
            "rolled_back",
            "outcome",
            None,
            put("outcome", value="promoted"),
            "outcome",
            'outcome: "promoted" -> "rolled_back"',
        ),
        ("rolled_back", "decision", None, put("why", value="a whim"), "decision", "why"),
        ("refused", "outcome", None, put("outcome", value="promoted"), "outcome", 'outcome: "promoted" -> "refused"'),
        ("refused", "fault", None, put("message", value="nothing"), "outcome", "why"),
    ],
)
def test_one_changed_value_in_a_rightly_signed_pack_is_named(flights, flight, kind, subject, change, decision, field):
    found = forged(flights[flight], kind, change, subject)
    assert found.problems == ()
    assert not found.ok
    named = {one.decision: one.differences for one in found.differing}
    assert any(field in text for text in named.get(decision, ())), explained(found)


def test_a_standard_change_is_decided_on_what_its_plan_holds(tmp_path):
    form = {"version": "1.1", "change_type": "standard"}
    assert recompute(fly(tmp_path, (GOOD,) * 12, (), form=form), [SIGNER.public_pem]).ok
    for altered, field in (
        (put("template", "maximum_risk", value=59), "declared.maximum_risk: 59 -> 60"),
        (put("owner", value="others"), 'owner: "others" -> "cafe-team"'),
        (put("current_version", value="0.9"), 'current_version: "0.9" -> "1.0"'),
    ):
        found = forged(tmp_path, "standard_change", altered)
        named = [text for one in found.differing if one.decision == "standard change" for text in one.differences]
        assert any(field in text for text in named), explained(found)


POLICY = """\
name: house
rules:
  - {name: on evidence, when: {levels: [low]}, evidence: true}
  - {name: everything else, seats: {board: 1}}
"""


def test_a_release_that_passes_on_evidence_has_no_votes_and_its_permit_says_so(tmp_path):
    flight, file = flown.prepared(tmp_path, "{}", (GOOD,) * 12, ()), tmp_path / "services/cafe.yaml"
    (tmp_path / "house.yaml").write_text(POLICY)
    text = file.read_text()
    short = text[text.index("    approvals:"):text.index("    calendar:")]
    file.write_text(text.replace(short, "    approvals: {policy: ../house.yaml}\n").replace("tier: 2", "tier: 4"))
    flight.release.environment = load_file(file)[0]
    harmless = {"impact": "low", "users": "nobody", "tested": "production_like", "done_before": "often",
                "downtime": "none"}
    found = recompute(flight.carry_out(FORM | harmless), [SIGNER.public_pem])
    assert (found.ok, found.outcome) == (True, "promoted"), explained(found)
    made = [one.decision for one in found.decisions]
    assert "permit" in made and "approval rules" in made and "who may vote" not in made
    for altered, decision, field in (
        (put("plan", "terms", "evidence", value=False), "approval rules", "terms.evidence: false -> true"),
        (put("basis", "approval_policy", "rules", 0, "evidence", value=False), "approval rules", "no seats"),
        (put("plan", "risk", "failed_before", value=True), "approval rules", "approvals"),
    ):
        forgery = forged(tmp_path, "plan", altered)
        named = [text for one in forgery.differing if one.decision == decision for text in one.differences]
        assert any(field in text for text in named), explained(forgery)
    forgery = forged(tmp_path, "permit", put("plan_digest", value="sha256:" + "1" * 64))
    assert any(one.decision == "permit" for one in forgery.differing)


def test_a_proof_of_something_else_than_its_recovery_point_states_is_named(flights):
    """All that stands in the proof agrees; what was backed up was something else."""
    def other(data):
        for check in data["proof"]["checks"]:
            if check["name"].startswith("content of"):
                check["expected"] = check["found"] = "hmac-sha256:0"
    found = forged(flights["promoted"], "proof", other)
    (proof,) = (one for one in found.differing)
    assert proof.decision == "proof configuration.settings"
    assert "expected: \"hmac-sha256:0\" -> " in proof.differences[0]


def test_a_proof_needs_a_check_of_all_that_it_compares_the_names_of():
    facts = {"tables": {"a": 1, "b c": 2}, "schemas": {"s": 1}, "documents": {"d": "h"}, "size": 3}
    checks = [{"name": name, "expected": 1, "found": 1, "ok": True} for name in ("names of tables", "tables a", "size")]
    (said,) = verdicts.unproven(facts, {"ok": True, "checks": checks})
    assert said == "proof.checks: none of 2 is on record, such as 'content of d'"
    assert verdicts.unproven(facts, {"ok": False, "checks": checks}) == ()
    whole = [*checks, *({**checks[0], "name": name} for name in ("tables b c", "content of d"))]
    assert verdicts.unproven(facts, {"ok": True, "checks": whole}) == ()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("rows", 3), ("public key", "k"), ("names of tables", ["a b", "c"]), ("tables a b", 1), ("tables d", None),
        ("sequences s", {"least": 1, "most": 4}), ("content of x y", "h"), ("names of files", ["f"]),
        ("names of rows", None), ("anything", None), ("names of ", None), ("", None),
    ],
)  # fmt: skip
def test_what_a_recovery_point_states_of_a_check(name, told):
    facts = {"rows": 3, "public_key": "k", "tables": {"c": 2, "a b": 1}, "sequences": {"s": [1, 4]},
             "documents": {"x y": "h"}, "files": [{"name": "f"}]}
    assert verdicts.stated(facts, name) == told


@pytest.mark.parametrize(
    ("kinds", "decision", "sentence"),
    [
        (("permit",), "permitted", "there is no permit"),
        (("restore_set",), "act after its gate", "no record 'restore_set'"),
        (("vote",), "permit", "do not carry the plan"),
        (("canary",), "validated digest", "no record 'canary'"),
        (("staged",), "act after its gate", "no record 'staged'"),
        (("plan",), "permitted", "no record 'plan'"),
        (("decision",), "act after its gate", "no record 'decision'"),
        (("baked",), "outcome", "neither promotion nor rollback"),
        (("verdict",), "canary", "no look on record"),
    ],
)
def test_a_missing_gate_is_named_by_what_came_after_it(flights, tmp_path, kinds, decision, sentence):
    copy = Ledger(tmp_path / "ledger", "cafe", "live")
    records = Ledger(flights["promoted"] / "ledger", "cafe", "live").read("cafe-live-1")
    for record in records:
        if record.type not in kinds:
            copy.append(record)
    seal(copy, "cafe-live-1", SIGNER, records[-1].at)
    found = recompute(write_pack(copy, "cafe-live-1", tmp_path), [SIGNER.public_pem])
    named = [text for one in found.differing if one.decision == decision for text in one.differences]
    assert any(sentence in text for text in named), explained(found)


def test_a_permit_after_a_rejection_on_an_earlier_request_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(change, "_refuse_rejected", lambda _: None)
    flight = flown.prepared(tmp_path, "{}", (GOOD,) * 12, YES)
    release = flight.release

    def requested(release, form):
        change.validate(release, form, "rita")
        plan = change.assess(release)
        request = approval.opened(release, plan, utc_now())
        no = Vote(person="olga", choice="reject", at=utc_now(), reason="not on a Sunday")
        approval.cast(release, plan, no)
        release.record("approval_over", request=request, at=utc_now().isoformat(), stage="first", sentence="asked anew")

    pack = flown.Flight(release, YES, requested).carry_out(FORM)
    found = recompute(pack, [SIGNER.public_pem])
    assert not found.ok
    (permit,) = [one for one in found.differing if one.decision == "permit"]
    assert permit.differences == ("votes: a rejection stays one in its release: olga rejected it: not on a Sunday",)


def test_an_act_outside_the_time_of_its_permit_is_named(flights, tmp_path):
    copy = Ledger(tmp_path / "ledger", "cafe", "live")
    records = Ledger(flights["promoted"] / "ledger", "cafe", "live").read("cafe-live-1")
    for record in records:
        late = record.type not in ("rfc", "plan", "approval_request", "vote", "vote_refused", "permit")
        copy.append(record.model_copy(update={"at": record.at + timedelta(hours=25 if late else 0)}))
    seal(copy, "cafe-live-1", SIGNER, records[-1].at)
    found = recompute(write_pack(copy, "cafe-live-1", tmp_path), any_signer=True)
    acts = [one for one in found.differing if one.decision == "permitted"]
    assert len(acts) == 5
    assert all("the permit expired at" in one.differences[0] for one in acts)


@settings(max_examples=25)
@given(data=st.data())
def test_hostile_records_give_sentences_and_no_stack_trace(flights, data):
    records = Ledger(flights["promoted"] / "ledger", "cafe", "live").read("cafe-live-1")
    kind = data.draw(st.sampled_from(sorted({one.type for one in records} - {"outcome", "notification"})))
    junk = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
    place = next(number for number, one in enumerate(records) if one.type == kind)
    field = data.draw(st.sampled_from(sorted(records[place].data)))
    value = data.draw(junk.filter(lambda one: one != records[place].data[field]))
    found = forged(flights["promoted"], kind, put(field, value=value))
    assert found.decisions


def test_another_key_is_refused_and_only_one_release_is_taken(flights, tmp_path):
    stranger = Signer.from_pem(generate_pem()).public_pem
    assert not recompute(flights["promoted"] / "evidence/cafe-live-1.zip", [stranger]).ok
    folder = flights["promoted"] / "ledger/cafe/live/cafe-live-1"
    assert recompute(folder, [SIGNER.public_pem]).ok
    with pytest.raises(InvalidInput, match="not the evidence of one release"):
        recompute(flights["promoted"] / "ledger")
    with pytest.raises(InvalidInput, match="does not exist"):
        recompute(tmp_path / "absent")


def test_the_command_prints_a_table_and_its_exit_code_says_whether_all_agree(flights, tmp_path):
    (tmp_path / "key.pem").write_text(SIGNER.public_pem)

    def command(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "airlock", "evidence", "recompute", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=240,
            env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
        )

    pack = flights["promoted"] / "evidence/cafe-live-1.zip"
    done = command(pack, "--public-key", tmp_path / "key.pem")
    assert (done.returncode, done.stderr) == (0, "")
    assert "verdict step-1" in done.stdout and "all the same" in done.stdout and "differs" not in done.stdout
    again = json.loads(command(pack, "--json", "--accept-any-signer").stdout)
    assert again["ok"] and again["trust"] == "any signer" and len(again["decisions"]) > 20
    assert command(tmp_path / "absent.zip").returncode == 2
    copy = Ledger(tmp_path / "ledger", "cafe", "live")
    records = Ledger(flights["promoted"] / "ledger", "cafe", "live").read("cafe-live-1")
    for record in records:
        if record.type != "restore_set":
            copy.append(record)
    seal(copy, "cafe-live-1", SIGNER, records[-1].at)
    wrong = command(write_pack(copy, "cafe-live-1", tmp_path))
    assert wrong.returncode == 1
    assert "act-stage" in wrong.stdout and "there is no record 'restore_set' before it" in wrong.stdout
    assert open_release(pack, [SIGNER.public_pem]).report.ok


def test_the_work_grows_with_the_records_not_with_their_square(tmp_path, monkeypatch):
    """Counted, not timed: each look is decided on once, and each plan read once, however many looks there are."""
    counted = {"looks": 0, "plans": 0}
    decide, read = canary.after_look, history._plan

    def counting_look(*arguments):
        counted["looks"] += 1
        return decide(*arguments)

    def counting_plan(entry):
        counted["plans"] += 1
        return read(entry)

    monkeypatch.setattr(canary, "after_look", counting_look)
    monkeypatch.setattr(history, "_plan", counting_plan)
    pack = flown.long_release(tmp_path, 150)
    counted.update(looks=0, plans=0)
    found = recompute(pack, [SIGNER.public_pem])
    assert found.ok, explained(found)
    assert found.records == 150
    looks = sum(one.decision.startswith("move") for one in found.decisions)
    assert looks > 100
    assert counted == {"looks": looks, "plans": 1}


def test_records_that_a_release_has_few_of_are_not_computed_by_the_thousand(flights, tmp_path):
    ledger = Ledger(flights["refused"] / "ledger", "cafe", "live")
    records = list(ledger.read("cafe-live-1"))
    decision = next(one for one in records if one.type == "vote")
    more = [decision.model_copy(update={"at": records[-1].at + timedelta(microseconds=n + 1)}) for n in range(501)]
    place = tmp_path / "ledger/cafe/live/cafe-live-1"
    place.mkdir(parents=True)
    for one in (*records, *more):
        (place / record_name(one)).write_bytes(stored_bytes(one, (), SIGNER))
    copy = Ledger(tmp_path / "ledger", "cafe", "live")
    seal(copy, "cafe-live-1", SIGNER, more[-1].at)
    found = recompute(write_pack(copy, "cafe-live-1", tmp_path), [SIGNER.public_pem])
    assert not found.ok
    assert any("more than any release has (500)" in one for one in found.problems)
    assert found.decisions == ()
