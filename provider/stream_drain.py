"""The resource `StreamDrain`: keeps a delivery stream on AWS until it has delivered what it took.

Nothing exists of it but the order in which a removed integration goes: its endpoint first, then this, then its stream.
The last event may be taken while the endpoint is remembered by an instance of the function; it is then in the stream's
buffer, and Firehose promises nothing for what a stream holds when it is deleted.
"""

import asyncio
from typing import ClassVar

from provider.resource import Context, Properties, Resource


class StreamDrain(Resource):
    """Inputs: stream (the delivery stream's name), seconds (how long its delete takes). Id: the stream's name."""

    token = "sluice:index:StreamDrain"  # noqa: S105
    replaces: ClassVar = frozenset({"stream"})

    async def create(self, context: Context, inputs: Properties) -> tuple[str, Properties]:
        return inputs["stream"], inputs

    async def update(self, context: Context, state: Properties, inputs: Properties) -> Properties:
        return inputs

    async def read(self, context: Context, state: Properties) -> Properties | None:
        return state

    async def delete(self, context: Context, state: Properties) -> None:
        if state["seconds"]:
            await context.say(
                f"waiting {state['seconds']:.0f} s for stream {state['stream']} to deliver its last events", False
            )
            await asyncio.sleep(state["seconds"])
