"""A clone of the project whose stack is on AWS: the real engine and program, the stand-in plugin, and moto's server.

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
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from provider import daemons
from receiver.token import digest
from tests.aws.function import HANDLER
from tests.aws.moto_server import MotoServer
from tests.support.stack import Stack
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


@dataclass
class AwsStack(Stack):
    """A stack on AWS. Everything in it can be destroyed, and nothing is waited for, unless a test says otherwise."""

    fixed: dict[str, Any] = field(default_factory=dict)

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


@contextmanager
def cloud() -> Iterator[MotoServer]:
    """Moto in a process of its own, with nothing in it."""
    with tempfile.TemporaryDirectory(prefix="sluice cloud ") as folder, MotoServer(Path(folder), REGION) as server:
        yield server


@contextmanager
def aws_clone(at: MotoServer, **fixed: Any) -> Iterator[AwsStack]:
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
