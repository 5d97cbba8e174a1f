"""The release DAG of an environment whose releases are shown, and perhaps approved, in tickets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airlock.flow.dags import release as release_dag
from airlock.flow.dags import rollback as rollback_dag
from airlock.flow.operators.approval import ApproveOperator
from airlock.flow.operators.ticket_approval import TicketApproveOperator
from airlock.service.find import ServiceEnvironment
from airlock.service.model import Tickets
from tests.itsm.ticketed import setting
from tests.service_data import environment


def cafe(folder: Path, **more: Any) -> ServiceEnvironment:
    tickets = Tickets.model_validate(setting("jira", **more))
    return environment(folder).model_copy(update={"tickets": tickets})


@pytest.mark.parametrize(("decides", "kind"), [(True, TicketApproveOperator), (False, ApproveOperator)])
def test_a_ticket_is_opened_before_people_are_asked_and_closed_after_the_seal(tmp_path, decides, kind):
    dag = release_dag.build(cafe(tmp_path, decides_approval=decides))
    assert isinstance(dag.get_task("change.approve"), kind)
    assert "change.ticket" in dag.get_task("change.approve").upstream_task_ids
    assert dag.get_task("close.ticket").upstream_task_ids == {"close.seal"}
    assert [task.task_id for task in dag.leaves if not task.is_teardown] == ["close.outcome"]
    assert dag.get_task("close.ticket").trigger_rule == dag.get_task("close.outcome").trigger_rule == "all_done"
    assert all(dag.get_task(name).retries >= 6 for name in ("change.validate", "change.ticket", "close.ticket"))


def test_without_tickets_there_is_no_task_for_them(tmp_path):
    dag = release_dag.build(environment(tmp_path))
    assert not [task for task in dag.task_ids if "ticket" in task]


def test_on_call_is_let_back_in_airflow_and_depends_on_no_further_system(tmp_path):
    dag = rollback_dag.build(cafe(tmp_path))
    assert isinstance(dag.get_task("change.approve"), ApproveOperator)
    assert not [task for task in dag.task_ids if "ticket" in task]
