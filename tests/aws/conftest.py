"""AWS tests: moto's server a module, and a clone with a stack on it."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.aws.cloud import KAPPA, STANDING, AwsStack, aws_clone, cloud
from tests.aws.moto_server import MotoServer


@pytest.fixture(scope="module")
def at() -> Iterator[MotoServer]:
    with cloud() as server:
        yield server


@pytest.fixture(scope="module")
def stack(at: MotoServer) -> Iterator[AwsStack]:
    """A fresh clone with an empty stack."""
    if shutil.which("pulumi") is None:
        pytest.fail('these tests need the engine: run make test, or eval "$(make -s env)" first')
    with aws_clone(at) as made:
        yield made


@pytest.fixture
def kappa(stack: AwsStack) -> Iterator[dict[str, Any]]:
    """`KAPPA`, whose key the stack holds meanwhile."""
    stack.declare(STANDING)
    path = stack.root / "Pulumi.dev.yaml"
    key = "sluice:credentials.kappa.signing_key"
    stack.pulumi("config", "set", "--secret", "--path", key, stdin="kappas-signing-key", check=True)
    yield KAPPA
    config = yaml.safe_load(path.read_text())
    del config["config"]["sluice:credentials"]
    path.write_text(yaml.safe_dump(config))
