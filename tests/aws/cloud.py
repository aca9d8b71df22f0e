"""A clone of the project whose stack is on AWS: the real engine and program, the stand-in plugin, and moto's server.

Usually the program, Sluice's provider and the stand-in are in the test process (tests/support/attached.py). A *real*
clone starts each of them as a user's `pulumi` does.

Where the real plugin is installed it is used instead, with its endpoints pointed at moto by the same variables.
"""

import base64
import json
import os
import platform
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import pytest
import yaml

from components.aws import package
from provider import daemons
from receiver.token import digest
from tests.aws.function import HANDLER
from tests.aws.moto_server import MotoServer
from tests.support.attached import Providers
from tests.support.making import make
from tests.support.stack import CUSTOMERIO, Stack, Step, attach
from tools import function_library
from tools.engine import engine, plugins

REGION = "eu-west-1"
HAS_REAL_PLUGIN = plugins.is_installed("aws", plugins.pinned("aws"), os.environ)
# What the real plugin needs to be told of a server that isn't AWS; the stand-in asks for no more than the variables.
PLUGIN_CONFIG = {"aws:s3UsePathStyle": "true", "aws:skipMetadataApiCheck": "true"} if HAS_REAL_PLUGIN else {}
STANDIN = Path(__file__).parent / "standin"
# The function's zip is run on this machine: it holds the library for it.
RUNTIME = {
    "functionRuntime": f"python{sys.version_info.major}.{sys.version_info.minor}",
    "functionArchitecture": "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64",
}


STANDING: dict[str, Any] = {**CUSTOMERIO, "tokens": {"primary": 2}}
KAPPA: dict[str, Any] = {**CUSTOMERIO, "name": "Kappa", "signed": True, "maxSilenceHours": 24}
"""An integration with one of everything that has a name of its own: the fixture `kappa` stores its key."""


@dataclass
class AwsStack(Stack):
    """A stack on AWS. Everything in it can be destroyed, and nothing is waited for, unless a test says otherwise."""

    fixed: dict[str, Any] = field(default_factory=dict)
    _left: tuple[dict[str, Any], str] | None = None

    def declare(self, *integrations: Mapping[str, Any], **config: Any) -> None:
        path = self.root / "Pulumi.dev.yaml"
        before = yaml.safe_load(path.read_text()) if path.exists() else {}
        secrets = {key: value for key, value in before.get("config", {}).items() if "secure" in json.dumps(value)}
        own = {"protect": False, "destroyData": True, "streamDrain": 0, **RUNTIME}
        self.config = {**own, "platform": "aws", "integrations": list(integrations), **self.fixed, **config}
        values = {f"sluice:{name}": value for name, value in self.config.items()}
        path.write_text(
            yaml.safe_dump({**before, "config": {**secrets, "aws:region": REGION, **PLUGIN_CONFIG, **values}})
        )

    def bring_to(self, *integrations: Mapping[str, Any], **config: Any) -> None:
        """Begins a test: the stack is as declared. Where the test before has left it so already, no `up` is made."""
        self.declare(*integrations, **config)
        if self._left is not None and self._left == (self.config, self.state_file()):
            return
        if list(self.root.glob(".sluice/.pulumi/locks/**/*.json")):  # of an `up` that was killed
            assert make(self, "up").code == 0, self.said[-1]
            self.is_up()
        else:
            self.up()

    def up(self, *flags: str) -> list[Step]:
        steps = super().up(*flags)
        self.is_up()
        return steps

    def is_up(self) -> None:
        """Notes that the state is what was declared, for `bring_to`."""
        self._left = self.config, self.state_file()


@contextmanager
def cloud() -> Iterator[MotoServer]:
    """Moto in a process of its own, with nothing in it."""
    with tempfile.TemporaryDirectory(prefix="sluice cloud ") as folder, MotoServer(Path(folder), REGION) as server:
        yield server


@contextmanager
def real_aws_clone(at: MotoServer, **fixed: Any) -> Iterator[AwsStack]:
    """A fresh clone with an empty stack on `at`. `fixed`: config that every declaration of it has."""
    with tempfile.TemporaryDirectory(prefix="sluice test ") as folder:
        environment = {**os.environ, **at.environment, "SLUICE_TEST_ZIPS": str(zips(at))}
        if not HAS_REAL_PLUGIN:
            environment["PATH"] = os.pathsep.join([str(STANDIN), environment["PATH"]])
        made = AwsStack.clone(Path(folder) / "a clone", environment)
        assert isinstance(made, AwsStack)
        made.fixed = fixed
        function_library.ready(made.root, RUNTIME, engine.cache(os.environ))
        try:
            yield made
        finally:
            daemons.stop_all(made.home)


@contextmanager
def aws_clone(at: MotoServer, **fixed: Any) -> Iterator[AwsStack]:
    """As `real_aws_clone`, with program, provider and stand-in in the test process."""
    with (
        real_aws_clone(at, **fixed) as made,
        patch.object(package, "ROOT", made.root),  # where the function's library was fetched to
        attach(made, more=_standins(made)),
    ):
        yield made


def _standins(stack: AwsStack) -> Providers:
    """What stands in for the plugins that aren't installed, served from the test process."""
    if HAS_REAL_PLUGIN:
        return {}
    from tests.aws.standin.provider import AwsProvider  # pulumi_aws alone takes a second

    return {"aws": lambda _: AwsProvider(stack.root, die=lambda: _kill_engines(stack.root))}


def _kill_engines(root: Path) -> None:
    """Kills the engines that this process has started in `root`."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.name() == "pulumi" and Path(process.cwd()) == root:
                process.kill()


def zips(at: MotoServer) -> Path:
    """Where the stand-in keeps the functions' zips, by their SHA-256 in hex: moto doesn't give them back."""
    return at.folder / "zips"


def deployed(at: MotoServer, folder: Path) -> dict[str, str]:
    """Unpacks the zip of the function that the account has into `folder`; its environment, with the way to `at`."""
    (function,) = at.client("lambda").list_functions()["Functions"]
    assert function["Handler"] == HANDLER
    with zipfile.ZipFile(zips(at) / f"{base64.b64decode(function['CodeSha256']).hex()}.zip") as zipped:
        zipped.extractall(folder)
    return {**function["Environment"]["Variables"], **at.environment}


def registry(at: MotoServer) -> dict[str, dict[str, Any]]:
    """The items of the account's registries, by their key: each attribute as it is, without DynamoDB's type."""
    dynamodb = at.client("dynamodb")
    items = [item for name in dynamodb.list_tables()["TableNames"] for item in dynamodb.scan(TableName=name)["Items"]]
    return {item["hash"]["S"]: {key: next(iter(value.values())) for key, value in item.items()} for item in items}


def token_hash(url: str) -> str:
    """What the registry knows a secret URL by."""
    return digest(url.rsplit("/", 1)[-1])


needs_standin = pytest.mark.skipif(HAS_REAL_PLUGIN, reason="the real plugin keeps no zip, and dies for nobody")
