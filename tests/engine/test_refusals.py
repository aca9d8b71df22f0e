"""Mistakes and trouble: one clear sentence each, nothing changed, no traceback.

Each kind once, for how it reaches a person. Every mistake in a config is in tests/unit/test_settings.py, what a schema
is refused for in tests/provider/test_postgres_schema.py, two receivers at one port in test_receiver_process.py there.
"""

import socket
from collections.abc import Iterator

import pytest

from provider import postgres
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
    stack.bring_up(CUSTOMERIO)
    stack.declare(CUSTOMERIO, port=free_port())
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as another granian would have it
        taken.bind(("127.0.0.1", stack.config["port"]))
        taken.listen()
        text = refused(stack.pulumi("up", "--yes", "--skip-preview"))
    assert f"port {stack.config['port']} is taken" in text
    assert "sluice:port" in text
    assert post(stack.url(), event("meanwhile")) == 200


@pytest.fixture
def of_version_15(stack: Stack) -> Iterator[Stack]:
    """The stack, stopped, with data that another version of PostgreSQL is said to have made."""
    stack.bring_up(CUSTOMERIO)
    postgres.stop(stack.home)
    server = postgres.recorded(stack.home)
    assert server is not None
    version = server.data / "PG_VERSION"
    ours = version.read_text()
    version.write_text("15\n")
    yield stack
    version.write_text(ours)


def test_the_data_of_another_postgresql_version_is_refused_with_the_way_out(of_version_15: Stack) -> None:
    text = refused(of_version_15.pulumi("up", "--yes", "--skip-preview"))
    assert "was made by PostgreSQL 15" in text
    assert "pg_dump" in text


@pytest.fixture
def with_a_given_warehouse(stack: Stack) -> Iterator[Stack]:
    """The stack, and in its config another warehouse, which nobody is at."""
    stack.bring_up(CUSTOMERIO)
    stack.pulumi("config", "set", "--secret", "sluice:warehouseDsn", stdin=f"postgresql://me:{SECRET}@127.0.0.1:1/x")
    yield stack
    stack.pulumi("config", "rm", "sluice:warehouseDsn", check=True)


SECRET = "w4rehouse-passw0rd"


def test_an_unreachable_warehouse_is_named_without_its_password(with_a_given_warehouse: Stack) -> None:
    with Registry(with_a_given_warehouse.home / "registry.db") as registry:
        before = registry.settings()
        text = refused(with_a_given_warehouse.pulumi("up", "--yes", "--skip-preview"))
        assert registry.settings() == before, "the loader still has the warehouse that is there"
    assert "can't be reached" in text
    assert SECRET not in text


def test_a_wrong_passphrase_is_refused(stack: Stack) -> None:
    stack.declare(CUSTOMERIO)
    text = refused(Stack(stack.root, {**stack.environment, "PULUMI_CONFIG_PASSPHRASE": "wrong"}).pulumi("preview"))
    assert "passphrase" in text
