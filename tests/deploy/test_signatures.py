"""Signatures and attestations: what fits a given key and the artifact, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.deploy.signatures import NotInEvidence, NotVerified, fits, keys_in, verify
from airlock.errors import InvalidInput
from airlock.models import SignatureForm, SignedContent, VerifiedSignature, digest_of
from tests.contracts.artifact_contract import sha256
from tests.signing_keys import IMAGE_SIGNATURE, PROVENANCE, Publisher, base64, publisher

CONTENT = b"coffee"
DIGEST = sha256(CONTENT)
OTHER = sha256(b"tea")
SORTS = ("p-256", "p-384", "p-521", "rsa", "ed25519")


def contents(digest: str) -> Iterable[bytes]:
    assert digest == DIGEST
    return [CONTENT[:3], CONTENT[3:]]


def found(said: Any, form: SignatureForm = SignatureForm.SIGSTORE_BUNDLE, signature: str = "") -> SignedContent:
    text = said if isinstance(said, str) else json.dumps(said)
    return SignedContent(form=form, place="here", content=text, signature=signature)


def verified(signed: SignedContent, by: Publisher | None = None, *subjects: str) -> VerifiedSignature:
    return verify(signed, keys_in((by or publisher()).pem, "keys"), subjects or (DIGEST,), contents)


@pytest.mark.parametrize("sort", SORTS)
def test_a_signature_of_the_content_fits_its_key_only(sort: str) -> None:
    one = publisher(sort)
    signed = found(one.signed(CONTENT))
    assert verified(signed, one) == VerifiedSignature(key=one.id, subject=DIGEST, content=digest_of(signed))
    with pytest.raises(NotVerified, match="none of the keys signed it"):
        verified(signed, publisher(f"{sort} other"))
    with pytest.raises(NotVerified, match="about another artifact"):
        verify(signed, keys_in(one.pem, "keys"), (OTHER,), lambda digest: [b"tea"])


@pytest.mark.parametrize(("sort", "algorithm"), [("p-384", "SHA2_384"), ("p-521", "SHA2_512")])
def test_larger_keys_sign_larger_digests(sort: str, algorithm: str) -> None:
    assert verified(found(publisher(sort).signed(CONTENT, algorithm)), publisher(sort)).subject == DIGEST


@pytest.mark.parametrize("sort", SORTS)
def test_an_attestation_fits_its_key_its_subject_and_its_type(sort: str) -> None:
    one = publisher(sort)
    signed = found(one.attested(DIGEST))
    said = verified(signed, one)
    assert (said.key, said.subject, said.predicate_type) == (one.id, DIGEST, PROVENANCE)
    assert fits(said, PROVENANCE) and not fits(said, None) and not fits(said, "https://spdx.dev/Document")
    with pytest.raises(NotVerified, match="none of the keys signed it"):
        verified(signed, publisher(f"{sort} other"))
    with pytest.raises(NotVerified, match="about another artifact"):
        verified(signed, one, OTHER)


def test_one_of_many_subjects_and_one_of_many_signers_is_enough() -> None:
    one = publisher()
    other = {"name": "x", "digest": {"sha512": "0"}}
    said = one.attested(DIGEST, subject=[other, {"digest": {"sha256": DIGEST.removeprefix("sha256:")}}])
    said["dsseEnvelope"]["signatures"].insert(0, {"sig": publisher("p-256 other").sign(b"x"), "keyid": "other"})
    assert verified(found(said), one).subject == DIGEST


def test_what_cosign_attests_to_sign_an_image_is_a_signature() -> None:
    assert fits(verified(found(publisher().attested(DIGEST, IMAGE_SIGNATURE))), None)


def test_what_cosign_wrote_before_is_understood() -> None:
    one = publisher()
    text, signature = one.described(DIGEST)
    said = verified(found(text, SignatureForm.SIMPLE_SIGNING, signature))
    assert (said.key, said.subject) == (one.id, DIGEST) and fits(said, None)
    envelope = one.attested(DIGEST)["dsseEnvelope"]
    assert verified(found(envelope, SignatureForm.DSSE)).predicate_type == PROVENANCE
    for form, content, mark in (
        (SignatureForm.SIMPLE_SIGNING, one.described(OTHER), "another artifact"),
        (SignatureForm.SIMPLE_SIGNING, one.described(DIGEST, type="atomic container signature"), "another artifact"),
        (SignatureForm.SIMPLE_SIGNING, (text, one.sign(b"x")), "none of the keys"),
        (SignatureForm.SIMPLE_SIGNING, (text, ""), "none of the keys"),
        (SignatureForm.SIMPLE_SIGNING, (text, "@"), "no text in base64"),
    ):
        with pytest.raises(NotVerified, match=mark):
            verified(found(content[0], form, content[1]))


@pytest.mark.parametrize("version", ["+json;version=0.1", "+json;version=0.2", ".v0.3+json", ".v0.3.1+json"])
def test_bundles_of_every_version_are_read(version: str) -> None:
    said = {**publisher().signed(CONTENT), "mediaType": f"application/vnd.dev.sigstore.bundle{version}"}
    assert verified(found(said)).subject == DIGEST


def test_base64_in_the_other_alphabet_is_read() -> None:
    said = publisher().signed(CONTENT)
    message = said["messageSignature"]
    message["signature"] = message["signature"].replace("+", "-").replace("/", "_").rstrip("=")
    assert verified(found(said)).subject == DIGEST


def _without(path: str) -> dict[str, Any]:
    said = copy.deepcopy(publisher().attested(DIGEST) if "dsse" in path else publisher().signed(CONTENT))
    *way, last = path.split(".")
    at = said
    for step in way:
        at = at[step]
    del at[last]
    return said


SIGNED = publisher().signed(CONTENT)
ATTESTED = publisher().attested(DIGEST)
WRONG: list[tuple[Any, str]] = [
    ("", "no JSON"),
    ("[]", "no JSON object"),
    ("[" * 100_000, "no JSON"),
    ({**SIGNED, "mediaType": "application/json"}, "no Sigstore bundle"),
    ({**SIGNED, "mediaType": 3}, "no Sigstore bundle"),
    ({**SIGNED, "verificationMaterial": {"certificate": {"rawBytes": ""}}}, "made with a certificate"),
    ({**SIGNED, **ATTESTED}, "two sorts"),
    (_without("messageSignature"), "none or two"),
    (_without("messageSignature.signature"), "no text in base64"),
    (_without("dsseEnvelope.signatures"), "no signature"),
    (_without("dsseEnvelope.payload"), "no text in base64"),
    (publisher().bundle(messageSignature={"messageDigest": {"algorithm": "MD5", "digest": ""}}), "not understood"),
    (publisher().bundle(messageSignature=[]), "no text in base64"),
    (publisher().bundle(dsseEnvelope=publisher().envelope(b"{}", "text/plain")), "not an in-toto statement"),
    (publisher().bundle(dsseEnvelope=publisher().envelope(b"{}")), "no in-toto statement"),
    (publisher().attested(DIGEST, _type="https://in-toto.io/Statement/v9"), "no in-toto statement"),
    (publisher().attested(DIGEST, _type=None), "no in-toto statement"),
    (publisher().attested(DIGEST, predicateType=""), "lacks a subject or a type"),
    (publisher().attested(DIGEST, subject=[]), "about another artifact"),
    (publisher().attested(DIGEST, subject=["x", {"digest": []}, {"digest": {"sha256": 3}}]), "about another artifact"),
    (publisher().attested(DIGEST, subject={}), "lacks a subject"),
]


@pytest.mark.parametrize(("said", "why"), WRONG)
def test_what_is_not_as_it_must_be_is_not_verified(said: Any, why: str) -> None:
    with pytest.raises(NotVerified, match=why):
        verified(found(said))


def test_a_name_that_comes_twice_is_refused() -> None:
    good, bad = (json.dumps(one)[1:-1] for one in (publisher().attested(DIGEST), publisher().attested(OTHER)))
    for text in (f"{{{good}, {bad}}}", f"{{{bad}, {good}}}"):
        with pytest.raises(NotVerified, match="read in one way only"):
            verified(found(text))


def test_an_envelope_that_is_signed_as_another_type_does_not_fit() -> None:
    envelope = {**publisher().envelope(b"{}", "text/plain"), "payloadType": "application/vnd.in-toto+json"}
    with pytest.raises(NotVerified, match="none of the keys"):
        verified(found(publisher().bundle(dsseEnvelope=envelope)))


def test_a_claimed_digest_of_another_content_does_not_fit() -> None:
    said = publisher().signed(b"tea")
    said["messageSignature"]["messageDigest"]["digest"] = base64(bytes.fromhex(DIGEST[7:]))
    with pytest.raises(NotVerified, match="another artifact, or none"):
        verified(found(said))


def test_what_is_not_at_hand_is_neither_good_nor_bad() -> None:
    def nothing(digest: str) -> Iterable[bytes]:
        raise NotInEvidence("gone")

    with pytest.raises(NotInEvidence):
        verify(found(publisher("ed25519").signed(CONTENT)), keys_in(publisher("ed25519").pem, "k"), (DIGEST,), nothing)
    assert verify(found(SIGNED), keys_in(publisher().pem, "k"), (DIGEST,), nothing).subject == DIGEST


@given(data=st.data())
def test_a_bundle_that_is_altered_anywhere_is_not_verified_or_says_the_same(data: st.DataObject) -> None:
    whole = json.dumps(data.draw(st.sampled_from((SIGNED, ATTESTED))))
    position = data.draw(st.integers(0, len(whole) - 1))
    altered = whole[:position] + data.draw(st.characters()) + whole[position + data.draw(st.integers(0, 2)) :]
    try:
        said = verified(found(altered))
    except NotVerified:
        return
    assert (said.key, said.subject) == (publisher().id, DIGEST)
    assert said.predicate_type in ("", PROVENANCE)


def test_keys_are_public_strong_and_of_a_known_sort() -> None:
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    def pem(key: Any) -> str:
        return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())

    both = keys_in(publisher().pem + "\ntext\n" + publisher("rsa").pem + publisher().pem, "keys")
    assert [one.id for one in both] == [publisher().id, publisher("rsa").id]
    private = publisher().key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for text, why in (
        ("", "holds no public key"),
        ("no key", "holds no public key"),
        (private, "is no public key"),
        (pem(rsa.generate_private_key(65537, 1024)), "not trusted by"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "not trusted by"),
        (pem(dsa.generate_private_key(2048)), "not trusted by"),
    ):
        with pytest.raises(InvalidInput, match=why) as caught:
            keys_in(text, "keys")
        assert text == "" or text not in str(caught.value)
