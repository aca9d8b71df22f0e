"""A provider that does nothing: what is left is the engine's, the language host's and the SDK's own time."""

import sys
from collections.abc import Mapping

from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.provider import (
    CheckRequest,
    CheckResponse,
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    DiffRequest,
    DiffResponse,
    PropertyDiff,
    PropertyDiffKind,
    Provider,
)
from pulumi.provider.experimental.server import main
from pulumi.runtime.rpc import UNKNOWN


def _made(inputs: Mapping[str, PropertyValue]) -> dict[str, PropertyValue]:
    value = inputs["value"].value
    return {**inputs, "made": PropertyValue(UNKNOWN if value == UNKNOWN else f"made {value}")}


class NothingProvider(Provider):
    async def check(self, request: CheckRequest) -> CheckResponse:
        return CheckResponse(inputs=request.new_inputs)

    async def diff(self, request: DiffRequest) -> DiffResponse:
        changes = request.old_state["value"].value != request.new_inputs["value"].value
        difference = {"value": PropertyDiff(PropertyDiffKind.UPDATE_REPLACE, input_diff=True)} if changes else {}
        return DiffResponse(changes=changes, replaces=list(difference), detailed_diff=difference)

    async def create(self, request: CreateRequest) -> CreateResponse:
        if request.preview:
            return CreateResponse(properties={**request.properties, "made": PropertyValue(UNKNOWN)})
        return CreateResponse(resource_id="nothing", properties=_made(request.properties))

    async def delete(self, request: DeleteRequest) -> None:
        pass


if __name__ == "__main__":
    main(sys.argv[1:], "0.1.0", NothingProvider())
