from __future__ import annotations

import pytest

from airlock.change.risk_policy import load_risk_policy
from airlock.errors import InvalidInput
from airlock.models import digest_of
from airlock.service.validated import policies_folder

SHIPPED = (policies_folder() / "risk.yaml").read_text()


def written(tmp_path, *changes):
    text = SHIPPED
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "risk.yaml"
    path.write_text(text)
    return path


def test_comments_change_no_digest_and_points_do(tmp_path):
    assert digest_of(load_risk_policy(written(tmp_path))) == digest_of(load_risk_policy())
    same = load_risk_policy(written(tmp_path, ("# The first rule", "# Another word about the first rule")))
    other = load_risk_policy(written(tmp_path, ("production: 15", "production: 16")))
    assert digest_of(same) == digest_of(load_risk_policy()) != digest_of(other)


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    [
        ("production: 15", "production: 101", "production", "less than or equal to 100"),
        ("impacts: [high]", "levels: [high]", "rules.3.when", "levels are what the score decides"),
        ("production: 15", "productoin: 15", "productoin", "did you mean 'production'?"),
        ("levels: {medium: 40, high: 70}", "levels: {medium: 70, high: 70}", "levels", "high must be above medium"),
        ("tier: {1: 20, 2: 12, 3: 6, 4: 0}", "tier: {1: 20, 2: 12, 3: 6}", "file", "tier lacks 4"),
        ("  database_schema: 6\n", "", "file", "category lacks database_schema"),
        ("users: {nobody: 0,", "users: {none: 0,", "file", "questionnaire.users lacks nobody and does not know none"),
        ("needs_restore: 15, unknown: 15", "needs_restore: 15, unknown: 3", "way_back", "not to know would lower"),
        ("version_unknown: 10", "version_unknown: 9", "size", "not to know would lower"),
        ("  none: 6", "  none: 1", "restore_drills", "not to know would lower"),
        ("minimum_changes: 10", "minimum_changes: 60", "history", "could never be reached"),
        ("categories: [kubernetes_upgrade]", "categories: [kubernetes]", "rules.0.when.categories.0",
         "'kubernetes_upgrade'"),
        ("from: \"08:00\"", "from: 8", "hours.from", "string"),
        ("hours: {days", "hours: &loop {x: *loop, days", "hours.x", "contain themselves"),
    ],
)
def test_every_fault_has_its_line(tmp_path, old, new, place, said):
    path = written(tmp_path, (old, new))
    with pytest.raises(InvalidInput) as caught:
        load_risk_policy(path)
    text = str(caught.value)
    assert text.startswith(f"{path}:") and said in text
    assert f": {place}: " in text or place == "file"


def test_a_policy_that_is_missing_or_no_mapping_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRLOCK_POLICIES", str(tmp_path))
    with pytest.raises(InvalidInput, match=r"risk\.yaml:1: file: cannot be read"):
        load_risk_policy()
    (tmp_path / "risk.yaml").write_text("")
    with pytest.raises(InvalidInput, match=r"risk\.yaml:1"):
        load_risk_policy()
