"""Keys, envelopes, and what a wrong or rotated key does."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.errors import EvidenceInvalid, InvalidInput, UnknownName
from airlock.signing import (
    Keyring,
    Signer,
    generate_pem,
    key_id,
    keyring_from_connection,
    public_key_file,
    signer_from_connection,
)

SIGNER = Signer.from_pem(generate_pem())
KEYRING = Keyring([SIGNER.public_pem])
TYPE = "application/vnd.test+json"


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_what_is_signed_comes_back(payload):
    envelope = json.loads(json.dumps(SIGNER.sign(TYPE, payload)))
    assert KEYRING.verify(envelope, TYPE) == payload
    assert SIGNER.sign(TYPE, payload) == envelope


@settings(deadline=None)
@given(st.data())
def test_any_altered_character_of_an_envelope_is_refused(data):
    envelope = SIGNER.sign(TYPE, b"what was decided")
    text = json.dumps(envelope, sort_keys=True)
    position = data.draw(st.integers(0, len(text) - 1))
    replaced = data.draw(st.sampled_from('aZ09+/=_-x{}[]": ').filter(lambda one: one != text[position]))
    try:
        altered = json.loads(text[:position] + replaced + text[position + 1 :])
    except ValueError:
        return
    if altered == envelope:
        return
    with pytest.raises(EvidenceInvalid):
        KEYRING.verify(altered if isinstance(altered, dict) else {"": altered}, TYPE)


def test_another_type_another_key_and_no_key_are_refused():
    envelope = SIGNER.sign(TYPE, b"x")
    with pytest.raises(EvidenceInvalid, match="is expected"):
        KEYRING.verify(envelope, "application/other")
    stranger = Signer.from_pem(generate_pem())
    with pytest.raises(EvidenceInvalid, match=f"unknown key {SIGNER.key_id}"):
        Keyring([stranger.public_pem]).verify(envelope, TYPE)
    claimed = envelope | {"signatures": [envelope["signatures"][0] | {"keyid": stranger.key_id}]}
    with pytest.raises(EvidenceInvalid, match="does not fit"):
        Keyring([stranger.public_pem, SIGNER.public_pem]).verify(claimed, TYPE)
    with pytest.raises(EvidenceInvalid, match="one signature"):
        KEYRING.verify(envelope | {"signatures": []}, TYPE)
    with pytest.raises(InvalidInput, match="no public key"):
        Keyring([])


def test_a_payload_written_in_another_base64_alphabet_is_refused():
    payload = b"\xfb\xff\xfe"
    envelope = SIGNER.sign(TYPE, payload)
    assert "+" in envelope["payload"] or "/" in envelope["payload"]
    with pytest.raises(EvidenceInvalid, match="not written the way"):
        KEYRING.verify(envelope | {"payload": envelope["payload"].replace("+", "-").replace("/", "_")}, TYPE)


def test_only_ed25519_private_keys_sign_and_no_message_shows_a_key():
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(InvalidInput, match="Ed25519") as caught:
        Signer.from_pem(pem)
    assert pem.splitlines()[1] not in str(caught.value)
    for text in ("", "rubbish", SIGNER.public_pem):
        with pytest.raises(InvalidInput, match="signing key"):
            Signer.from_pem(text)
    public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for text in (public, "rubbish", ""):
        with pytest.raises(InvalidInput):
            Keyring([text])


def connection_with(monkeypatch, name: str, **values):
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps({"conn_type": "generic", **values}))


def test_keys_come_from_the_connection_with_former_keys_and_escaped_lines(monkeypatch):
    former, present = Signer.from_pem(generate_pem()), generate_pem()
    connection_with(
        monkeypatch,
        "sign_rotated",
        password=present.replace("\n", "\\n"),
        extra={"trusted": [former.public_pem.replace("\n", "\\n")]},
    )
    signer = signer_from_connection("sign_rotated")
    keyring = keyring_from_connection("sign_rotated")
    assert signer.key_id == Signer.from_pem(present).key_id == key_id(signer.public_pem)
    assert keyring.verify(former.sign(TYPE, b"old"), TYPE) == b"old"
    assert keyring.verify(signer.sign(TYPE, b"new"), TYPE) == b"new"
    assert keyring.key_ids == (signer.key_id, former.key_id)


def test_the_connection_may_say_where_auditors_find_the_public_keys(monkeypatch):
    connection_with(monkeypatch, "sign_told", password=generate_pem(), extra={"public_key_file": "/srv/keys.pem"})
    connection_with(monkeypatch, "sign_untold", password=generate_pem())
    assert public_key_file("sign_told") == "/srv/keys.pem"
    assert public_key_file("sign_untold") == "TRUSTED.pem"


def test_unusable_connections_say_which_and_what_to_do(monkeypatch):
    with pytest.raises(UnknownName, match="sign_absent"):
        signer_from_connection("sign_absent")
    connection_with(monkeypatch, "sign_empty")
    with pytest.raises(InvalidInput, match="'sign_empty' has no password"):
        signer_from_connection("sign_empty")
    connection_with(monkeypatch, "sign_rubbish", password="not-a-key-at-all")
    with pytest.raises(InvalidInput, match="'sign_rubbish'") as caught:
        signer_from_connection("sign_rubbish")
    assert "not-a-key-at-all" not in str(caught.value)
    for trusted in (5, [5], ["rubbish"]):
        connection_with(monkeypatch, "sign_trusted", password=generate_pem(), extra={"trusted": trusted})
        with pytest.raises(InvalidInput, match=r"extra\.trusted"):
            keyring_from_connection("sign_trusted")
