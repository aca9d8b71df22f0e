"""The resource `Endpoint` with a real receiver: when an old URL goes."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provider import endpoint
from provider.endpoint import Endpoint
from provider.resource import Context
from receiver.registry import Registry
from tests.receiver import running
from tests.receiver.running import Running, event, hash_of, register
from tests.support.waiting import until


@pytest.fixture
def context(tmp_path: Path) -> Context:
    async def say(message: str, warning: bool) -> None:
        return None

    made = Context(tmp_path, "sluice", "dev", {}, say)
    made.home.mkdir(parents=True)
    return made


@pytest.fixture
def receiver(context: Context) -> Iterator[Running]:
    with running.ended(running.start(context.home)) as started:
        yield started


def delete(context: Context, path: str, **state: Any) -> None:
    whole = {"schema": running.SCHEMA, "slot": "primary", "version": 1, "hash": hash_of(path), **state}
    asyncio.run(Endpoint().delete(context, whole))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """When the URL was last used, each time that a drain asked the receiver for it."""
    seen: list[float | None] = []
    drain = endpoint._drain

    async def watched(*arguments: Any) -> tuple[int, bool]:
        ask = endpoint._ask

        async def asked(context: Context, token_hash: str) -> dict[str, Any] | None:
            answer = await ask(context, token_hash)
            seen.append(answer["last_used"] if answer else None)
            return answer

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(endpoint, "_ask", asked)
            return await drain(*arguments)

    monkeypatch.setattr(endpoint, "_drain", watched)
    return seen


def test_what_was_under_way_when_the_sender_was_moved_is_still_taken(
    context: Context, receiver: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = register(context.home)
    until(lambda: receiver.post(path, event("long ago")).status == 200)
    monkeypatch.setattr(endpoint, "QUIET_S", 0.2)  # as if the URL had been idle for long
    time.sleep(0.3)
    late: list[int] = []
    sender = threading.Timer(1.5, lambda: late.append(receiver.post(path, event("under way")).status))
    sender.start()
    delete(context, path, connected=True, active=True)
    sender.join()
    assert late == [200]
    assert receiver.post(path, event("afterwards")).status == 401


@pytest.mark.parametrize("state", [{"connected": False, "active": True}, {"connected": True, "active": False}])
def test_an_idle_url_that_no_sender_was_moved_from_goes_at_once(
    context: Context, receiver: Running, looks: list[float | None], state: dict[str, bool]
) -> None:
    delete(context, register(context.home), **state)
    assert looks == [None]


def test_a_leaked_one_goes_at_once_whoever_uses_it(
    context: Context, receiver: Running, looks: list[float | None]
) -> None:
    path = register(context.home)
    until(lambda: receiver.post(path, event("by a stranger")).status == 200)
    context.config["drain"] = "0"  # type: ignore[index]
    delete(context, path, connected=True, active=True)
    assert len(looks) == 1
    assert receiver.post(path, event("afterwards")).status == 401


def test_one_in_use_is_looked_at_until_it_is_quiet(
    context: Context, receiver: Running, looks: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "QUIET_S", 0.5)
    path = register(context.home)
    until(lambda: receiver.post(path, event("just now")).status == 200)
    delete(context, path)
    assert len(looks) > 1


def test_a_look_at_an_endpoint_makes_no_registry(context: Context) -> None:
    state = {"hash": "a" * 64, "state": "live"}
    assert asyncio.run(Endpoint().drift(context, state)) == {"state"}
    assert list(context.home.iterdir()) == []


def test_a_deleted_registry_row_shows_in_refresh_and_an_update_makes_the_url_live_again(
    context: Context, receiver: Running
) -> None:
    path = register(context.home)
    inputs = {"schema": running.SCHEMA, "slot": "primary", "version": 1, "hash": hash_of(path), "source": "customerio"}
    state = asyncio.run(Endpoint().update(context, {}, inputs))
    assert asyncio.run(Endpoint().drift(context, state)) == set()
    with Registry(context.home / "registry.db") as registry:
        registry.remove_endpoint(hash_of(path))
    until(lambda: receiver.post(path, event("lost")).status == 401, what="the receiver follows")
    assert asyncio.run(Endpoint().drift(context, state)) == {"state"}
    assert asyncio.run(Endpoint().read(context, state)) == {**state, "state": "missing"}
    asyncio.run(Endpoint().update(context, state, inputs))
    assert receiver.post(path, event("found")).status == 200
    assert asyncio.run(Endpoint().drift(context, state)) == set()


def test_the_registry_has_it_until_then(context: Context) -> None:
    path = register(context.home)
    with Registry(context.home / "registry.db") as registry:
        assert registry.get_endpoint(hash_of(path)) is not None
    delete(context, path)
    with Registry(context.home / "registry.db") as registry:
        assert registry.get_endpoint(hash_of(path)) is None
