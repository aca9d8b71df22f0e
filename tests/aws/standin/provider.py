"""The AWS stand-in as the engine sees it: what every type has in common of check, diff, create, read, update, delete.

How it is used, and what it doesn't copy: README.md beside it.
"""

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws
from botocore.exceptions import BotoCoreError, ClientError
from pulumi.provider.experimental import provider as api
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.runtime.rpc import UNKNOWN

from provider.resource import ResourceError
from provider.serve import serve
from tests.aws.standin import access, dynamodb, firehose, functions, glue, observing, s3, shapes, zips
from tests.aws.standin.resource import Aws, Die, Resource, die_with_the_engine, dying, is_absent
from tests.aws.standin.tables import Properties, differences, has_unknown, mistakes, names, settle

MODULES = (s3, glue, firehose, functions, dynamodb, observing, access)
RESOURCES: dict[str, Resource] = {
    kind.token: kind()
    for module in MODULES
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Resource) and hasattr(kind, "token")
}
KINDS = {
    "add": (api.PropertyDiffKind.ADD, api.PropertyDiffKind.ADD_REPLACE),
    "delete": (api.PropertyDiffKind.DELETE, api.PropertyDiffKind.DELETE_REPLACE),
    "update": (api.PropertyDiffKind.UPDATE, api.PropertyDiffKind.UPDATE_REPLACE),
}


class AwsProvider(api.Provider):
    """The provider protocol's methods around the resources."""

    def __init__(self, project: Path = Path(), die: Die = die_with_the_engine) -> None:
        """`project`: the folder that the program's paths are relative to. `die`: for SLUICE_TEST_AWS_DIE_AFTER."""
        self._project, self._die = project, die
        self._aws = Aws(os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "", {}, die)

    async def configure(self, request: api.ConfigureRequest) -> api.ConfigureResponse:
        args = {name: plain(value) for name, value in request.args.items()}
        region = args.get("region") or self._aws.region
        if not region:
            raise ResourceError("the AWS stand-in has no region: set aws:region or AWS_REGION")
        default = args.get("defaultTags") or {}
        default = json.loads(default) if isinstance(default, str) else default
        tags = default.get("tags") or {}
        if (region, tags) != (self._aws.region, self._aws.tags):  # else its clients are good for another run
            self._aws = Aws(region, tags, self._die)
        return api.ConfigureResponse(
            accept_secrets=True, supports_preview=True, accept_outputs=False, accept_resources=False
        )

    async def check(self, request: api.CheckRequest) -> api.CheckResponse:
        resource = _resource(request.urn)
        inputs = dict(request.new_inputs)
        values = {name: plain(value) for name, value in inputs.items()}
        failures = list(mistakes(resource.arguments, values)) + resource.mistakes(values)
        for name in resource.documents & values.keys():
            if isinstance(values[name], Mapping):
                values[name] = UNKNOWN if has_unknown(values[name]) else json.dumps(values[name])
                inputs[name] = PropertyValue(values[name], is_secret=inputs[name].contains_secret())
        if resource.name and values.get(resource.name.argument) is None and not values.get(resource.name.unless):
            try:
                named = _name(resource, request)
                values[resource.name.argument], inputs[resource.name.argument] = named, PropertyValue(named)
            except ValueError as error:
                failures.append((resource.name.argument, str(error)))
        if "code" in values:
            archive = inputs.pop("code")
            values.pop("code")
            if archive.value is not None and archive.value != UNKNOWN:
                values["codeZip"] = await asyncio.to_thread(zips.keep, archive, self._project)
                inputs["codeZip"] = wire(values["codeZip"]).with_secret(archive.is_secret)
        if not failures:
            model = self._aws.client(resource.service).meta.service_model.operation_model(resource.operation)
            failures = [("", line) for line in shapes.complaints(model.input_shape, resource.request(values))]
        found = [api.CheckFailure(path, reason) for path, reason in failures]
        return api.CheckResponse(inputs=inputs, failures=found)

    async def diff(self, request: api.DiffRequest) -> api.DiffResponse:
        resource = _resource(request.urn)
        old, new = _plain_map(request.old_state), _plain_map(request.new_inputs)
        for name in request.ignore_changes:
            new[name] = old.get(name)
        before, after = resource.compared(old), resource.compared(new)
        for name in resource.computed:
            if after.get(name) is None:
                before.pop(name, None)
        found = dict(differences(before, after))
        if "tags" in names(resource.arguments):
            tags = self._all_tags(new)
            found |= {} if found else dict(differences(old.get("tagsAll") or {}, tags, "tagsAll"))
        replacing = {path for path in found if _replaces(resource, path)}
        naming = resource.name
        kept = bool(
            replacing
            and naming
            and naming.guarded
            and new.get(naming.argument) == old.get(naming.argument)
            and not naming.is_from(request.name, new.get(naming.argument))
        )
        return api.DiffResponse(
            changes=bool(found),
            replaces=sorted({path.split(".")[0].split("[")[0] for path in replacing}),
            diffs=sorted({path.split(".")[0].split("[")[0] for path in found}),
            detailed_diff={
                path: api.PropertyDiff(KINDS[kind][path in replacing], input_diff=True) for path, kind in found.items()
            },
            delete_before_replace=kept,
        )

    async def create(self, request: api.CreateRequest) -> api.CreateResponse:
        resource, inputs = _resource(request.urn), _plain_map(request.properties)
        self._add_tags(resource, inputs)
        if request.preview:
            outputs = dict.fromkeys(resource.outputs - inputs.keys(), UNKNOWN)
            return api.CreateResponse(resource_id="", properties=_answer(resource, {**inputs, **outputs}, request))

        def work() -> tuple[str, Properties]:
            doomed = os.environ.get("SLUICE_TEST_AWS_DIE_AFTER") == resource.token
            dying.set(resource.operation if doomed else "")
            identity = resource.create(self._aws, inputs)
            state = self._state(resource, identity, inputs)
            if state is None:
                raise ResourceError(f"creating {resource.token} {request.name}: it was made and can't be read")
            return identity, state

        with plainly("creating", request.urn):
            identity, state = await asyncio.to_thread(work)
        return api.CreateResponse(resource_id=identity, properties=_answer(resource, state, request))

    async def update(self, request: api.UpdateRequest) -> api.UpdateResponse:
        resource = _resource(request.urn)
        old, new = _plain_map(request.olds), _plain_map(request.news)
        self._add_tags(resource, new)
        if request.preview:
            outputs = {name: value for name, value in old.items() if name not in names(resource.arguments)}
            computed = {name: old[name] for name in resource.computed & old.keys()}
            return api.UpdateResponse(properties=_answer(resource, {**outputs, **computed, **new}, request))

        def work() -> Any:
            if any(differences(resource.compared(old), {**resource.compared(new), "tags": old.get("tags")})):
                resource.update(self._aws, request.resource_id, old, new)
            if "tags" in names(resource.arguments):
                owner = resource.tag_owner(request.resource_id, old)
                resource.write_tags(self._aws, owner, old.get("tagsAll") or {}, new["tagsAll"])
            return self._state(resource, request.resource_id, new)

        with plainly("updating", request.urn):
            return api.UpdateResponse(properties=_answer(resource, await asyncio.to_thread(work), request))

    async def read(self, request: api.ReadRequest) -> api.ReadResponse:
        resource, known = _resource(request.urn), _plain_map(request.properties)
        importing = not request.inputs and not known
        with plainly("reading", request.urn):
            try:
                state = await asyncio.to_thread(
                    self._state, resource, request.resource_id, None if importing else known
                )
            except KeyError as error:
                raise ResourceError(f"the AWS stand-in can't import {resource.token}: {error} is unknown") from None
        if state is None:
            return api.ReadResponse(resource_id="", properties={}, inputs={})
        declared = names(resource.arguments) if importing else request.inputs
        properties = _answer(resource, state, request)
        return api.ReadResponse(
            resource_id=(None if importing else resource.identity(state)) or request.resource_id,
            properties=properties,
            inputs={name: value for name, value in properties.items() if name in declared},
        )

    async def delete(self, request: api.DeleteRequest) -> None:
        resource, state = _resource(request.urn), _plain_map(request.properties)
        with plainly("deleting", request.urn):
            try:
                await asyncio.to_thread(resource.delete, self._aws, request.resource_id, state)
            except ClientError as error:
                if not is_absent(error):
                    raise

    async def invoke(self, request: api.InvokeRequest) -> api.InvokeResponse:
        region, partition = self._aws.region, self._aws.partition
        if request.tok == "aws:index/getCallerIdentity:getCallerIdentity":
            who = await asyncio.to_thread(self._aws.client("sts").get_caller_identity)
            account = who["Account"]
            result = {"accountId": account, "arn": who["Arn"], "userId": who["UserId"], "id": account}
        elif request.tok == "aws:index/getRegion:getRegion":
            endpoint = f"ec2.{region}.amazonaws.com"
            result = {"region": region, "name": region, "id": region, "description": region, "endpoint": endpoint}
        elif request.tok == "aws:index/getPartition:getPartition":
            result = {"partition": partition, "id": partition, "dnsSuffix": "amazonaws.com"}
            result["reverseDnsPrefix"] = "com.amazonaws"
        else:
            raise ResourceError(f"the stand-in for the AWS plugin has no {request.tok}")
        return api.InvokeResponse(return_value={name: PropertyValue(value) for name, value in result.items()})

    def _state(self, resource: Resource, identity: str, declared: Properties | None) -> Any:
        """What a resource's state is after a read, or None; `declared` is None when it is being imported."""
        try:
            found = resource.read(self._aws, identity, declared or {})
            if found is None:
                return None
            if "tags" in names(resource.arguments):
                found |= self._read_tags(resource, identity, found)
        except ClientError as error:
            if is_absent(error):
                return None
            raise
        outputs = {name: value for name, value in found.items() if name not in names(resource.arguments)}
        computed = {name: found[name] for name in resource.computed & found.keys() if name in resource.outputs}
        arguments = found if declared is None else settle(resource.arguments, declared, found)
        return {**computed, **arguments, **outputs}

    def _read_tags(self, resource: Resource, identity: str, found: Properties) -> Properties:
        everything = resource.read_tags(self._aws, resource.tag_owner(identity, found))
        own = {key: value for key, value in everything.items() if self._aws.tags.get(key) != value}
        return {"tags": own, "tagsAll": everything}

    def _all_tags(self, inputs: Properties) -> dict[str, Any]:
        own = inputs.get("tags") or {}
        return {**self._aws.tags, **own} if isinstance(own, Mapping) else dict(self._aws.tags)

    def _add_tags(self, resource: Resource, inputs: Properties) -> None:
        if "tags" in names(resource.arguments):
            inputs["tagsAll"] = self._all_tags(inputs)


@contextmanager
def plainly(doing: str, urn: str) -> Iterator[None]:
    """A service's error as one line that says what was being done to what."""
    what = f"{doing} {urn.split('::')[-2].split('$')[-1]} {urn.split('::')[-1]}"
    try:
        yield
    except ClientError as error:
        details = error.response["Error"]
        raise ResourceError(f"{what}: {details['Code']}: {details.get('Message', '')}".replace("\n", " ")) from None
    except BotoCoreError as error:
        raise ResourceError(f"{what}: {error}".replace("\n", " ")) from None


def _name(resource: Resource, request: api.CheckRequest) -> str:
    """The automatic name: the one it has already, else a new one from the engine's random seed."""
    assert resource.name
    had = request.old_inputs.get(resource.name.argument)
    if had is not None and resource.name.is_from(request.name, had.value):
        return str(had.value)
    return resource.name.made_from(request.name, request.random_seed)


def _replaces(resource: Resource, path: str) -> bool:
    steps = "".join(part.split("]")[-1] for part in path.split("["))
    return any(rule == "*" or steps == rule or steps.startswith(f"{rule}.") for rule in resource.replaces)


def _resource(urn: str) -> Resource:
    token = urn.split("::")[-2].split("$")[-1]
    if token not in RESOURCES:
        raise ResourceError(f"the stand-in for the AWS plugin has no {token}")
    return RESOURCES[token]


def _answer(resource: Resource, state: Properties, request: Any) -> dict[str, PropertyValue]:
    """The state as properties. What was secret stays so, where it stands when the value is the one that came."""
    came: dict[str, PropertyValue] = {}
    for part in ("olds", "inputs", "properties", "news"):
        came |= getattr(request, part, None) or {}
    answer = {}
    for name, value in state.items():
        if value is None:
            continue
        before = came.get(name)
        if before is not None and plain(before) == value:
            answer[name] = before
        else:
            answer[name] = wire(value).with_secret(before is not None and before.contains_secret())
        if name in resource.secrets:
            answer[name] = answer[name].with_secret(True)
    return answer


def plain(value: PropertyValue) -> Any:
    """A property's value as plain Python; whole numbers as int."""
    inner = value.value
    if isinstance(inner, float) and inner.is_integer():
        return int(inner)
    if isinstance(inner, Mapping):
        return {key: plain(item) for key, item in inner.items()}
    if isinstance(inner, Sequence) and not isinstance(inner, str):
        return [plain(item) for item in inner]
    return UNKNOWN if isinstance(inner, pulumi.Output) else inner


def _plain_map(values: Mapping[str, PropertyValue]) -> Properties:
    return {name: plain(value) for name, value in values.items()}


def wire(value: Any) -> PropertyValue:
    if isinstance(value, Mapping):
        return PropertyValue({key: wire(item) for key, item in value.items() if item is not None})
    if isinstance(value, list | tuple):
        return PropertyValue([wire(item) for item in value])
    if isinstance(value, int) and not isinstance(value, bool):
        return PropertyValue(float(value))
    return PropertyValue(value)


def plugin_version() -> str:
    described = json.loads((Path(pulumi_aws.__file__).parent / "pulumi-plugin.json").read_text())
    return str(described["version"])


if __name__ == "__main__":
    make: Callable[[Any], api.Provider] = lambda _: AwsProvider()  # noqa: E731
    serve(make, plugin_version())
