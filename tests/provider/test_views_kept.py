"""What people put on the views stays, whichever way an `up` makes them: in place, or anew."""

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.provider.test_postgres_schema import Scene, change_the_views

Change = Callable[[Scene, pytest.MonkeyPatch], None]


def append(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.inputs["loading"] = "append"


def another_column(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    change_the_views(monkeypatch, less=False)


def a_column_less(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    change_the_views(monkeypatch, less=True)  # which can't be done in place


CHANGES = [append, another_column, a_column_less]


@pytest.fixture
def scene(tmp_path: Path, dsn: str) -> Scene:
    return Scene(tmp_path, dsn)


@pytest.fixture
def analyst(scene: Scene) -> Iterator[str]:
    """A role that may do nothing yet."""
    name = f"analyst_{secrets.token_hex(4)}"
    scene.rows(f"CREATE ROLE {name}; GRANT USAGE ON SCHEMA s TO {name}")
    yield name
    scene.rows(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}")


def seen_by(scene: Scene, role: str, query: str) -> list[str]:
    with psycopg.connect(scene.dsn) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        return [value for (value,) in connection.execute(query.encode()).fetchall()]


@pytest.mark.parametrize("change", CHANGES)
def test_a_role_that_may_see_some_rows_only_sees_no_others_afterwards(
    scene: Scene, analyst: str, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    for event_id, object_type in (("a", "email"), ("b", "email"), ("c", "push")):
        body = json.dumps({"event_id": event_id, "object_type": object_type})
        scene.rows(
            "INSERT INTO s.data (event_id, object_type, payload, _sdc_received_at, _sdc_batched_at, _sdc_sequence)"
            f" VALUES ('{event_id}', '{object_type}', '{body}', now(), now(), 1)"
        )
    scene.rows(f"""
        ALTER TABLE s.data ENABLE ROW LEVEL SECURITY;
        CREATE POLICY few ON s.data FOR SELECT TO {analyst} USING (event_id = 'a');
        GRANT SELECT ON s.data, s.data_latest, s.email_events TO {analyst};
        ALTER VIEW s.data_latest SET (security_invoker = true, security_barrier = true);
        ALTER VIEW s.email_events SET (security_invoker = on)""")
    change(scene, monkeypatch)
    scene.up()
    assert seen_by(scene, analyst, "SELECT event_id FROM s.data_latest") == ["a"]
    assert seen_by(scene, analyst, "SELECT event_id FROM s.email_events") == ["a"]
    options = "SELECT reloptions FROM pg_class WHERE oid = 's.data_latest'::regclass"
    assert scene.rows(options) == [(["security_invoker=true", "security_barrier=true"],)]


# By what it is about, the query that tells what people put on the views.
PUT_ON = {
    "rights on views": """
        SELECT relname, pg_get_userbyid(grantee), privilege_type, is_grantable FROM pg_class, aclexplode(relacl)
        WHERE relnamespace = 's'::regnamespace AND relkind = 'v' AND grantee <> relowner ORDER BY 1, 2, 3""",
    "rights on columns": """
        SELECT attrelid::regclass::text, attname, pg_get_userbyid(grantee), privilege_type, is_grantable
        FROM pg_attribute, aclexplode(attacl) WHERE attrelid = 's.push_events'::regclass ORDER BY 2, 4""",
    "owners": """
        SELECT relname, pg_get_userbyid(relowner) FROM pg_class
        WHERE relnamespace = 's'::regnamespace AND relkind = 'v' ORDER BY 1""",
    "comments on views": r"""
        SELECT substring(comment FROM '^.*view') FROM obj_description('s.email_events'::regclass) AS comment
        WHERE comment LIKE E'All mails\nSluice: %view%'""",
    "comments on columns": """
        SELECT attname, col_description(attrelid, attnum) FROM pg_attribute
        WHERE attrelid = 's.email_events'::regclass AND col_description(attrelid, attnum) IS NOT NULL""",
    "defaults": """
        SELECT column_name::text, column_default::text FROM information_schema.columns
        WHERE table_schema = 's' AND table_name = 'email_events' AND column_default IS NOT NULL""",
    "triggers": "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 's.email_events'::regclass",
    "rules": "SELECT definition FROM pg_rules WHERE schemaname = 's' AND rulename = 'none'",
}


@pytest.mark.parametrize("change", CHANGES)
def test_rights_comments_owners_defaults_triggers_and_rules_stay(
    scene: Scene, analyst: str, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.rows(rf"""
        CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        GRANT SELECT (event_id, metric), UPDATE (metric) ON s.push_events TO {analyst} WITH GRANT OPTION;
        GRANT SELECT, INSERT ON s.sms_events TO {analyst};
        COMMENT ON VIEW s.email_events IS E'All mails\nSluice: the events'' view';
        COMMENT ON COLUMN s.email_events.metric IS 'what ''happened''';
        ALTER VIEW s.email_events ALTER COLUMN metric SET DEFAULT 'sent';
        CREATE TRIGGER refuse INSTEAD OF INSERT ON s.email_events FOR EACH ROW EXECUTE FUNCTION public.refuse();
        CREATE RULE none AS ON DELETE TO s.push_events DO INSTEAD NOTHING;
        ALTER VIEW s.data_latest OWNER TO {analyst};
        ALTER VIEW s.email_events OWNER TO {analyst};
        GRANT SELECT ON s.data TO {analyst};
        GRANT SELECT ON s.data_latest TO CURRENT_USER""")
    before = {what: scene.rows(query) for what, query in PUT_ON.items()}
    assert all(before.values()), before
    change(scene, monkeypatch)
    scene.up()
    assert {what: scene.rows(query) for what, query in PUT_ON.items()} == before
    assert scene.rows("SELECT * FROM s.email_events") == []


def test_a_comment_of_ones_own_stays_and_the_view_is_known_again_after_an_up(scene: Scene) -> None:
    scene.rows("COMMENT ON VIEW s.email_events IS 'Ours'")
    scene.up()
    assert scene.looked_at()["views"] == scene.state["views"]
    ((comment,),) = scene.rows("SELECT obj_description('s.email_events'::regclass)")
    assert comment.startswith("Ours\nSluice: ")


def test_what_default_privileges_give_is_not_given_again_to_whom_it_was_taken_from(
    scene: Scene, analyst: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.rows(f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {analyst}")
    a_column_less(scene, monkeypatch)
    scene.up()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        seen_by(scene, analyst, "SELECT event_id FROM s.email_events")


def test_what_was_on_a_column_goes_with_it(scene: Scene, analyst: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.rows(f"""
        GRANT SELECT (payload, metric) ON s.email_events TO {analyst};
        COMMENT ON COLUMN s.email_events.payload IS 'all of it'""")
    a_column_less(scene, monkeypatch)
    scene.up()
    assert seen_by(scene, analyst, "SELECT metric FROM s.email_events") == []


def test_the_search_path_of_a_role_does_not_make_views_look_changed(scene: Scene) -> None:
    found = scene.looked_at()["views"]
    assert found == scene.state["views"]
    ((database,),) = scene.rows("SELECT current_database()")
    scene.rows(f"ALTER DATABASE {database} SET search_path = s, public")
    assert scene.looked_at()["views"] == found
