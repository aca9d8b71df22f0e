"""Keeps a delivery stream until it has delivered what it took: a typed face of a resource of Sluice's own provider."""

import pulumi
from pulumi import Input, ResourceOptions


class StreamDrain(pulumi.CustomResource):
    """Stands between an endpoint and its stream. Its delete waits: `seconds` after the endpoint, the stream may go.

    Firehose promises nothing for what a stream still holds when it is deleted (API reference, DeleteDeliveryStream).
    """

    def __init__(
        self, resource_name: str, *, stream: Input[str], seconds: Input[int], opts: ResourceOptions | None = None
    ) -> None:
        super().__init__("sluice:index:StreamDrain", resource_name, {"stream": stream, "seconds": seconds}, opts)
