"""Sluice's tree of resources without its work: two for the platform, a component with three children an integration."""

import pulumi
from pulumi import ComponentResource, CustomResource, Output, Resource, ResourceOptions


class Nothing(CustomResource):
    made: Output[str]
    """Known once the resource exists, as a token is."""

    def __init__(self, name: str, value: pulumi.Input[str], opts: ResourceOptions | None = None) -> None:
        super().__init__("nothing:index:Nothing", name, {"value": value, "made": None}, opts)


class Integration(ComponentResource):
    def __init__(self, name: str, version: int, platform: Resource) -> None:
        super().__init__("nothing:index:Integration", name)
        schema = Nothing(f"{name}-schema", name, ResourceOptions(parent=self))
        token = Nothing(f"{name}-token", str(version), ResourceOptions(parent=self))
        Nothing(f"{name}-endpoint", token.made, ResourceOptions(parent=self, depends_on=[schema, platform]))
        self.register_outputs({"name": name})


versions = pulumi.Config().require_object("versions")
server = Nothing("server", "server")
receiver = Nothing("receiver", server.made)
for number, version in enumerate(versions):
    Integration(f"integration_{number}", version, receiver)
