"""What a killed `up` leaves, in state folders made for the test."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from receiver.registry import EndpointEntry, Registry
from tools import interrupted


def lock(state: Path, stack: str = "dev", **changed: Any) -> Path:
    folder = state / ".pulumi" / "locks" / "organization" / "sluice" / stack
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{len(list(folder.iterdir()))}.json"
    now = datetime.now(UTC).isoformat().replace("+00:00", "") + "789Z"  # nanoseconds, as Go writes them
    content = {"pid": os.getpid(), "username": "me", "hostname": socket.gethostname(), "timestamp": now}
    file.write_text(json.dumps(content | changed))
    file.with_name(file.name + ".attrs").write_text("{}")
    return file


@pytest.fixture
def dead() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def wait_for_zombie(pid: int) -> None:
    """Until the killed process is dead; its parent, this process, hasn't asked for it yet."""
    deadline = time.monotonic() + 10
    while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"{pid} is still alive"
        time.sleep(0.01)


def stale(state: Path) -> list[Path]:
    return [lock for lock, holder in interrupted.locks(state, "sluice", "dev").items() if holder is None]


def holders(state: Path) -> list[str | None]:
    return [*interrupted.locks(state, "sluice", "dev").values()]


def test_the_lock_of_a_dead_process_is_stale(tmp_path: Path, dead: int) -> None:
    assert stale(tmp_path) == []
    left = lock(tmp_path, pid=dead)
    assert stale(tmp_path) == [left]


def test_the_lock_of_a_running_pulumi_stays_and_its_process_is_named(tmp_path: Path) -> None:
    lock(tmp_path)
    assert holders(tmp_path) == [f"pid {os.getpid()}"]


def test_a_pid_that_another_process_got_after_a_reboot_does_not_keep_the_lock(tmp_path: Path) -> None:
    before = datetime.now(UTC) - timedelta(days=30)
    left = lock(tmp_path, timestamp=before.isoformat())
    assert stale(tmp_path) == [left]


def test_a_lock_from_another_host_is_not_ours_to_judge(tmp_path: Path, dead: int) -> None:
    lock(tmp_path, pid=dead, hostname="another.example")
    assert holders(tmp_path) == [f"pid {dead} on another.example"]


def test_a_lock_of_another_stack_is_left_alone(tmp_path: Path, dead: int) -> None:
    lock(tmp_path, stack="prod", pid=dead)
    assert stale(tmp_path) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": "x", "hostname": "", "timestamp": ""}'])
def test_a_lock_that_is_none_as_we_know_it_stays(tmp_path: Path, content: str) -> None:
    left = lock(tmp_path)
    left.write_text(content)
    assert holders(tmp_path) == [f"somebody whose lock can't be read, {left}"]


def test_a_process_killed_while_holding_the_lock_frees_it(tmp_path: Path) -> None:
    """The control of the tests above: the same lock, before and after."""
    process = subprocess.Popen(["sleep", "60"])
    left = lock(tmp_path, pid=process.pid)
    assert stale(tmp_path) == []
    process.kill()
    wait_for_zombie(process.pid)
    assert stale(tmp_path) == [left]
    process.wait()
    assert stale(tmp_path) == [left]


def state(tmp_path: Path, latest: dict[str, Any] | None) -> Path:
    folder = tmp_path / ".pulumi" / "stacks" / "sluice"
    folder.mkdir(parents=True)
    (folder / "dev.json").write_text(json.dumps({"version": 3, "checkpoint": {"stack": "dev", "latest": latest}}))
    return tmp_path


OPERATION = {
    "resource": {"urn": "urn:pulumi:dev::sluice::sluice:index:Endpoint::stitch_customerio-endpoint-primary"},
    "type": "creating",
}


def test_pending_operations_are_named(tmp_path: Path) -> None:
    found = interrupted.pending(state(tmp_path, {"resources": [], "pending_operations": [OPERATION]}), "sluice", "dev")
    assert found == ["creating stitch_customerio-endpoint-primary"]


@pytest.mark.parametrize("latest", [None, {}, {"resources": []}, {"pending_operations": None}])
def test_a_state_without_pending_operations_has_none(tmp_path: Path, latest: dict[str, Any] | None) -> None:
    assert interrupted.pending(state(tmp_path, latest), "sluice", "dev") == []
    assert interrupted.pending(tmp_path, "sluice", "never-made") == []


def its(hash: str) -> dict[str, str]:
    """An endpoint's inputs in a state."""
    return {"hash": hash, "schema": "s", "slot": "primary"}


def test_a_url_that_the_state_does_not_know_is_noted_then_revoked_and_the_others_stay(tmp_path: Path) -> None:
    made, pending = "a" * 64, "b" * 64
    with Registry(tmp_path / "registry.db") as registry:
        for hash in (made, pending):
            registry.put_endpoint(EndpointEntry(hash, "s", "primary", "customerio", False, ()))
    endpoint: dict[str, Any] = {"type": "sluice:index:Endpoint", "inputs": its(made), "delete": True}
    resources = [endpoint, {"type": "other"}]
    strays = interrupted.strays(tmp_path, resources)
    assert [stray.hash for stray in strays] == [pending]
    with Registry(tmp_path / "registry.db") as registry:
        assert {endpoint.hash: endpoint.stray for endpoint in registry.endpoints()} == {made: False, pending: True}
    interrupted.revoke(tmp_path, strays)
    with Registry(tmp_path / "registry.db") as registry:
        assert [endpoint.hash for endpoint in registry.endpoints()] == [made]
    assert interrupted.strays(tmp_path, resources) == []


def test_a_stray_that_the_state_knows_again_is_none(tmp_path: Path) -> None:
    with Registry(tmp_path / "registry.db") as registry:
        registry.put_endpoint(EndpointEntry("a" * 64, "s", "primary", "customerio", False, ()))
    assert len(interrupted.strays(tmp_path, [])) == 1
    assert interrupted.strays(tmp_path, [{"type": "sluice:index:Endpoint", "inputs": its("a" * 64)}]) == []
    with Registry(tmp_path / "registry.db") as registry:
        assert [endpoint.stray for endpoint in registry.endpoints()] == [False]


def test_without_a_registry_there_is_no_stray_and_none_is_made(tmp_path: Path) -> None:
    assert interrupted.strays(tmp_path, []) == []
    interrupted.revoke(tmp_path, [])
    assert not list(tmp_path.iterdir())


def test_clearing_takes_only_the_pending_operations_away() -> None:
    deployment = {"manifest": {}, "resources": [{"urn": "a", "outputs": {"secret": "v1:…"}}]}
    exported = {"version": 3, "deployment": {**deployment, "pending_operations": [OPERATION]}}
    assert interrupted.without_pending(exported) == {"version": 3, "deployment": deployment}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts something called pulumi-language-python: from a `pulumi` that stays its parent, or without one."""
    started: list[subprocess.Popen[bytes]] = []
    sleep = shutil.which("sleep")
    assert sleep
    shutil.copy(sleep, tmp_path / "pulumi-language-python")
    shell = shutil.which("bash") or shutil.which("sh")
    assert shell
    shutil.copy(shell, tmp_path / "pulumi")

    def start(*, with_engine: bool, cwd: Path) -> subprocess.Popen[bytes]:
        own = str(tmp_path / "pulumi-language-python")
        command = [str(tmp_path / "pulumi"), "-c", f"'{own}' 60; true"] if with_engine else [own, "60"]
        started.append(subprocess.Popen(command, cwd=cwd, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_language_host_whose_engine_was_killed_is_found(host: Any, tmp_path: Path) -> None:
    root, other = tmp_path / "a clone", tmp_path / "another"
    root.mkdir()
    other.mkdir()
    working = host(with_engine=True, cwd=root)
    host(with_engine=False, cwd=other)
    while not psutil.Process(working.pid).children():
        time.sleep(0.01)
    assert interrupted.orphaned_language_hosts(root) == []
    working.kill()
    working.wait()
    assert [found.cwd() for found in interrupted.orphaned_language_hosts(root)] == [str(root)]
