"""A whole stack for the faults: the receiver's process with its loader, a PostgreSQL, two integrations, and a sender
that is told what every delivery was answered."""

import contextlib
import itertools
import json
import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from receiver import warehouse
from receiver.control import ask_sync, socket_path
from receiver.registry import Registry, SchemaEntry
from receiver.spool import Spool
from tests.receiver import admin, running
from tests.receiver.running import Reply, Running, register, set_setting
from tests.support.postgres import free_port
from tests.support.secrecy import places_of
from tests.support.waiting import until

CUSTOMER_IO_SECONDS = 4.0  # it waits that long for an answer (reporting webhooks, "timeout")
MEMORY_BYTES = 200 * 2**20  # what receiver and loader may each have at most: a batch is 8 MiB, a few copies of it
ROLE = "loader_role"
PASSWORD = "hush-" + "0123456789abcdef"


class Stage:
    """Two integrations, `broken`, which the tests do harm to, and `other`, which must not be the worse for it.

    Both load with `append`: an event that came twice would be there twice.
    """

    SCHEMAS = ("broken", "other")

    def __init__(self, home: Path, dsn: str | None) -> None:
        """`dsn`: a superuser's, of a database of its own; None for no warehouse at all."""
        self.home = home
        self.dsn = dsn or ""
        self.admin_port = free_port()
        self.sent: dict[str, list[str]] = {schema: [] for schema in self.SCHEMAS}
        self.paths = {schema: register(home, schema=schema) for schema in self.SCHEMAS}
        self.refused: set[str] = set()
        self._ids = itertools.count()
        self._process: Running | None = None
        set_setting(home, "admin_port", self.admin_port)
        with Registry(home / "registry.db") as registry:
            for schema in self.SCHEMAS:
                registry.put_schema(SchemaEntry(schema, schema.title(), "customerio", "append"))
        if dsn is not None:
            self.make_warehouse(dsn)
            set_setting(home, "warehouse_dsn", self.loaders_dsn())

    def make_warehouse(self, dsn: str) -> None:
        self.dsn = dsn
        with psycopg.connect(dsn, autocommit=True) as connection:
            self._make_role(connection)
            for schema in self.SCHEMAS:
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
                warehouse.create_tables(connection, schema, "append")
                connection.execute(
                    f"GRANT USAGE ON SCHEMA {schema} TO {ROLE};"
                    f" GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {schema} TO {ROLE}"
                )

    @staticmethod
    def _make_role(connection: psycopg.Connection[Any]) -> None:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone():
            connection.execute(f"CREATE ROLE {ROLE}")
        connection.execute(f"ALTER ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT -1")

    def loaders_dsn(self, password: str = PASSWORD) -> str:
        """With the rights that the loader needs and no more: a superuser is stopped by hardly anything."""
        assert self.dsn
        return make_conninfo(self.dsn, user=ROLE, password=password)

    # The process

    def start(self, server: str | None = "quick") -> None:
        """The receiver of `servers/<server>.py`; None for the product's own, whose waits are longer."""
        self._process = running.start(self.home, server=server)

    @property
    def receiver(self) -> Running:
        assert self._process
        return self._process

    def loader(self) -> psutil.Process:
        pid: int = until(lambda: self.status()["loader"]["pid"])
        return psutil.Process(pid)

    def kill(self) -> None:
        """Both processes, without a word."""
        loader = self.loader()
        self.receiver.kill()
        running.end(self.receiver)
        with contextlib.suppress(psutil.NoSuchProcess):
            loader.kill()
        until(lambda: not loader.is_running() or loader.status() == psutil.STATUS_ZOMBIE)

    def close(self) -> None:
        if self._process:
            running.end(self._process)
        socket_path(self.home).unlink(missing_ok=True)

    # Deliveries

    def post(self, schema: str, padding: int = 0) -> tuple[Reply, float]:
        """One new event, larger by `padding` bytes that no compression makes fewer; and how long its answer took."""
        event_id = f"{schema}-{next(self._ids)}"
        body = {"event_id": event_id, "object_type": "email", "metric": "sent", "timestamp": 1_790_000_000}
        started = time.monotonic()
        reply = self.receiver.post(self.paths[schema], json.dumps({**body, "padding": secrets.token_hex(padding // 2)}))
        took = time.monotonic() - started
        if reply.status == 200:
            self.sent[schema].append(event_id)
        else:
            self.refused.add(event_id)
        return reply, took

    def deliver(self, count: int, *, padding: int = 0, schemas: Sequence[str] = SCHEMAS) -> None:
        """`count` events to each of `schemas`; every one must be taken."""
        for _, schema in itertools.product(range(count), schemas):
            reply, _ = self.post(schema, padding)
            assert reply.status == 200, (schema, reply, self.receiver.log()[-2000:])

    def is_refused(self, schema: str = "broken") -> bool:
        """Whether a delivery is answered 503 as it should be then; else it is answered 200."""
        reply, took = self.post(schema)
        assert took < CUSTOMER_IO_SECONDS, took
        if reply.status == 200:
            return False
        assert reply.status == 503, reply
        assert int(reply.headers["retry-after"]) > 0
        return True

    def is_taken(self) -> bool:
        return not self.is_refused()

    # What is told

    def status(self) -> dict[str, Any]:
        return ask_sync(self.home, "status")

    def metrics(self) -> dict[tuple[str, ...], float]:
        return admin.metrics(self.admin_port)

    def refusals(self) -> float:
        """How many deliveries were answered 503, as the metrics have it."""
        metrics = self.metrics()
        return sum(metrics[each] for each in metrics if each[0].startswith("sluice_deliveries") and "503" in each)

    def log(self) -> str:
        """Of both processes."""
        loader = self.home / "loader.log"
        return self.receiver.log() + (loader.read_text() if loader.exists() else "")

    def everything_told(self) -> dict[str, bytes]:
        return {
            "logs": self.log().encode(),
            "status": json.dumps(self.status()).encode(),
            "metrics": admin.get(self.admin_port, "/metrics").body,
            "page": admin.get(self.admin_port, "/").body,
        }

    # What came of it

    def landed(self, schema: str) -> list[str]:
        """The event ids in `data`, in the order of their sequences."""
        assert self.dsn
        with psycopg.connect(self.dsn) as connection:
            found = connection.execute(f"SELECT event_id FROM {schema}.data ORDER BY _sdc_sequence").fetchall()
        return [event_id for (event_id,) in found]

    def waiting(self) -> int:
        with Spool(self.home / "spool.db") as spool:
            return sum(counts.waiting for counts in spool.counts().values())

    def do(self, statement: str) -> None:
        assert self.dsn
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement)

    def assert_all_is_well(self, seconds: float = 30) -> None:
        """Every accepted event is there once, in the order in which it was accepted; nobody died or grew; nothing that
        is told holds a secret; and new events are taken and land.

        One that was answered 503 may be there, too: it isn't known what became of it, so its sender repeats it.
        """
        self.deliver(1)
        until(lambda: self.waiting() == 0, seconds)
        for schema in self.SCHEMAS:
            landed = self.landed(schema)
            assert twice(landed) == []
            assert [each for each in landed if each not in self.refused] == self.sent[schema], schema
        assert self.receiver.process.poll() is None
        assert self.memory() < MEMORY_BYTES
        assert self.status()["spool"]["trouble"] is None
        assert self.status()["warehouse"]["state"] == "up"
        until(lambda: self.metrics()[("sluice_ready",)] == 1)
        assert self.secrets_told() == []

    def memory(self) -> int:
        """Of the larger of both processes, in bytes."""
        return max(psutil.Process(self.receiver.process.pid).memory_info().rss, self.loader().memory_info().rss)

    def secrets_told(self) -> list[str]:
        assert self.dsn
        superusers = str(conninfo_to_dict(self.dsn)["password"])
        hidden = [PASSWORD, superusers, *(running.token_of(path) for path in self.paths.values())]
        return [place for secret in hidden for place in places_of(secret, self.everything_told())]


def twice(landed: Sequence[str]) -> list[str]:
    return [event_id for event_id, times in Counter(landed).items() if times > 1]


@contextlib.contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[bool]:
    """A disk of that size at `folder`, if this account may mount one; says whether it could."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0700", "tmpfs", str(folder)]
    try:
        is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        is_mounted = False
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)


def fill(folder: Path) -> Path:
    """Leaves no byte free on the disk of `folder`; returns the file that takes it all."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return filler
