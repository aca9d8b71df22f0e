"""A real PostgreSQL for the tests: one throw-away server a session, so that what is shown about the warehouse
is shown on the thing itself. It listens on loopback TCP with scram only, as the product's own does."""

import contextlib
import functools
import itertools
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from provider import postgres as embedded

PORTS_OF_A_WORKER = 3_000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 6
_ports = itertools.cycle(range(12_000 + _WORKER * PORTS_OF_A_WORKER, 12_000 + (_WORKER + 1) * PORTS_OF_A_WORKER))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has just now, and nobody gets by chance until it is used.

    Below those that the kernel gives to who asks for any (from 32,768 on Linux), and of this worker's own: between the
    choice and the use of one of those, an engine would take it now and then.
    """
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable")


def _as_user() -> dict[str, Any]:
    """How `subprocess` runs a program of PostgreSQL's: it refuses to be root's."""
    account = embedded._account()
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}


@functools.cache
def _template() -> tempfile.TemporaryDirectory[str]:
    """A folder with `postgres/data` in it, as the product's own initdb makes it. It goes with this process."""
    folder = tempfile.TemporaryDirectory(prefix="sluice-template-", dir="/tmp")
    os.chmod(folder.name, 0o755)  # noqa: PTH101, S103 - PostgreSQL's account must pass when we are root
    account = embedded._account()
    inner = Path(folder.name) / "postgres"
    inner.mkdir()
    embedded._give(inner, account)
    server = embedded.Server(0, secrets.token_hex(24), str(inner), account.pw_name if account else None)
    embedded._initialise(server, embedded._binaries(account))
    custom = server.data / "custom.conf"
    custom.write_text("fsync = off\n")  # for the product's settings, which include it: it is thrown away with its test
    embedded._give(custom, account)
    return folder


def _copy_the_template(data: Path, password: str) -> None:
    """Makes the folder `data`, whose superuser has that password: a fifth of a second, where initdb takes two."""
    subprocess.run(["cp", "-Rp", Path(_template().name) / "postgres" / "data", data], check=True)
    subprocess.run(
        [embedded._binaries(embedded._account()) / "postgres", "--single", "-F", "-D", data, "postgres"],
        input=f"ALTER ROLE {embedded.ROLE} PASSWORD '{password}'\n",
        cwd=data,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
        **_as_user(),
    )


@contextlib.contextmanager
def initdb_from_template() -> Iterator[None]:
    """While inside, a server of the product's that is made in this process is a copy of one that its initdb made once.

    It differs in one thing: a `custom.conf` by which it doesn't sync.
    """

    def copy(server: embedded.Server, binaries: Path, data: Path, password_file: Path) -> None:
        _copy_the_template(data, password_file.read_text())

    _template()
    with patch.object(embedded, "_initdb", copy):
        yield


class PostgresServer:
    """One server in a folder of its own. `dsn` reaches its database `postgres` as the superuser."""

    def __init__(self, binaries: Path | None = None) -> None:
        """`binaries`: of another PostgreSQL than the wheel's."""
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-pg-", dir="/tmp"))  # short, and open to PostgreSQL's account
        self.as_user = _as_user()
        self.give(self.folder)
        self._bin = binaries or embedded._binaries(embedded._account())
        self._data = self.folder / "data"
        self.port = free_port()
        password = secrets.token_hex(12)
        if binaries is None:
            _copy_the_template(self._data, password)
        else:
            self._initdb(password)
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = ''\n"
                "shared_buffers = 64MB\nmax_wal_size = 512MB\nfsync = off\n"  # thrown away with the session
            )
        self.dsn = f"postgresql://sluice:{password}@127.0.0.1:{self.port}/postgres"

    def _initdb(self, password: str) -> None:
        pwfile = self.folder / "pw"
        pwfile.write_text(password)
        pwfile.chmod(0o644)
        self._run(
            *["initdb", "-D", str(self._data), "-U", "sluice", "-A", "scram-sha-256", "--pwfile", str(pwfile)],
            *["-E", "UTF8", "--no-locale", "--no-sync"],
        )
        pwfile.unlink()

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            [str(self._bin / command[0]), *command[1:]],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "out").open("ab"),  # a file: the server inherits it and would hold a pipe open
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            check=False,
            **self.as_user,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {(self.folder / 'out').read_text(errors='replace')[-2000:]}")

    def give(self, folder: Path) -> None:
        """Makes the account that the server runs under the folder's owner."""
        if self.as_user:
            os.chown(folder, self.as_user["user"], self.as_user["group"])

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-t", "30", "-s", "-D", str(self._data), "-l", str(self._data / "log"))

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; mode `immediate` is a crash: nothing is flushed, no connection is told."""
        self._run("pg_ctl", "stop", "-w", "-t", "30", "-s", "-m", mode, "-D", str(self._data))

    def remove(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """A fresh database's DSN; dropped afterwards, whoever still is connected."""
        name = f"t_{secrets.token_hex(5)}"
        self._execute("CREATE DATABASE {} STRATEGY file_copy", name)
        try:
            yield urlunsplit(urlsplit(self.dsn)._replace(path=f"/{name}"))
        finally:
            self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _execute(self, statement: str, name: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


@contextlib.contextmanager
def running_server(binaries: Path | None = None) -> Iterator[PostgresServer]:
    server = PostgresServer(binaries)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's server, or the xdist worker's."""
    with running_server() as server:
        yield server


@pytest.fixture
def dsn(postgres: PostgresServer) -> Iterator[str]:
    """A fresh database of that server, for one test."""
    with postgres.database() as dsn:
        yield dsn
