"""Starts and stops a host's programs through supervisord's XML-RPC. Knows no version and no traffic."""

from __future__ import annotations

import base64
import http.client
import logging
import time
import xmlrpc.client
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any
from xml.parsers.expat import ExpatError

from airlock.connections import connection
from airlock.deploy.effects import POLL_SECONDS
from airlock.errors import PermanentError, TemporaryError

if TYPE_CHECKING:
    from airflow.sdk import Connection

logger = logging.getLogger(__name__)
_SHUTTING_DOWN, _ALREADY_STARTED, _NOT_RUNNING = 6, 60, 70
_STOPPING = "STOPPING"
RUNNING = frozenset({"STARTING", "RUNNING"})
GIVEN_UP = frozenset({"FATAL", "EXITED"})


class _Transport(xmlrpc.client.Transport):
    """A transport that does not wait for ever."""

    def __init__(self, headers: list[tuple[str, str]], timeout: float) -> None:
        super().__init__(headers=headers)
        self._timeout = timeout

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        made = super().make_connection(host)
        made.timeout = self._timeout
        return made


class Supervisor:
    """The supervisord behind an Airflow connection (host, port, login, password)."""

    def __init__(self, connection_id: str, timeout: float = 20.0) -> None:
        """*timeout* is the longest that one call waits, in seconds; stopping a program takes a while."""
        self._id = connection_id
        self._timeout = timeout

    def state(self, program: str) -> str:
        """The word of supervisord for the state of *program*: ``RUNNING``, ``STOPPED``, ``FATAL``...

        :raises TemporaryError: supervisord does not answer
        :raises PermanentError: it has no such program, or refuses the log-in
        """
        return str(self._info(program)["statename"])

    def log_of(self, program: str) -> str:
        """Path, on the host, of the log of *program*."""
        return str(self._info(program).get("stdout_logfile") or "(it has no log)")

    def start(self, program: str) -> None:
        """Start *program* unless it runs; does not wait for it. Errors as in ``state``."""
        self._await_end_of_stop(program)
        began = time.monotonic()
        started = self._tolerant(lambda server: server.startProcess(program, False), program, _ALREADY_STARTED)
        if started:
            logger.info("supervisord starts %s (%.1f s)", program, time.monotonic() - began)

    def stop(self, program: str) -> None:
        """Stop *program* and wait until it has ended. Errors as in ``state``."""
        began = time.monotonic()
        if self._tolerant(lambda server: server.stopProcess(program, True), program, _NOT_RUNNING):
            logger.info("supervisord stopped %s in %.1f s", program, time.monotonic() - began)
        self._await_end_of_stop(program)

    def _await_end_of_stop(self, program: str) -> None:
        """Wait while *program* is being stopped, which somebody may have begun who was killed since: supervisord says
        of it that it is not running, and answers a start as if it had started it.

        :raises TemporaryError: that takes too long
        """
        limit = time.monotonic() + self._timeout
        while self.state(program) == _STOPPING:
            if time.monotonic() > limit:
                raise TemporaryError(f"{program} is still {_STOPPING} after {self._timeout:g} s: see stopwaitsecs of "
                                     "the program, and what it waits for; it is tried again")
            time.sleep(POLL_SECONDS)

    @cached_property
    def _connection(self) -> Connection:
        # Polling must not ask Airflow for it again each time.
        return connection(self._id)

    def _info(self, program: str) -> dict[str, Any]:
        found = self._call(lambda server: server.getProcessInfo(program), program)
        if not isinstance(found, dict) or "statename" not in found:
            raise self._away("no state of a program")
        return found

    def _tolerant(self, act: Callable[[Any], Any], program: str, expected: int) -> bool:
        """Do *act*; return False when supervisord says, with the fault *expected*, that there was nothing to do."""
        try:
            self._call(act, program)
        except _Fault as fault:
            if fault.code != expected:
                raise
            return False
        return True

    def _call(self, act: Callable[[Any], Any], program: str) -> Any:
        held, address = self._connection, self._address
        token = base64.b64encode(f"{held.login or ''}:{held.password or ''}".encode()).decode()
        transport = _Transport([("Authorization", f"Basic {token}")], self._timeout)
        try:
            with xmlrpc.client.ServerProxy(f"http://{address}/RPC2", transport=transport) as proxy:
                return act(proxy.supervisor)
        except xmlrpc.client.Fault as fault:
            said = f"supervisord at {address}: {program!r}: {fault.faultString}"
            if fault.faultCode == _SHUTTING_DOWN:
                raise TemporaryError(f"{said}: it shuts down or restarts; it is tried again") from fault
            raise _Fault(fault.faultCode, said) from fault
        except xmlrpc.client.ProtocolError as error:
            kind = PermanentError if error.errcode in (401, 403) else TemporaryError
            raise kind(
                f"supervisord at {address} answers with status {error.errcode}: check the connection {self._id!r}"
            ) from None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError, ValueError, LookupError,
                TypeError) as error:  # whoever answers there may answer anything
            raise self._away(type(error).__name__) from error

    @property
    def _address(self) -> str:
        return f"{self._connection.host}:{self._connection.port or 9001}"

    def _away(self, why: str) -> TemporaryError:
        return TemporaryError(f"supervisord at {self._address} does not answer ({why}): check that it runs there, then "
                              "try again")


class _Fault(PermanentError):
    """supervisord refused: no such program, or it cannot be started."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
