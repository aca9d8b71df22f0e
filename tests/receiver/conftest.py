"""What the receiver's tests share: a stack's folder, and a real receiver process that serves it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.control import socket_path
from tests.receiver import running
from tests.receiver.running import Running


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """An empty folder of a stack."""
    folder = tmp_path / "dev"
    folder.mkdir(mode=0o700)
    yield folder
    socket_path(folder).unlink(missing_ok=True)


@pytest.fixture
def receiver(home: Path) -> Iterator[Running]:
    """A running receiver on a free port."""
    with running.ended(running.start(home)) as started:
        yield started


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running receiver for a whole module, with deadlines short enough to wait for."""
    folder = tmp_path_factory.mktemp("shared") / "dev"
    folder.mkdir(mode=0o700)
    with running.ended(running.start(folder, "--body-seconds", "1", "--head-seconds", "1.5")) as started:
        yield started
    socket_path(folder).unlink(missing_ok=True)
