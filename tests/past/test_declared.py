"""A ledger is checked against what service files declare: what lies in its folder alone says little."""

from __future__ import annotations

import shutil
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from airlock.commands.main import main
from airlock.errors import InvalidInput
from airlock.evidence.ledger import Ledger
from airlock.models import Record, utc_now
from airlock.past.declared import ledgers_at
from airlock.signing import Signer, generate_pem
from tests.service_data import TEXT, write


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two services with one release each in one ledger, a third that never released, and the trusted key."""
    signer = Signer.from_pem(generate_pem())
    (tmp_path / "key.pem").write_text(signer.public_pem)
    for service in ("cafe", "bakery", "kiosk"):
        write(tmp_path, TEXT.replace("service: cafe", f"service: {service}"), f"{service}.yaml")
    for service in ("cafe", "bakery"):
        ledger = Ledger(tmp_path / "ledger", service, "live", signer=lambda: signer, anchor=tmp_path / "anchor")
        ledger.append(Record(release=f"{service}-live-1", type="run", at=utc_now(), actor="test", data={}))
    return tmp_path


def verified(home: Path, *more: str, path: str = "ledger", services: bool = True) -> tuple[int, str]:
    named = ["--services", str(home / "services")] if services else []
    with redirect_stdout(StringIO()) as output, redirect_stderr(output):
        code = main(["evidence", "verify", str(home / path), "--public-key", str(home / "key.pem"), *named, *more])
    return code, output.getvalue()


def test_what_service_files_declare_must_be_in_the_ledger(home: Path) -> None:
    anchor = ("--anchor", str(home / "anchor"))
    code, said = verified(home, *anchor)
    assert (code, "kiosk/live is declared, and as the anchor knows nothing was ever" in said) == (0, True)
    code, said = verified(home)
    assert (code, "removed: nothing is in the ledger of kiosk/live, which a service file declares" in said) == (1, True)
    shutil.rmtree(home / "ledger/bakery")
    assert verified(home, services=False)[0] == 0, "what is gone altogether nobody misses who does not ask for it"
    for more in ((), anchor):
        code, said = verified(home, *more)
        assert (code, "removed: nothing is in the ledger of bakery/live" in said) == (1, True)
    code, said = verified(home, "--environment", "bakery/live", services=False)
    assert (code, "bakery/live, which was asked for" in said) == (1, True)


def test_what_no_service_file_declares_and_the_anchor_does_not_know_is_named(home: Path) -> None:
    shutil.move(home / "services/bakery.yaml", home / "gone.yaml")
    code, said = verified(home, "--anchor", str(home / "anchor"))
    assert code == 0, said
    code, said = verified(home)
    assert (code, "added: bakery/live lies in the ledger, and was not asked for" in said) == (1, True)


def test_only_the_ledgers_at_the_path_are_asked_for(home: Path) -> None:
    services = home / "services"
    everything = ("bakery/live", "cafe/live", "kiosk/live")
    assert ledgers_at(home / "ledger", services) == ledgers_at(home / "ledger/cafe/live", services) == everything
    assert verified(home, "--anchor", str(home / "anchor"), path="ledger/cafe/live")[0] == 0
    with pytest.raises(InvalidInput, match="no service file .* keeps its ledger"):
        ledgers_at(home / "elsewhere", services)


def test_it_is_asked_of_one_ledger_only(home: Path) -> None:
    assert verified(home, "--releases", "x")[0] == 2
    assert main(["evidence", "verify", str(home / "ledger"), str(home), "--services", str(home / "services")]) == 2
    assert verified(home, path="ledger/cafe/live/cafe-live-1")[0] == 2


def test_a_wrong_service_file_does_not_make_the_check_milder(home: Path) -> None:
    (home / "services/bakery.yaml").write_text("service: [")
    assert verified(home)[0] == 2
