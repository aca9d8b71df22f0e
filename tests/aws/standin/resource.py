"""What every AWS resource of the stand-in has in common: its tables and rules, and boto3 calls in plain values."""

import contextvars
import hashlib
import os
import re
import secrets
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import boto3
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.aws.standin import shapes
from tests.aws.standin.tables import Properties, Table, from_boto, names, to_boto

dying: contextvars.ContextVar[str] = contextvars.ContextVar("dying", default="")
"""The boto3 operation after which the engine is killed (SLUICE_TEST_AWS_DIE_AFTER), or nothing."""

ABSENT = re.compile(r"NoSuch|NotFound|^404$|^NotFoundException$")


def is_absent(error: ClientError) -> bool:
    """Whether a service's error says that what was asked for isn't there."""
    return ABSENT.search(error.response["Error"]["Code"]) is not None


Die = Callable[[], None]
"""Kills the engine, and the plugin where it is a process of its own."""


def die_with_the_engine() -> None:
    """For a plugin that the engine started."""
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


class Aws:
    """boto3 with strict parameters, in one region. `tags`: the provider's default tags."""

    def __init__(self, region: str, tags: Mapping[str, str], die: Die) -> None:
        self.region, self.tags, self.partition = region, dict(tags), "aws"
        self._die = die
        self._session = boto3.session.Session(region_name=region)
        self._clients: dict[str, BaseClient] = {}
        self._lock = threading.RLock()
        self._account = ""

    def client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                config = Config(proxies={}, connect_timeout=10, read_timeout=60, retries={"max_attempts": 2})
                client = self._session.client(service, config=config)
                client.meta.events.register("before-parameter-build", shapes.refuse)
                client.meta.events.register("after-call", self._die_where_it_was_asked_for)
                self._clients[service] = client
            return self._clients[service]

    def _die_where_it_was_asked_for(self, http_response: Any, model: Any, **_: Any) -> None:
        if model.name == dying.get() and http_response.status_code < 300:
            self._die()

    @property
    def account(self) -> str:
        with self._lock:
            self._account = self._account or self.client("sts").get_caller_identity()["Account"]
        return self._account

    def arn(self, service: str, rest: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{rest}"


@dataclass(frozen=True)
class AutoName:
    """How a missing name is made from the logical one: as pulumi-aws and the Terraform bridge do.

    guarded: an explicit name that stays makes a replacement delete first (the bridge's `AutoNamed`; its Glue types
    lack it). unless: the argument that makes the service, or the provider, choose a name.
    """

    argument: str = "name"
    longest: int = 255
    separator: str = "-"
    letters: bool = False
    lower: bool = False
    guarded: bool = True
    unless: str = "namePrefix"

    def made_from(self, name: str, seed: bytes) -> str:
        """Raises ValueError when the name becomes too long."""
        digest = hashlib.sha256(seed or secrets.token_bytes(32)).digest()
        random = "".join(chr(97 + byte % 26) for byte in digest[:8]) if self.letters else digest.hex()[:7]
        prefix = (name.lower() if self.lower else name) + self.separator
        if len(prefix) + len(random) > self.longest:
            raise ValueError(f"name '{prefix}' plus {len(random)} random chars is longer than {self.longest}")
        return prefix + random

    def is_from(self, name: str, made: Any) -> bool:
        random = "[a-z]{8}" if self.letters else "[0-9a-f]{7}"
        prefix = re.escape((name.lower() if self.lower else name) + self.separator)
        return isinstance(made, str) and re.fullmatch(prefix + random, made) is not None


@dataclass(frozen=True)
class TagApi:
    """A service's operations on tags. `resource`: the parameter that says whose."""

    resource: str
    add: str = "tag_resource"
    remove: str = "untag_resource"
    read: str = "list_tags_for_resource"
    given: str = "Tags"
    keys: str = "TagKeys"
    found: str = "Tags"
    as_list: bool = True
    more: Mapping[str, str] = field(default_factory=dict)


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


class Resource:
    """One resource type. `arguments` and the rules are tables; subclasses say how it is made."""

    token: ClassVar[str]
    service: ClassVar[str]
    operation: ClassVar[str]
    """The boto3 operation that makes it, whose model the arguments are checked against."""
    arguments: ClassVar[Table]
    replaces: ClassVar[frozenset[str]] = frozenset()
    """Paths (without list places) whose change replaces it; `*` is all."""
    computed: ClassVar[frozenset[str]] = frozenset()
    """Arguments that the service fills in when they aren't given."""
    outputs: ClassVar[frozenset[str]] = frozenset()
    """What only exists once it does: unknown while a creation is previewed."""
    secrets: ClassVar[frozenset[str]] = frozenset()
    documents: ClassVar[frozenset[str]] = frozenset()
    """Arguments that are JSON text, which may also be given as an object."""
    name: ClassVar[AutoName | None] = None
    tag_api: ClassVar[TagApi | None] = None

    def mistakes(self, inputs: Properties) -> list[tuple[str, str]]:
        """(path, reason) beyond what the tables and models say."""
        return []

    def request(self, inputs: Properties) -> Properties:
        """The parameters of `operation`."""
        return to_boto(self.arguments, inputs)

    def create(self, aws: Aws, inputs: Properties) -> str:
        """Makes it; returns its id."""
        raise NotImplementedError

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties | None:
        """All that is known of it, arguments and outputs; None (or a service's NotFound) when it is gone.

        `state` is empty when it is being imported.
        """
        raise NotImplementedError

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        raise NotImplementedError

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        raise NotImplementedError

    def identity(self, found: Properties) -> str | None:
        """The id of what `read` found, where it may have become another one."""
        return None

    def compared(self, values: Properties) -> Properties:
        """The part of a state or of inputs that a diff is made of."""
        return {name: value for name, value in values.items() if name in names(self.arguments)}

    def found(self, answer: Mapping[str, Any]) -> Properties:
        return from_boto(self.arguments, answer)

    def tagged(self, inputs: Properties) -> dict[str, str]:
        """The tags of the request: the inputs' `tags`, to which the provider has added the default ones."""
        return dict(inputs.get("tagsAll") or {})

    def tag_owner(self, identity: str, state: Properties) -> str:
        return str(state.get("arn") or identity)

    def read_tags(self, aws: Aws, owner: str) -> dict[str, str]:
        api = self.tag_api
        assert api
        tags = getattr(aws.client(self.service), api.read)(**{api.resource: owner}, **api.more).get(api.found) or {}
        return {tag["Key"]: tag["Value"] for tag in tags} if isinstance(tags, list) else dict(tags)

    def write_tags(self, aws: Aws, owner: str, old: Mapping[str, str], new: Mapping[str, str]) -> None:
        api = self.tag_api
        assert api
        client, who = aws.client(self.service), {api.resource: owner, **api.more}
        if gone := [key for key in old if key not in new]:
            getattr(client, api.remove)(**who, **{api.keys: gone})
        if changed := {key: value for key, value in new.items() if old.get(key) != value}:
            getattr(client, api.add)(**who, **{api.given: tag_list(changed) if api.as_list else changed})
