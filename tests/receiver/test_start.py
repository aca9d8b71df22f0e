"""How a receiver starts and stops, and what it says when it can't."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from receiver import code
from receiver.control import ReceiverDown, ask_sync, socket_path
from tests.receiver import running
from tests.receiver.running import ROOT, Running, event, register, spooled, start
from tests.support.waiting import until


def failed_start(home: Path, *args: str) -> tuple[int, str]:
    """Exit status and output of a receiver that isn't expected to serve."""
    process = subprocess.run(
        [sys.executable, "-m", "receiver", "--home", os.fspath(home), *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return process.returncode, process.stdout + process.stderr


def test_receiver_json_says_who_serves_where(home: Path, receiver: Running) -> None:
    facts = json.loads((home / "receiver.json").read_text())
    process = psutil.Process(receiver.process.pid)
    assert facts["pid"] == process.pid
    assert facts["start_time"] == pytest.approx(process.create_time())
    assert facts["code"] == code.digest() == ask_sync(home, "ping")["code"]
    assert facts["control"] == os.fspath(socket_path(home))
    assert (facts["host"], facts["port"]) == ("127.0.0.1", receiver.port)


def test_what_it_makes_is_its_owner_s_alone(home: Path, receiver: Running) -> None:
    path = register(home)
    until(lambda: receiver.post(path, event("e")).status == 200)
    made = [file for file in home.iterdir() if file.name not in ("registry.db", "registry.db-wal", "registry.db-shm")]
    assert {"spool.db", "spool.db-wal", "receiver.json", "receiver.log"} <= {file.name for file in made}
    for file in [*home.iterdir(), socket_path(home), socket_path(home).parent]:
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_a_stop_finishes_what_is_in_flight_and_leaves_nothing_behind(home: Path, receiver: Running) -> None:
    path = register(home)
    ask_sync(home, "reload")
    family = [receiver.process.pid, until(lambda: ask_sync(home, "status")["loader"]["pid"])]
    body = event("last")
    connection = receiver.raw(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    time.sleep(0.1)
    assert ask_sync(home, "stop") == {"stopping": receiver.process.pid}
    time.sleep(1.5)
    connection.sendall(body)
    assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    assert receiver.process.wait(30) == 0
    assert [row.event_id for row in spooled(home)] == ["last"]
    assert not any(psutil.pid_exists(pid) for pid in family)
    assert not (home / "receiver.json").exists()
    assert not socket_path(home).exists()
    with pytest.raises(ReceiverDown):
        ask_sync(home, "ping")


def test_sigterm_stops_it(receiver: Running) -> None:
    assert receiver.stop() == 0


def test_a_start_while_the_last_one_is_still_stopping_waits_for_it(home: Path, receiver: Running) -> None:
    path = register(home)
    ask_sync(home, "stop")
    with running.ended(start(home, port=receiver.port)) as again:
        assert receiver.process.wait(30) == 0
        assert again.post(path, event("again")).status == 200
        assert ask_sync(home, "ping")["pid"] == again.process.pid
        assert json.loads((home / "receiver.json").read_text())["pid"] == again.process.pid


def test_after_a_kill_a_plain_start_serves_on_the_same_port_at_once(home: Path, receiver: Running) -> None:
    path = register(home)
    until(lambda: receiver.post(path, event("before")).status == 200)
    lingering = receiver.raw(b"POST / HTTP/1.1\r\n")
    receiver.kill()
    with running.ended(start(home, port=receiver.port)) as again:
        assert again.post(path, event("after")).status == 200
    lingering.close()
    assert [row.event_id for row in spooled(home)] == ["before", "after"]


def test_a_loader_that_dies_is_started_again(home: Path, receiver: Running) -> None:
    first = until(lambda: ask_sync(home, "status")["loader"]["pid"])
    psutil.Process(first).kill()
    assert until(lambda: ask_sync(home, "status")["loader"]["starts"] == 2)
    assert ask_sync(home, "status")["loader"]["pid"] not in (first, None)


def test_a_loader_does_not_outlive_a_killed_receiver(home: Path, receiver: Running) -> None:
    loader = psutil.Process(until(lambda: ask_sync(home, "status")["loader"]["pid"]))
    receiver.kill()
    until(lambda: not loader.is_running() or loader.status() == psutil.STATUS_ZOMBIE)


def test_a_taken_port_is_one_clear_line(home: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # granian's own way of listening
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        status, said = failed_start(home, "--port", str(port))
    name = psutil.Process().name()
    assert (status, said) == (
        3,
        f"port {port} is taken by another process (pid {os.getpid()}, {name});"
        " set sluice:port in Pulumi.dev.yaml to a free one\n",
    )
    assert not (home / "receiver.json").exists()


def test_a_port_taken_on_every_address_is_taken(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))  # noqa: S104 (closed a moment later)
        other.listen()
        status, said = failed_start(home, "--port", str(other.getsockname()[1]))
    assert (status, said.count("\n")) == (3, 1)


def test_two_stacks_never_share_a_port(receiver: Running, tmp_path: Path) -> None:
    other = tmp_path / "other"
    status, said = failed_start(other, "--port", str(receiver.port))
    assert status == 3
    assert said == (
        f"port {receiver.port} is taken by another process (pid {receiver.process.pid}, the receiver of"
        f" {receiver.home}); set sluice:port in Pulumi.other.yaml to a free one\n"
    )


def test_an_address_that_is_not_ours_is_one_clear_line(home: Path) -> None:
    status, said = failed_start(home, "--port", "0", "--host", "203.0.113.7")
    assert (status, said) == (3, "can't listen on 203.0.113.7: Cannot assign requested address\n")


def test_a_broken_registry_is_one_clear_line(home: Path) -> None:
    (home / "registry.db").write_bytes(b"not a database, but long enough to be looked at as one " * 50)
    status, said = failed_start(home, "--port", "0")
    assert status == 3
    assert said == f"can't open the registry and the spool in {home}: file is not a database\n"


def test_it_starts_before_there_is_any_registry(home: Path, receiver: Running) -> None:
    assert receiver.post("/v1/a/b", b"{}").status == 401


def test_a_folder_with_spaces_and_a_long_path(tmp_path: Path) -> None:
    home = tmp_path / ("a long folder with spaces " * 5) / "dev"
    home.mkdir(parents=True)
    with running.ended(start(home, server="quick")) as receiver:
        assert ask_sync(home, "ping")["pid"] == receiver.process.pid
        assert receiver.stop() == 0
