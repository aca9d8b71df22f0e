"""Engine tests: a clone a module, its stack destroyed and its daemons gone at the end."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from stack import Stack, processes_of

from provider import daemons


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A fresh clone with an empty stack. Its path has a space, as a user's may have."""
    if shutil.which("pulumi") is None:
        pytest.fail('these tests need the engine: run make test, or eval "$(make -s env)" first')
    with tempfile.TemporaryDirectory(prefix="sluice test ") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - PostgreSQL's account must pass when we are root
        made = Stack.clone(Path(folder) / "a clone", os.environ)
        try:
            yield made
        finally:
            daemons.stop_all(made.home)
            deadline = time.monotonic() + 10  # an engine's helpers take a moment to follow it
            while (left := processes_of(made.root)) and time.monotonic() < deadline:
                time.sleep(0.1)
        assert not left, left
