"""The resource `PostgresSchema` on a real PostgreSQL: what people built on its views stays, and so do their rights.

What was changed by hand is put right. What isn't ours is neither used unasked nor ever dropped.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from provider import plugin, views
from provider.postgres_schema import PostgresSchema
from provider.resource import Context, ResourceError


class Scene:
    """A stack's folder and a warehouse with the schema `s`, made by an `up`. `more`: of its inputs."""

    def __init__(self, root: Path, dsn: str, **more: Any) -> None:
        async def say(message: str, warning: bool) -> None:
            return None

        self.context = Context(root, "sluice", "dev", {}, say)
        self.context.home.mkdir(parents=True)
        self.dsn = dsn
        self.inputs: dict[str, Any] = {
            "name": "s", "displayName": "S", "source": "customerio", "loading": "upsert", "dsn": dsn,
            "stackIdentity": "0123456789abcdef", **more,
        }  # fmt: skip
        self.state = self.up()

    def up(self, **inputs: Any) -> dict[str, Any]:
        return asyncio.run(PostgresSchema().update(self.context, {}, self.checked(**inputs)))

    def checked(self, **inputs: Any) -> dict[str, Any]:
        return asyncio.run(PostgresSchema().check(self.context, {**self.inputs, **inputs}))

    def refreshed(self) -> set[str]:
        """What an `up` after a refresh would change, by path."""
        read = asyncio.run(PostgresSchema().read(self.context, self.state))
        assert read is not None
        return set(plugin.differences(read, self.checked(), PostgresSchema()))

    def delete(self, state: dict[str, Any]) -> None:
        asyncio.run(PostgresSchema().delete(self.context, state))

    def schemas(self) -> list[str]:
        """Those of the database, without PostgreSQL's own."""
        query = (
            "SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$|^public$' ORDER BY 1"
        )
        return [name for (name,) in self.rows(query)]

    def looked_at(self) -> dict[str, Any]:
        found = asyncio.run(PostgresSchema().read(self.context, self.state))
        assert found is not None
        return found

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def scene(tmp_path: Path, dsn: str) -> Scene:
    return Scene(tmp_path, dsn)


def change_the_views(monkeypatch: pytest.MonkeyPatch, *, less: bool) -> None:
    """The next version's views: a column more in each channel's, or without one that they have."""
    made = views.views

    def other(source: str, loading: Any) -> dict[str, views.View]:
        found = made(source, loading)
        template = found["email_events"].template
        old = 'd."payload"\nFROM'
        assert old in template
        new = "1 AS one\nFROM" if less else 'd."payload",\n  1 AS one\nFROM'
        return {**found, "email_events": views.View(template.replace(old, new))}

    monkeypatch.setattr("provider.postgres_schema.views.views", other)


GRANTS = (
    "SELECT table_name::text, privilege_type::text FROM information_schema.role_table_grants"
    " WHERE table_schema = 's' AND grantee = 'PUBLIC' ORDER BY 1"
)


@pytest.mark.parametrize("less", [False, True])
def test_views_made_anew_keep_the_rights_that_were_given(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, less: bool
) -> None:
    scene.rows("GRANT SELECT ON s.email_events, s.push_events TO PUBLIC")
    change_the_views(monkeypatch, less=less)
    scene.up()
    assert scene.rows("SELECT one FROM s.email_events") == []
    assert scene.rows(GRANTS) == [("email_events", "SELECT"), ("push_events", "SELECT")]


def test_a_view_that_people_built_on_ours_stays_where_ours_can_be_replaced_in_place(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.rows("CREATE VIEW public.theirs AS SELECT event_id FROM s.email_events")
    change_the_views(monkeypatch, less=False)
    scene.up()
    assert scene.rows("SELECT one FROM s.email_events") == []
    assert scene.rows("SELECT event_id FROM public.theirs") == []


def test_where_it_cannot_it_is_named_with_what_to_do_and_nothing_is_changed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.rows("CREATE VIEW public.theirs AS SELECT event_id FROM s.email_events")
    change_the_views(monkeypatch, less=True)
    with pytest.raises(ResourceError, match=r"view public\.theirs depends on view s\.email_events.*create them again"):
        scene.up()
    assert scene.rows("SELECT event_id, payload FROM s.email_events") == []


def test_a_lost_registry_entry_shows_and_an_update_puts_it_there_again(scene: Scene) -> None:
    def drift() -> set[str]:
        return asyncio.run(PostgresSchema().drift(scene.context, scene.state))

    assert drift() == set()
    for file in scene.context.home.glob("registry.db*"):
        file.unlink()
    assert drift() == {"registered"}
    read = asyncio.run(PostgresSchema().read(scene.context, scene.state))
    assert read is not None
    assert read["registered"] is False
    scene.up()
    assert drift() == set()


def test_a_dropped_view_shows_in_refresh_and_up_repairs_it_without_touching_data(scene: Scene) -> None:
    scene.rows(A_ROW)
    assert scene.refreshed() == set()
    scene.rows("DROP VIEW s.email_events")
    assert scene.refreshed() == {"views.email_events"}
    scene.up()
    assert scene.refreshed() == set()
    assert scene.rows("SELECT event_id FROM s.email_events") == scene.rows("SELECT event_id FROM s.data") == [("1",)]


A_ROW = (
    "INSERT INTO s.data (event_id, object_type, metric, payload, _sdc_sequence, _sdc_received_at, _sdc_batched_at)"
    " VALUES ('1', 'email', 'sent', '{}', 1, now(), now())"
)


def test_a_view_changed_by_hand_is_put_right(scene: Scene) -> None:
    scene.rows(A_ROW)
    ((definition,),) = scene.rows("SELECT pg_get_viewdef('s.data_latest'::regclass)")
    scene.rows(f"CREATE OR REPLACE VIEW s.data_latest AS {definition.rstrip(';')} WHERE false")
    assert scene.refreshed() == {"views.data_latest"}
    scene.up()
    assert scene.refreshed() == set()
    assert scene.rows("SELECT event_id FROM s.data_latest") == [("1",)]


def test_a_schema_that_sluice_never_made_is_refused_unless_adopted_and_then_never_dropped(scene: Scene) -> None:
    scene.rows("CREATE SCHEMA theirs; CREATE TABLE theirs.precious (id int)")
    with pytest.raises(ResourceError, match=r"theirs is there already and wasn't made by Sluice.*`adopt: true`"):
        scene.up(name="theirs", destroyData=True)
    assert scene.rows("SELECT tablename::text FROM pg_tables WHERE schemaname = 'theirs'") == [("precious",)]
    scene.delete(scene.up(name="theirs", destroyData=True, adopt=True))
    assert scene.rows("SELECT count(*) FROM theirs.precious") == [(0,)]


def test_another_stacks_schema_is_refused_by_its_name(scene: Scene) -> None:
    mark = json.dumps({"project": "sluice", "stack": "another", "identity": "f" * 16, "adopted": False})
    scene.rows(f"CREATE SCHEMA shared; COMMENT ON SCHEMA shared IS 'Made by Sluice; do not edit this comment: {mark}'")
    with pytest.raises(ResourceError, match="belongs to stack another of project sluice"):
        scene.up(name="shared", destroyData=True)


def test_destroy_data_drops_our_schema_and_no_other(scene: Scene) -> None:
    scene.rows("CREATE SCHEMA theirs")
    mine = scene.up(name="mine", destroyData=True)
    scene.delete(mine)
    assert scene.schemas() == ["s", "theirs"]
    scene.delete(scene.state)
    assert scene.schemas() == ["s", "theirs"], "without destroyData it stays"


def test_a_schema_whose_mark_became_another_stacks_is_not_dropped(scene: Scene) -> None:
    mine = scene.up(name="mine", destroyData=True)
    scene.rows("COMMENT ON SCHEMA mine IS 'ours now'")
    scene.delete(mine)
    assert scene.schemas() == ["mine", "s"]
