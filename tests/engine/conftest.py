"""Engine tests: a clone a module, its stack destroyed and its daemons gone at the end."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from stack import Stack, temporary_clone


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A fresh clone with an empty stack. Its path has a space, as a user's may have."""
    if shutil.which("pulumi") is None:
        pytest.fail('these tests need the engine: run make test, or eval "$(make -s env)" first')
    with temporary_clone() as made:
        yield made
