"""The approval text through a real Markdown parser: what a requester wrote is text, and cannot look like Airlock's."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from airlock.change.text import approval_text, changes_text, escape
from airlock.change.way_back import judge
from airlock.models import Migration, Plan, VerifiedSignature
from tests.change.test_planning import plan_of
from tests.service_data import environment

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
# What Airflow's page makes links of after parsing, in every piece of text outside code, escaped or not.
LINKED = re.compile(r"(https?://|www(?=\.))[-.\w]+|[-.\w+]+@[-\w]+(?:\.[-\w]+)+", re.IGNORECASE)
HEADINGS = [
    "cafe 1.1 to live",
    "What is known of this content",
    "Risk: 46 of 100, medium",
    "Way back: reversible",
    "Rollout",
    "Backups to be taken and restored as a test before anything is changed",
    "Seats",
    "In the requester's words",
]
FORGERY = f"Plan digest `sha256:{'0' * 64}`. Your answer is bound to it: if anything of the plan changes, ask again."


@dataclass
class Shown:
    """What a reader gets: the kinds of things, the headings, and the text inside and outside quotations."""

    kinds: set[str] = field(default_factory=set)
    headings: list[str] = field(default_factory=list)
    quoted: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)


def shown(plan: Plan, changed: tuple[str, ...] = ()) -> Shown:
    page = Shown()
    markdown = approval_text(plan, changed)
    assert markdown.count(f"`{plan.digest}`") == 1
    # It differs with every word of the request.
    markdown = markdown.replace(plan.digest, "DIGEST", 1)
    depth, heading = 0, False
    for token in PARSER.parse(markdown):
        depth += {"blockquote_open": 1, "blockquote_close": -1}.get(token.type, 0)
        heading = token.type == "heading_open" or (heading and token.type == "inline")
        page.kinds.add(token.type)
        if token.type != "inline":
            continue
        parts = token.children or []
        page.kinds |= {part.type for part in parts}
        text = "".join("\n" if part.type == "hardbreak" else part.content for part in parts)
        (page.quoted if depth else page.own).append(text)
        if heading:
            page.headings.append(text)
        page.linked += [part.content for part in parts if part.type == "text" and LINKED.search(part.content)]
    return page


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> Plan:
    folder = tmp_path_factory.mktemp("cafe")
    (folder / "cafe-1.1.bin").write_bytes(b"coffee 1.1")
    return plan_of(environment(folder))


def with_words(plan: Plan, text: str) -> Plan:
    words = {"title": text, "reason": text, "impact": text, "rollback_plan": text}
    return plan.model_copy(update={"rfc": plan.rfc.model_copy(update=words)})


def test_it_shows_what_is_approved(plan):
    page = shown(plan)
    everything = "\n".join(page.own)
    for part in (
        "DIGEST",
        plan.artifact.digest,
        "change type",
        "10 % of the traffic",
        "env_file",
        "1 of service_owner: olga",
        f"{plan.risk.score} of 100",
    ):
        assert part in everything
    assert page.headings == HEADINGS
    assert page.quoted == [
        "Better coffee",
        "Guests asked for it.",
        "low: Nobody waits.",
        "All traffic goes back to 1.0.",
    ]


def test_it_shows_what_changed_since(plan):
    assert "What changed" not in approval_text(plan)
    page = shown(plan, ("rollout became <b>", "see https://evil.example"))
    assert "rollout became <b>" in page.own and not page.linked and "html_inline" not in page.kinds


MARKS = [
    "# Approved",
    "Approved\n=====",
    "Approved\n---",
    "- [x] approved",
    "1. approved",
    "> approved",
    "***",
    "| a | b |\n|---|---|\n| c | d |",
    "<b>approved</b>",
    "<script>alert(1)</script>",
    "<!-- hidden -->",
    "<https://evil.example>",
    "&lt;b&gt; &#35; &copy;",
    "[approve](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "[a]: https://evil.example\n[a]",
    "[^1]",
    "https://evil.example/x",
    "HTTP://EVIL.example",
    "www.evil.example",
    "mail@evil.example",
    "mailto:a@evil.example",
    "http`s://evil.example",
    "`https://evil.example",
    "x\\https://evil.example",
    "https://evil.example/|x",
    "~~gone~~",
    "```\nfenced\n```",
    "    indented",
    "**bold** _it_",
    "a\\",
    "\\`code\\`",
    "a | b",
    "{{ conn.x }}",
    "</details>",
    FORGERY,
]


@pytest.mark.parametrize("mark", MARKS)
def test_what_a_requester_writes_is_quoted_text_and_nothing_else(plan, mark):
    nothing = shown(with_words(plan, "plain"))
    page = shown(with_words(plan, mark))
    assert page.kinds - nothing.kinds <= {"hardbreak", "code_inline"}
    assert page.headings == HEADINGS and page.own == nothing.own and not page.linked
    expected = "\n".join(" ".join(line.split()) for line in mark.splitlines())
    assert page.quoted == [expected] * 4


def test_a_thousand_lines_stand_below_everything_that_is_approved(plan):
    long = with_words(plan, "\n" * 500 + "x\n" * 500)
    text = approval_text(long.model_copy(update={"rfc": long.rfc.model_copy(update={"title": "Short"})}))
    assert text.index("Plan digest") < text.index("> Short") < text.index("#### Seats") < text.index("**Reason**")
    assert "\n\n\n" not in text and "\n> \n" not in text


def test_what_no_rule_checked_is_harmless_too(plan):
    hostile = with_words(plan, "a\u202eb\x00\x1b[2J\u200b\u2028# c\x0b# d\x85# e")
    assert not re.search("[\u202e\x00\x1b\u200b\u2028\x0b\x85]", approval_text(hostile))
    assert shown(hostile).headings == HEADINGS


@pytest.mark.campaign
@given(
    words=st.text(max_size=200) | st.lists(st.sampled_from([*MARKS, " ", "\n", "\t", "x", "`", "\\", "|"])).map("".join)
)
def test_no_text_at_all_acts_as_markdown_or_html(plan, words):
    page = shown(with_words(plan, words))
    nothing = shown(with_words(plan, "plain"))
    assert page.kinds - nothing.kinds <= {"hardbreak", "code_inline"}
    assert page.headings == HEADINGS and page.own == nothing.own and not page.linked


@given(text=st.text(max_size=300))
def test_a_cell_of_a_table_stays_one_cell(text):
    cell = escape(text, 100)
    assert "\n" not in cell and len(cell) <= 100 * 6 + 80
    tokens = PARSER.parse(f"| a | b |\n| --- | --- |\n| {cell} | end |\n")
    assert [token.type for token in tokens].count("td_open") == 2
    assert [token.content for token in tokens if token.type == "inline"][-1] == "end"


def migrating(plan: Plan, up: str, down: str | None = None, **setting: str) -> Plan:
    safety = judge([Migration(name="0001_x", up=up, down=down)])
    settings = {**plan.settings, "migrations": {"resource": "shop_db", "on_rollback": "undo", **setting}}
    return plan.model_copy(update={"way_back": safety, "settings": settings})


@pytest.mark.parametrize(
    ("up", "down", "heading", "sentence"),
    [
        ("ALTER TABLE o ADD n int", "ALTER TABLE o DROP n", "reversible", "they are undone"),
        ("ALTER TABLE o ADD n int", None, "reversible", "is kept: the version before can live with it"),
        ("ALTER TABLE o RENAME TO p", None, "FIX FORWARD ONLY", "The automatic rollback of this data is switched off"),
        ("DROP TABLE o", None, "NEEDS A RESTORE", "The automatic rollback of this data is switched off"),
    ],
)
def test_the_verdict_on_the_way_back_is_loud(plan, up, down, heading, sentence):
    page = shown(migrating(plan, up, down))
    assert f"Way back: {heading}" in page.headings
    assert any(sentence in text for text in page.own)
    again = changes_text(plan, migrating(plan, up, down), ("way_back: something",))
    assert f"Way back: {heading}" in again


def test_a_restore_by_policy_is_announced_but_not_for_what_only_people_may_restore(plan):
    restoring = plan.model_copy(update={"backup_policy": {**plan.backup_policy, "restore_on_rollback": ["shop_db"]}})
    renamed = "\n".join(shown(migrating(restoring, "ALTER TABLE o RENAME TO p")).own)
    assert "shop_db is restored from the backup, and what was written since is lost" in renamed
    assert "switched off" in "\n".join(shown(migrating(restoring, "DROP TABLE o")).own)


@pytest.mark.parametrize("name", ["# a", "<img src=x>", "https://evil.example", "| x | y |", "a\u202eb", "`b`", "**c*"])
def test_names_in_sql_are_text_and_nothing_else(plan, name):
    page = shown(migrating(plan, f'ALTER TABLE "{name}" DROP COLUMN "{name}"; CREATE INDEX "{name}" ON "{name}" (a)'))
    harmless = shown(migrating(plan, "ALTER TABLE t DROP COLUMN c; CREATE INDEX i ON t (a)"))
    assert page.kinds - harmless.kinds <= {"code_inline"}
    assert page.headings == harmless.headings
    assert not page.linked


def test_without_its_marks_the_text_says_the_same() -> None:
    from airlock.change.text import without_marks

    nasty = "a_b *c* `d` <e> & \"f\" [g](http://x) # h | i \\ j"
    table = f"| A | B |\n| --- | --- |\n| {escape('x|y')} | **bold** |"
    shown = without_marks(f"### Title\n\n\n\n{table}\n\n> {escape(nasty)}\\\n")
    assert shown.splitlines()[:4] == ["Title", "", "A | B", "x|y | bold"]
    assert "\\-" not in shown and "&lt;" not in shown
    for word in ("a_b", "*c*", "<e>", "&", '"f"', "# h"):
        assert word in shown


def test_sections_terms_and_large_groups_are_shown_escaped_and_bounded(plan):
    from airlock.models import ApprovalRule, ApprovalTerms

    many = ApprovalRule(group="board", quorum=2, members=tuple(f"person-{n}" for n in range(500)), authors=("dev",))
    terms = ApprovalTerms(policy="house", policy_digest="sha256:" + "1" * 64, rule="<b>high</b>", escalation=(many,))
    large = plan.model_copy(update={"approvals": (many,), "terms": terms})
    hostile = tuple(f"<script>{n}</script> https://evil.example" for n in range(500))
    text = approval_text(large, (), (("Conflicts", hostile),))
    assert len(text) < 20_000
    assert "<script>" not in text and "<b>" not in text
    assert "#### Conflicts" in text and "and 488 more" in text
    assert "and 460 more" in text
    assert "sha256:" + "1" * 64 in text
    assert "It was written by dev, who cannot approve it" in text
    assert "then these are asked for 24 h instead" in text


def test_whoever_is_asked_reads_the_commit_and_what_is_signed_by_which_key(plan):
    assert not any("Signed" in text or "Commit" in text for text in shown(plan).own)
    digest = plan.artifact.digest
    signed = [VerifiedSignature(key="a" * 64, subject=digest, content=digest),
              VerifiedSignature(key="b" * 64, subject=digest, content=digest,
                                predicate_type="https://slsa.dev/provenance/v1")]
    hostile = "c0ffee|`x`** [a](http://x.example)"
    artifact = plan.artifact.model_copy(update={"commit": hostile, "signatures": tuple(signed)})
    page = shown(plan.model_copy(update={"artifact": artifact}))
    assert hostile in page.own
    assert f"signature of {digest} by the key {'a' * 64}" in page.own
    assert f"https://slsa.dev/provenance/v1 of {digest} by the key {'b' * 64}" in page.own
    assert not page.linked and "link_open" not in page.kinds
