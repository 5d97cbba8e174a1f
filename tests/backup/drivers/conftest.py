"""The real servers, for all driver tests."""

from tests.real_servers import kubernetes_server, moto_server, openbao_server, postgres_server, store

__all__ = ["kubernetes_server", "moto_server", "openbao_server", "postgres_server", "store"]
