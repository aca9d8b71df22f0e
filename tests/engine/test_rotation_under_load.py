"""A connected sender that never stops, and a stack that changes under it: nothing may be refused, delayed or lost.

Customer.io is simulated from its documentation (tests/customerio): one delivery at a time, 4 s, everything queued
behind a failed one, an hour's wait after a 401. The stack, the engine, the receiver and PostgreSQL are real.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from components.integration import Integration
from provider import endpoint, postgres
from provider.endpoint import Endpoint
from provider.resource import Context
from receiver import code
from receiver.registry import Registry
from tests.customerio import CustomerIO
from tests.customerio.sender import path_hash
from tests.support.killing import receiver_pid
from tests.support.stack import CUSTOMERIO, Stack, post
from tests.support.waiting import until

SCHEMA = "stitch_customerio"
RATE_PER_SECOND = 40
# In both event lists that the webhook has during the test, so that whatever is sent is asked for.
NAMES = ("email_sent", "email_delivered", "email_bounced", "push_sent")


@pytest.fixture
def cio() -> Iterator[CustomerIO]:
    with CustomerIO() as made:
        yield made


@pytest.fixture
def connected(stack: Stack, cio: CustomerIO) -> Iterator[Stack]:
    """The integration made anew, connected to this Customer.io; its end comes while this one is still there."""
    declare(stack, cio, primary=1)
    stack.pulumi(
        "config", "set", "--secret", "--path", f"sluice:credentials.{SCHEMA}.app_api_key", stdin=cio.key(), check=True
    )
    stack.up()
    yield stack
    cio.sender.stop()
    stack.declare(destroyData=True, drain=0)
    stack.pulumi("config", "rm", "sluice:credentials", check=True)
    stack.up()


def declare(
    stack: Stack, cio: CustomerIO, *, primary: int, active: str = "primary", events: object = "all", **config: Any
) -> None:
    """Writes the stack's config; its secrets, which the engine wrote there, stay."""
    integration = {**CUSTOMERIO, "connect": True, "tokens": {"primary": primary, "secondary": 1}}
    stack.declare(
        {**integration, "active": active, "events": events}, customerioApi=cio.api_url, destroyData=True, **config
    )


def restart_postgres(stack: Stack) -> None:
    postgres.stop(stack.home)
    time.sleep(0.5)
    postgres.ensure(stack.home, 0)


@pytest.mark.parametrize("rotations", [3, pytest.param(10, marks=pytest.mark.nightly)])
def test_rotations_and_every_other_change_lose_and_delay_nothing(
    connected: Stack, cio: CustomerIO, rotations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if rotations == 3:  # the long one has the real ones
        wait_less(monkeypatch)
    stack, retired = connected, []
    cio.sender.send_steadily(RATE_PER_SECOND, names=NAMES)
    for version in range(2, 2 + rotations):
        retired.append(stack.url())
        declare(stack, cio, primary=version)
        order = [(step.op, step.name.removeprefix(f"{SCHEMA}-")) for step in stack.up()]
        assert [step for step in order if step[0] != "replace"] == [
            ("create-replacement", "token-primary"),
            ("create-replacement", "endpoint-primary"),
            ("update", "webhook"),
            ("delete-replaced", "endpoint-primary"),
            ("delete-replaced", "token-primary"),
        ]
    declare(stack, cio, primary=version, active="secondary")
    stack.up()
    declare(stack, cio, primary=version, active="secondary", events=["email_*", "push_sent"])
    stack.up()
    before = receiver_pid(stack)
    monkeypatch.setattr(code, "digest", lambda: "another version")
    assert ("update", "receiver") in [(step.op, step.name) for step in stack.up()]
    assert receiver_pid(stack) != before
    restart_postgres(stack)
    time.sleep(1)
    cio.sender.stop()
    cio.sender.drain(30)

    sender = cio.sender
    assert cio.sender.troubles == [], sender.summary()
    used = {attempt.path_hash for attempt in sender.attempts}
    every_url = [*retired, stack.url(), stack.url(slot="secondary")]
    assert used == {path_hash(url) for url in every_url}, "each URL had its turn"
    expected = sorted(made.event_id for made in sender.made if made.taken_by)
    assert len(expected) > rotations * RATE_PER_SECOND
    until(lambda: len(loaded(stack)) >= len(expected), 30, what="every event is loaded")
    assert loaded(stack) == expected
    assert [post(url, b"{}") for url in retired] == [401] * rotations


def loaded(stack: Stack) -> list[str]:
    """Every row's event_id."""
    return sorted(event_id for (event_id,) in stack.sql(f"SELECT event_id FROM {SCHEMA}.data"))


def wait_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a sender on this machine, whose deliveries are never under way for long."""
    monkeypatch.setattr(endpoint, "UNDER_WAY_S", 1.0)
    monkeypatch.setattr(endpoint, "QUIET_S", 1.0)


def the_old_endpoint_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "delete_before_replace", True)


def the_webhook_does_not_wait_for_its_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes a second."""
    connect, put = Integration._connect, endpoint._put

    def put_late(*arguments: Any) -> None:
        time.sleep(1)
        put(*arguments)

    monkeypatch.setattr(Integration, "_connect", lambda self, connection, endpoints: connect(self, connection, []))
    monkeypatch.setattr(endpoint, "_put", put_late)


def the_webhook_is_moved_after_the_revocation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old endpoint ends within the step that makes the new one."""
    wait_until = endpoint._wait_until

    async def wait_and_revoke(context: Context, token_hash: str, *, live: bool) -> None:
        await wait_until(context, token_hash, live=live)
        if not live:
            return
        with Registry(context.home / "registry.db") as registry:
            new = registry.get_endpoint(token_hash)
            assert new is not None
            for other in registry.endpoints():
                if (other.schema, other.slot) == (new.schema, new.slot) and other.hash != new.hash:
                    registry.remove_endpoint(other.hash)
        await asyncio.sleep(1)

    monkeypatch.setattr(endpoint, "_wait_until", wait_and_revoke)


@pytest.mark.parametrize(
    "broken",
    [
        the_old_endpoint_goes_first,
        the_webhook_does_not_wait_for_its_endpoint,
        the_webhook_is_moved_after_the_revocation,
    ],
)
def test_control_a_rotation_in_the_wrong_order_is_noticed(
    connected: Stack, cio: CustomerIO, broken: Callable[[pytest.MonkeyPatch], None]
) -> None:
    cio.sender.send_steadily(RATE_PER_SECOND, names=NAMES)
    declare(connected, cio, primary=2, drain=1)
    with pytest.MonkeyPatch.context() as monkeypatch:
        wait_less(monkeypatch)
        broken(monkeypatch)
        # One of them makes the engine delete a dependent too, and the webhook's queue with it; an `up` may even fail.
        connected.pulumi("up", "--yes", "--skip-preview")
    cio.sender.stop()
    assert cio.sender.troubles != [], cio.sender.summary()
