"""``airlock new``: asks what only people know of a new service, and writes its first service file."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.markup import escape

from airlock.errors import InvalidInput
from airlock.models import Name
from airlock.plain_text import fault_in
from airlock.service import schema
from airlock.service.find import services_folder
from airlock.service.first_file import FirstAnswers, refuse_known, write_first
from airlock.service.values import Person

_NAME, _PERSON = TypeAdapter(Name), TypeAdapter(Person)
_PRODUCTION = ("prod", "production", "live", "prd")
_NAME_RULE = "lower case letters, digits, - and _, a letter first, at most 63"


@dataclass(frozen=True)
class _Question:
    """What is asked: its flag, the question, what ``Enter`` answers for a service, and what makes a value of text."""

    flag: str
    asked: str
    default: Callable[[str], str]
    value: Callable[[str], object]


def _name(text: str) -> str:
    try:
        return _NAME.validate_python(text)
    except ValidationError:
        raise ValueError(f"{text[:63]!r} is no name; use {_NAME_RULE}") from None


def _people(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(re.split(r"[,\s]+", text.strip(", \t"))))
    if names == ("",):
        raise ValueError("somebody must approve; give at least one log-in name")
    try:
        return tuple(_PERSON.validate_python(one) for one in names)
    except ValidationError as error:
        raise ValueError(error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")) from None


def _tier(text: str) -> int:
    if text not in ("1", "2", "3", "4"):
        raise ValueError(f"{text[:20]!r} is no tier; write 1, 2, 3 or 4")
    return int(text)


def _text(text: str) -> str:
    if not text or fault_in(text) or "\n" in text or len(text) > 1000:
        raise ValueError("write one line of plain text, at most 1000 characters")
    return text


def _artifact(text: str) -> str:
    if _text(text).count("{version}") != 1:
        raise ValueError(f"{text[:60]!r} must have {{version}} in it, once; write such as /srv/app-{{version}}.tar.gz")
    return text


_QUESTIONS = {
    "description": _Question("--description", "What is it, in a sentence?", lambda name: f"The service {name}.", _text),
    "owner": _Question("--owner", "Which team owns it?", lambda name: f"{name}-team", _text),
    "tier": _Question("--tier", "How critical is it, from 1 (most) to 4?", lambda _: "3", _tier),
    "approvers": _Question("--approvers", "Who approves its releases? Log-in names in Airflow, with commas:",
                           lambda _: "", _people),
    "environment": _Question("--environment", "Which environment first?", lambda _: "staging", _name),
    "artifact": _Question("--artifact", "Where are its versions? A path with {version} in it:",
                          lambda name: f"/srv/artifacts/{name}-{{version}}.tar.gz", _artifact),
    "folder": _Question("--backup-folder", "Which folder of it is backed up before each release?",
                        lambda name: f"/srv/{name}/${{environment}}/files", _text),
}  # fmt: skip


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "new", help="write the first service file of a new service",
        description="Asks for what is not given. Where input or output is no terminal nothing is asked: then "
                    "--approvers is needed, and the rest has the default that a question would offer. An existing file "
                    "is never changed. Exit code 0: written; 2: wrong input, or there is such a service; 130: stopped, "
                    "and nothing was written.")
    parser.add_argument("service", metavar="SERVICE", help=f"name of the service: {_NAME_RULE}")
    for name, question in _QUESTIONS.items():
        offered = question.default("SERVICE").replace("%", "%%")
        parser.add_argument(question.flag, dest=name, metavar="TEXT", default=None,
                            help=f"{question.asked}{f' (default: {offered})' if offered else ''}")
    parser.add_argument("--folder", dest="services", metavar="FOLDER", type=Path, default=None,
                        help="folder of service files (default: AIRLOCK_SERVICES, else include/services)")
    parser.set_defaults(run=run_new)


def run_new(arguments: argparse.Namespace, console: Console) -> int:
    """Ask, write the file, say what comes next, and return 0.

    :raises InvalidInput: an answer is wrong, or there is such a service
    """
    folder = arguments.services or services_folder()
    try:
        service = _name(arguments.service)
    except ValueError as error:
        raise InvalidInput(f"SERVICE: {error}") from error
    refuse_known(folder, service)  # before anybody has answered in vain
    answers = FirstAnswers(service=service, **dict(_answers(arguments, service, console)))  # type: ignore[arg-type]
    path = write_first(folder, answers)
    schema.write(folder, missing=True)  # which the first line of the file leads editors to
    said = (f"{path} is written and right; next: replace its addresses of .example, add its connections to Airflow, "
            f"./airlock services check, ./airlock doctor {service} {answers.environment}, then "
            f"./airlock plan {service} {answers.environment} --version VERSION")
    console.print(escape(said), soft_wrap=True, highlight=False)
    if answers.environment in _PRODUCTION:
        console.print(f"{answers.environment} is no production yet: say 'production: true' there when it has resources "
                      "of all ten kinds, or reasons", soft_wrap=True, highlight=False)
    return 0


def _answers(arguments: argparse.Namespace, service: str, console: Console) -> Iterator[tuple[str, object]]:
    for name, question in _QUESTIONS.items():
        given, offered = getattr(arguments, name), question.default(service)
        if given is None and console.is_terminal and sys.stdin is not None and sys.stdin.isatty():
            yield name, _asked(question, offered, console)
            continue
        try:
            yield name, question.value((given if given is not None else offered).strip())
        except ValueError as error:
            raise InvalidInput(f"{question.flag}: {error}") from error


def _asked(question: _Question, offered: str, console: Console) -> object:
    """Ask until the answer is right."""
    while True:
        console.print(escape(question.asked + (f" [{offered}]" if offered else "")), end=" ", soft_wrap=True,
                      highlight=False)
        try:
            given = input().strip()
        except EOFError:
            raise KeyboardInterrupt from None
        try:
            return question.value(given or offered)
        except ValueError as error:
            console.print(escape(str(error)), soft_wrap=True, highlight=False)
