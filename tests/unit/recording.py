"""Pulumi's mocks with their holes closed: what is recorded is what went to the engine.

Mocks alone don't show options, parents, dependencies or what is secret, and let two resources have one name. So
the recorder sits where the engine would: it keeps each registration as it came over the wire. Still not shown
here, and left to the engine tests: replacements, inheritance of options, and what a provider makes of its inputs.

A run of the program costs a third of a second, and most tests only look at its result: `run_here` and `run_on_aws` have
one run for each config.
"""

import asyncio
import atexit
import gc
import importlib
import json
import os
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from google.protobuf import json_format
from pulumi.runtime import mocks, resource, rpc, settings
from pulumi.runtime.config import set_all_config
from pulumi.runtime.proto import source_pb2
from pulumi.runtime.stack import run_in_stack

from tools import function_library
from tools.engine.engine import cache as kept

ROOT = Path(__file__).parents[2]
UNKNOWN = rpc.UNKNOWN
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"
ARCHIVE_SIGNATURE = "0def7320c3a5731c473e5ecbe6d01bc7"
RECEIVER_URL = "http://127.0.0.1:8787"
IDENTITY = "0123456789abcdef"
DSN = "postgresql://sluice:made-by-the-mock@127.0.0.1:5555/sluice"


ACCOUNT_ID = "123456789012"
REGION = "eu-west-1"
ACCOUNT = {
    "aws:index/getCallerIdentity:getCallerIdentity": {"accountId": ACCOUNT_ID},
    "aws:index/getRegion:getRegion": {"region": REGION},
    "aws:index/getPartition:getPartition": {"partition": "aws"},
}
FUNCTION_URL = "https://abc.lambda-url.eu-west-1.on.aws"
HERE = f"{REGION}:{ACCOUNT_ID}"
ARNS = {
    "Bucket": "arn:aws:s3:::",
    "FirehoseDeliveryStream": f"arn:aws:firehose:{HERE}:deliverystream/",
    "Function": f"arn:aws:lambda:{HERE}:function:",
    "LogGroup": f"arn:aws:logs:{HERE}:log-group:",
    "Role": f"arn:aws:iam::{ACCOUNT_ID}:role/",
    "Table": f"arn:aws:dynamodb:{HERE}:table/",
    "Topic": f"arn:aws:sns:{HERE}:",
}
"""What the ARN of a resource is, up to its name."""


@dataclass(frozen=True)
class Secret:
    """A value that went to the engine marked as secret."""

    value: Any


def _unwrapped(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get(SIGNATURE) == ARCHIVE_SIGNATURE:
            return {name: asset["path"] for name, asset in value["assets"].items()}
        if SIGNATURE in value:
            assert value[SIGNATURE] == SECRET_SIGNATURE, value
            return Secret(_unwrapped(value["value"]))
        return {key: _unwrapped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unwrapped(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value  # the wire has floats alone


@dataclass(frozen=True)
class Made:
    """One resource as it was registered. Parent and dependencies by logical name.

    `after`: the dependencies as "<kind> <name>", since a name is unique within its type only.
    """

    kind: str
    name: str
    inputs: dict[str, Any]
    parent: str | None
    depends_on: list[str]
    after: list[str]
    secret_outputs: list[str]
    options: dict[str, Any]


@dataclass
class Engine(mocks.MockMonitor):
    """Stands where the engine would. `unknown_passwords`: as in a preview, before a token is made."""

    unknown_passwords: bool = False
    stack: str = "dev"
    made: list[Made] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self)  # type: ignore[arg-type]
        self._urns: set[str] = set()

    # Asked by MockMonitor, once for each resource.
    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        outputs: dict[str, dict[str, Any]] = {
            "sluice:index:StackIdentity": {"identity": IDENTITY},
            "sluice:index:PostgresServer": {"dsn": DSN, "port": 5555, "version": "18"},
            "sluice:index:Receiver": {"url": args.inputs.get("publicUrl", RECEIVER_URL)},
            "random:index/randomPassword:RandomPassword": {"result": self._password(args)},
        }
        if args.typ.startswith("aws:"):
            return f"{args.name}-id", {**args.inputs, **_of_aws(args)}
        return f"{args.name}-id", {**args.inputs, **outputs.get(args.typ, {})}

    def _password(self, args: mocks.MockResourceArgs) -> str:
        version = args.inputs.get("keepers", {}).get("version", "")
        plain = f"{args.name}{version}".replace("-", "").replace("_", "")
        return rpc.UNKNOWN if self.unknown_passwords else plain[:43].ljust(43, "x")

    def call(self, args: mocks.MockCallArgs) -> Any:
        return ACCOUNT[args.token]

    def RegisterResource(self, request: Any) -> Any:
        response = super().RegisterResource(request)
        if request.type == "pulumi:pulumi:Stack":
            return response
        assert response.urn not in self._urns, f"{response.urn} is registered twice"
        self._urns.add(response.urn)
        plain = json_format.MessageToDict(request)
        self.made.append(
            Made(
                kind=request.type,
                name=request.name,
                inputs=_unwrapped(plain.get("object", {})),
                parent=_name(request.parent) if request.parent else None,
                depends_on=sorted({_name(urn) for urn in request.dependencies}),
                after=sorted({_kind_and_name(urn) for urn in request.dependencies}),
                secret_outputs=list(request.additionalSecretOutputs),
                options={
                    key: plain[key]
                    for key in (
                        "protect",
                        "retainOnDelete",
                        "aliases",
                        "aliasSpecs",
                        "ignoreChanges",
                        "replaceOnChanges",
                        "replacementTrigger",
                        "deleteBeforeReplace",
                        "importId",
                    )
                    if plain.get(key)
                },
            )
        )
        return response

    def RegisterResourceOutputs(self, request: Any) -> Any:
        plain = json_format.MessageToDict(request)
        self.outputs[_name(request.urn)] = _unwrapped(plain.get("outputs", {}))
        return super().RegisterResourceOutputs(request)

    def created(self, kind: str) -> list[Made]:
        """What was registered of a kind; the last part of its type is enough."""
        return [made for made in self.made if made.kind.rsplit(":", 1)[-1] == kind]

    def named(self, name: str, kind: str | None = None) -> Made:
        """The one with that name; of that kind, where several share it."""
        (found,) = [made for made in (self.created(kind) if kind else self.made) if made.name == name]
        return found

    @property
    def stack_outputs(self) -> dict[str, Any]:
        return self.outputs[f"sluice-{self.stack}"]


def _of_aws(args: mocks.MockResourceArgs) -> dict[str, Any]:
    """What AWS adds to a resource's arguments: its name, and its ARN."""
    kind = args.typ.rsplit(":", 1)[-1]
    name = args.inputs.get("name", f"{args.name}-1234567")
    outputs = {"name": name, "arn": ARNS.get(kind, f"arn:{kind}:") + name}
    if kind == "Bucket":
        outputs["bucket"] = name
    if kind == "FunctionUrl":
        outputs["functionUrl"] = f"{FUNCTION_URL}/"
    return outputs


def _name(urn: str) -> str:
    return urn.rsplit("::", 1)[-1]


def _kind_and_name(urn: str) -> str:
    *_, kinds, name = urn.split("::")
    return f"{kinds.rsplit(':', 1)[-1]} {name}"


def install(engine: Engine, *, preview: bool = False, stack: bool = True) -> None:
    # Where a root is set already, set_mocks makes no stack of its own; the program's start makes the real one.
    settings.set_root_resource(None if stack else object())  # type: ignore[arg-type]
    mocks.set_mocks(engine, project="sluice", stack=engine.stack, monitor=engine, preview=preview)  # type: ignore[arg-type]
    if not stack:
        settings.set_root_resource(None)  # type: ignore[arg-type]
    settings.SETTINGS.rpc_manager.clear()
    settings.SETTINGS.outputs.clear()


def without_secrets(value: Any) -> Any:
    """`value` as everybody may see it: with each secret in it hidden."""
    match value:
        case Secret():
            return "hidden"
        case dict():
            return {key: without_secrets(item) for key, item in value.items()}
        case list():
            return [without_secrets(item) for item in value]
        case Made():
            return replace(value, inputs=without_secrets(value.inputs), options=without_secrets(value.options))
        case _:
            return value


def run_program(
    engine: Engine,
    *,
    preview: bool = False,
    secret: tuple[str, ...] = (),
    aws_region: str | None = None,
    **config: Any,
) -> Engine:
    """Run `__main__.py` to its end, as the language host does; returns `engine`, which holds what it was told.

    `config`: by key, handed over as text, as the engine does. `secret`: the keys that are stored encrypted.
    `aws_region`: of `aws:region`. The program's stack is that of `engine`.
    """
    install(engine, preview=preview, stack=False)
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    region = {"aws:region": aws_region} if aws_region else {}
    own = {f"sluice:{key}": text for key, text in texts.items()}
    set_all_config({**own, **region}, [f"sluice:{key}" for key in secret])
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        # Where in the source each resource is made isn't recorded, and to find it out is a fifth of a run.
        with _no_settings_of_the_shell(), patch.object(resource, "_get_stack_trace", source_pb2.StackTrace):
            loop.run_until_complete(run_in_stack(_main))
    finally:
        loop.close()
        asyncio.set_event_loop(asyncio.new_event_loop())
        set_all_config({}, [])
        settings.set_root_resource(None)  # type: ignore[arg-type]
    return engine


def run_here(*integrations: dict[str, Any], **config: Any) -> Engine:
    """The program on one machine. It is run once for each config: don't change it."""
    return _run_here(json.dumps({"integrations": integrations, **config}))


@cache
def _run_here(config: str) -> Engine:
    return run_program(Engine(), **json.loads(config))


def run_on_aws(*integrations: dict[str, Any], stack: str = "dev", **config: Any) -> Engine:
    """The program on AWS, with the function's library in its place. It is run once for each config: don't change it."""
    return _run_on_aws(stack, json.dumps({"integrations": integrations, **config}))


@cache
def _run_on_aws(stack: str, config: str) -> Engine:
    _import_aws()
    told = {"platform": "aws", **json.loads(config)}
    function_library.ready(ROOT, told, kept(os.environ))
    secret = tuple({"credentials"} & told.keys())
    return run_program(Engine(stack=stack), aws_region=REGION, secret=secret, **told)


@cache
def _import_aws() -> None:
    """pulumi-aws has a million objects, through which every full collection of garbage would look from now on."""
    importlib.import_module("components.aws.platform")
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # or what isn't freed is reported as leaked, by libraries that look


@contextmanager
def _no_settings_of_the_shell() -> Iterator[None]:
    """What a shell that `make -s env` set up, or AWS's own tools, would say of the stack."""
    before = {name: os.environ.pop(name) for name in ("PULUMI_CONFIG_PASSPHRASE", "AWS_REGION") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


def _main() -> None:
    runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")
