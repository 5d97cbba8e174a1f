"""YAML text -> plain data that remembers its lines. Knows YAML; must not know what a service is.

Stricter than YAML on purpose: duplicate keys, merge keys and tags are refused, times stay text, ``yes`` stays text.
``${AIRLOCK_NAME}`` in a value is replaced by that environment variable; ``$${`` is a literal ``${``. ``${service}``
and ``${environment}`` stay as they are until it is known which ones are meant: see ``Unfilled``.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from airlock.errors import InvalidInput
from airlock.plain_text import fault_in
from airlock.service.document import Document, Place, Unfilled

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_IMPLIED: Any = yaml.resolver.Resolver()
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "value")}
_MAXIMUM_BYTES = 262_144
_MAXIMUM_VALUES = 20_000
_MAXIMUM_DEPTH = 40
_HARMLESS_DEPTH = 1000
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_NAMES = ("service", "environment")


def read(path: Path, variables: Mapping[str, str], *, named: bool = False) -> Document:
    """Return the document at *path*; what is wrong with it as YAML is in its ``faults``.

    :param named: whether ``${service}`` and ``${environment}`` may stand in it
    :raises InvalidInput: the file cannot be read
    """
    return parse(content(path), path, variables, named=named)


def content(path: Path) -> bytes:
    """Return the bytes of the file at *path*, at most one more than a service file may have.

    :raises InvalidInput: the file cannot be read
    """
    _refuse_outside(path)
    try:
        # Without waiting: to open a pipe would last until somebody writes into it.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise InvalidInput(f"{path}:1: file: is not a regular file; put the service file itself here")
            return stream.read(_MAXIMUM_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidInput(f"{path}:1: file: cannot be read: {reason}; check the path and its permissions") from error


def _refuse_outside(path: Path) -> None:
    """Refuse a link that leads out of its folder: what lies elsewhere is nobody's service file."""
    home = Path(os.path.realpath(path.parent))
    if not Path(os.path.realpath(path)).is_relative_to(home):
        raise InvalidInput(f"{path}:1: file: is a link that leads out of its folder; put the service file itself here")


def parse(raw: bytes, path: Path, variables: Mapping[str, str], *, named: bool = False) -> Document:
    """Return the document whose content is *raw*; never raises. Parameters as of ``read``."""
    document = Document(path, sha256=hashlib.sha256(raw).hexdigest())
    if len(raw) > _MAXIMUM_BYTES:
        document.fault((), f"is larger than {_MAXIMUM_BYTES} bytes; split the service or shorten its texts", 1)
        return document
    try:
        text = raw.decode("utf-8")
        _refuse_depth(text)
        node = yaml.compose(text, Loader=_Loader)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        document.fault((), "is not UTF-8 text; save it as UTF-8", line)
        return document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        document.fault((), f"is not valid YAML: {error.problem or error.context}; check indentation and quotes", line)
        return document
    except yaml.YAMLError as error:
        document.fault((), f"is not valid YAML: {error}; remove the character", 1)
        return document
    if node is not None:
        document.data = _Builder(document, variables, _NAMES if named else (), tagged="!" in text).value(node, ())
    return document


def _refuse_depth(text: str) -> None:
    """Refuse what the C parser, which calls itself for every level, would not survive."""
    # Each level opens a bracket, or begins in a column of its own; a list may share the column of its mapping.
    longest = max(map(len, text.split("\n")))
    if text.count("[") + text.count("{") + 2 * longest < _HARMLESS_DEPTH:
        return
    depth = 0
    events: Iterator[Any] = yaml.parse(text, Loader=_Loader)
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAXIMUM_DEPTH:
                mark: Any = event.start_mark  # of the C parser or of the Python one
                raise yaml.MarkedYAMLError(problem=f"nested deeper than {_MAXIMUM_DEPTH}", problem_mark=mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Builder:
    """Turns nodes into data; collects faults instead of stopping at the first."""

    def __init__(
        self, document: Document, variables: Mapping[str, str], names: tuple[str, ...], *, tagged: bool
    ) -> None:
        self.document = document
        self.tagged = tagged
        self.variables = variables
        self.names = names
        self.count = 0
        self.open: set[int] = set()
        self.unset: set[str] = set()

    def value(self, node: yaml.Node, place: Place) -> Any:
        line = node.start_mark.line + 1
        self.document.lines.setdefault(place, line)
        self.count += 1
        if self.count > _MAXIMUM_VALUES or id(node) in self.open:
            if self.count == _MAXIMUM_VALUES + 1 or id(node) in self.open:
                self.document.fault(place, "aliases repeat too much or contain themselves; write the values out", line)
            return None
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, place, line)
        if len(place) > _MAXIMUM_DEPTH:
            self.document.fault(place[:_MAXIMUM_DEPTH], f"is nested deeper than {_MAXIMUM_DEPTH}; flatten it", line)
            return None
        expected = "map" if isinstance(node, yaml.MappingNode) else "seq"
        if node.tag != f"tag:yaml.org,2002:{expected}":
            self.document.fault(place, f"tag {node.tag!r} is not allowed; remove it", line)
            return None
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, place)
            return [self.value(child, (*place, index)) for index, child in enumerate(node.value)]
        finally:
            self.open.discard(id(node))

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, child in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.document.fault(place, "a key must be plain text; quote it", line)
                continue
            name: str = key.value
            if self.hides(name, place, line):
                continue
            if key.tag == "tag:yaml.org,2002:merge":
                self.document.fault((*place, name), "merge keys are not supported; share fields by defaults, or write "
                                    "them out", line)
            elif name in result:
                first = self.document.lines[(*place, name)]
                self.document.fault((*place, name), f"is given twice, first on line {first}; remove one", line)
            else:
                self.document.lines[(*place, name)] = line
                result[name] = self.value(child, (*place, name))
        return result

    def hides(self, text: str, place: Place, line: int) -> bool:
        what = fault_in(text)
        if what:
            self.document.fault(place, f"contains {what}; remove it", line)
        return what is not None

    def scalar(self, node: yaml.ScalarNode, place: Place, line: int) -> Any:
        text: str = node.value
        if node.tag not in _PLAIN_TAGS or (self.tagged and node.tag != self.implied(node)):
            self.document.fault(place, f"tag {node.tag!r} is not allowed; remove it", line)
            return None
        if self.hides(text, place, line):
            return None
        if not node.style:  # plain: None from the Python parser, empty from the C one
            if node.tag.endswith(":null"):
                if not text:
                    self.document.blank.add(place)
                return None
            if text in ("true", "True", "false", "False"):
                return text.lower() == "true"
            if re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", text):
                return int(text)
            if re.fullmatch(r"-?[0-9]{1,15}\.[0-9]{1,15}", text):
                return float(text)
        return self.expand(text, place, line)

    def implied(self, node: yaml.ScalarNode) -> str:
        """Return the tag that *node* has where none is written."""
        return str(_IMPLIED.resolve(yaml.ScalarNode, node.value, (not node.style, True)))

    def expand(self, text: str, place: Place, line: int) -> str:
        parts, end = [""], 0
        for match in _VARIABLE.finditer(text):
            parts[-1] += text[end : match.start()]
            end = match.end()
            name = match.group(1)
            if name in self.names and match.group(0).endswith("}"):
                parts += [name, ""]
            else:
                parts[-1] += "${" if name is None else self.variable(match.group(0), name, place, line)
        parts[-1] += text[end:]
        return Unfilled.of(parts) if len(parts) > 1 else parts[0]

    def variable(self, written: str, name: str, place: Place, line: int) -> str:
        if not written.endswith("}") or not re.fullmatch(r"AIRLOCK_[A-Z0-9_]+", name):
            known = "${AIRLOCK_NAME}, ${service} and ${environment} are" if self.names else "${AIRLOCK_NAME} is"
            self.document.fault(place, f"{written[:60]!r} is not expanded: only {known}; "
                                "rename the variable, or write $${ for a literal ${", line)
            return ""
        if name not in self.variables:
            if name not in self.unset:  # named once: a file uses the same variable in many places
                self.document.fault(place, f"environment variable {name} is not set; set it where Airflow "
                                    "and this command run", line)
            self.unset.add(name)
            return ""
        value = self.variables[name]
        if "\n" in value or fault_in(value):
            self.document.fault(place, f"environment variable {name} holds a line break or what cannot be seen; "
                                "set it to plain text", line)
            return ""
        return value
