"""What an expression of SQL may do: which functions it calls, and whether it can be NULL. Knows no rule, and nothing of
a database, so a name that is not PostgreSQL's own counts as the worst that it could be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airlock.change.sql.tree import nodes, shown

_FUNCTIONS = (
    "abs age array_agg array_length array_to_string avg btrim ceil char_length clock_timestamp concat concat_ws count "
    "date_part date_trunc encode decode extract floor format gen_random_uuid uuidv4 uuidv7 greatest json_build_object "
    "jsonb_build_array jsonb_build_object jsonb_set least left length lower lpad ltrim make_date make_interval "
    "make_timestamp make_timestamptz max md5 min mod now octet_length overlay position random regexp_replace replace "
    "reverse right round row_number rpad rtrim sha256 split_part starts_with statement_timestamp string_agg strpos "
    "substr substring sum to_char to_date to_json to_jsonb to_timestamp to_tsvector transaction_timestamp translate "
    "trim trunc unnest upper"
)
_SPELLED_AS_SYNTAX = (
    "timezone like_escape similar_to_escape normalize is_normalized overlaps pg_collation_for xmlexists system_user"
)
"""What the grammar makes of AT TIME ZONE, LIKE ... ESCAPE, SIMILAR TO, IS NORMALIZED, COLLATION FOR and their like."""
_MAY_GIVE_NONE = (
    "acos acosd any_value array_append array_cat array_dims array_fill array_lower array_ndims array_position "
    "array_positions array_prepend array_remove array_replace array_reverse array_sort array_to_json array_upper ascii "
    "asin atan atan2 bit_and bit_count bit_length bit_or bool_and bool_or cardinality casefold cbrt ceiling chr "
    "convert_from convert_to corr cos cot covar_pop crc32 cume_dist date date_add date_bin date_subtract daterange "
    "degrees dense_rank div every exp factorial first_value gcd generate_series get_bit get_byte hashtext host initcap "
    "int4range isfinite json_agg json_array_elements json_array_elements_text json_array_length json_build_array "
    "json_each json_each_text json_extract_path json_extract_path_text json_object json_object_agg json_object_keys "
    "json_strip_nulls json_typeof jsonb_agg jsonb_array_elements jsonb_array_elements_text jsonb_array_length "
    "jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_agg "
    "jsonb_object_keys jsonb_path_query jsonb_pretty jsonb_strip_nulls jsonb_typeof justify_days justify_hours "
    "justify_interval lag last_value lcm lead ln log log10 make_time masklen mode network nth_value ntile num_nonnulls "
    "num_nulls numrange parse_ident percent_rank percentile_cont pg_typeof pi plainto_tsquery point power quote_ident "
    "quote_literal quote_nullable radians range_agg range_merge rank regexp_count regexp_like regexp_match "
    "regexp_matches regexp_split_to_array regexp_split_to_table regexp_substr repeat row_to_json setweight sha224 "
    "sha384 sha512 sign sin sqrt stddev string_to_array string_to_table tan to_ascii to_bin to_hex to_number to_oct "
    "to_tsquery tstzrange unistr variance width_bucket xmlagg"
)
_OWN = frozenset(_FUNCTIONS.split()) | frozenset(_SPELLED_AS_SYNTAX.split())
KNOWN_FUNCTIONS = _OWN | frozenset(_MAY_GIVE_NONE.split())
"""PostgreSQL's functions that only compute. A name without a schema means them: pg_catalog is searched first."""
_VOLATILE = frozenset({"clock_timestamp", "gen_random_uuid", "random", "uuidv4", "uuidv7"})
STEADY = KNOWN_FUNCTIONS - _VOLATILE
"""Of these, what PostgreSQL computes once for a default, so that no table is rewritten (its notes on ALTER TABLE)."""
_PERHAPS_NULL = frozenset({
    "array_agg", "array_length", "avg", "max", "min", "regexp_replace", "row_number", "split_part", "string_agg",
    "substr", "substring", "sum", "unnest", "array_to_string", "overlay", "jsonb_set", "to_json", "to_jsonb",
    "xmlexists", "overlaps", "pg_collation_for", "system_user",
})  # fmt: skip
_TYPES = (
    "bit bool box bpchar bytea char cidr circle date datemultirange daterange float4 float8 inet int2 int4 int8 "
    "int4multirange int4range int8multirange int8range interval json jsonb jsonpath line lseg macaddr macaddr8 money "
    "name numeric nummultirange numrange oid path pg_lsn point polygon regclass text time timestamp timestamptz timetz "
    "tsmultirange tsquery tsrange tstzmultirange tstzrange tsvector uuid varbit varchar xml"
)
BUILT_IN_TYPES = frozenset(_TYPES.split())
"""PostgreSQL's own types; any other may be a domain, with a rule of its own about values."""


_OPERATORS_OF_ITS_OWN = (
    "!! !~ !~* !~~ !~~* # ## #- #> #>> % & && &< &<| &> * *< *<= *<> *= *> *>= + - -> ->> -|- / < <-> << <<= <<| <= <> "
    "<@ <^ = > >= >> >>= >^ ? ?# ?& ?- ?-| ?| ?|| @ @-@ @> @? @@ @@@ ^ ^@ | |&> |/ |>> || ||/ ~ ~* ~<=~ ~<~ ~= ~>=~ "
    "~>~ ~~ ~~*"
)
_BETWEEN = frozenset({"BETWEEN", "NOT BETWEEN", "BETWEEN SYMMETRIC", "NOT BETWEEN SYMMETRIC"})
KNOWN_OPERATORS = frozenset(_OPERATORS_OF_ITS_OWN.split()) | _BETWEEN
"""PostgreSQL's own; whatever is called otherwise was made by somebody, and calls a function."""
_NAME_FIELDS = {"A_Expr": "name", "SubLink": "oper_name", "SortBy": "use_op", "RangeTableSample": "method"}
_SAMPLES = frozenset({"bernoulli", "system"})


def functions_in(tree: Any) -> Iterator[str]:
    """Yield every function that *tree* calls; one of PostgreSQL's own without its schema. An operator, or a way to take
    samples, that is none of PostgreSQL's own is one too."""
    for node in nodes(tree):
        kind = type(node).__name__
        field = "funcname" if kind == "FuncCall" else _NAME_FIELDS.get(kind)
        parts = getattr(node, field) if field else ()
        name = ".".join(part.string.sval for part in parts).removeprefix("pg_catalog.")
        if parts and (kind == "FuncCall" or name not in KNOWN_OPERATORS | _SAMPLES):
            yield name


def unknown_functions(tree: Any) -> tuple[str, ...]:
    """Return the functions that *tree* calls and that may do more than compute."""
    return tuple(sorted(shown(name) for name in set(functions_in(tree)) - KNOWN_FUNCTIONS))


def is_null(expression: Any) -> bool:
    """Return whether *expression* is NULL itself, whatever type it is given."""
    kind = expression.WhichOneof("node")
    if kind == "type_cast":
        return is_null(expression.type_cast.arg)
    return kind == "a_const" and bool(expression.a_const.isnull)


def surely_a_value(expression: Any) -> bool:
    """Return whether *expression* can never be NULL, for all that can be told from its text."""
    kind = expression.WhichOneof("node") or ""
    inner = getattr(expression, kind, None)
    if kind == "a_const":
        return not expression.a_const.isnull
    if kind in ("sqlvalue_function", "a_array_expr"):
        return True
    if inner is None or kind not in ("type_cast", "func_call", "a_expr", "coalesce_expr", "min_max_expr"):
        return False
    if kind == "type_cast":
        return surely_a_value(inner.arg)
    if kind == "a_expr":
        sides = [getattr(inner, side) for side in ("lexpr", "rexpr") if inner.HasField(side)]
        return [part.string.sval for part in inner.name] in _OPERATORS and all(map(surely_a_value, sides))
    if kind == "func_call":
        name = ".".join(part.string.sval for part in inner.funcname).removeprefix("pg_catalog.")
        return name in _OWN - _PERHAPS_NULL and all(map(surely_a_value, inner.args))
    return any(map(surely_a_value, inner.args))


_OPERATORS = (["+"], ["-"], ["*"], ["||"])
