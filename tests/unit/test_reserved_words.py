"""A name that every query would have to quote is refused, and the message says how to keep it as a display name."""

import psycopg
import pytest

from components.naming import SchemaNameError, check, schema_name
from components.reserved_words import RESERVED_WORDS
from tests.unit.test_settings import STITCH, mistakes, read


@pytest.mark.parametrize("name", ["User", "Order", "Table", "On", "Left", "Row", "Values", "First"])
def test_a_name_that_becomes_a_reserved_word_is_refused_with_the_way_out(name: str) -> None:
    (mistake,) = mistakes(integrations=[{**STITCH, "name": name}])
    assert f"{name!r} becomes the schema name {name.lower()!r}, which is a reserved word of SQL" in mistake.problem
    assert "`schema:`" in mistake.problem
    read(integrations=[{**STITCH, "name": name, "schema": f"{name.lower()}_events"}])


def test_a_pinned_schema_is_refused_as_well() -> None:
    (mistake,) = mistakes(integrations=[{**STITCH, "schema": "user"}])
    assert "reserved word" in mistake.problem


def test_words_that_need_no_quotes_are_taken() -> None:
    for name in ("Events", "Data", "Orders", "Users", "Name", "Type", "Customer.io"):
        schema_name(name)


def test_postgresql_takes_every_other_word_unquoted(dsn: str) -> None:
    """Proof limit: Athena can't be asked; its list is its documentation's."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for word, kind in connection.execute("SELECT word, catcode FROM pg_get_keywords()").fetchall():
            if kind in ("R", "T"):
                with pytest.raises(SchemaNameError):
                    check(word)
            elif word not in RESERVED_WORDS:
                connection.execute(f"CREATE SCHEMA {word}; CREATE TABLE {word}.data (); SELECT FROM {word}.data")
