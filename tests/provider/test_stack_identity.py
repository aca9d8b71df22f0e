"""Two people's stacks of one name over one warehouse: neither takes up, or drops, what the other made."""

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest

from provider.postgres_schema import PostgresSchema
from provider.resource import Context, ResourceError
from provider.stack_identity import StackIdentity


class Person:
    """A clone in `root` with the stack `dev`, as everybody's is called."""

    def __init__(self, root: Path, dsn: str) -> None:
        self.said: list[str] = []

        async def say(message: str, warning: bool) -> None:
            self.said.append(message)

        self.context = Context(root, "sluice", "dev", {}, say)
        self.identity = self.identify()
        self.inputs: dict[str, Any] = {
            "name": "s",
            "displayName": "S",
            "source": "customerio",
            "loading": "upsert",
            "dsn": dsn,
            "destroyData": True,
            "adopt": False,
            "stackIdentity": self.identity,
        }

    def identify(self) -> str:
        _, made = asyncio.run(StackIdentity().create(self.context, {}))
        return str(made["identity"])

    def up(self, state: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
        inputs = asyncio.run(PostgresSchema().check(self.context, {**self.inputs, **changed}))
        return asyncio.run(PostgresSchema().update(self.context, state or {}, inputs))

    def down(self, state: dict[str, Any]) -> None:
        asyncio.run(PostgresSchema().delete(self.context, state))


@pytest.fixture
def one(tmp_path: Path, dsn: str) -> Person:
    return Person(tmp_path / "one", dsn)


@pytest.fixture
def other(tmp_path: Path, dsn: str) -> Person:
    return Person(tmp_path / "other", dsn)


def schema_is_there(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        return connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = 's'").fetchone() is not None


def test_a_schema_of_another_stack_of_the_same_name_is_refused_with_the_ways_out(one: Person, other: Person) -> None:
    one.up()
    with pytest.raises(ResourceError) as refused:
        other.up()
    assert f"a colleague's of the same name, with the identity {one.identity}" in str(refused.value)
    assert "before its state was lost" in str(refused.value)
    assert "`adopt: true`" in str(refused.value)


def test_who_adopted_a_schema_never_drops_it(one: Person, other: Person, dsn: str) -> None:
    one.up()
    adopted = other.up(adopt=True)
    assert adopted["adopted"] is True
    other.down(adopted)
    assert schema_is_there(dsn)


def test_a_state_that_says_it_made_the_schema_does_not_drop_one_with_another_mark(
    one: Person, other: Person, dsn: str
) -> None:
    state = one.up()
    other.up(adopt=True)
    one.down(state)
    assert schema_is_there(dsn)


def test_who_made_it_drops_it(one: Person, dsn: str) -> None:
    """Control: the refusals above are no accident of a delete that does nothing."""
    one.down(one.up())
    assert not schema_is_there(dsn)


def test_the_identity_stays_when_the_state_is_lost(one: Person) -> None:
    one.up()
    assert one.identify() == one.identity
    assert one.up()["adopted"] is False


def test_a_schema_stays_its_stack_s_when_the_identity_alone_was_lost(one: Person, dsn: str) -> None:
    state = one.up()
    state = one.up(state, stackIdentity="f" * 16)
    one.down(state)
    assert not schema_is_there(dsn)


def test_an_identity_that_a_killed_run_had_not_written_is_made(one: Person) -> None:
    (one.context.home / "identity").write_text("")
    assert len(one.identify()) == 16
    assert (one.context.home / "identity").stat().st_mode & 0o777 == 0o600
