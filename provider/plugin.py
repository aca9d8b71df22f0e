"""The provider as the engine sees it: routes each call to its resource and keeps three rules in one place.

Secrets are wrapped again in every answer, because a plain value returned from a refresh would land in the state in
clear. An unknown input is the SDK's marker string, and differs from every old value, which is what makes a preview show
a replacement. Every change is named in the detailed diff, since the SDK says that there always is one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.provider import (
    CheckFailure,
    CheckRequest,
    CheckResponse,
    ConfigureRequest,
    ConfigureResponse,
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    DiffRequest,
    DiffResponse,
    GetSchemaRequest,
    GetSchemaResponse,
    PropertyDiff,
    PropertyDiffKind,
    Provider,
    ReadRequest,
    ReadResponse,
    UpdateRequest,
    UpdateResponse,
)
from pulumi.runtime.rpc import UNKNOWN

from provider.endpoint import Endpoint
from provider.postgres_schema import PostgresSchema
from provider.postgres_server import PostgresServer
from provider.receiver_process import Receiver
from provider.reporting_webhook import ReportingWebhook
from provider.resource import Context, Properties, Resource, ResourceError
from provider.sender import Sender
from provider.serve import Say
from provider.stack_identity import StackIdentity
from provider.stream_drain import StreamDrain

RESOURCES: dict[str, Resource] = {
    resource.token: resource
    for resource in (
        StackIdentity(),
        PostgresServer(),
        Receiver(),
        PostgresSchema(),
        Endpoint(),
        ReportingWebhook(),
        Sender(),
        StreamDrain(),
    )
}


class SluiceProvider(Provider):
    """Sluice's resource types. `root`: the project's folder."""

    def __init__(self, root: Path, say: Say) -> None:
        self._root = root
        self._say = say
        self._config: dict[str, str] = {}

    async def get_schema(self, request: GetSchemaRequest) -> GetSchemaResponse:
        # Only `pulumi import` asks, when it is done: for code to print, in which each secret would stand in clear.
        raise ResourceError(
            "nothing is wrong: the resource is imported, and there is no code to print for it, as Sluice's own program "
            "declares it already (--generate-code=false doesn't ask for any)"
        )

    async def configure(self, request: ConfigureRequest) -> ConfigureResponse:
        self._config = {key.removeprefix("sluice:config:"): value for key, value in request.variables.items()}
        return ConfigureResponse(
            accept_secrets=True, supports_preview=True, accept_outputs=False, accept_resources=False
        )

    async def check(self, request: CheckRequest) -> CheckResponse:
        resource = _resource(request.type)
        inputs = _plain_map(request.new_inputs)
        try:
            completed = await resource.check(self._context(request.urn), inputs)
        except ResourceError as error:
            return CheckResponse(inputs=request.new_inputs, failures=[CheckFailure(property="", reason=str(error))])
        # What the program gave keeps its wire form (its secret marks); only what the resource added is new.
        added = {name: value for name, value in completed.items() if name not in request.new_inputs}
        return CheckResponse(inputs={**request.new_inputs, **_wire_map(added, resource.secrets)})

    async def diff(self, request: DiffRequest) -> DiffResponse:
        resource = _resource(request.type)
        old, new = _plain_map(request.old_state), _plain_map(request.new_inputs)
        for name in request.ignore_changes:
            new[name] = old.get(name)
        changes = differences(old, new, resource)
        context = self._context(request.urn)
        if changes:
            await resource.remark(context, old, new)
        for name in await resource.drift(context, old):
            changes[name] = PropertyDiff(PropertyDiffKind.UPDATE, input_diff=False)
        return DiffResponse(
            changes=bool(changes),
            replaces=[name for name in sorted(resource.replaces) if _differs(old.get(name), new.get(name))],
            detailed_diff=changes,
            delete_before_replace=resource.delete_before_replace,
        )

    async def create(self, request: CreateRequest) -> CreateResponse:
        resource = _resource(request.type)
        inputs = _plain_map(request.properties)
        if request.preview:
            unknown = dict.fromkeys(resource.outputs, UNKNOWN)
            return CreateResponse(properties=_wire_map({**inputs, **unknown}, resource.secrets))
        resource_id, outputs = await resource.create(self._context(request.urn), inputs)
        return CreateResponse(resource_id=resource_id, properties=_wire_map(outputs, resource.secrets))

    async def update(self, request: UpdateRequest) -> UpdateResponse:
        resource = _resource(_type(request.urn))
        state, inputs = _plain_map(request.olds), _plain_map(request.news)
        if request.preview:
            foreseen = {**inputs, **resource.foresee(state, inputs)}
            return UpdateResponse(properties=_wire_map(foreseen, resource.secrets))
        outputs = await resource.update(self._context(request.urn), state, inputs)
        return UpdateResponse(properties=_wire_map(outputs, resource.secrets))

    async def read(self, request: ReadRequest) -> ReadResponse:
        resource, context = _resource(_type(request.urn)), self._context(request.urn)
        state = _plain_map(request.properties)
        # An import knows the id alone.
        found = await (resource.read(context, state) if state else resource.find(context, request.resource_id))
        if found is None:
            return ReadResponse(resource_id="", properties={}, inputs={})
        outputs = _wire_map(found, resource.secrets)
        # What was found becomes the inputs too: from them the engine takes the old values that a preview shows.
        inputs = {name: value for name, value in outputs.items() if name in (request.inputs or found)}
        return ReadResponse(
            resource_id=resource.identity(found) or request.resource_id,
            properties=outputs,
            inputs={name: value for name, value in inputs.items() if name not in resource.outputs},
        )

    async def delete(self, request: DeleteRequest) -> None:
        await _resource(_type(request.urn)).delete(self._context(request.urn), _plain_map(request.properties))

    def _context(self, urn: str) -> Context:
        # urn:pulumi:<stack>::<project>::<type>::<name>
        stack, project = urn.removeprefix("urn:pulumi:").split("::")[:2]

        async def say(message: str, warning: bool) -> None:
            await self._say(urn, message, warning)

        return Context(self._root, project, stack, self._config, say)


def differences(old: Properties, new: Properties, resource: Resource) -> dict[str, PropertyDiff]:
    """What an update would change, by path: into maps (`views.email_events`) and sets (`events[3]`), whole lists."""
    found: dict[str, PropertyDiff] = {}
    replaces = resource.replaces
    for name in sorted({*old, *new} - resource.outputs):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            for key in sorted({*before, *after}):
                if _differs(before.get(key), after.get(key)):
                    found[f"{name}.{key}"] = _change(before.get(key), after.get(key), name in replaces)
        elif name in resource.sets and isinstance(before, list) and isinstance(after, list):
            # By their places, as the engine looks the items up: in the old list what went, in the new one what came.
            removed = {place: item for place, item in enumerate(before) if item not in after}
            added = {place: item for place, item in enumerate(after) if item not in before}
            for place in sorted({*removed, *added}):
                found[f"{name}[{place}]"] = _change(removed.get(place), added.get(place), name in replaces)
        elif _differs(before, after):
            found[name] = _change(before, after, name in replaces)
    return found


def _change(before: Any, after: Any, replace: bool) -> PropertyDiff:
    kinds = PropertyDiffKind
    if before is None:
        kind = kinds.ADD_REPLACE if replace else kinds.ADD
    elif after is None:
        kind = kinds.DELETE_REPLACE if replace else kinds.DELETE
    else:
        kind = kinds.UPDATE_REPLACE if replace else kinds.UPDATE
    return PropertyDiff(kind, input_diff=True)


def _differs(before: Any, after: Any) -> bool:
    return bool(after == UNKNOWN or before != after)


def _type(urn: str) -> str:
    return urn.split("::")[-2].split("$")[-1]


def _resource(qualified_type: str) -> Resource:
    token = qualified_type.split("$")[-1]
    if token not in RESOURCES:
        raise ResourceError(f"this version of Sluice's provider has no resource type {token}")
    return RESOURCES[token]


def _plain_map(values: Mapping[str, PropertyValue]) -> Properties:
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: PropertyValue) -> Any:
    inner = value.value
    if isinstance(inner, float) and inner.is_integer():
        return int(inner)
    if isinstance(inner, Mapping):
        return {key: _plain(item) for key, item in inner.items()}
    if isinstance(inner, Sequence) and not isinstance(inner, str):
        return [_plain(item) for item in inner]
    return inner


def _wire_map(values: Mapping[str, Any], secrets: frozenset[str]) -> dict[str, PropertyValue]:
    return {name: _wire(value).with_secret(name in secrets) for name, value in values.items() if value is not None}


def _wire(value: Any) -> PropertyValue:
    if isinstance(value, Mapping):
        return PropertyValue({key: _wire(item) for key, item in value.items() if item is not None})
    if isinstance(value, (list, tuple)):
        return PropertyValue([_wire(item) for item in value])
    if isinstance(value, int) and not isinstance(value, bool):
        return PropertyValue(float(value))
    return PropertyValue(value)
