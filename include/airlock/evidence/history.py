"""The check of a ledger's folders: every release of every environment, and the chain of their seals.

Knows ledger folders and the anchor. Must not know packs, Airflow, a network or a clock.
"""

from __future__ import annotations

from pathlib import Path

from upath import UPath

from airlock.evidence import chain, comparison, container
from airlock.evidence.ledger import SEAL
from airlock.evidence.release_check import UNTRUSTED, check_release
from airlock.evidence.report import Report, make_report
from airlock.evidence.statement import OpenSeal
from airlock.signing import Keyring


def verify_history(place: UPath, trusted: Keyring | None, anchor: str | Path | UPath | None) -> Report:
    """Check every release at or below *place*, a folder of a ledger, and the chain of their seals."""
    environments = chain.environments(place)
    if not environments:
        return make_report([f"{place} holds no evidence: no seal and no record"])
    return _verify_environments(environments, trusted, anchor)


def _verify_environments(environments: list[UPath], trusted: Keyring | None,
                         anchor: str | Path | UPath | None) -> Report:
    problems: list[str] = []
    notes: list[str] = []
    signers: set[str] = set()
    count = 0
    for environment in environments:
        label = f"{environment.parent.name}/{environment.name}"
        seals: list[OpenSeal] = []
        for folder in chain.releases(environment):
            contents = container.read_folder(folder)
            if SEAL not in contents.files:
                notes.append(f"{label}/{folder.name} is not sealed: under way, or left behind by a crash")
                found = comparison.unsealed(contents.files, trusted)
                problems += [f"{label}/{folder.name}: {text}" for text in found]
                count += len(contents.files)
                continue
            checked = check_release(contents, False, trusted, folder)
            report, opened = checked.report, checked.seal
            problems += [f"{label}/{folder.name}: {text}" for text in report.problems]
            count += report.records
            if opened is not None:
                seals.append(opened)
                signers.add(opened.signed_by)
        problems += [f"{label}: {text}" for text in chain.check(seals, environment, anchor)]
    if trusted is None:
        notes += [UNTRUSTED.format(key=key) for key in sorted(signers)]
    return make_report(problems, notes, records=count, signed_by=", ".join(sorted(signers)))
