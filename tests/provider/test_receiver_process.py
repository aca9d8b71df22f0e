"""The resource `Receiver` and its process: what a plain `up` finds out and puts right, and what it leaves alone."""

import asyncio
import contextlib
import functools
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provider import receiver_process
from provider.receiver_process import Receiver
from provider.resource import Context, ResourceError
from receiver import control
from receiver.control import socket_path
from receiver.registry import Registry
from tests.receiver.running import register
from tests.support.postgres import free_port
from tests.support.stack import event, post
from tests.support.waiting import until


@contextlib.contextmanager
def context_in(root: Path) -> Iterator[Context]:
    async def say(message: str, warning: bool) -> None:
        return None

    made = Context(root, "sluice", "dev", {}, say)
    try:
        yield made
    finally:
        receiver_process.stop(made.home)
        socket_path(made.home).unlink(missing_ok=True)


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with context_in(tmp_path) as made:
        yield made


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def up(context: Context, **inputs: Any) -> dict[str, Any]:
    given = {
        "host": "127.0.0.1",
        "adminHost": "127.0.0.1",
        "adminPort": 0,
        "warehouseDsn": "postgresql://x",
        "spoolMaxBytes": 2**30,
        "keepFreeBytes": 0,
    }
    checked = asyncio.run(Receiver().check(context, {**given, **inputs}))
    return asyncio.run(Receiver().update(context, {}, checked))


def drift(context: Context, state: dict[str, Any]) -> set[str]:
    return asyncio.run(Receiver().drift(context, state))


def pid(context: Context) -> int | None:
    running = receiver_process.answers(context.home)
    return running["pid"] if running else None


def test_a_status_page_that_is_opened_to_others_is_warned_of_once(tmp_path: Path) -> None:
    said = []

    async def say(message: str, warning: bool) -> None:
        said.append((message[:27], warning))

    def remark(state: dict[str, Any], inputs: dict[str, Any]) -> list[tuple[str, bool]]:
        said.clear()
        asyncio.run(Receiver().remark(Context(tmp_path, "sluice", "dev", {}, say), state, inputs))
        return said

    opened = {"adminHost": "10.1.2.3", "adminPort": 8788}
    closed = {"adminHost": "127.0.0.1", "adminPort": 8788}
    none = {"adminHost": "10.1.2.3", "adminPort": 0}
    warning = [("the status page at 10.1.2.3", True)]
    assert remark({}, opened) == remark(closed, opened) == remark(none, opened) == warning
    assert remark(opened, {**opened, "port": 1}) == remark({}, closed) == remark(opened, closed) == []
    assert remark({}, none) == []


def test_a_port_that_is_taken_leaves_the_running_receiver_where_it_is(context: Context) -> None:
    state = up(context, port=free_port())
    before = pid(context)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ResourceError, match="is taken"):
            up(context, port=taken.getsockname()[1])
    assert pid(context) == before
    assert drift(context, state) == set()


def test_a_second_clone_never_shares_a_port_with_the_first(context: Context, tmp_path: Path) -> None:
    first, others = free_port(), free_port()
    up(context, port=first)
    before = pid(context)
    with context_in(tmp_path / "second clone") as second:
        with pytest.raises(ResourceError, match=f"port {first} is taken"):
            up(second, port=first)
        assert (pid(context), pid(second)) == (before, None)
        path = register(second.home)
        up(second, port=others)
        assert post(f"http://127.0.0.1:{others}{path}", event("for the second")) == 200
        assert post(f"http://127.0.0.1:{first}{path}", event("for the second")) == 401


def test_another_port_is_another_process_and_the_old_one_goes(context: Context) -> None:
    up(context, port=free_port())
    before = pid(context)
    state = up(context, port=free_port())
    assert before != pid(context) is not None
    assert drift(context, state) == set()
    with socket.socket() as old:
        recorded = receiver_process.recorded(context.home)
        assert recorded is not None
        assert recorded["pid"] != before
        assert old.connect_ex(("127.0.0.1", state["port"])) == 0


@pytest.mark.parametrize("how", ["hung", "without its socket"])
def test_one_that_does_not_answer_is_stopped_too(context: Context, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_process, "STOP_PATIENCE_S", 1.0)
    state = up(context, port=free_port())
    before = pid(context)
    assert before is not None
    if how == "hung":
        monkeypatch.setattr(control, "ask_sync", functools.partial(control.ask_sync, timeout=1.0))
        os.kill(before, signal.SIGSTOP)
    else:
        socket_path(context.home).unlink()
    assert receiver_process.stop(context.home)
    until(lambda: refuses(state["port"]))  # of a killed process, some threads may take a moment longer


def test_what_the_registry_lost_shows_and_an_update_puts_it_there_again(context: Context) -> None:
    state = up(context, port=free_port())
    for file in context.home.glob("registry.db*"):
        file.unlink()
    assert drift(context, state) == {"adminHost", "adminPort", "warehouseDsn", "spoolMaxBytes", "keepFreeBytes"}
    assert not list(context.home.glob("registry.db*")), "a look makes nothing"
    (context.home / "registry.db").touch()  # as a killed update leaves it
    assert drift(context, state) == {"adminHost", "adminPort", "warehouseDsn", "spoolMaxBytes", "keepFreeBytes"}
    up(context, port=state["port"])
    assert drift(context, state) == set()
    with Registry(context.home / "registry.db") as registry:
        assert registry.setting("warehouse_dsn") == "postgresql://x"


def test_a_preview_shows_the_address_that_an_update_will_give_it() -> None:
    state = {"port": 1, "url": "http://127.0.0.1:1"}
    assert Receiver().foresee(state, {"port": 2})["url"] == "http://127.0.0.1:2"
    assert Receiver().foresee(state, {"port": 1, "publicUrl": "https://a.example/"})["url"] == "https://a.example"


def test_the_daemon_gets_no_password_of_the_shell_that_started_it(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PULUMI_CONFIG_PASSPHRASE", "SLUICE_WAREHOUSE_DSN"):
        monkeypatch.setenv(name, "a-password")
    assert "a-password" not in receiver_process._environment().values()
