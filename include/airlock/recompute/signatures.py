"""The signatures and attestations of the artifact that a plan was made with: verified again, as far as the evidence
allows. A signature by Ed25519 over a large content is not: the content is not in the evidence."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Iterable, Iterator

from airlock.deploy import signatures
from airlock.deploy.signatures import NotInEvidence, NotVerified
from airlock.models import Plan, SignatureEvidence, VerifiedSignature, digest_of
from airlock.recompute.history import Entry, History, Recomputed, again
from airlock.service.model import ArtifactSetting

ANSWER_NONE = "none demanded"


def decisions(history: History) -> Iterator[Recomputed]:
    """Yield what each plan says of its artifact's signatures."""
    for entry in history.of("plan"):
        yield again(history, entry, "signatures", _answer(entry), _signatures)


def _answer(entry: Entry) -> str:
    plan = entry.data.get("plan")
    artifact = plan.get("artifact") if isinstance(plan, dict) else None
    found = artifact.get("signatures") if isinstance(artifact, dict) else None
    given = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return "; ".join(f"{one.get('predicate_type') or 'signature'} by {str(one.get('key'))[:16]}"
                     for one in given) or ANSWER_NONE


def _signatures(history: History, entry: Entry) -> tuple[str, ...]:
    plan = Plan.model_validate(entry.data["plan"])
    artifact, said = plan.artifact, plan.settings.get("artifact")
    demands = ArtifactSetting.model_validate(said).signatures if said is not None and not plan.returns else ()
    known = [SignatureEvidence.model_validate(one.data) for one in history.earlier("signature", entry)]
    found: list[str] = []
    for demand in demands:
        for subjects in signatures.subjects_of(artifact, demand.predicate_type):
            if not any(signatures.fits(one, demand.predicate_type) and one.subject in subjects
                       for one in artifact.signatures):
                found.append(f"{demand.predicate_type or 'signature'} of {subjects[0]}: demanded -> missing")
    for verified in artifact.signatures:
        evidence = next((one for one in known if one.verified == verified), None)
        found += [f"signature by {verified.key[:16]}: {why}" for why in _again(verified, evidence)]
    return tuple(found)


def _again(verified: VerifiedSignature, evidence: SignatureEvidence | None) -> Iterator[str]:
    if evidence is None:
        yield "verified -> nothing on record that it was verified with"
        return
    if digest_of(evidence.signed) != verified.content:
        yield f"{verified.content} -> {digest_of(evidence.signed)}"

    def contents(digest: str) -> Iterable[bytes]:
        if not evidence.made_of:
            raise NotInEvidence("what was signed is not in the evidence")
        content = b64decode(evidence.made_of)
        if "sha256:" + hashlib.sha256(content).hexdigest() != digest:
            raise NotVerified("what was signed is another content on record")
        return [content]

    try:
        keys = signatures.keys_in(evidence.public_key, "the record")
        now = signatures.verify(evidence.signed, keys, [verified.subject], contents)
    except NotInEvidence:
        return
    except NotVerified as error:
        yield f"verified -> {error}"
        return
    if now != verified:
        yield f"{verified.model_dump(mode='json')} -> {now.model_dump(mode='json')}"
