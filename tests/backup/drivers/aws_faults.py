"""What every AWS driver's test checks behind the failing proxy."""

from __future__ import annotations

import pytest

from airlock.errors import PermanentError, TemporaryError
from tests.faulty_proxy import Fault, FaultyProxy

QUERY_ERROR = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>told so</Message></Error></ErrorResponse>"
)
FAULTS = pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=400, body=QUERY_ERROR % b"Throttling", content_type="text/xml"), TemporaryError),
        (Fault(status=429), TemporaryError),
        (Fault(status=503), TemporaryError),
        (Fault(status=200, body=b"{} not xml <", content_type="text/xml"), TemporaryError),
        (Fault(drop=True), TemporaryError),
        (Fault(status=403, body=QUERY_ERROR % b"AccessDenied", content_type="text/xml"), PermanentError),
    ],
)


def refuse_after(proxy: FaultyProxy, last: int, method: str, path: str) -> Fault | None:
    """Pass on *last* requests and refuse every one after them: what was begun is cut short there."""
    if len(proxy.seen) <= last:
        return None
    return Fault(status=403, body=QUERY_ERROR % b"AccessDenied", content_type="text/xml")
