"""Who a stack is: the mark on what it makes where others are at work too."""

import pulumi
from pulumi import Output


class StackIdentity(pulumi.CustomResource):
    """A random identity, the same for the stack's whole life. Two people's `dev` have two."""

    identity: Output[str]
    """16 hex digits, no secret."""

    def __init__(self, *, keeps_here: bool) -> None:
        """`keeps_here`: the stack has a folder of its own on this machine, with all its data."""
        super().__init__("sluice:index:StackIdentity", "identity", {"keepsHere": keeps_here, "identity": None})
