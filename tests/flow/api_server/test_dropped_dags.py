"""The API server's answer to a task that asks for a DAG, with Airflow's own tables behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airlock.flow.api_server.dropped_dags import DroppedDags
from tests.flow.api_server import api_call

pytest.importorskip("airflow")


@pytest.fixture(scope="module")
def tables() -> Iterator[None]:
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    initdb()
    names = {"release.cafe.live": False, "release.cafe.gone": True}
    with create_session() as session:
        session.merge(DagBundleModel(name="of-a-test"))
        session.flush()
        for name, stale in names.items():
            session.merge(DagModel(dag_id=name, bundle_name="of-a-test", is_stale=stale, fileloc="x"))
    yield
    with create_session() as session:
        for name in names:
            session.delete(session.get(DagModel, name))


def asked(path: str, status: int = 200, method: str = "GET") -> int:
    return api_call.answered(DroppedDags, path, method, lambda _: status)[0]


def test_a_dag_that_airflow_has_dropped_is_not_there(tables: None) -> None:
    assert asked("/execution/dags/release.cafe.gone") == 404
    assert asked("/execution/dags/release.cafe.live") == 200
    assert asked("/execution/dags/release.cafe.never") == 200


@pytest.mark.parametrize(
    ("path", "status", "method"),
    [("/execution/dags/release.cafe.gone", 401, "GET"), ("/execution/dags/release.cafe.gone", 200, "POST"),
     ("/api/v2/dags/release.cafe.gone", 200, "GET"), ("/execution/dags/release.cafe.gone/x", 200, "GET")],
)
def test_everything_else_is_answered_as_airflow_does(tables: None, path: str, status: int, method: str) -> None:
    assert asked(path, status, method) == status
