"""The resource `PostgresSchema` on a real PostgreSQL: what people built on its views stays, and so do their rights."""

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest

from provider import postgres_schema, views
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
            "name": "s", "displayName": "S", "source": "customerio", "loading": "upsert", "dsn": dsn, **more,
        }  # fmt: skip
        self.state = self.up()

    def up(self) -> dict[str, Any]:
        checked = asyncio.run(PostgresSchema().check(self.context, self.inputs))
        return asyncio.run(PostgresSchema().update(self.context, {}, checked))

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

    monkeypatch.setattr(postgres_schema.views, "views", other)


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
