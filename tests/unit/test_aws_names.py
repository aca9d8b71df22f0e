"""The names on AWS that Sluice gives itself: within their limits, and no other stack's, whatever both are called."""

import re
from fnmatch import fnmatchcase

from hypothesis import assume, given
from hypothesis import strategies as st

from components.aws import names
from components.naming import MAX_LENGTH
from receiver.aws import OVERSIZED

# Pulumi: "project names" and "stack names" have letters, digits, hyphens, underscores and periods; 100 at most.
WORDS = st.from_regex(r"[A-Za-z0-9_.-]{1,100}", fullmatch=True)
SCHEMAS = st.from_regex(rf"[a-z_][a-z0-9_]{{0,{MAX_LENGTH - 1}}}", fullmatch=True)
IDS = st.from_regex(r"[0-9a-f]{6}", fullmatch=True)


@given(WORDS, WORDS)
def test_a_stacks_id_is_six_hex_digits_and_always_the_same(project: str, stack: str) -> None:
    made = names.stack_id(project, stack)
    assert re.fullmatch("[0-9a-f]{6}", made)
    assert names.stack_id(project, stack) == made


def test_the_id_is_a_contract() -> None:
    """Another one would replace every stream and parameter."""
    assert names.stack_id("sluice", "prod") == "837a24"


@given(WORDS, WORDS, WORDS, WORDS)
def test_two_stacks_have_two_ids(project: str, stack: str, other_project: str, other_stack: str) -> None:
    assume((project, stack) != (other_project, other_stack))
    assert names.stack_id(project, stack) != names.stack_id(other_project, other_stack)


@given(WORDS, WORDS)
def test_where_a_project_ends_and_its_stack_begins_makes_a_difference(first: str, second: str) -> None:
    assert names.stack_id(f"{first}-{second}", first) != names.stack_id(first, f"{second}-{first}")


@given(IDS, SCHEMAS)
def test_a_stream_has_a_name_that_firehose_takes(id: str, schema: str) -> None:
    assert re.fullmatch("[a-zA-Z0-9_.-]{1,64}", names.stream(id, schema))


def test_the_longest_stream_has_63_characters() -> None:
    assert len(names.stream("a1b2c3", "x" * MAX_LENGTH)) == 63


@given(IDS, SCHEMAS, IDS, SCHEMAS)
def test_the_pattern_of_a_stacks_streams_and_parameters_fits_its_own_alone(
    id: str, schema: str, other_id: str, other: str
) -> None:
    assume(id != other_id)
    for name in (names.stream, names.signing_keys):
        assert fnmatchcase(name(id, schema), name(id, "*"))
        assert not fnmatchcase(name(other_id, other), name(id, "*"))


@given(IDS, SCHEMAS, SCHEMAS)
def test_two_schemas_share_no_name_and_no_folder(id: str, schema: str, other: str) -> None:
    assume(schema != other)
    assert names.stream(id, schema) != names.stream(id, other)
    assert names.signing_keys(id, schema) != names.signing_keys(id, other)
    for folder in (names.tables, names.errors):
        assert not folder(other).startswith(folder(schema)), "a role's pattern is the folder and *"


def test_a_schema_whose_name_begins_like_another_is_outside_its_folder() -> None:
    """Control: without the slash at its end it would not be."""
    assert not names.tables("events_eu").startswith(names.tables("events"))
    assert names.tables("events_eu").startswith(names.tables("events").rstrip("/"))


@given(IDS, SCHEMAS)
def test_a_parameter_has_a_name_that_ssm_takes(id: str, schema: str) -> None:
    """Systems Manager, PutParameter: a-zA-Z0-9_.-/ only, 15 levels, and no name begins with aws or ssm."""
    made = names.signing_keys(id, schema)
    assert re.fullmatch("/sluice/[a-zA-Z0-9_./-]+", made)
    assert made.count("/") <= 15


@given(SCHEMAS)
def test_every_folder_is_a_folder_and_none_is_in_another(schema: str) -> None:
    folders = [names.tables(schema), names.ERRORS, OVERSIZED, names.QUERY_RESULTS]
    assert all(re.fullmatch("([^/]+/)+", folder) for folder in [*folders, names.errors(schema)])
    assert names.errors(schema).startswith(names.ERRORS)
    for folder in folders:
        assert [other for other in folders if other.startswith(folder)] == [folder]
