"""Fixtures for tests that build resources themselves."""

import asyncio
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


@pytest.fixture(autouse=True)
def _an_event_loop() -> Iterator[None]:
    """Pulumi's mocks want the thread's event loop; a test elsewhere that used `asyncio.run` has left none."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
