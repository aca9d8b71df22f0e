"""Display name to schema name: Stitch's documented cases, and what must hold for every name there is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.naming import RESERVED, SchemaNameError, check, schema_name

NAMES = st.text(max_size=60) | st.text("aZé ß9._-()!$漢", max_size=60)


@pytest.mark.parametrize(
    ("display_name", "schema"),
    [
        ("Stitch Customer.io", "stitch_customerio"),
        ("Recurly Stitch", "recurly_stitch"),
        ("Customer Records", "customer_records"),
        ("My-Source (EU)", "my_source_eu"),
        ("Display Name!!!", "display_name"),
        ("a  b", "a__b"),
        ("_private", "_private"),
        ("US$ (2026)", "us_2026"),
        ("Données Été", "donnees_ete"),
        ("E\N{COMBINING ACUTE ACCENT}te\N{COMBINING ACUTE ACCENT}", "ete"),
        ("no-break\N{NO-BREAK SPACE}space", "no_break_space"),
        ("Rocket \N{ROCKET} Mail", "rocket__mail"),
        ("Customer.io\N{TRADE MARK SIGN}", "customerio"),
        ("x" * 49, "x" * 49),
    ],
)
def test_a_display_name_gives_the_name_that_stitch_gives(display_name: str, schema: str) -> None:
    assert schema_name(display_name) == schema


@pytest.mark.parametrize(
    ("display_name", "reason"),
    [
        ("", "nothing is left"),
        ("####", "nothing is left of '####'"),
        ("...", "nothing is left"),
        ("\N{ROCKET}", "nothing is left"),
        ("2026 events", "'2026 events' becomes the schema name '2026_events', which must start with a letter"),
        ("x" * 50, "has 50 characters; at most 49"),
        ("Public", "'public', which is reserved"),
        ("default", "reserved"),
        ("Information Schema", "reserved"),
        ("PG Events", "'pg_events', which is reserved"),
        ("_sdc rejected", "reserved"),
        ("漢字", "letters that a schema name can't hold (漢, 字)"),
        ("Straße", "(ß)"),
        ("\N{KELVIN SIGN}elvin²", "(²)"),
    ],
)
def test_a_name_that_gives_no_schema_name_is_an_error_that_says_why(display_name: str, reason: str) -> None:
    with pytest.raises(SchemaNameError, match=re.escape(reason)):
        schema_name(display_name)


@pytest.mark.parametrize("pinned", ["", "Upper", "a-b", "1st", "a" * 50, "public", "pg_x", "é", "a\n", "a$"])
def test_a_pinned_name_is_held_to_the_same_rule(pinned: str) -> None:
    with pytest.raises(SchemaNameError):
        check(pinned)


@given(NAMES)
def test_what_comes_out_is_valid_or_an_error(display_name: str) -> None:
    try:
        schema = schema_name(display_name)
    except SchemaNameError:
        return
    assert re.fullmatch(r"[a-z_][a-z0-9_]{0,48}", schema)
    assert schema not in RESERVED
    assert not schema.startswith("pg_")
    assert check(schema) == schema


@given(NAMES)
def test_a_schema_name_is_its_own_schema_name(display_name: str) -> None:
    try:
        schema = schema_name(display_name)
    except SchemaNameError:
        return
    assert schema_name(schema) == schema


@given(st.text("abcXYZ019_", min_size=1, max_size=49), st.text("abcXYZ019_", min_size=1, max_size=49))
def test_plain_names_that_differ_by_more_than_case_never_share_a_schema(one: str, other: str) -> None:
    try:
        schemas = schema_name(one), schema_name(other)
    except SchemaNameError:
        return
    assert (schemas[0] == schemas[1]) == (one.lower() == other.lower())


@given(st.text("ab .-()!", max_size=20), st.sampled_from(list(".()!?#$%'\"/\\")), st.integers(0, 20))
def test_a_symbol_more_changes_nothing(display_name: str, symbol: str, at: int) -> None:
    try:
        schema = schema_name(display_name)
    except SchemaNameError:
        return
    assert schema_name(display_name[:at] + symbol + display_name[at:]) == schema
