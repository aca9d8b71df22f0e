"""The embedded PostgreSQL: made, found again, revived, refused, whatever was killed before."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from provider import postgres
from provider.resource import ResourceError
from tests.support.postgres import initdb_from_template

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run PostgreSQL under another account")


@pytest.fixture
def bare_home() -> Iterator[Path]:
    """A folder whose server is made by initdb."""
    with tempfile.TemporaryDirectory(prefix="sluice pg ") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - PostgreSQL's account must pass when we are root
        made = Path(folder) / ".sluice" / "dev"
        yield made
        postgres.stop(made)
        if made.exists():
            postgres.remove(made)


@pytest.fixture
def home(bare_home: Path) -> Iterator[Path]:
    """One whose server is a copy of what initdb made once."""
    with initdb_from_template():
        yield bare_home


def postmaster(server: postgres.Server) -> int:
    return int((server.data / "postmaster.pid").read_text().splitlines()[0])


def test_a_second_call_finds_the_running_server(home: Path) -> None:
    first = postgres.ensure(home, 0)
    pid = postmaster(first)
    assert postgres.ensure(home, 0) == first
    assert postmaster(first) == pid


def test_it_listens_on_loopback_alone_and_lets_nobody_in_without_the_password(bare_home: Path) -> None:
    server = postgres.ensure(bare_home, 0)
    addresses = {c.laddr.ip for c in psutil.Process(postmaster(server)).net_connections() if c.status == "LISTEN"}
    assert addresses == {"127.0.0.1"}
    for password in ("", "wrong"):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(f"postgresql://sluice:{password}@127.0.0.1:{server.port}/sluice", connect_timeout=3)
    with psycopg.connect(server.dsn) as connection:
        methods = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
    assert methods == [("scram-sha-256",)]


def test_what_was_stored_survives_a_kill_and_the_port_stays(home: Path) -> None:
    server = postgres.ensure(home, 0)
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(postmaster(server), signal.SIGKILL)
    assert postgres.ensure(home, 0) == server
    with psycopg.connect(server.dsn) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_a_pid_file_whose_pid_is_by_now_another_program_does_not_stop_the_start(home: Path) -> None:
    """As after a reboot. This test's own process plays the other program."""
    server = postgres.ensure(home, 0)
    pid_file = server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    postgres.stop(home)
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert not postgres.stop(home)
    assert postgres.answers(postgres.ensure(home, 0))


def test_a_killed_initialisation_leaves_nothing_to_clean(home: Path) -> None:
    (home / "postgres" / "data.new").mkdir(parents=True)
    (home / "postgres" / "data.new" / "half").write_text("made")
    assert postgres.answers(postgres.ensure(home, 0))


def test_a_wanted_port_that_is_taken_is_refused_and_a_free_one_taken(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ResourceError, match=f"port {port} .*is taken"):
            postgres.ensure(home, port)
    assert postgres.ensure(home, port).port == port


def test_changing_the_port_moves_the_server_with_its_data(home: Path) -> None:
    first = postgres.ensure(home, 0)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        other = probe.getsockname()[1]
    moved = postgres.ensure(home, other)
    assert (moved.port, moved.password) == (other, first.password)
    assert not postgres.answers(first)


def test_a_chosen_port_that_was_taken_meanwhile_is_replaced_by_another(home: Path) -> None:
    server = postgres.ensure(home, 0)
    postgres.stop(home)
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # somebody else has it already: taken all the same
            taken.bind(("127.0.0.1", server.port))
            taken.listen()
        again = postgres.ensure(home, 0)
    assert again.port != server.port
    assert again.password == server.password


def test_empty_means_no_schema_and_no_table_of_anybodys(home: Path) -> None:
    server = postgres.ensure(home, 0)
    assert postgres.is_empty(server)
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.theirs (id int)")
        assert not postgres.is_empty(server)
        connection.execute("DROP TABLE public.theirs; CREATE SCHEMA empty_one")
        assert not postgres.is_empty(server)
        connection.execute("DROP SCHEMA empty_one")
        connection.execute("CREATE DATABASE analytics")
    assert not postgres.is_empty(server)


def kept(server: postgres.Server) -> list[tuple[int]]:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        return connection.execute("SELECT answer FROM kept").fetchall()


@pytest.fixture
def filled(home: Path) -> postgres.Server:
    server = postgres.ensure(home, 0)
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer; CHECKPOINT")
    return server


def test_a_copied_folder_has_a_server_of_its_own(home: Path, filled: postgres.Server) -> None:
    """Copied while the first one runs, its pid file too."""
    copy = home.parent.parent / "copy" / ".sluice" / "dev"
    copy.parent.mkdir(parents=True)
    subprocess.run(["cp", "-Rp", home, copy], check=True)
    recorded = postgres.recorded(copy)
    assert recorded is not None
    assert not postgres.answers(recorded), "the one that answers there is the first one's"
    assert not postgres.stop(copy)
    try:
        second = postgres.ensure(copy, 0)
        assert (second.folder, second.port) != (filled.folder, filled.port)
        assert kept(second) == [(42,)]
        with psycopg.connect(second.dsn, autocommit=True) as connection:
            connection.execute("DROP TABLE kept")
    finally:
        postgres.stop(copy)
    assert kept(filled) == [(42,)]


def test_a_moved_folder_keeps_its_data(home: Path, filled: postgres.Server) -> None:
    postgres.stop(home)
    moved = home.parent / "moved"
    home.rename(moved)
    try:
        assert kept(postgres.ensure(moved, 0)) == [(42,)]
        assert not home.exists()
    finally:
        postgres.stop(moved)
        moved.rename(home)


def test_one_that_is_slow_to_answer_is_waited_for(home: Path, filled: postgres.Server) -> None:
    pid = postmaster(filled)
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(4, os.kill, (pid, signal.SIGCONT)).start()
    assert postgres.ensure(home, 0) == filled
    assert postmaster(filled) == pid


def test_a_wanted_port_that_is_taken_leaves_the_running_server_alone(home: Path, filled: postgres.Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ResourceError, match="is taken"):
            postgres.ensure(home, taken.getsockname()[1])
    assert kept(filled) == [(42,)]


def test_data_that_is_gone_is_made_anew_as_another_warehouse(home: Path, filled: postgres.Server) -> None:
    postgres.stop(home)
    shutil.rmtree(filled.data)
    assert postgres.ensure(home, 0).dsn != filled.dsn


def test_data_whose_password_is_lost_is_left_alone(home: Path, filled: postgres.Server) -> None:
    note = (home / "postgres.json").read_text()
    (home / "postgres.json").unlink()
    with pytest.raises(ResourceError, match="put it back"):
        postgres.ensure(home, 0)
    (home / "postgres.json").write_text(note)
    assert kept(postgres.ensure(home, 0)) == [(42,)]


def test_psqls_settings_of_a_shell_do_not_reach_sluices_own_connections(
    home: Path, filled: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", "require")
    assert not postgres.answers(filled), "the control: it would reach them"
    postgres.forget_psqls_settings()
    assert postgres.answers(filled)


@AS_ROOT
def test_a_wheel_installed_under_a_closed_umask_is_copied_for_the_account_to_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "package"
    (package / "pginstall1" / "bin").mkdir(parents=True)
    program, data = package / "pginstall1" / "bin" / "postgres", package / "pginstall1" / "data"
    program.touch(mode=0o700)
    data.touch(mode=0o600)
    for folder in (package, package / "pginstall1", program.parent):
        folder.chmod(0o700)
    place = tmp_path / "place"
    monkeypatch.setattr(postgres, "ROOTS_PLACE", place)
    monkeypatch.setattr(postgres, "_wheel", lambda: package / "pginstall1")
    monkeypatch.setattr(postgres, "version", lambda: "1")
    monkeypatch.setattr(postgres, "_reaches", lambda account, path: False)
    binaries = postgres._binaries(postgres._account())
    modes = {path.name: path.stat().st_mode & 0o777 for path in (binaries, binaries / "postgres", binaries / "../data")}
    assert modes == {"bin": 0o755, "postgres": 0o755, "data": 0o644}


@AS_ROOT
def test_a_checkout_that_only_root_may_enter_gets_data_and_binaries_that_postgresql_reaches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The virtual environment lies in the checkout, but not in this test's: that one is said to be out of reach."""
    reaches = postgres._reaches
    monkeypatch.setattr(
        postgres, "_reaches", lambda account, path: ".venv" not in path.parts and reaches(account, path)
    )
    with tempfile.TemporaryDirectory(prefix="sluice-place-") as place, tempfile.TemporaryDirectory() as folder:
        os.chmod(place, 0o755)  # noqa: PTH101, S103
        monkeypatch.setattr(postgres, "ROOTS_PLACE", Path(place))
        home = Path(folder) / "clone" / ".sluice" / "dev"  # below a folder of mode 0700
        try:
            server = postgres.ensure(home, 0)
            assert postgres.answers(server)
            assert Path(server.folder).is_relative_to(place)
            assert psutil.Process(postmaster(server)).exe().startswith(place)
        finally:
            postgres.stop(home)
            postgres.remove(home)
        assert not Path(server.folder).exists()


@AS_ROOT
def test_a_full_disk_is_named_when_the_server_is_made_and_when_it_is_started() -> None:
    with tempfile.TemporaryDirectory(prefix="sluice-full-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", folder], check=False).returncode:
            pytest.skip("no file system may be mounted here")
        home, filler = Path(folder) / ".sluice" / "dev", Path(folder) / "filler"
        try:
            fill(filler, 40)
            with pytest.raises(ResourceError, match="initdb failed: the disk is full"):
                postgres.ensure(home, 0)
            filler.unlink()
            postgres.ensure(home, 0)
            postgres.stop(home)
            fill(filler, 60)
            with pytest.raises(ResourceError, match="PostgreSQL didn't start: the disk is full"):
                postgres.ensure(home, 0)
            filler.unlink()
            assert postgres.answers(postgres.ensure(home, 0))
        finally:
            postgres.stop(home)
            subprocess.run(["umount", folder], check=True)


def fill(path: Path, megabytes: int) -> None:
    """Writes that much, or until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        for _ in range(megabytes * 256):
            file.write(b"x" * 4096)


@AS_ROOT
def test_root_runs_it_under_a_named_account(home: Path) -> None:
    server = postgres.ensure(home, 0)
    assert psutil.Process(postmaster(server)).username() in postgres.ACCOUNTS


def test_its_password_is_in_private_files_alone(home: Path) -> None:
    server = postgres.ensure(home, 0)
    time.sleep(0.1)
    holding = [path for path in home.rglob("*") if path.is_file() and server.password.encode() in path.read_bytes()]
    assert [path.name for path in holding] == ["postgres.json"]
    assert holding[0].stat().st_mode & 0o077 == 0
    assert json.loads(holding[0].read_text())["port"] == server.port
    assert not any(
        server.password in " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
    )
