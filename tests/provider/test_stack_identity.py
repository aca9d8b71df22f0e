"""Two people's stacks of one name over one warehouse: neither takes up, or drops, what the other made."""

import asyncio
import shutil
from dataclasses import replace
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
        _, made = asyncio.run(StackIdentity().create(self.context, {"keepsHere": True}))
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


def test_two_stacks_of_aws_have_two_identities_and_no_folder(tmp_path: Path, one: Person) -> None:
    nowhere = replace(one.context, root=tmp_path / "nowhere")
    found = [asyncio.run(StackIdentity().create(nowhere, {"keepsHere": False}))[1]["identity"] for _ in range(2)]
    assert found[0] != found[1]
    assert asyncio.run(StackIdentity().drift(nowhere, {"keepsHere": False, "identity": found[0]})) == set()
    assert not (tmp_path / "nowhere").exists()


def test_a_renamed_stack_is_told_where_its_data_lies_and_how_to_take_it_along(one: Person) -> None:
    state = {"keepsHere": True, "identity": one.identity}
    renamed = replace(one.context, stack="live")
    with pytest.raises(ResourceError) as told:
        asyncio.run(StackIdentity().drift(renamed, state))
    assert "make stop STACK=dev, then mv .sluice/dev .sluice/live" in str(told.value)
    one.context.home.rename(renamed.home)  # as it says
    assert asyncio.run(StackIdentity().drift(renamed, state)) == set()


def test_a_folder_of_another_stack_is_not_taken_for_this_one_s(one: Person, other: Person) -> None:
    with pytest.raises(ResourceError, match="holds the data of another stack"):
        asyncio.run(StackIdentity().drift(one.context, {"keepsHere": True, "identity": other.identity}))


def test_a_lost_folder_is_made_anew_with_a_warning_and_keeps_the_identity(one: Person) -> None:
    state = {"keepsHere": True, "identity": one.identity}
    shutil.rmtree(one.context.home)
    assert asyncio.run(StackIdentity().drift(one.context, state)) == {"identity"}
    assert "is gone, with its spool" in one.said[-1]
    assert asyncio.run(StackIdentity().update(one.context, state, {"keepsHere": True}))["identity"] == one.identity
    assert asyncio.run(StackIdentity().drift(one.context, state)) == set()
