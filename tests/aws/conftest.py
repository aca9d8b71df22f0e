"""AWS tests: moto's server a module, and a clone with a stack on it."""

import shutil
from collections.abc import Iterator

import pytest

from tests.aws.cloud import AwsStack, aws_clone, cloud
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
