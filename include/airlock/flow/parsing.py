"""Which service environments a DAG file builds DAGs of: all for the DAG processor, one for a task on a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from airflow.sdk import get_parsing_context

from airlock.services import ServiceEnvironment, load_services, services_folder


def environments(dag_id: Callable[[ServiceEnvironment], str]) -> Iterator[ServiceEnvironment]:
    """Yield every service environment whose DAG is wanted now. On a worker the files of other services are not read, so
    that a task begins quickly and no fault of another service stops it.

    :param dag_id: returns ``<something>.<service>.<environment>``
    :raises InvalidInput: a service file that is read is wrong
    """
    wanted = get_parsing_context().dag_id
    service = wanted.split(".")[1] if wanted is not None and wanted.count(".") == 2 else None
    for environment in load_services(services_folder(), service):
        if wanted in (None, dag_id(environment)):
            yield environment
