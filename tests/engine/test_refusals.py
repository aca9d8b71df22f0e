"""Mistakes and trouble: one clear sentence each, nothing changed, no traceback."""

import json
import os
import socket
from pathlib import Path

from provider import daemons, postgres
from receiver.registry import Registry
from tests.support.postgres import free_port
from tests.support.stack import CUSTOMERIO, Ran, Stack, event, post


def refused(ran: Ran) -> str:
    assert ran.code != 0, ran.text
    assert "Traceback" not in ran.text
    assert ".py" not in ran.text, ran.text
    return ran.text


def test_all_config_mistakes_come_at_once_before_anything_is_made(stack: Stack) -> None:
    stack.declare(
        {**CUSTOMERIO, "tokens": {"primary": 0}, "events": ["email_sendt"]},
        {**CUSTOMERIO, "activ": "secondary"},
        drain=99,
    )
    text = refused(stack.pulumi("up", "--yes", "--skip-preview"))
    for path in (
        "sluice:integrations[0].tokens.primary",
        "sluice:integrations[0].events[0]",
        "email_sent",
        "sluice:integrations[1].activ",
        "sluice:drain",
    ):
        assert path in text
    assert not stack.home.exists()


def test_a_taken_port_is_refused_by_name(stack: Stack) -> None:
    stack.declare(CUSTOMERIO)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as another granian would have it
        taken.bind(("127.0.0.1", stack.port))
        taken.listen()
        text = refused(stack.pulumi("up", "--yes", "--skip-preview"))
    assert f"port {stack.port} is taken" in text
    assert "sluice:port" in text
    stack.up()


def test_a_second_clone_never_shares_a_port_with_the_first(stack: Stack, tmp_path: Path) -> None:
    second = Stack.clone(tmp_path / "second clone", os.environ)
    second.port = stack.port
    second.declare(CUSTOMERIO)
    try:
        assert f"port {stack.port} is taken" in refused(second.pulumi("up", "--yes", "--skip-preview"))
        second.port = free_port()
        second.declare(CUSTOMERIO)
        second.up()
        assert post(second.url(), event("for the second")) == 200
        assert post(second.url().replace(str(second.port), str(stack.port)), event("for the second")) == 401
        second.destroy()
    finally:
        daemons.stop_all(second.home)
        postgres.remove(second.home)


def test_a_schema_that_sluice_never_made_is_refused_unless_adopted_and_then_never_dropped(stack: Stack) -> None:
    stack.sql_execute("CREATE SCHEMA theirs; CREATE TABLE theirs.precious (id int)")
    theirs = {**CUSTOMERIO, "name": "theirs"}
    stack.declare(CUSTOMERIO, theirs, destroyData=True)
    text = refused(stack.pulumi("up", "--yes", "--skip-preview"))
    assert "schema theirs is there already and wasn't made by Sluice" in text
    assert "adopt: true" in text
    assert stack.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'theirs'") == [(1,)]
    stack.declare(CUSTOMERIO, {**theirs, "adopt": True}, destroyData=True)
    stack.up()
    stack.declare(CUSTOMERIO, destroyData=True)
    stack.up()
    assert stack.sql("SELECT count(*) FROM theirs.precious") == [(0,)]


def test_another_stacks_schema_is_refused_by_its_name(stack: Stack) -> None:
    mark = json.dumps({"project": "sluice", "stack": "another", "identity": "fedcba9876543210", "adopted": False})
    stack.sql_execute(
        f"CREATE SCHEMA shared_one; COMMENT ON SCHEMA shared_one IS 'Made by Sluice; do not edit this comment: {mark}'"
    )
    stack.declare(CUSTOMERIO, {**CUSTOMERIO, "name": "shared one"}, destroyData=True)
    assert "belongs to stack another" in refused(stack.pulumi("up", "--yes", "--skip-preview"))


def test_destroy_data_drops_our_schema_and_no_other(stack: Stack) -> None:
    stack.declare({**CUSTOMERIO, "name": "mine"}, destroyData=True)
    stack.up()
    present = stack.sql(
        "SELECT nspname::text FROM pg_namespace WHERE nspname IN ('stitch_customerio', 'theirs', 'mine') ORDER BY 1"
    )
    assert present == [("mine",), ("theirs",)]


def test_the_data_of_another_postgresql_version_is_refused_with_the_way_out(stack: Stack) -> None:
    postgres.stop(stack.home)
    server = postgres.recorded(stack.home)
    assert server is not None
    version = server.data / "PG_VERSION"
    ours = version.read_text()
    version.write_text("15\n")
    try:
        text = refused(stack.pulumi("up", "--yes", "--skip-preview"))
    finally:
        version.write_text(ours)
    assert "was made by PostgreSQL 15" in text
    assert "pg_dump" in text
    stack.up()


def test_an_unreachable_warehouse_is_named_without_its_password(stack: Stack) -> None:
    secret = "w4rehouse-passw0rd"
    stack.pulumi("config", "set", "--secret", "sluice:warehouseDsn", stdin=f"postgresql://me:{secret}@127.0.0.1:1/x")
    with Registry(stack.home / "registry.db") as registry:
        before = registry.settings()
        text = refused(stack.pulumi("up", "--yes", "--skip-preview"))
        assert registry.settings() == before, "the loader still has the warehouse that is there"
    assert "can't be reached" in text
    assert secret not in text
    stack.pulumi("config", "rm", "sluice:warehouseDsn", check=True)


def test_a_wrong_passphrase_is_refused(stack: Stack) -> None:
    text = refused(Stack(stack.root, {**stack.environment, "PULUMI_CONFIG_PASSPHRASE": "wrong"}).pulumi("preview"))
    assert "passphrase" in text
