"""The real servers that checks of databases ask."""

from tests.real_servers import postgres_server

__all__ = ["postgres_server"]
