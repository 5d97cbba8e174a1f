"""Keys: used on a probe, and never shown."""

from __future__ import annotations

from pathlib import Path

import pyrage
import pytest

from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.probes import keys
from airlock.errors import AirlockError
from airlock.signing import Signer, generate_pem
from tests.real_servers import set_connection

SUBJECT = Subject("keys", "key")


def signing(monkeypatch: pytest.MonkeyPatch, pem: str, **extra: object) -> list[Finding]:
    set_connection(monkeypatch, "k", conn_type="generic", password=pem, extra=extra)
    return list(keys.signing(SUBJECT, "k"))


def test_a_signing_key_that_verifiers_know_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem, file = generate_pem(), tmp_path / "trusted.pem"
    file.write_text(Signer.from_pem(generate_pem()).public_pem + Signer.from_pem(pem).public_pem)
    found = signing(monkeypatch, pem, public_key_file=str(file))
    assert [one.gravity for one in found] == [Gravity.FINE, Gravity.FINE]
    assert "PRIVATE" not in "".join(one.model_dump_json() for one in found)


def test_a_key_that_was_changed_and_not_told_to_verifiers_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "trusted.pem"
    file.write_text(Signer.from_pem(generate_pem()).public_pem)
    assert signing(monkeypatch, generate_pem(), public_key_file=str(file))[-1].gravity is Gravity.FAULT


@pytest.mark.parametrize("content", [None, "no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_a_file_of_keys_that_cannot_be_used_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    file = tmp_path / "trusted.pem"
    if content is not None:
        file.write_text(content)
    assert signing(monkeypatch, generate_pem(), public_key_file=str(file))[-1].gravity is Gravity.WARNING


def test_what_is_no_signing_key_is_told_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirlockError) as told:
        signing(monkeypatch, "hunter2")
    assert "hunter2" not in str(told.value)


def backup(monkeypatch: pytest.MonkeyPatch, password: str, recipients: list[str]) -> Finding:
    set_connection(monkeypatch, "b", conn_type="generic", password=password, extra={"recipients": recipients})
    (found,) = keys.backup(SUBJECT, "b")
    return found


def test_a_backup_key_decrypts_what_is_encrypted_to_its_recipients(monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    public = [str(one.to_public()) for one in (own, other)]
    assert backup(monkeypatch, str(own), public).gravity is Gravity.FINE
    assert backup(monkeypatch, str(own), public[1:]).gravity is Gravity.FAULT
    for password, recipients in ((str(own), []), ("", public), ("hunter2", public), (str(own), ["age1hunter2"])):
        found = backup(monkeypatch, password, recipients)
        assert found.gravity is Gravity.FAULT
        assert "hunter2" not in found.model_dump_json()
        assert str(own) not in found.model_dump_json()
