"""Fixtures for tests that build resources themselves."""

from collections.abc import Iterator

import pytest
from pulumi.runtime import settings

from tests.unit.recording import Engine, install


@pytest.fixture
def engine() -> Iterator[Engine]:
    """A recording engine, installed. A test that uses it is decorated with `@pulumi.runtime.test`."""
    engine = Engine()
    install(engine)
    yield engine
    settings.set_root_resource(None)  # type: ignore[arg-type]
