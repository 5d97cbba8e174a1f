"""What the demo calls what it shows, and that no password of the sandbox is a word that paths are made of."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from airlock.models import Record, utc_now
from sandbox import credentials, environment
from sandbox.demo_view import DemoView, _weight
from sandbox.layout import Layout


def act(subject: str, **data: Any) -> Record:
    return Record(release="shop-prod-1", type="act", subject=subject, at=utc_now(), actor="test", data=data)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (act("shift", version="1.1", percent=50), "canary 50 %"),
        (act("promote", version="1.1"), "bake at 100 %"),
        (act("roll_back", version="1.0"), "rolled back, 0 %"),
        (act("stage", version="1.1"), ""),
        (act("shift", percent=5).model_copy(update={"type": "verdict"}), ""),
    ],
)
def test_the_share_of_the_new_version_is_called_what_it_is(record: Record, said: str) -> None:
    assert _weight(record) == said


def test_paths_of_evidence_packs_are_whole_on_a_narrow_terminal() -> None:
    said = io.StringIO()
    pack = f"/{'a-long-folder/' * 10}shop-prod-1.zip"
    row = {"service": "shop", "version": "1.1", "environment": "prod", "outcome": "rolled_back", "as_expected": True,
           "duration_s": 12.3, "reason": "it was slow " * 20, "evidence": pack}
    DemoView(Console(file=said, width=80), "http://127.0.0.1").table([row])
    assert f"evidence of 1.1, rolled back: {pack}" in said.getvalue().splitlines()


def test_no_password_is_a_word_of_a_path_which_airflow_would_mask(tmp_path: Path) -> None:
    layout = Layout(repository=Path(__file__).parents[2], home=tmp_path / "home", port_base=28000)
    held = credentials.load(layout.sandbox)
    given = environment.connections(layout, held, environment.Seeded("token", "Z1", {}))
    words = set(layout.sandbox.parts) | {"sandbox", "shop", "airlock"}
    assert not [name for name, one in given.items() if one.get("password") in words]
    assert len(given["shop_aws"]["password"]) > 20
