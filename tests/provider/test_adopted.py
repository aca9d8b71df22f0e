"""A schema that a database's administrator made, and lets Sluice's role use: docs/operations.md names the rights."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from provider import postgres_schema
from provider.resource import ResourceError
from receiver.registry import SchemaEntry
from tests.provider.test_postgres_schema import Scene
from tests.receiver import scene as loading

PAGE = (Path(__file__).parents[2] / "docs/operations.md").read_text()


@pytest.fixture
def role(dsn: str) -> Iterator[str]:
    """A role's DSN that may do nothing but log in."""
    name = f"poor_{secrets.token_hex(4)}"
    with psycopg.connect(dsn, autocommit=True) as administrator:
        administrator.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'p'")
        server = urlsplit(dsn)
        yield urlunsplit(server._replace(netloc=f"{name}:p@{server.hostname}:{server.port}"))
        administrator.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def documented(rights: str, role: str) -> str:
    """The statements that docs/operations.md gives under this title."""
    assert f"-- {rights}\n" in PAGE
    statements = PAGE.split(f"-- {rights}\n")[1].split("```")[0]
    user = urlsplit(role).username
    assert user is not None
    return statements.replace("stitch_customerio", "s").replace("sluice_role", user)


def make(tmp_path: Path, role: str, *, adopt: bool) -> Scene:
    return Scene(tmp_path, role, adopt=adopt, destroyData=True)


def test_usage_and_create_on_an_administrators_schema_are_enough(tmp_path: Path, dsn: str, role: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as administrator:
        administrator.execute("CREATE SCHEMA s")
        administrator.execute("COMMENT ON SCHEMA s IS 'the administrator''s'")
        administrator.execute(documented("A schema that an administrator made, with `adopt: true`", role).encode())
    scene = make(tmp_path, role, adopt=True)
    assert scene.state["adopted"]
    warehouse = loading.Scene(scene.context.home, role)
    try:
        warehouse.registry.put_schema(SchemaEntry("s", "S", "customerio", "upsert"))
        warehouse.accept(loading.body("a"), b"not json")
        warehouse.load()
    finally:
        warehouse.close()
    assert scene.looked_at()["missing"] == []
    for mode in ("append", "upsert"):
        scene.inputs["loading"] = mode
        assert scene.up()["adopted"]
    assert scene.rows("SELECT event_id FROM s.data_latest") == [("a",)]
    assert not postgres_schema._drop({**scene.state, "dsn": dsn}), "the administrator's schema stays"
    assert scene.rows("SELECT obj_description('s'::regnamespace, 'pg_namespace')") == [("the administrator's",)]


def test_without_adopt_it_is_refused(tmp_path: Path, dsn: str, role: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as administrator:
        administrator.execute("CREATE SCHEMA s")
        administrator.execute(documented("A schema that an administrator made, with `adopt: true`", role).encode())
    with pytest.raises(ResourceError, match="wasn't made by Sluice"):
        make(tmp_path, role, adopt=False)


def test_create_on_the_database_is_enough_for_schemas_of_our_own(tmp_path: Path, dsn: str, role: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as administrator:
        ((database,),) = administrator.execute("SELECT current_database()").fetchall()
        statements = documented("Schemas that Sluice makes", role)
        administrator.execute(statements.replace("warehouse", database).encode())
    scene = make(tmp_path, role, adopt=False)
    assert not scene.state["adopted"]
    assert postgres_schema._drop({**scene.state, "dsn": role})


def test_a_right_that_is_missing_is_named(tmp_path: Path, dsn: str, role: str) -> None:
    with pytest.raises(ResourceError, match="schema s can't be made: permission denied for database"):
        make(tmp_path, role, adopt=False)
