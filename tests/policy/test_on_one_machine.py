"""The pack on the real engine, for a stack on one machine: a removed integration's rows."""

from typing import Any

from tests.engine.conftest import stack as stack
from tests.support.stack import CUSTOMERIO, Ran, Stack
from tools import policy

BILLING: dict[str, Any] = {**CUSTOMERIO, "name": "Billing"}
SALES: dict[str, Any] = {**CUSTOMERIO, "name": "Sales"}


def held(stack: Stack, command: str, *flags: str) -> Ran:
    """A command of the engine with the pack, as `make` gives it for POLICY=1."""
    words = policy.arguments(stack.root, "dev", stack.environment, asked=True)
    return stack.pulumi(command, *words, *flags)


def has(stack: Stack, schema: str) -> bool:
    query = f"select count(*) from information_schema.schemata where schema_name = '{schema}'"
    return stack.sql(query) == [(1,)]


def test_a_schema_that_the_last_up_was_told_to_drop_is_not_dropped_once_the_stack_says_otherwise(stack: Stack) -> None:
    stack.bring_up(CUSTOMERIO, BILLING, destroyData=True)
    stack.declare(CUSTOMERIO, destroyData=False)
    for refused in (held(stack, "preview"), stack.make("up", POLICY="1")):
        assert refused.code != 0, refused.text
        assert "billing-schema isn't declared any more and would be dropped with its data" in refused.text
    assert has(stack, "billing")


def test_what_the_policy_advises_keeps_the_rows(stack: Stack) -> None:
    stack.bring_up(CUSTOMERIO, BILLING, destroyData=True)
    stack.declare(CUSTOMERIO, BILLING, destroyData=False)
    stack.up()
    stack.declare(CUSTOMERIO, destroyData=False)
    ran = held(stack, "up", "--yes", "--skip-preview")
    assert ran.code == 0, ran.text
    assert has(stack, "billing")


def test_without_the_policy_it_would_have_been_dropped(stack: Stack) -> None:
    """Control: the policy is there for something that does happen."""
    stack.bring_up(CUSTOMERIO, SALES, destroyData=True)
    stack.declare(CUSTOMERIO, destroyData=False)
    stack.up()
    assert not has(stack, "sales")
