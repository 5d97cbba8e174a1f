"""What the demo shows in the terminal: stages, the ten kinds, the canary's weights and verdicts. Acts on nothing.

On a terminal a live panel is redrawn; elsewhere (a log file, CI) each change is one line.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from airlock.models import Kind, Record

STAGES = (
    "change.validate",
    "change.assess",
    "change.inspect",
    "change.approve",
    "change.permit",
    "change.window",
    "backup",
    "backup.restore_set",
    "deploy.migrate",
    "deploy.stage",
    "deploy.canary",
    "deploy.validate",
    "deploy.decide",
    "deploy.promote",
    "deploy.bake",
    "deploy.rollback.traffic",
    "deploy.rollback.verify",
    "close.seal",
    "close.outcome",
)
STYLES = {
    "success": "green",
    "failed": "bold red",
    "running": "cyan",
    "awaiting_input": "yellow",
    "deferred": "blue",
    "skipped": "dim",
    "upstream_failed": "red",
    "up_for_retry": "yellow",
}


class DemoView:
    """Progress of one release at a time."""

    def __init__(self, console: Console, address: str) -> None:
        """*address* is Airflow's, shown so that a curious user can watch in the UI."""
        self._console = console
        self._address = address
        self._live: Live | None = None
        self._title = ""
        self._seen: dict[str, str] = {}
        self._verdict = ""
        self._begun = time.monotonic()

    def say(self, sentence: str) -> None:
        """Print one line above the panel."""
        self._console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] ", Text(sentence), sep="")

    def begin(self, release: str, version: str, story: str) -> None:
        """Start the panel of one release."""
        self._title, self._seen, self._verdict, self._begun = f"{release}: version {version}", {}, "", time.monotonic()
        self._console.rule(f"shop {version} to prod: {story}")
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()

    def show(self, states: Mapping[str, str], records: Sequence[Record]) -> None:
        """Show the states of the tasks and the newest verdict."""
        kinds = {kind.value: _kind_state(kind, states) for kind in Kind}
        stages = {stage: _group_state(kinds) if stage == "backup" else states.get(stage, "none") for stage in STAGES}
        weights = next((said for record in reversed(records) if (said := _weight(record))), "canary 0 %")
        verdict = next(
            (
                f"{r.data['verdict']['answer']}: {r.data['verdict']['sentence']}"
                for r in reversed(records)
                if r.type == "verdict"
            ),
            "no verdict yet",
        )
        if self._live is not None:
            self._live.update(self._panel(stages, kinds, f"{weights}, {verdict}"))
        else:
            self._lines(
                {**{s: v for s, v in stages.items() if s != "backup"}, **{f"backup.{k}": v for k, v in kinds.items()}},
                f"{weights}, {verdict}",
            )

    def _panel(self, stages: Mapping[str, str], kinds: Mapping[str, str], canary: str) -> Group:
        row = Text()
        for stage, state in stages.items():
            row.append(
                f" {stage.removeprefix('deploy.').removeprefix('change.').removeprefix('close.')} ",
                style=STYLES.get(state, "dim"),
            )
        backups = Text("backups: ")
        for kind, state in kinds.items():
            backups.append(f" {kind} ", style=STYLES.get(state, "dim"))
        seconds = time.monotonic() - self._begun
        return Group(
            Text(f"{self._title}  {seconds:.0f} s   {self._address}", style="bold"), row, backups, Text(canary)
        )

    def _lines(self, states: Mapping[str, str], canary: str) -> None:
        for name, state in states.items():
            if state != self._seen.get(name, "none") and state in STYLES and state != "running":
                self.say(f"{name}: {state}")
            self._seen[name] = state
        if canary != self._verdict and "no verdict" not in canary:
            self.say(canary)
        self._verdict = canary

    def end(self, outcome: str, reason: str) -> None:
        """Take the panel away and say how the release ended."""
        self.close()
        self.say(f"{outcome.upper().replace('_', ' ')}: {reason}")

    def close(self) -> None:
        """Take the panel away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def table(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Print the closing table; below it the path of each evidence pack on its own line, whole, to be copied."""
        table = Table(title="Releases", show_lines=True)
        for head in ("release", "outcome", "duration"):
            table.add_column(head, no_wrap=True)
        table.add_column("why", overflow="fold")
        for row in rows:
            table.add_row(
                Text(f"{row['service']} {row['version']} to {row['environment']}"),
                Text(str(row["outcome"]).replace("_", " "), style="green" if row["as_expected"] else "bold red"),
                Text(f"{row['duration_s']:.0f} s", justify="right"),
                Text(str(row["reason"])),
            )
        self._console.print(table)
        for row in rows:
            self._console.print(f"evidence of {row['version']}, {str(row['outcome']).replace('_', ' ')}: "
                                f"{_near(row['evidence'])}", soft_wrap=True, highlight=False)

    def check_with(self, packs: Path, keys: Path, anchor: Path) -> None:
        """Print the command that checks all packs, as it can be typed."""
        self._console.print(f"check them: ./airlock evidence verify {_near(str(packs))} --public-key "
                            f"{_near(str(keys))} --anchor {_near(str(anchor))}", soft_wrap=True, highlight=False)


def _near(path: str) -> str:
    """Return *path* as it is seen from here, when it is below the working directory."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _weight(record: Record) -> str:
    """How much of the traffic the new version has since *record*; empty where that did not change it."""
    if record.type != "act":
        return ""
    shifted = f"canary {record.data['percent']} %" if record.subject == "shift" else ""
    return {"promote": "bake at 100 %", "roll_back": "rolled back, 0 %"}.get(record.subject, shifted)


def _kind_state(kind: Kind, states: Mapping[str, str]) -> str:
    found = [
        state for task, state in states.items() if task.startswith(f"backup.{kind}.") and not task.endswith(".discard")
    ]
    return _worst(found)


def _group_state(kinds: Mapping[str, str]) -> str:
    return _worst(list(kinds.values()))


def _worst(states: Sequence[str]) -> str:
    for state in ("failed", "upstream_failed", "up_for_retry", "running", "deferred"):
        if state in states:
            return state
    if states and all(state == "success" for state in states):
        return "success"
    return "running" if "success" in states else "none"
