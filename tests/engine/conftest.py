"""Engine tests: a clone a module, its stack destroyed and its daemons gone at the end."""

import shutil
from collections.abc import Iterator

import pytest

from tests.support.stack import Stack, real_clone, temporary_clone

NO_ENGINE = 'these tests need the engine: run make test, or eval "$(make -s env)" first'


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A fresh clone with an empty stack, its program and provider in this process. Its path has a space."""
    if shutil.which("pulumi") is None:
        pytest.fail(NO_ENGINE)
    with temporary_clone() as made:
        yield made


@pytest.fixture(scope="module")
def real_stack() -> Iterator[Stack]:
    """The same, with everything started as a user's `pulumi` starts it."""
    if shutil.which("pulumi") is None:
        pytest.fail(NO_ENGINE)
    with real_clone() as made:
        yield made
