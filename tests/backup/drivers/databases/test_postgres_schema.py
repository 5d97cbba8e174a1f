"""The digest of a schema's text: what is level, and what must stay different."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.backup.drivers.databases.postgres_schema import normal_expression, schema_digest

TABLE = b"--\n-- Name: a; Type: TABLE; Schema: public; Owner: c\n--\n\nCREATE TABLE public.a (\n    b integer\n);\n\n"
FUNCTION = (
    b"--\n-- Name: f(); Type: FUNCTION; Schema: public; Owner: c\n--\n\nCREATE FUNCTION public.f() RETURNS void\n"
    b"    LANGUAGE sql\n    AS $$UPDATE a\nSET b = 1\n-- a note\n$$;\n\n"
)
GRANTS = (
    b"--\n-- Name: TABLE a; Type: ACL; Schema: public; Owner: c\n--\n\nGRANT SELECT ON TABLE public.a TO d;\n"
    b"GRANT SELECT ON TABLE public.a TO e;\n\n"
)


@given(st.text(alphabet=st.characters(exclude_characters="\n", exclude_categories=("Cs",))))
def test_text_without_an_array_is_compared_as_it_is(text: str) -> None:
    assert normal_expression(text) == text or "ARRAY[" in text


@given(st.lists(st.integers(1, 40), max_size=8))
def test_the_digest_does_not_depend_on_how_the_stream_is_cut(cuts: list[int]) -> None:
    dump = TABLE + FUNCTION
    chunks, at = [], 0
    for cut in cuts:
        chunks.append(dump[at : at + cut])
        at += cut
    chunks.append(dump[at:])
    assert schema_digest(chunks) == schema_digest([dump])


def test_tokens_the_order_of_entries_and_the_order_of_grants_are_level() -> None:
    one, two = GRANTS.split(b"\n")[4:6]
    other = GRANTS.replace(one + b"\n" + two, two + b"\n" + one)
    assert other != GRANTS
    first = schema_digest([b"\\restrict abc1\n", TABLE, FUNCTION, GRANTS, b"\\unrestrict abc1\n"])
    assert first == schema_digest([b"\\restrict Zyx\n", other, FUNCTION, TABLE, b"\\unrestrict Zyx\n"])


@pytest.mark.parametrize(("before", "after"), [(b"SET b = 1", b"SET b = 2"), (b"-- a note", b"-- another")])
def test_every_line_of_a_functions_body_counts(before: bytes, after: bytes) -> None:
    assert schema_digest([FUNCTION]) != schema_digest([FUNCTION.replace(before, after)])


def test_casts_of_arrays_are_level() -> None:
    before = "CHECK (((g)::text = ANY ((ARRAY['a'::character varying, 'b c'::character varying])::text[])))"
    after = "CHECK (((g)::text = ANY (ARRAY[('a'::character varying)::text, ('b c'::character varying)::text])))"
    assert normal_expression(before) == normal_expression(after)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CHECK (x = ANY (ARRAY['a b'::text]))", "CHECK (x = ANY (ARRAY['ab'::text]))"),
        ("CHECK (x = ANY (ARRAY['(a)'::text]))", "CHECK (x = ANY (ARRAY['a'::text]))"),
        ("CHECK (x = ANY (ARRAY['a::text'::text]))", "CHECK (x = ANY (ARRAY['a'::text]))"),
        ("CHECK (x = ANY (ARRAY[((1 + 2) * 3)]))", "CHECK (x = ANY (ARRAY[(1 + (2 * 3))]))"),
    ],
)
def test_different_arrays_stay_different(one: str, other: str) -> None:
    assert normal_expression(one) != normal_expression(other)
