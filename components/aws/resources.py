"""Typed faces of what Sluice's own provider adds to AWS's resources: an order and a warning that they don't have."""

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


class Sender(pulumi.CustomResource):
    """Who posts to an endpoint. A change that would cut it off is said, or refused, in the preview."""

    def __init__(
        self,
        resource_name: str,
        *,
        schema: Input[str],
        slot: Input[str],
        token_hash: Input[str],
        active: Input[bool],
        connected: Input[bool],
        signed: Input[bool],
        has_signing_keys: Input[bool],
        opts: ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "schema": schema,
            "slot": slot,
            "hash": token_hash,
            "active": active,
            "connected": connected,
            "signed": signed,
            "hasSigningKeys": has_signing_keys,
        }
        super().__init__("sluice:index:Sender", resource_name, inputs, opts)
