"""The pack on the real engine, for a stack on one machine: a removed integration's rows."""

from typing import Any

import pytest

from tests.engine.conftest import stack as stack
from tests.support.stack import CUSTOMERIO, Stack

BILLING: dict[str, Any] = {**CUSTOMERIO, "name": "Billing"}


@pytest.fixture(scope="module")
def two(stack: Stack) -> Stack:
    """A stack with two schemas, and a state that says that they may be dropped."""
    stack.declare(CUSTOMERIO, BILLING, destroyData=True)
    stack.up()
    return stack


def test_a_schema_that_the_last_up_was_told_to_drop_is_not_dropped_once_the_stack_says_otherwise(two: Stack) -> None:
    two.declare(CUSTOMERIO, destroyData=False)
    for target in ("preview", "up"):
        refused = two.make(target, POLICY="1")
        assert refused.code != 0, refused.text
        assert "billing-schema isn't declared any more and would be dropped with its data" in refused.text
    assert two.sql("select count(*) from information_schema.schemata where schema_name = 'billing'") == [(1,)]


def test_what_the_policy_advises_keeps_the_rows(two: Stack) -> None:
    two.declare(CUSTOMERIO, BILLING, destroyData=False)
    two.up()
    two.declare(CUSTOMERIO, destroyData=False)
    assert two.make("up", POLICY="1").code == 0
    assert two.sql("select count(*) from information_schema.schemata where schema_name = 'billing'") == [(1,)]


def test_without_the_policy_it_would_have_been_dropped(two: Stack) -> None:
    """Control: the policy is there for something that does happen."""
    two.declare(CUSTOMERIO, {**BILLING, "name": "Sales"}, destroyData=True)
    two.up()
    two.declare(CUSTOMERIO, destroyData=False)
    two.up()
    assert two.sql("select count(*) from information_schema.schemata where schema_name = 'sales'") == [(0,)]
