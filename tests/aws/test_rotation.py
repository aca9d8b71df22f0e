"""A connected sender that never stops while its token is rotated on AWS: nothing may be refused, delayed or lost.

Customer.io is simulated (tests/customerio); engine, program and function are the real ones, and three instances of the
function answer in turn, each with a cache of its own. The controls take away what makes it safe.

How long an instance remembers an endpoint, and how long the webhook's move settles, are a tenth of what they are.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from components.aws.platform import AwsPlatform
from provider import reporting_webhook
from provider.resource import Context, Properties
from receiver.aws import registry as function_registry
from tests.aws.cloud import AwsStack, aws_clone, cloud, deployed, needs_standin, registry, token_hash
from tests.aws.function import HANDLER, Function
from tests.aws.function_url import FunctionUrl
from tests.aws.moto_server import MotoServer
from tests.customerio import CustomerIO
from tests.support.stack import CUSTOMERIO

pytestmark = needs_standin

SCHEMA = "stitch_customerio"
INSTANCES = 3
RATE_PER_SECOND = 20
HIT_SECONDS, SETTLE_SECONDS = 3, 1
REAL = pytest.param(function_registry.HIT_SECONDS, AwsPlatform.settle_seconds, id="real", marks=pytest.mark.nightly)
FORGETFUL = """
from {module} import {name} as {name}
from receiver.aws import registry

registry.HIT_SECONDS = {seconds}
"""


@pytest.fixture
def at() -> Iterator[MotoServer]:
    """A cloud of its own for each test, since the controls break what is in theirs."""
    with cloud() as server:
        yield server


@pytest.fixture
def cio() -> Iterator[CustomerIO]:
    with CustomerIO() as made:
        yield made


@pytest.fixture
def url() -> Iterator[FunctionUrl]:
    made = FunctionUrl()
    yield made
    made.close()


@pytest.fixture
def connected(at: MotoServer, cio: CustomerIO, url: FunctionUrl) -> Iterator[AwsStack]:
    with aws_clone(at, customerioApi=cio.api_url, publicUrl=url.url) as stack:
        stack.declare(CUSTOMERIO)
        key = f"sluice:credentials.{SCHEMA}.app_api_key"
        stack.pulumi("config", "set", "--secret", "--path", key, stdin=cio.key(), check=True)
        declare(stack, primary=1)
        stack.up()
        yield stack


@pytest.fixture
def serve(
    at: MotoServer, connected: AwsStack, url: FunctionUrl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[float], None]]:
    """Serves the deployed function by fresh instances, which remember an endpoint for so many seconds."""
    folder = tmp_path_factory.mktemp("function")
    environment = deployed(at, folder)
    assert connected
    module, _, name = HANDLER.rpartition(".")
    with ExitStack() as running:

        def begin(seconds: float) -> None:
            (folder / "forgetful.py").write_text(FORGETFUL.format(module=module, name=name, seconds=seconds))
            instances = [Function(folder, environment, handler=f"forgetful.{name}") for _ in range(INSTANCES)]
            url.serve(*map(running.enter_context, instances))

        yield begin


def declare(stack: AwsStack, *, primary: int, active: str = "primary") -> None:
    tokens = {"primary": primary, "secondary": 1}
    stack.declare({**CUSTOMERIO, "connect": True, "tokens": tokens, "active": active})


def taken(at: MotoServer) -> set[str]:
    """The event_ids of all that the stack's stream took."""
    (stream,) = at.client("firehose").list_delivery_streams()["DeliveryStreamNames"]
    return {json.loads(record)["event_id"] for record in at.records(stream)}


@pytest.mark.parametrize(("remembered", "settle"), [(HIT_SECONDS, SETTLE_SECONDS), REAL])
def test_rotations_and_a_switch_of_slots_lose_and_delay_nothing(
    at: MotoServer,
    connected: AwsStack,
    cio: CustomerIO,
    serve: Callable[[float], None],
    remembered: int,
    settle: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(AwsPlatform, "settle_seconds", settle)
    serve(remembered)
    cio.sender.send_steadily(RATE_PER_SECOND)
    retired = []
    for version in (2, 3):
        retired.append(connected.url())
        declare(connected, primary=version)
        order = [(step.op, step.name.removeprefix(f"{SCHEMA}-")) for step in connected.up()]
        assert [step for step in order if step[0] != "replace"] == [
            ("create-replacement", "token-primary"),
            ("update", "sender-primary"),
            ("create-replacement", "endpoint-primary"),
            ("update", "webhook"),
            ("delete-replaced", "endpoint-primary"),
            ("delete-replaced", "token-primary"),
        ]
    declare(connected, primary=3, active="secondary")
    connected.up()
    time.sleep(1)
    cio.sender.stop()
    cio.sender.drain(30)
    assert cio.sender.troubles == [], cio.sender.summary()
    sent = {made.event_id for made in cio.sender.made if made.taken_by}
    assert len(sent) > 5 * RATE_PER_SECOND
    assert taken(at) >= sent
    assert registry(at).keys().isdisjoint(token_hash(each) for each in retired)


def test_control_the_plain_item_ends_the_old_url_before_the_sender_has_moved(
    connected: AwsStack, cio: CustomerIO, serve: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AwsPlatform, "settle_seconds", SETTLE_SECONDS)
    monkeypatch.setattr(AwsPlatform, "replacement_trigger", lambda *_: None)
    slow_webhook(monkeypatch)
    serve(HIT_SECONDS)
    cio.sender.send_steadily(RATE_PER_SECOND)
    time.sleep(1)
    declare(connected, primary=2)
    steps = [(step.op, step.name.removeprefix(f"{SCHEMA}-")) for step in connected.up()]
    assert ("update", "endpoint-primary") in steps, "in place: the old key is deleted at once"
    assert steps.index(("update", "endpoint-primary")) < steps.index(("update", "webhook"))
    cio.sender.stop()
    assert cio.sender.refusals != [], cio.sender.summary()


def slow_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    """The webhook's update takes longer than an instance remembers an endpoint, as after a 429 of Customer.io's."""
    put = reporting_webhook._put

    async def later(context: Context, state: Properties, inputs: Properties) -> int:
        await asyncio.sleep(HIT_SECONDS + 2)
        return await put(context, state, inputs)

    monkeypatch.setattr(reporting_webhook, "_put", later)
