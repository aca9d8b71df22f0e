"""The warehouse behind a pooler in transaction mode, which gives each transaction to whichever session is free: nothing
may be left in a session, neither prepared statements nor settings."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from provider import postgres_schema, warehouse
from receiver import replay
from receiver.replay import Outcome, Wanted
from tests.provider.test_postgres_schema import Scene
from tests.receiver import scene as loading
from tests.support.postgres import free_port
from tests.support.waiting import until

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 3
max_prepared_statements = 0
"""


@pytest.fixture
def pooled(dsn: str) -> Iterator[str]:
    """The DSN of a fresh database behind a pgbouncer."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer isn't installed")
    server, port = urlsplit(dsn), free_port()
    with tempfile.TemporaryDirectory(prefix="sluice-pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "users").write_text(f'"{server.username}" "{server.password}"\n')
        text = CONFIGURATION.format(server_port=server.port, port=port, folder=folder)
        version = subprocess.run([PGBOUNCER, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
        if tuple(map(int, version.split("."))) < (1, 21):  # which knows no prepared statements, nor the setting
            text = text.replace("max_prepared_statements = 0\n", "")
        (folder / "settings").write_text(text)
        account: dict[str, Any] = {"user": pwd.getpwnam("nobody").pw_uid} if os.geteuid() == 0 else {}
        process = subprocess.Popen([PGBOUNCER, "-q", folder / "settings"], stderr=subprocess.DEVNULL, **account)
        through = urlunsplit(server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{port}"))
        try:
            until(lambda: answers(through), what="pgbouncer answers")
            yield through
        finally:
            process.terminate()
            process.wait(10)


def answers(dsn: str) -> bool:
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError:
        return False
    return True


def test_a_stack_s_whole_life_goes_through_a_pooler(tmp_path: Path, pooled: str) -> None:
    provider = Scene(tmp_path, pooled)
    for mode in ("append", "upsert", "append"):
        provider.inputs["loading"] = mode
        state = provider.up()
        assert provider.looked_at()["missing"] == []
    scene = loading.Scene(provider.context.home, pooled)
    try:
        for number in range(12):  # psycopg prepares what it has seen five times
            scene.accept(loading.body(f"e{number}"), b"not json")
            scene.load()
    finally:
        scene.close()
    provider.rows("""UPDATE s._sdc_rejected SET _sdc_raw = '{"event_id": "mended"}'""")
    outcome = Outcome()
    with warehouse.connect(pooled, autocommit=True) as connection:
        replay.replay(connection, "s", Wanted(), outcome)
    assert (outcome.replayed.total(), outcome.rejected.total()) == (12, 0)
    assert provider.rows("SELECT count(*) FROM s.data_latest") == [(13,)]
    for _ in range(10):
        sessions = "SELECT current_setting('lock_timeout'), current_setting('search_path'), count(*) FROM"
        assert provider.rows(f"{sessions} pg_prepared_statements") == [("0", '"$user", public', 0)]
    assert postgres_schema._drop({**state, "dsn": pooled})


def test_a_connection_prepares_no_statement(dsn: str) -> None:
    with warehouse.connect(dsn, autocommit=True) as connection:
        for number in range(20):
            connection.execute("SELECT %s::int", [number])
        assert connection.execute("SELECT name FROM pg_prepared_statements").fetchall() == []
