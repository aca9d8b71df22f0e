"""A connected sender that never stops, and a stack that changes under it: nothing may be refused, delayed or lost.

Customer.io is simulated from its documentation (tests/customerio): one delivery at a time, 4 s, everything queued
behind a failed one, an hour's wait after a 401. The stack, the engine, the receiver and PostgreSQL are real.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provider import daemons, postgres, receiver_process
from tests.customerio import CustomerIO
from tests.customerio.sender import path_hash
from tests.support.stack import CUSTOMERIO, Stack, post

SCHEMA = "stitch_customerio"
ROTATIONS = 10
RATE_PER_SECOND = 40
# In both event lists that the webhook has during the test, so that whatever is sent is asked for.
NAMES = ("email_sent", "email_delivered", "email_bounced", "push_sent")


@pytest.fixture
def cio() -> Iterator[CustomerIO]:
    with CustomerIO() as made:
        yield made


@pytest.fixture
def connected(tmp_path: Path, cio: CustomerIO) -> Iterator[Stack]:
    """A stack of its own for each test, since the controls break theirs."""
    stack = Stack.clone(tmp_path / "clone", os.environ)
    os.chmod(tmp_path, 0o755)  # noqa: PTH101, S103 - PostgreSQL's account must pass when we are root
    declare(stack, cio, primary=1)
    stack.pulumi(
        "config", "set", "--secret", "--path", f"sluice:credentials.{SCHEMA}.app_api_key", stdin=cio.key(), check=True
    )
    stack.up()
    yield stack
    daemons.stop_all(stack.home)
    postgres.remove(stack.home)


def declare(stack: Stack, cio: CustomerIO, *, primary: int, active: str = "primary", events: object = "all") -> None:
    """Writes the stack's config; its secrets, which the engine wrote there, stay."""
    integration = {**CUSTOMERIO, "connect": True, "tokens": {"primary": primary, "secondary": 1}}
    stack.declare({**integration, "active": active, "events": events}, customerioApi=cio.api_url)


def restart_postgres(stack: Stack) -> None:
    postgres.stop(stack.home)
    time.sleep(0.5)
    postgres.ensure(stack.home, 0)


def test_ten_rotations_and_every_other_change_lose_and_delay_nothing(connected: Stack, cio: CustomerIO) -> None:
    stack, retired = connected, []
    cio.sender.send_steadily(RATE_PER_SECOND, names=NAMES)
    for version in range(2, 2 + ROTATIONS):
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
    before = pid_of_receiver(stack)
    code = stack.root / "receiver" / "event.py"
    code.write_text(code.read_text() + "\n# another version\n")
    assert ("update", "receiver") in [(step.op, step.name) for step in stack.up()]
    assert pid_of_receiver(stack) != before
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
    assert len(expected) > ROTATIONS * RATE_PER_SECOND
    assert loaded(stack, len(expected)) == expected
    assert [post(url, b"{}") for url in retired] == [401] * ROTATIONS


def pid_of_receiver(stack: Stack) -> int:
    running = receiver_process.answers(stack.home)
    assert running is not None
    return int(running["pid"])


def loaded(stack: Stack, count: int) -> list[str]:
    """Every row's event_id, as soon as there are `count`."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        rows = [event_id for (event_id,) in stack.sql(f"SELECT event_id FROM {SCHEMA}.data ORDER BY event_id")]
        if len(rows) >= count:
            return sorted(rows)
        time.sleep(0.2)
    return sorted(rows)


LATE = "        await asyncio.to_thread(_put, context, entry)\n"
REVOKING = """\
        await _wait_until(context, entry.hash, live=True)
        with Registry(context.home / "registry.db") as registry:
            for other in registry.endpoints():
                if (other.schema, other.slot) == (entry.schema, entry.slot) and other.hash != entry.hash:
                    registry.remove_endpoint(other.hash)
        await asyncio.sleep(1)
"""
# By what it breaks: edits of the clone's code, as (file, text, other text).
CONTROLS: dict[str, list[tuple[str, str, str]]] = {
    "the old endpoint goes before the new one is made": [
        (
            "provider/plugin.py",
            "delete_before_replace=False",
            'delete_before_replace=request.urn.split("::")[-2].endswith(":Endpoint")',
        ),
    ],
    "the webhook does not wait for its endpoint, which takes a second": [
        ("components/integration.py", "depends_on=endpoints", "depends_on=[]"),
        ("provider/endpoint.py", LATE, "        await asyncio.sleep(1)\n" + LATE),
    ],
    "the webhook is moved after the revocation": [
        ("provider/endpoint.py", "        await _wait_until(context, entry.hash, live=True)\n", REVOKING),
    ],
}


@pytest.mark.parametrize("broken", CONTROLS)
def test_control_a_rotation_in_the_wrong_order_is_noticed(connected: Stack, cio: CustomerIO, broken: str) -> None:
    for file, right, wrong in CONTROLS[broken]:
        path = connected.root / file
        code = path.read_text()
        assert code.count(right) == 1, f"{file} has changed: this control needs another edit"
        path.write_text(code.replace(right, wrong))
    cio.sender.send_steadily(RATE_PER_SECOND, names=NAMES)
    declare(connected, cio, primary=2)
    # One of them makes the engine delete a dependent too, and the webhook's queue with it; an `up` may even fail.
    connected.pulumi("up", "--yes", "--skip-preview")
    cio.sender.stop()
    assert cio.sender.troubles != [], cio.sender.summary()
