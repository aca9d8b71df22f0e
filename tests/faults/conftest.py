"""What the tests of faults share: a PostgreSQL of the module's own, and a stack that uses it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.stage import Stage
from tests.support.postgres import PostgresServer, running_server


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that a test may stop, starve and set up as it likes, as long as it puts things right again."""
    with running_server() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "dev"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def stage(home: Path, server: PostgresServer) -> Iterator[Stage]:
    """A running stack."""
    with server.database() as dsn:
        stage = Stage(home, dsn)
        try:
            stage.start()
            yield stage
        finally:
            stage.close()
