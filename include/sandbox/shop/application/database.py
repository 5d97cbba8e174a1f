"""Orders in PostgreSQL. A few connections are shared by all threads; a broken one is replaced on its next use."""

import contextlib
import queue

import psycopg
from psycopg import sql
from psycopg.rows import scalar_row

CONNECTIONS = 4


class Unavailable(Exception):
    """The database does not answer."""


class Orders:
    """Reads orders; *url* is a PostgreSQL URL, *columns* are those of an order that this version cannot do without."""

    def __init__(self, url, columns=()):
        self._url = url
        self._columns = columns
        self._free = queue.LifoQueue()
        for _ in range(CONNECTIONS):
            self._free.put(None)

    def latest(self):
        """The twenty newest orders."""
        return self._rows("SELECT to_jsonb(o) FROM orders o ORDER BY id DESC LIMIT 20")

    def one(self, number):
        """The order *number*, or None."""
        return next(iter(self._rows("SELECT to_jsonb(o) FROM orders o WHERE id = %s", (number,))), None)

    def fault(self):
        """Why orders cannot be read; empty when they can."""
        try:
            needed = sql.SQL(", ").join(sql.Identifier("o", name) for name in ("id", *self._columns))
            self._rows(sql.SQL("SELECT to_jsonb(row({})) FROM orders o LIMIT 1").format(needed))
        except Unavailable as error:
            return str(error)
        return ""

    def _rows(self, statement, values=()):
        if not self._url:
            raise Unavailable("DATABASE_URL is not set")
        with self._connection() as connection:
            return connection.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _connection(self):
        try:
            held = self._free.get(timeout=2)
        except queue.Empty:
            raise Unavailable("all database connections are busy") from None
        try:
            if held is None or held.closed:
                held = psycopg.connect(self._url, autocommit=True, connect_timeout=3, row_factory=scalar_row)
            yield held
        except psycopg.Error as error:
            if held is not None:
                with contextlib.suppress(psycopg.Error):
                    held.close()
            held = None
            # Only the class: a driver's message may hold parts of the URL.
            raise Unavailable(f"database: {type(error).__name__}") from None
        finally:
            self._free.put(held)
