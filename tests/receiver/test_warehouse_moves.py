"""To another warehouse the loader moves when every schema is made there, and stays where it was until then."""

from pathlib import Path

import pytest

from provider import postgres_schema, receiver_process
from provider.resource import ResourceError
from provider.warehouse import is_another
from receiver.registry import Registry, SchemaEntry
from tests.provider.test_postgres_schema import Scene
from tests.support.postgres import PostgresServer

OLD, NEW = "postgresql://u:p@old/d", "postgresql://u:p@new/d"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry = Registry(tmp_path / "registry.db")
    registry.set_setting("warehouse_dsn", OLD)
    for name in ("a", "b"):
        registry.put_schema(entry(name), OLD)
    return registry


def entry(name: str) -> SchemaEntry:
    return SchemaEntry(name, name, "customerio", "upsert")


def test_the_loader_moves_with_the_last_schema(registry: Registry) -> None:
    assert registry.move_warehouse(NEW) == ["a", "b"]
    registry.put_schema(entry("a"), NEW)
    assert registry.setting("warehouse_dsn") == OLD
    assert registry.move_warehouse(NEW) == ["b"], "the next up asks again"
    registry.put_schema(entry("b"), NEW)
    assert registry.settings() == {"warehouse_dsn": NEW}


def test_a_schema_that_goes_is_not_waited_for(registry: Registry) -> None:
    registry.move_warehouse(NEW)
    registry.put_schema(entry("a"), NEW)
    registry.remove_schema("b")
    assert registry.settings() == {"warehouse_dsn": NEW}


def test_without_schemas_it_moves_at_once(registry: Registry) -> None:
    for name in ("a", "b"):
        registry.remove_schema(name)
    assert registry.move_warehouse(NEW) == []
    assert registry.settings() == {"warehouse_dsn": NEW}


def test_a_move_is_taken_back_with_the_setting(registry: Registry) -> None:
    registry.move_warehouse(NEW)
    registry.put_schema(entry("a"), NEW)
    assert registry.move_warehouse(OLD) == ["a"]
    registry.put_schema(entry("a"), OLD)
    registry.put_schema(entry("b"), NEW)
    assert registry.settings() == {"warehouse_dsn": OLD}


@pytest.mark.parametrize(
    ("now", "another"),
    [
        ("postgresql://u:p@h:1/d", False),
        ("postgresql://u:new-password@h:1/d", False),
        ("postgresql://other:p@h:1/d?sslmode=require", False),
        ("postgresql://u:p@h:2/d", False),  # the embedded one, at another port
        ("postgresql://u:new-password@h:2/d", True),
        ("postgresql://u:p@h:1/other", True),
        ("postgresql://u:p@elsewhere:1/d", True),
    ],
)
def test_a_new_password_or_port_is_the_same_warehouse(now: str, another: bool) -> None:
    assert is_another("postgresql://u:p@h:1/d", now) is another


def test_a_warehouse_that_was_named_again_ends_the_move(tmp_path: Path) -> None:
    settings = {"adminHost": "127.0.0.1", "adminPort": 0, "spoolMaxBytes": 1, "keepFreeBytes": 1}
    with Registry(tmp_path / "registry.db") as registry:
        registry.put_schema(entry("a"), OLD)
    for dsn, left in ((OLD, []), (NEW, ["a"]), (OLD, [])):
        assert receiver_process._configure(tmp_path, {**settings, "warehouseDsn": dsn}) == left
    with Registry(tmp_path / "registry.db") as registry:
        assert registry.setting("warehouse_dsn") == OLD
        assert registry.setting("next_warehouse_dsn") is None


def test_where_a_schema_can_not_be_made_the_loader_stays(tmp_path: Path, dsn: str, postgres: PostgresServer) -> None:
    scene = Scene(tmp_path, dsn)
    settings = {"adminHost": "127.0.0.1", "adminPort": 0, "spoolMaxBytes": 1, "keepFreeBytes": 1}
    receiver_process._configure(scene.context.home, {**settings, "warehouseDsn": dsn})

    def where() -> str | None:
        with Registry(scene.context.home / "registry.db") as registry:
            return registry.setting("warehouse_dsn")

    with postgres.database() as other:
        Scene(tmp_path / "another stack's", other).rows("COMMENT ON SCHEMA s IS 'of somebody else'")
        assert receiver_process._configure(scene.context.home, {**settings, "warehouseDsn": other}) == ["s"]
        scene.inputs["dsn"] = other
        with pytest.raises(ResourceError, match="is there already"):
            scene.up()
        assert where() == dsn
        scene.dsn = other
        scene.rows("DROP SCHEMA s CASCADE")
        scene.up()
        assert where() == other
    assert postgres_schema._is_registered(scene.context, scene.state)
