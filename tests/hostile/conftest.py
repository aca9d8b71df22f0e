"""What the hostile tests share with the receiver's: a stack's folder, and a real receiver process that serves it."""

from collections.abc import Iterator

import pytest

from tests.hostile.raw import Field
from tests.receiver.conftest import home, receiver

__all__ = ["home", "receiver"]


@pytest.fixture
def field(ground: Field) -> Iterator[Field]:
    """The module's `ground`, for one test, at whose end it must be as it was."""
    with ground.holds():
        yield ground
