"""Whatever befalls the warehouse: senders are told 200, the trouble is named, the other integration goes on where it
can, and when the trouble is over everything lands once, in order, without anybody restarting anything."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest

from receiver import warehouse
from tests.faults.stage import PASSWORD, ROLE, Stage, fill, small_disk
from tests.receiver.running import set_setting
from tests.support.postgres import PostgresServer
from tests.support.waiting import until

Fault = Callable[[Stage, PostgresServer], contextlib.AbstractContextManager[None]]


def cut_off(stage: Stage) -> None:
    """Ends the loader's sessions: what is asked when a session begins is asked again."""
    stage.do(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'")


def statements(breaking: str, mending: str) -> Fault:
    @contextlib.contextmanager
    def fault(stage: Stage, server: PostgresServer) -> Iterator[None]:
        stage.do(breaking)
        try:
            yield
        finally:
            stage.do(mending)

    return fault


@contextlib.contextmanager
def read_only(stage: Stage, server: PostgresServer) -> Iterator[None]:
    stage.do("ALTER SYSTEM SET default_transaction_read_only = on")
    stage.do("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        with psycopg.connect(stage.dsn, autocommit=True, options="-c default_transaction_read_only=off") as connection:
            connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
            connection.execute("SELECT pg_reload_conf()")


@contextlib.contextmanager
def table_dropped(stage: Stage, server: PostgresServer) -> Iterator[None]:
    kept = "CREATE TABLE public.kept AS TABLE broken.data"  # what had landed; whoever drops a table loses that
    stage.do(f"{kept}; DROP TABLE broken.data CASCADE")
    yield
    with psycopg.connect(stage.dsn, autocommit=True) as connection:
        warehouse.create_tables(connection, "broken", "append")  # as `up` does
        connection.execute(f"INSERT INTO broken.data TABLE public.kept; GRANT SELECT, INSERT ON broken.data TO {ROLE}")


@contextlib.contextmanager
def locked(stage: Stage, server: PostgresServer) -> Iterator[None]:
    with psycopg.connect(stage.dsn) as elsewhere:
        elsewhere.execute("LOCK TABLE broken.data IN ACCESS EXCLUSIVE MODE")
        yield


@contextlib.contextmanager
def password_changed(stage: Stage, server: PostgresServer) -> Iterator[None]:
    fresh = "another-" + PASSWORD
    stage.do(f"ALTER ROLE {ROLE} PASSWORD '{fresh}'")
    cut_off(stage)
    yield
    set_setting(stage.home, "warehouse_dsn", stage.loaders_dsn(fresh))  # as `up` with the new DSN does


@contextlib.contextmanager
def too_many_connections(stage: Stage, server: PostgresServer) -> Iterator[None]:
    stage.do(f"ALTER ROLE {ROLE} CONNECTION LIMIT 0")
    cut_off(stage)
    yield
    stage.do(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")


@contextlib.contextmanager
def stopped(stage: Stage, server: PostgresServer) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextlib.contextmanager
def disk_full(stage: Stage, server: PostgresServer) -> Iterator[None]:
    """The table `broken.data` lies on a disk of its own, which is full. Its owner must be PostgreSQL's account."""
    with small_disk(server.folder / "disk", 8) as is_mounted:
        if not is_mounted:
            pytest.skip("this account can't mount a disk: the file that may not grow stands for it")
        place = server.folder / "disk"
        server.give(place)
        stage.do(f"CREATE TABLESPACE small LOCATION '{place}'")
        try:
            stage.do(f"ALTER TABLE broken.data SET TABLESPACE small; GRANT CREATE ON TABLESPACE small TO {ROLE}")
            filler = fill(place)
            yield
            filler.unlink()
            until(lambda: stage.waiting() == 0, 30)
        finally:
            (place / "filler").unlink(missing_ok=True)
            stage.do("ALTER TABLE broken.data SET TABLESPACE pg_default")
            stage.do("DROP TABLESPACE small")


@contextlib.contextmanager
def file_too_large(stage: Stage, server: PostgresServer) -> Iterator[None]:
    """The loader's backend may write no file beyond 32 MiB (a part of its log has 16), and `broken.data` is as large:
    what a quota does. Stands for the full disk where none can be mounted, with another error: PostgreSQL's XX000."""
    if not shutil.which("prlimit"):
        pytest.skip("only Linux lets one process limit another")
    with psycopg.connect(stage.dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE broken.data ALTER payload SET STORAGE PLAIN")
        connection.execute(
            "INSERT INTO broken.data (event_id, payload, _sdc_received_at, _sdc_batched_at, _sdc_sequence,"
            " _sdc_table_version) SELECT 'filler', to_jsonb(repeat('x', 7900)), now(), now(), 0, 0"
            " FROM generate_series(1, 4096)"
        )
        size = connection.execute("SELECT pg_relation_size('broken.data')").fetchone()
        backend = connection.execute("SELECT pid FROM pg_stat_activity WHERE usename = %s", [ROLE]).fetchone()
    assert size
    assert backend
    limit_files(server, backend[0], str(size[0]))
    try:
        yield
    finally:
        limit_files(server, backend[0], "unlimited")
        stage.do("DELETE FROM broken.data WHERE event_id = 'filler'")


def limit_files(server: PostgresServer, process: int, size: str) -> None:
    limit = ["prlimit", "--pid", str(process), f"--fsize={size}:unlimited"]  # one may do this to one's own processes
    subprocess.run(limit, check=True, **server.as_user)


@dataclass(frozen=True)
class Case:
    fault: Fault
    says: str
    """What names the trouble: PostgreSQL's code, or its words where a connection isn't even made."""

    is_of_all: bool = False
    """Whether nothing can be loaded meanwhile; else `other` must be."""


CASES = {
    "stopped": Case(stopped, "refused", is_of_all=True),
    "read-only": Case(read_only, "25006 ReadOnlySqlTransaction", is_of_all=True),
    "password changed": Case(password_changed, "password authentication failed", is_of_all=True),
    "too many connections": Case(too_many_connections, "too many connections", is_of_all=True),
    "disk full": Case(disk_full, "53100 DiskFull"),
    "file too large": Case(file_too_large, "XX000 InternalError"),
    "table dropped": Case(table_dropped, "42P01 UndefinedTable"),
    "column dropped": Case(
        statements(
            "ALTER TABLE broken.data DROP COLUMN payload",
            "ALTER TABLE broken.data ADD COLUMN payload jsonb",
        ),
        "42703 UndefinedColumn",
    ),
    "right revoked": Case(
        statements(f"REVOKE INSERT ON broken.data FROM {ROLE}", f"GRANT INSERT ON broken.data TO {ROLE}"),
        "42501 InsufficientPrivilege",
    ),
    "locked": Case(locked, "55P03 LockNotAvailable"),
}


BY_DEFAULT = ("stopped", "password changed", "disk full", "table dropped", "locked")


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[pytest.mark.nightly] * (each not in BY_DEFAULT)) for each in CASES]
)
def test_events_wait_for_the_warehouse_and_the_trouble_is_named(
    name: str, stage: Stage, server: PostgresServer
) -> None:
    case = CASES[name]
    stage.deliver(3)
    until(lambda: stage.waiting() == 0)
    loader = stage.loader().pid
    with case.fault(stage, server):
        stage.deliver(6, padding=1500)  # more than may find room on the table's last page
        if case.is_of_all:
            until(lambda: case.says in told_of_warehouse(stage), 20)
        else:
            until(lambda: case.says in (stage.status()["schemas"]["broken"]["hold"] or ""), 20)
            until(lambda: stage.landed("other") == stage.sent["other"])
            assert stage.status()["schemas"]["other"]["hold"] is None
            until(lambda: stage.metrics()["sluice_schema_held", "broken"] == 1)
        until(lambda: stage.metrics()["sluice_spool_events", "broken"] >= 1)
        assert case.says in stage.log()
        stage.deliver(5)
    stage.assert_all_is_well()
    assert stage.loader().pid == loader
    until(lambda: stage.metrics()["sluice_loaded_events_total", "broken"] == len(stage.sent["broken"]))
    assert stage.metrics()["sluice_schema_held", "broken"] == 0


def told_of_warehouse(stage: Stage) -> str:
    status = stage.status()
    return f"{status['warehouse']['error']} {status['schemas']['broken']['hold']}"
