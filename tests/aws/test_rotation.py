"""A connected sender that never stops while its token is rotated on AWS: nothing may be refused, delayed or lost.

Customer.io is simulated (tests/customerio); engine, program and function are the real ones, and three instances of the
function answer in turn, each with a cache of its own. The controls take away what makes it safe.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.aws.cloud import AwsStack, aws_clone, deployed, needs_standin, registry, token_hash
from tests.aws.function import Function
from tests.aws.function_url import FunctionUrl
from tests.aws.moto_server import MotoServer
from tests.customerio import CustomerIO
from tests.support.stack import CUSTOMERIO

pytestmark = needs_standin

SCHEMA = "stitch_customerio"
INSTANCES = 3
RATE_PER_SECOND = 20
PLAIN = "                replacement_trigger=Output.unsecret(token.hash),\n"


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
    """A stack of its own for each test, since the controls break theirs."""
    with aws_clone(at, customerioApi=cio.api_url, publicUrl=url.url) as stack:
        stack.declare(CUSTOMERIO)
        key = f"sluice:credentials.{SCHEMA}.app_api_key"
        stack.pulumi("config", "set", "--secret", "--path", key, stdin=cio.key(), check=True)
        declare(stack, primary=1)
        stack.up()
        yield stack
        stack.destroy()


@pytest.fixture
def served(
    at: MotoServer, connected: AwsStack, url: FunctionUrl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], None]]:
    """Serves the function that the stack deployed; called again, by instances that are just started."""
    folder = tmp_path_factory.mktemp("function")
    environment = deployed(at, folder)
    assert connected
    with ExitStack() as running:

        def serve() -> None:
            url.serve(*(running.enter_context(Function(folder, environment)) for _ in range(INSTANCES)))

        serve()
        yield serve


def declare(stack: AwsStack, *, primary: int, active: str = "primary") -> None:
    tokens = {"primary": primary, "secondary": 1}
    stack.declare({**CUSTOMERIO, "connect": True, "tokens": tokens, "active": active})


def taken(at: MotoServer) -> set[str]:
    """The event_ids of all that the stack's stream took."""
    (stream,) = at.client("firehose").list_delivery_streams()["DeliveryStreamNames"]
    return {json.loads(record)["event_id"] for record in at.records(stream)}


@pytest.mark.usefixtures("served")
def test_rotations_and_a_switch_of_slots_lose_and_delay_nothing(
    at: MotoServer, connected: AwsStack, cio: CustomerIO
) -> None:
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
    assert len(sent) > 10 * RATE_PER_SECOND
    assert taken(at) >= sent
    assert registry(at).keys().isdisjoint(token_hash(each) for each in retired)


def test_control_the_plain_item_ends_the_old_url_before_the_sender_has_moved(
    connected: AwsStack, cio: CustomerIO, served: Callable[[], None]
) -> None:
    platform = connected.root / "components/aws/platform.py"
    code = platform.read_text()
    assert code.count(PLAIN) == 1, "it has changed: this control needs another edit"
    platform.write_text(code.replace(PLAIN, ""))
    slow_webhook(connected.root)
    cio.sender.send_steadily(RATE_PER_SECOND)
    time.sleep(1)
    declare(connected, primary=2)
    served()  # instances that haven't looked the old URL up
    steps = [(step.op, step.name.removeprefix(f"{SCHEMA}-")) for step in connected.up()]
    assert ("update", "endpoint-primary") in steps, "in place: the old key is deleted at once"
    assert steps.index(("update", "endpoint-primary")) < steps.index(("update", "webhook"))
    cio.sender.stop()
    assert cio.sender.refusals != [], cio.sender.summary()


def slow_webhook(root: Path) -> None:
    """The webhook's update takes longer than an instance remembers an endpoint, as after a 429 of Customer.io's."""
    file = root / "provider/reporting_webhook.py"
    code = file.read_text()
    before = "            webhook_id = await _put(context, state, inputs)\n"
    assert code.count(before) == 1, "it has changed: this control needs another edit"
    file.write_text(code.replace(before, "            await asyncio.sleep(35)\n" + before))
