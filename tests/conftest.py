"""Fixtures for every tier. Nothing is started before a test asks for it."""

import os

# Read when gRPC is imported: its handlers around fork() crash some of the children that the provider, here in the test
# process, starts under another account (provider/__main__.py).
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# A user's Python keeps its bytecode; without that, every process that a test starts would compile the sources anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
from hypothesis import HealthCheck, settings

from tests.receiver.scene import scene
from tests.support.postgres import dsn, postgres

__all__ = ["dsn", "postgres", "scene"]

# However busy the machine is: how long a test takes is no finding.
settings.register_profile("sluice", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sluice")

# A file is one worker's: with the longest ones first, no worker is left alone with one at the end.
LONGEST_FIRST = (
    *("test_connected", "test_killed", "test_rotation_under_load", "test_standin", "test_operating", "test_stack"),
    *("test_rotation", "test_first_day", "test_lifecycle", "test_function"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    last = len(LONGEST_FIRST)
    items.sort(key=lambda item: LONGEST_FIRST.index(item.path.stem) if item.path.stem in LONGEST_FIRST else last)
