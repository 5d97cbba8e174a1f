"""The rollback-safety verdict: a table of statements, and what holds for any SQL and for any text."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.change.sql.tree import LARGEST_SQL
from airlock.change.way_back import judge, refuses
from airlock.models import Category, Migration, Reversal, Rfc, RollbackSafety

REVERSIBLE = (
    "ALTER TABLE orders ADD COLUMN note text",
    "ALTER TABLE orders ADD note int NOT NULL DEFAULT 3, ADD COLUMN seen timestamptz DEFAULT now()",
    "CREATE TABLE notes (id bigserial PRIMARY KEY, t text REFERENCES orders (id))",
    "CREATE TABLE notes (id int); CREATE INDEX n ON notes (id); ALTER TABLE notes ADD CONSTRAINT c CHECK (id > 0)",
    "CREATE INDEX CONCURRENTLY o ON orders (state)",
    "CREATE VIEW v AS SELECT odd(1)",
    "CREATE SCHEMA a CREATE TABLE b (c int)",
    "CREATE TYPE mood AS ENUM ('good'); COMMENT ON TABLE orders IS 'x'; GRANT SELECT ON orders TO reader",
    "INSERT INTO kinds VALUES (1, lower('A'))",
    "ALTER TABLE orders VALIDATE CONSTRAINT c",
    "ANALYZE orders",
    "SELECT 1",
    "-- nothing but a comment",
    "",
    # what the grammar spells as a function is PostgreSQL's own, and computed once for a default
    "ALTER TABLE orders ADD made_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc')",
    "ALTER TABLE orders ADD a timestamptz DEFAULT (current_timestamp AT LOCAL), ADD b date DEFAULT current_date",
    "ALTER TABLE orders ADD a int NOT NULL DEFAULT EXTRACT(year FROM now())::int",
    "ALTER TABLE orders ADD a timestamptz NOT NULL DEFAULT now() + interval '1 day'",
    "ALTER TABLE orders ADD a text[] NOT NULL DEFAULT ARRAY[]::text[], ADD b jsonb NOT NULL DEFAULT '{}'::jsonb",
    "SELECT 1 WHERE 'a' LIKE 'b' ESCAPE '!' AND 'a' SIMILAR TO 'b' AND trim(both from 'a') IS NFC NORMALIZED",
    "ALTER TABLE orders ADD a text DEFAULT NULL",
    # of a type that this migration makes, it is known what it refuses
    "CREATE TYPE mood AS ENUM ('good'); ALTER TABLE orders ADD m mood, ADD n mood[]",
    "CREATE TYPE s.pair AS (a int); ALTER TABLE orders ADD m s.pair",
    "CREATE TABLE part (id int); CREATE TABLE whole (id int) PARTITION BY LIST (id); "
    "ALTER TABLE whole ATTACH PARTITION part DEFAULT",
    "ALTER MATERIALIZED VIEW v SET (fillfactor = 70)",
    "ALTER INDEX i SET (fillfactor = 70)",
    "ALTER TABLE orders SET (autovacuum_enabled = false)",
    "WITH a AS (INSERT INTO kinds VALUES (1) RETURNING *) INSERT INTO others SELECT * FROM a",
    "INSERT INTO kinds VALUES (1) ON CONFLICT DO NOTHING",
    "INSERT INTO kinds SELECT a FROM orders TABLESAMPLE system (10)",
    # what is kept for later is not called, and what only counts on leaves a gap at most
    "CREATE TABLE n (a int DEFAULT clean()); CREATE INDEX i ON n (a); ALTER TABLE n ADD CONSTRAINT c CHECK (a > 0)",
    "CREATE TABLE n (a int DEFAULT clean(), b int); CREATE TABLE m (b int); INSERT INTO m VALUES (1)",
    "CREATE SEQUENCE s; CREATE TABLE n (a int DEFAULT nextval('s'), b int); INSERT INTO n (b) VALUES (1)",
    "CREATE TABLE n (a int); INSERT INTO n SELECT generate_series(1, 9)",
    "INSERT INTO kinds SELECT count(*) FROM orders WHERE a BETWEEN 1 AND 2 AND b ILIKE 'c' AND d IN (1, 2) AND e && f",
    "INSERT INTO kinds SELECT 1 WHERE 1 = ANY (SELECT 2) AND a NOT BETWEEN SYMMETRIC 1 AND 2 ORDER BY 1 USING <",
)
FIX_FORWARD = (
    "CREATE INDEX o ON orders (state)",
    "CREATE UNIQUE INDEX CONCURRENTLY o ON orders (state)",
    "ALTER TABLE orders ADD COLUMN note int NOT NULL",
    "ALTER TABLE orders ADD COLUMN number serial",
    "ALTER TABLE orders ADD COLUMN key uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE orders ADD COLUMN note text CHECK (note <> '')",
    "ALTER TABLE orders RENAME COLUMN a TO b",
    "ALTER TABLE orders RENAME TO bestellungen",
    "ALTER TABLE orders ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
    "ALTER TABLE orders ADD CONSTRAINT c UNIQUE (a)",
    "ALTER TABLE orders DROP CONSTRAINT c",
    "ALTER TABLE orders ALTER a DROP NOT NULL",
    "ALTER TABLE orders ALTER a SET DEFAULT 4",
    "ALTER TABLE orders ALTER a TYPE text",
    "ALTER TYPE mood ADD VALUE 'bad'",
    "CREATE OR REPLACE VIEW v AS SELECT 1",
    "DROP VIEW v",
    "DROP INDEX CONCURRENTLY i",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
    "REVOKE SELECT ON orders FROM reader",
    "LOCK TABLE orders",
    "CREATE TABLE part PARTITION OF orders DEFAULT",
    "CREATE TABLE IF NOT EXISTS notes (id int); CREATE INDEX n ON notes (id)",
    # what looks like a value may be none, and a type that is not PostgreSQL's own may be a domain
    "ALTER TABLE orders ADD note text NOT NULL DEFAULT NULL",
    "ALTER TABLE orders ADD note text NOT NULL DEFAULT CAST(NULL AS text)",
    "ALTER TABLE orders ADD note text NOT NULL DEFAULT (NULL::text)",
    "ALTER TABLE orders ADD note int NOT NULL DEFAULT nullif(1, 1)",
    "ALTER TABLE orders ADD note text NOT NULL DEFAULT substring('a' from 'b')",
    "ALTER TABLE orders ADD note text NOT NULL DEFAULT lower(NULL)",
    "ALTER TABLE orders ADD note text NOT NULL DEFAULT 'a' || NULL",
    "ALTER TABLE orders ADD mail mail_address",
    "ALTER TABLE orders ADD mail public.text",
    "ALTER TABLE orders ADD mail mail_address[]",
    "CREATE DOMAIN mail_address AS text NOT NULL; ALTER TABLE orders ADD mail mail_address",
    # ALTER of another sort of thing
    "ALTER VIEW totals SET (security_invoker = true)",
    "ALTER VIEW totals RESET (security_barrier)",
    "ALTER TABLE orders_fdw RENAME TO x",
    "ALTER FOREIGN TABLE far ADD COLUMN note text",
    "ALTER TYPE address ADD ATTRIBUTE zip text",
    # what a command on a new table does to an old one
    "CREATE TABLE whole (id int) PARTITION BY LIST (id); ALTER TABLE whole ATTACH PARTITION orders DEFAULT",
    "CREATE TABLE s.orders (id int) PARTITION BY LIST (id); ALTER TABLE s.orders ATTACH PARTITION orders DEFAULT",
    "CREATE INDEX CONCURRENTLY i ON orders (id); ALTER INDEX i ATTACH PARTITION j",
    # a name that was new is that of an old thing now
    "CREATE TABLE n (id int); ALTER TABLE n RENAME TO m; ALTER TABLE orders RENAME TO n; "
    "ALTER TABLE n ALTER a SET DEFAULT 1",
    # two names that look alike
    'CREATE TABLE "s.orders" (id int); ALTER TABLE s.orders ALTER a DROP NOT NULL',
    'CREATE TABLE "orders " (id int); CREATE INDEX i ON orders (id)',
)
NEEDS_RESTORE = (
    "DROP TABLE orders",
    "DROP SCHEMA shop",
    "DROP VIEW v CASCADE",
    "ALTER TABLE orders DROP COLUMN note",
    "ALTER TABLE orders ADD note text, DROP COLUMN other CASCADE",
    "TRUNCATE orders",
    "DELETE FROM orders WHERE false",
    "UPDATE orders SET note = NULL",
    "MERGE INTO orders o USING news n ON o.id = n.id WHEN MATCHED THEN DELETE",
    "INSERT INTO orders VALUES (1) ON CONFLICT (id) DO UPDATE SET note = ''",
    "ALTER TABLE orders ALTER a TYPE varchar(3)",
    "ALTER TABLE orders ALTER a TYPE text USING ''",
    "ALTER TABLE orders ALTER a SET NOT NULL",
    "WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone",
    "WITH gone AS (DELETE FROM orders RETURNING *) INSERT INTO old SELECT * FROM gone",
    "CREATE TABLE old (a int); WITH gone AS (DELETE FROM orders RETURNING a) INSERT INTO old SELECT a FROM gone",
    "WITH a AS (UPDATE orders SET b = 1 RETURNING *) INSERT INTO old SELECT * FROM a ON CONFLICT DO NOTHING",
    "WITH a AS (INSERT INTO orders VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 1 RETURNING *) INSERT INTO o SELECT 1",
    "WITH a AS (INSERT INTO orders VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 1 RETURNING *) SELECT * FROM a",
    "WITH a AS (MERGE INTO orders USING n ON true WHEN MATCHED THEN DELETE RETURNING *) INSERT INTO old SELECT 1",
    "INSERT INTO old WITH RECURSIVE x AS (SELECT 1), gone AS (DELETE FROM orders RETURNING 1) SELECT * FROM gone",
    "INSERT INTO old SELECT a OPERATOR(mine.+) b FROM orders",
    "ALTER TABLE orders DROP CONSTRAINT orders_pkey CASCADE",
    "CREATE TABLE n (a int PRIMARY KEY); ALTER TABLE n DROP CONSTRAINT n_pkey CASCADE",
    "INSERT INTO old SELECT a FROM orders TABLESAMPLE mine(10)",
    # an operator, a default, a check, a domain or a view that calls what may do anything
    "INSERT INTO old SELECT a |@| b FROM orders",
    "SELECT 1 WHERE 1 OPERATOR(mine.=) ANY (SELECT 2)",
    "SELECT a FROM orders ORDER BY a USING <@@<",
    "ALTER TABLE orders ADD a int DEFAULT 1 |@| 2",
    "CREATE TABLE n (a int DEFAULT clean(), b int); INSERT INTO n (b) VALUES (1)",
    "CREATE TABLE s.n (a int CHECK (clean() = 1)); INSERT INTO n VALUES (1)",
    "CREATE TABLE n (a int, b int GENERATED ALWAYS AS (clean(a)) STORED); "
    "WITH x AS (INSERT INTO n VALUES (1) RETURNING a) SELECT * FROM x",
    "CREATE TABLE n (a int DEFAULT clean()); CREATE TABLE m (LIKE n INCLUDING DEFAULTS, b int); "
    "INSERT INTO m (b) VALUES (1)",
    "CREATE VIEW v AS SELECT clean() a; CREATE VIEW w AS SELECT * FROM v; CREATE TABLE n AS SELECT * FROM w",
    "CREATE VIEW v AS SELECT clean() a; CREATE MATERIALIZED VIEW m AS TABLE v",
    "CREATE DOMAIN d AS int CHECK (clean() = VALUE); SELECT 1::d",
    "CREATE DOMAIN d AS int CHECK (clean() = VALUE); CREATE TABLE n (a d); INSERT INTO n VALUES (1)",
    "CREATE DOMAIN d AS int DEFAULT clean(); ALTER TABLE orders ADD a d",
    "ALTER TABLE orders ALTER a TYPE mail_address",
    "ALTER TYPE address DROP ATTRIBUTE zip",
    "CREATE TABLE n (a int); ALTER TABLE n INHERIT orders",
    "CREATE TABLE n (a int); ALTER SEQUENCE orders_id_seq OWNED BY n.a",
    "CREATE TABLE n (a int); ALTER TABLE n ALTER a SET DEFAULT nextval('orders_id_seq')",
    "CREATE TABLE copy AS WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone",
    "EXPLAIN ANALYZE DELETE FROM orders",
    "DO $$ BEGIN EXECUTE 'DROP TABLE orders'; END $$",
    "CALL clean()",
    "SELECT clean()",
    "SELECT dangerous.lower('A')",
    "INSERT INTO kinds VALUES (clean())",
    "ALTER TABLE orders ADD COLUMN note text DEFAULT clean()",
    "CREATE MATERIALIZED VIEW v AS SELECT clean()",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TRIGGER t AFTER INSERT ON orders EXECUTE FUNCTION clean()",
    "CREATE RULE r AS ON INSERT TO orders DO NOTHING",
    "COPY orders FROM '/tmp/orders'",
    "CREATE EXTENSION pgcrypto",
    "SET search_path = elsewhere",
    "SET lock_timeout = 0",
    "PREPARE p AS DELETE FROM orders",
    "ALTER SEQUENCE s RESTART",
    "BEGIN",
    "COMMIT",
    "VACUUM orders",
    "this is no SQL",
    "\\i other.sql",
    "SELECT 1\0; DROP TABLE orders",
)
EVERY = (*REVERSIBLE, *FIX_FORWARD, *NEEDS_RESTORE)
statements = st.sampled_from(EVERY)


def verdict(*texts: str) -> RollbackSafety:
    return judge([Migration(name=f"{number:04}_x", up=text) for number, text in enumerate(texts, start=1)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, Reversal.REVERSIBLE) for text in REVERSIBLE),
        *((text, Reversal.FIX_FORWARD) for text in FIX_FORWARD),
        *((text, Reversal.NEEDS_RESTORE) for text in NEEDS_RESTORE),
    ],
)
def test_the_verdict_on_a_statement(text: str, expected: Reversal) -> None:
    found = verdict(text)
    assert found.verdict is expected, found
    assert "0001_x" in found.reason
    if expected is not Reversal.REVERSIBLE:
        assert found.statements[0].verdict is expected
        assert found.statements[0].does in found.reason


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("CREATE INDEX o ON orders (state)", "CREATE INDEX without CONCURRENTLY: nobody can write to orders"),
        ("DROP INDEX i", "DROP INDEX without CONCURRENTLY"),
        ("ALTER TABLE orders ALTER a TYPE bigint", "written anew|write the whole table"),
        ("ALTER TABLE orders ADD n serial", "the whole table orders is written anew"),
        ("ALTER TABLE orders ALTER a SET NOT NULL", "SET NOT NULL"),
        ("ALTER TABLE orders ADD FOREIGN KEY (a) REFERENCES b", "without NOT VALID"),
        ("REFRESH MATERIALIZED VIEW v", "without CONCURRENTLY"),
        ("LOCK orders", "LOCK TABLE keeps others from orders"),
        ("CREATE TABLE n (o int REFERENCES orders)", "from removing the rows of orders"),
        ("CREATE TABLE n (o int, FOREIGN KEY (o) REFERENCES s.orders ON DELETE RESTRICT)", "the rows of s.orders"),
        ("CREATE TABLE n (o int); ALTER TABLE n ADD FOREIGN KEY (o) REFERENCES orders", "removing the rows of orders"),
    ],
)
def test_a_lock_that_keeps_others_waiting_is_warned_of(text: str, warning: str) -> None:
    found = "\n".join(verdict(text).warnings)
    assert any(part in found for part in warning.split("|")), found


@pytest.mark.parametrize("text", ["CREATE INDEX CONCURRENTLY i ON orders (a)", "ALTER TABLE orders ADD n int",
                                  "CREATE TABLE t (a int); CREATE INDEX i ON t (a)",
                                  "CREATE TABLE n (o int REFERENCES orders ON DELETE CASCADE)",
                                  "CREATE TABLE t (a int); CREATE TABLE n (o int REFERENCES t)"])  # fmt: skip
def test_what_makes_nobody_wait_is_not_warned_of(text: str) -> None:
    assert not verdict(text).warnings


@pytest.mark.parametrize(
    ("up", "down", "undo"),
    [
        ("CREATE TABLE t (a int); CREATE INDEX i ON t (a); GRANT SELECT ON t TO x", "DROP TABLE t", True),
        ("ALTER TABLE o ADD n int, ADD m int", "ALTER TABLE o DROP COLUMN n, DROP m", True),
        ("ALTER TABLE o ADD n int; CREATE TABLE t (a int)", "DROP TABLE t; ALTER TABLE o DROP n", True),
        ("CREATE INDEX CONCURRENTLY i ON a.t (x)", "DROP INDEX CONCURRENTLY a.i", True),
        ("CREATE VIEW v AS SELECT 1; CREATE SEQUENCE s", "DROP SEQUENCE s; DROP VIEW v", True),
        ("CREATE TYPE e AS ENUM ('a')", "DROP TYPE e", True),
        # less than was made
        ("ALTER TABLE o ADD n int, ADD m int", "ALTER TABLE o DROP COLUMN n", False),
        ("ALTER TABLE o ADD n int", "SELECT 1", False),
        ("ALTER TABLE o ADD n int", "", False),
        # more than was made
        ("ALTER TABLE o ADD n int", "ALTER TABLE o DROP n; DROP TABLE o", False),
        ("ALTER TABLE o ADD n int", "ALTER TABLE o DROP n, DROP m", False),
        ("ALTER TABLE o ADD n int", "ALTER TABLE o DROP n CASCADE", False),
        ("ALTER TABLE o ADD n int", "ALTER TABLE ONLY o DROP n", False),
        ("ALTER TABLE o ADD n int", "ALTER TABLE o DROP n; UPDATE o SET a = 1", False),
        # perhaps made before
        ("ALTER TABLE o ADD IF NOT EXISTS n int", "ALTER TABLE o DROP n", False),
        ("CREATE TABLE IF NOT EXISTS t (a int)", "DROP TABLE t", False),
        ("GRANT SELECT ON o TO x", "REVOKE SELECT ON o FROM x", False),
        # another schema may be another table
        ("ALTER TABLE public.o ADD n int", "ALTER TABLE o DROP n", False),
        ("INSERT INTO o VALUES (1)", "DELETE FROM o WHERE a = 1", False),
        ("ALTER TABLE o ADD n int", "DO $$ BEGIN END $$", False),
        ("ALTER TABLE o ADD n int", "rubbish", False),
        ("DROP TABLE t", "CREATE TABLE t (a int)", False),
        # the rows of an old table
        ("CREATE TABLE t (a int); WITH g AS (DELETE FROM o RETURNING a) INSERT INTO t SELECT a FROM g",
         "DROP TABLE t", False),
        ("CREATE TABLE t (a int); WITH g AS (INSERT INTO o VALUES (1) RETURNING a) INSERT INTO t SELECT a FROM g",
         "DROP TABLE t", False),
        ("CREATE TABLE t (a int) PARTITION BY LIST (a); ALTER TABLE t ATTACH PARTITION o DEFAULT",
         "DROP TABLE t", False),
        # what is named alike, or is hidden by what lasts for one session only
        ('CREATE TABLE "s.t" (a int)', "DROP TABLE s.t", False),
        ('CREATE TABLE "s.t" (a int)', 'DROP TABLE "s.t"', True),
        ('CREATE TABLE "t " (a int)', "DROP TABLE t", False),
        ('ALTER TABLE o ADD "n  m" int', 'ALTER TABLE o DROP "n m"', False),
        ("CREATE TEMP VIEW v AS SELECT 1", "DROP VIEW v", False),
        ("CREATE TEMP SEQUENCE v", "DROP SEQUENCE v", False),
        ("CREATE TEMP TABLE v (a int)", "DROP TABLE v", False),
        ("CREATE VIEW pg_temp.v AS SELECT 1", "DROP VIEW pg_temp.v", False),
        # a comment goes with what it speaks of, or an older one is lost
        ("ALTER TABLE o ADD n int; COMMENT ON COLUMN o.n IS 'x'", "ALTER TABLE o DROP n", True),
        ("CREATE TABLE t (a int); COMMENT ON TABLE t IS 'x'; COMMENT ON COLUMN t.a IS 'x'", "DROP TABLE t", True),
        ("CREATE TYPE s.e AS ENUM ('a'); COMMENT ON TYPE s.e IS 'x'", "DROP TYPE s.e", True),
        ("CREATE INDEX CONCURRENTLY i ON t (x); COMMENT ON INDEX i IS 'x'", "DROP INDEX CONCURRENTLY i", True),
        ("ALTER TABLE o ADD n int; COMMENT ON TABLE o IS 'x'", "ALTER TABLE o DROP n", False),
        ("ALTER TABLE o ADD n int; COMMENT ON COLUMN o.m IS 'x'", "ALTER TABLE o DROP n", False),
    ],
)
def test_only_sql_back_that_takes_away_exactly_what_was_made_is_run(up: str, down: str, undo: bool) -> None:
    assert judge([Migration(name="0001_x", up=up, down=down)]).migrations[0].undo is undo


def test_without_sql_back_nothing_is_undone() -> None:
    found = verdict("ALTER TABLE o ADD n int")
    assert not found.migrations[0].undo
    assert "cannot undo" in found.reason


def test_what_is_in_a_statement_shows_as_text_and_no_value_of_it_is_told() -> None:
    found = verdict("ALTER TABLE \"x\u202e<b>\" DROP COLUMN \"a\nb\"; UPDATE t SET a = 'hunter2'")
    told = found.model_dump_json()
    assert "hunter2" not in told
    assert "\u202e" not in told
    assert "a b" in told


@given(st.lists(statements, min_size=1, max_size=6), statements)
def test_a_statement_more_never_makes_it_milder(before: list[str], more: str) -> None:
    alone, longer = verdict("\n;".join(before)), verdict("\n;".join([*before, more]))
    assert longer.verdict.rank >= alone.verdict.rank
    assert longer.verdict.rank >= verdict(";\n".join([more])).verdict.rank or "CREATE TABLE" in "".join(before)


@given(st.lists(statements, min_size=1, max_size=4), statements, st.integers(0, 4))
def test_a_migration_more_never_makes_it_milder(before: list[str], more: str, at: int) -> None:
    longer = [*before[:at], more, *before[at:]]
    assert verdict(*longer).verdict is max(
        (verdict(text).verdict for text in longer), key=lambda one: one.rank
    )


def spaced(text: str, between: str) -> str:
    """*text* with *between* for each space outside of quotes and dollar quotes."""
    if any(mark in text for mark in ("'", "$", "--", "\0", "\\", '"')):
        return text
    return between.join(text.split(" "))


@given(
    st.lists(st.sampled_from([one for one in EVERY if one]), min_size=1, max_size=4),
    st.sampled_from(["  ", "\n", "\t", " /* DROP TABLE x; */ ", " -- DROP TABLE x;\n", "\r\n"]),
    st.booleans(),
)
def test_spaces_comments_and_case_change_nothing(texts: list[str], between: str, upper: bool) -> None:
    changed = [spaced(text, between) for text in texts]
    if upper:
        changed = [text if set(text) & set("'$\"-\\\0") else text.upper() for text in changed]
    one, other = verdict("\n;".join(texts)), verdict(";\n/* ; */".join(changed))
    assert one.verdict is other.verdict
    if all(statement.does != "cannot be read" for statement in one.statements):
        assert [(s.does.lower(), s.why.lower()) for s in one.statements] == [
            (s.does.lower(), s.why.lower()) for s in other.statements
        ]


@pytest.mark.parametrize("comment", ["/* x; */", "-- x;\n", "/* a /* b */ ; */", "/* é */ -- ü\n"])
@pytest.mark.parametrize("words", [
    "INSERT INTO kinds SELECT a FROM b WHERE a NOT {} IN (1)",
    "INSERT INTO kinds SELECT a FROM b WHERE a NOT {} BETWEEN 1 AND 2",
    "INSERT INTO kinds SELECT a FROM b ORDER BY a NULLS {} LAST",
    "INSERT INTO kinds SELECT a FROM f() WITH {} ORDINALITY",
    "CREATE TABLE t (a timestamp WITH {} TIME ZONE)",
])
def test_a_comment_between_two_words_that_belong_together_is_space(words: str, comment: str) -> None:
    plain, commented = verdict(words.format("")), verdict(words.format(comment))
    assert plain.statements[0].does != "cannot be read"
    assert (commented.verdict, commented.statements) == (plain.verdict, plain.statements)


def test_a_comment_between_two_texts_joins_them_no_more_than_postgresql_does() -> None:
    assert verdict("INSERT INTO kinds VALUES ('a' /* x */\n'b')").statements[0].does == "cannot be read"


@pytest.mark.parametrize(
    ("plain", "quoted"),
    [
        ("DROP TABLE orders", 'DROP TABLE "orders"'),
        ("ALTER TABLE orders DROP COLUMN note", 'ALTER TABLE "orders" DROP "note"'),
        ("ALTER TABLE shop.orders ADD note text", 'alter table "shop" . "orders" add column "note" TEXT'),
        ("UPDATE t SET a = 'x'", "UPDATE t SET a = $q$x$q$"),
        ("SELECT lower('a')", "SELECT pg_catalog.\"lower\"('a')"),
    ],
)
def test_quoting_changes_nothing(plain: str, quoted: str) -> None:
    one, other = verdict(plain), verdict(quoted)
    assert (one.verdict, one.reason, one.statements) == (other.verdict, other.reason, other.statements)


PIECES = (
    "CREATE", "TABLE", "ALTER", "DROP", "INDEX", "CONCURRENTLY", "ON", "SELECT", "WITH", "AS", "x", "1", "é", "\ufeff",
    "(", ")", ";", ",", "::", "'", "E'\\", "U&'", "$$", "$a$", "--", "/*", "*/", '"', "\\", "\0",
)  # fmt: skip


@given(st.text(max_size=300) | st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join))
def test_any_text_gets_a_verdict(text: str) -> None:
    found = judge([Migration(name="0001_x", up=text, down=text)])
    assert found.reason
    if "\0" in text:
        assert found.verdict is Reversal.NEEDS_RESTORE


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1" + "+1" * 60_000, "SELECT " + "(" * 50_000, "SELECT a" + "::int" * 40_000,
        "SELECT " + "NOT " * 50_000, "SELECT 1" + " UNION SELECT 1" * 15_000,
        "SELECT 1 FROM a" + " CROSS JOIN a" * 18_000, "x" * (LARGEST_SQL + 1),
    ],
    ids=["sum", "brackets", "casts", "nots", "unions", "joins", "long"],
)  # fmt: skip
def test_text_that_is_deep_or_long_ends_nothing_and_counts_as_the_worst(text: str) -> None:
    assert verdict(text).verdict is Reversal.NEEDS_RESTORE


def test_many_rows_are_no_depth() -> None:
    rows = ",".join("(1, NULL, 'x')" for _ in range(12_000))
    assert verdict(f"CREATE TABLE t (a int, b int, c text); INSERT INTO t VALUES {rows}").verdict is Reversal.REVERSIBLE


def test_the_gravest_stand_first_and_there_is_an_end() -> None:
    found = verdict("; ".join(itertools.chain(["ALTER TABLE o ADD n int"] * 60, ["DROP TABLE o"])))
    assert found.statements[0].does == "drops table o"
    assert len(found.statements) == 40
    assert found.statements[0].statement == 61


@pytest.mark.parametrize(
    ("category", "change_type", "up", "why"),
    [
        (Category.DATABASE_SCHEMA, "standard", "ALTER TABLE o ADD n int", ""),
        (Category.DATABASE_SCHEMA, "normal", "DROP TABLE o", ""),
        (Category.APPLICATION, "normal", "ALTER TABLE o ADD n int", "ask with the category database_schema"),
        (Category.DATABASE_SCHEMA, "standard", "LOCK o", "is fix forward: .* ask for a normal change"),
        (Category.DATABASE_SCHEMA, "standard", "DROP TABLE o", "is needs restore: .* ask for a normal change"),
    ],
)
def test_a_request_may_carry_migrations_only_by_their_name(
    category: Category, change_type: str, up: str, why: str
) -> None:
    rfc = Rfc.model_construct(version="1.1", category=category, change_type=change_type)
    found = refuses(rfc, verdict(up))
    assert re.search(why, found) if why else not found
    assert not refuses(rfc, verdict())


def test_a_database_that_is_ahead_is_told() -> None:
    assert "0009_later" in judge([], ["0009_later"]).warnings[0]
