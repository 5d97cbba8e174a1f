"""The tasks of a follow-up, with a supervisor that answers as Airflow's does when it accepts a call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import CreateHITLDetailPayload, TriggerDagRun

from airlock.flow.dags.follow_up import RELEASE_DAG_ID, LookOperator
from airlock.flow.operators.follow_up import CloseOperator, RetroApproveOperator, ReviewOperator
from airlock.flow.operators.stopping import Stopped
from airlock.flow.stages import follow_up
from airlock.models import utc_now
from tests.flow.stages.test_change import STANDARD, emergency, fly
from tests.flow.stages.test_follow_up import ANSWERS, run_after
from tests.recompute import flown

HERE = {"service": "cafe", "environment": "live", "release": "cafe-live-1"}


class Supervisor:
    """Accepts what tasks send, and shows what was asked."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, msg: Any) -> Any:
        if isinstance(msg, TriggerDagRun | CreateHITLDetailPayload):
            self.sent.append(msg)
        return SimpleNamespace(body=getattr(msg, "body", None), assigned_users=getattr(msg, "assigned_users", None))


@pytest.fixture(scope="module", autouse=True)
def keys() -> Iterator[None]:
    with flown.keys():
        yield


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Supervisor:
    found = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", found, raising=False)
    monkeypatch.setenv("AIRLOCK_SERVICES", str(tmp_path / "services"))
    return found


def context(**params: str) -> dict[str, Any]:
    one = "018f0000-0000-7000-8000-000000000001"
    return {"params": {**HERE, **params}, "ti": SimpleNamespace(id=one, get_dr_count=lambda **_: 0)}


def answered(person: str, option: str, given: dict[str, Any]) -> dict[str, Any]:
    return {"chosen_options": [option], "params_input": given, "responded_at": utc_now(),
            "responded_by_user": {"id": person, "name": person}}


def test_a_review_is_asked_for_until_it_is_complete_and_then_sealed(supervisor: Supervisor, tmp_path: Path) -> None:
    environment = fly(tmp_path, "cafe-live-1", STANDARD, good=False).release.environment
    LookOperator(folder=tmp_path / "services", task_id="look").execute(context())
    (started,) = supervisor.sent
    assert (started.dag_id, started.run_id, started.conf) == (RELEASE_DAG_ID, "after__cafe-live-1", HERE)

    with pytest.raises(AirflowSkipException, match="no approval is owed"):
        RetroApproveOperator(task_id="retro_approval").execute(context())
    review = ReviewOperator(task_id="review")
    with pytest.raises(TaskAwaitingInput) as parked:
        review.execute(context())
    assert parked.value.timeout is None
    asked = supervisor.sent[-1]
    assert {user.id for user in asked.assigned_users} == {"olga", "bert", "cleo", "rita"}
    assert "it was rolled back" in asked.body and "errors in 100 requests" in asked.body.replace("\\", "")
    assert set(asked.params) == set(ANSWERS)
    with pytest.raises(Stopped, match="the review is still owed"):
        CloseOperator(task_id="close").execute(context())
    with pytest.raises(TaskAwaitingInput):
        review.execute_complete(context(), answered("bert", "Submit", {**ANSWERS, "will_change": "<b>x</b>"}))
    assert "Not complete yet" in supervisor.sent[-1].body and "<b>" not in supervisor.sent[-1].body
    review.execute_complete(context(), answered("bert", "Submit", ANSWERS))
    CloseOperator(task_id="close").execute(context())
    assert run_after(environment, "cafe-live-1").ledger.sealed("cafe-live-1")
    LookOperator(folder=tmp_path / "services", task_id="look").execute(context())
    assert len([one for one in supervisor.sent if hasattr(one, "run_id")]) == 1


def test_an_approval_afterwards_is_asked_for_until_every_seat_is_filled(supervisor: Supervisor, tmp_path: Path) -> None:
    environment = emergency(tmp_path).release.environment
    retro = RetroApproveOperator(task_id="retro_approval")
    with pytest.raises(TaskAwaitingInput):
        retro.execute(context())
    asked = supervisor.sent[-1]
    assert "rita" not in {user.id for user in asked.assigned_users}
    assert "This change has been made already" in asked.body and "INC" in asked.body
    with pytest.raises(TaskAwaitingInput):  # who asked for it does not count
        retro.execute_complete(context(), answered("rita", "Approve", {"answer_reason": ""}))
    debt = follow_up.owed_after(environment, "cafe-live-1").debt
    assert debt is not None
    people = sorted({person for rule in debt.approvals for person in rule.members})
    for person in people:
        try:
            retro.execute_complete(context(), answered(person, "Approve", {"answer_reason": "seen"}))
        except TaskAwaitingInput:
            continue
        break
    assert follow_up.owed_after(environment, "cafe-live-1").debt is None
    with pytest.raises(AirflowSkipException):
        retro.execute(context())


def test_a_rejection_afterwards_ends_the_run_and_leaves_the_debt(supervisor: Supervisor, tmp_path: Path) -> None:
    environment = emergency(tmp_path).release.environment
    retro = RetroApproveOperator(task_id="retro_approval")
    with pytest.raises(TaskAwaitingInput):
        retro.execute(context())
    with pytest.raises(Stopped, match="the debt stays"):
        retro.execute_complete(context(), answered("olga", "Reject", {"answer_reason": "it made it worse"}))
    assert follow_up.owed_after(environment, "cafe-live-1").debt is not None


@pytest.mark.parametrize(
    ("params", "said"),
    [({"service": "nobody"}, "no service"), ({"release": "../../etc"}, "release id"), ({"service": ""}, "no service")],
)
def test_a_run_that_somebody_started_with_other_names_ends_in_a_sentence(
    supervisor: Supervisor, tmp_path: Path, params: dict[str, str], said: str
) -> None:
    fly(tmp_path, "cafe-live-1", STANDARD)
    for task in (CloseOperator(task_id="close"), ReviewOperator(task_id="review")):
        try:
            task.execute(context(**params))
        except Stopped as error:
            assert said in str(error)
        except AirflowSkipException as error:
            assert "no review is owed" in str(error)
    assert supervisor.sent == []
