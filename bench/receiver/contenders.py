"""What is measured: each contender starts its server, and says whether every acknowledged event really landed."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from provider import postgres, receiver_process
from receiver import token, warehouse
from receiver.registry import EndpointEntry, Registry, SchemaEntry
from receiver.spool import Counts, Spool

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
TOKEN = token.printed("BenchBenchBenchBenchBenchBenchBenchBenchBen")
TOKEN_HASH = token.digest(TOKEN)
START_PATIENCE_S = 30.0
LANDING_PATIENCE_S = 180.0


class BenchError(Exception):
    """The measurement can't be made, or would not be true; the message says why."""


@dataclass
class Warehouse:
    """The run's own PostgreSQL, started by the product, with its settings. Every contender has a schema in it."""

    home: Path
    dsn: str

    def execute(self, statement: str, schema: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(schema=sql.Identifier(schema)))

    def make_schema(self, schema: str) -> None:
        self.execute("CREATE SCHEMA IF NOT EXISTS {schema}", schema)
        with psycopg.connect(self.dsn) as connection:
            warehouse.create_tables(connection, schema, "upsert")

    def count(self, schema: str) -> int:
        with psycopg.connect(self.dsn) as connection:
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}.data").format(sql.Identifier(schema))).fetchone()
        return int(row[0]) if row else 0

    def clear(self, schema: str) -> None:
        """Everybody starts on an empty table and with nothing left for a checkpoint to write."""
        self.execute("TRUNCATE {schema}.data", schema)
        self.execute("CHECKPOINT", schema)

    def processes(self) -> list[psutil.Process]:
        """The server's processes, connections included."""
        server = postgres.recorded(self.home)
        if server is None:
            return []
        main = psutil.Process(int((server.data / "postmaster.pid").read_text().splitlines()[0]))
        return [main, *main.children(recursive=True)]


@contextmanager
def running_warehouse(home: Path) -> Iterator[Warehouse]:
    """A PostgreSQL that is gone with its data at the end."""
    try:
        yield Warehouse(home, postgres.ensure(home, 0).dsn)
    finally:
        postgres.stop(home)
        postgres.remove(home)


@dataclass
class Contender:
    """A server on a port of its own. `started` yields while it runs."""

    name: str
    schema: str
    warehouse: Warehouse
    port: int = field(default_factory=lambda: free_port())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/{self.schema}/{TOKEN}"

    @contextmanager
    def started(self) -> Iterator[None]:
        self.process = subprocess.Popen(
            self.command(),
            cwd=ROOT,
            env={
                **os.environ,
                "WAREHOUSE_DSN": self.warehouse.dsn,
                "SCHEMA": self.schema,
                "TOKEN_HASH": TOKEN_HASH,
                "PORT": str(self.port),
            },
            stdin=subprocess.DEVNULL,
        )
        try:
            wait_until_it_listens(self.port, self.process)
            yield
        finally:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def command(self) -> list[str]:
        raise NotImplementedError

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Who works for an event, by role."""
        return {"server": [psutil.Process(self.process.pid)], "postgres": self.warehouse.processes()}

    def landed(self, acked: int) -> None:
        """Returns when the table holds just what was acknowledged. Raises BenchError if it doesn't come to that."""
        if (count := self.warehouse.count(self.schema)) != acked:
            raise BenchError(f"{self.name}: {acked} acknowledged, {count} rows in the table")


class Noop(Contender):
    def command(self) -> list[str]:
        return [sys.executable, "-m", "bench.receiver.noop", str(self.port)]

    def processes(self) -> dict[str, list[psutil.Process]]:
        return {"server": [psutil.Process(self.process.pid)]}

    def landed(self, acked: int) -> None:
        """It stores nothing."""


@dataclass
class FastAPI(Contender):
    python: Path = field(default_factory=Path)

    def command(self) -> list[str]:
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--no-access-log", "--log-level", "warning"]
        return [str(self.python), "-m", "uvicorn", "--app-dir", str(HERE), "fastapi_insert:app", *options]


@dataclass
class GoTwin(Contender):
    binary: Path = field(default_factory=Path)

    def command(self) -> list[str]:
        return [str(self.binary)]


class Sluice(Contender):
    """The receiver as `up` starts it, with its loader loading all the while."""

    @contextmanager
    def started(self) -> Iterator[None]:
        home = self.warehouse.home
        with Registry(home / "registry.db") as registry:
            registry.set_setting("warehouse_dsn", self.warehouse.dsn)
            registry.put_schema(SchemaEntry(self.schema, "Bench", "customerio", "upsert"))
            registry.put_endpoint(EndpointEntry(TOKEN_HASH, self.schema, "primary", "customerio", False, ()))
        receiver_process.start(home, "127.0.0.1", self.port)
        try:
            with Spool(home / "spool.db") as self.spool:
                yield
        finally:
            receiver_process.stop(home)

    @property
    def receiver(self) -> psutil.Process:
        running = receiver_process.answers(self.warehouse.home)
        if running is None:
            raise BenchError("the receiver is gone")
        return psutil.Process(running["pid"])

    @property
    def loader(self) -> psutil.Process:
        return next(child for child in self.receiver.children() if "receiver.loader" in child.cmdline())

    def processes(self) -> dict[str, list[psutil.Process]]:
        return {"server": [self.receiver], "loader": [self.loader], "postgres": self.warehouse.processes()}

    def counts(self) -> Counts:
        return self.spool.counts().get(self.schema, Counts(0, 0, 0, 0, None))

    def landed(self, acked: int) -> None:
        give_up = time.monotonic() + LANDING_PATIENCE_S
        while self.counts().waiting and time.monotonic() < give_up:
            time.sleep(0.05)
        super().landed(acked)


def cpu_seconds(roles: Mapping[str, list[psutil.Process]]) -> dict[str, float]:
    """CPU that each role has used so far, with that of its children that have ended."""
    used: dict[str, float] = {}
    for role, processes in roles.items():
        used[role] = 0.0
        for process in processes:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
            used[role] += times.user + times.system + ended
    return used


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_it_listens(port: int, process: "subprocess.Popen[Any]") -> None:
    give_up = time.monotonic() + START_PATIENCE_S
    while time.monotonic() < give_up and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise BenchError(f"{process.args!r} didn't start")
