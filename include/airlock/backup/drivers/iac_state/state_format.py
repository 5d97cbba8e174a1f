"""What Terraform and OpenTofu write into a state file, in every form that they read. Pure: no I/O.

Attributes of a state may hold secrets, so only addresses, numbers and digests leave this module.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

ENCRYPTED = "encrypted by OpenTofu"
_FORMAT = 4
_OLDER = (1, 2, 3)
_DIGITS = 4000
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def addresses(state: Mapping[str, Any]) -> list[str]:
    """Return the address of every resource instance of a state, sorted, the way ``terraform state list`` shows them."""
    found: list[str] = []
    for resource in state.get("resources") or []:
        parts = [resource["module"]] if resource.get("module") else []
        parts += ["data"] if resource.get("mode") == "data" else []
        base = ".".join([*parts, resource["type"], resource["name"]])
        found += [base + _index(instance.get("index_key")) for instance in resource.get("instances") or []]
    return sorted(found)


def _index(key: Any) -> str:
    return "" if key is None else f"[{json.dumps(key)}]"


def _older_addresses(state: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a state of before Terraform 0.12 names: modules by path, resources by key."""
    for module in state.get("modules") or []:
        prefix = "".join(f"module.{part}." for part in module.get("path", ["root"])[1:])
        yield from (prefix + str(key) for key in module.get("resources") or {})


def facts_of(content: bytes) -> dict[str, Any]:
    """Return what a proof compares of a state.

    :raises ValueError: it is no state; the message holds nothing of the content
    """
    state = _document(content)
    if state.get("lineage") != _printable(state.get("lineage")):
        raise ValueError("its lineage is no text")
    lineage, serial = state.get("lineage"), state.get("serial")
    if "encrypted_data" in state:
        form, named = ENCRYPTED, None
    elif state.get("version") == _FORMAT:
        if not (lineage or isinstance(state.get("terraform_version"), str)):
            raise ValueError("it has no lineage and serial")
        if not isinstance(lineage or "", str) or not (serial is None or _is_number(serial)):
            raise ValueError("its lineage is no text, or its serial no whole number")
        form, named = str(_FORMAT), _named(lambda: addresses(state))
    elif state.get("version") in _OLDER and _is_number(state["version"]):
        if not _is_number(serial) or not isinstance(state.get("modules"), list):
            raise ValueError(f"it has no serial and modules, as a state of format version {state['version']} has")
        form, named = str(state["version"]), _named(lambda: sorted(_older_addresses(state)))
    else:
        raise ValueError(f"it is no Terraform state of format version {_FORMAT} or before")
    return {
        "format": form,
        "lineage": lineage if isinstance(lineage, str) else "",
        "serial": serial if _is_number(serial) else None,
        "resource addresses": named,
        "bytes": "sha256:" + hashlib.sha256(content).hexdigest(),
    }


def _document(content: bytes) -> Mapping[str, Any]:
    if not content.strip():
        raise ValueError("it is empty: no state was written yet")
    if content.startswith(_MARKS):
        raise ValueError("it is no JSON that Terraform reads: it begins with a byte order mark")
    try:
        state = json.loads(content.decode(), parse_int=_whole)  # json would read UTF-16, too
    except UnicodeDecodeError:
        raise ValueError("it is no JSON that Terraform reads: it is not UTF-8") from None
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(state, dict):
        raise ValueError("it is no Terraform state")
    return state


def _named(read: Any) -> list[str]:
    try:
        found: list[str] = read()
        "".join(found).encode()
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, IndexError):
        raise ValueError("its list of resources is malformed") from None
    return found


def _whole(digits: str) -> int | str:
    """Return a number; of one that is longer than Python reads, and Terraform does, its digits."""
    return int(digits) if len(digits) <= _DIGITS else digits


def _printable(value: Any) -> Any:
    """Return *value*; of a text, what can be written as UTF-8."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
