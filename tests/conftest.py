"""Fixtures for every tier. Nothing is started before a test asks for it."""

import itertools
import os

# Read when gRPC is imported: its handlers around fork() crash some of the children that the provider, here in the test
# process, starts under another account (provider/__main__.py).
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# A user's Python keeps its bytecode; without that, every process that a test starts would compile the sources anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.receiver.scene import scene
from tests.support import sizes
from tests.support.postgres import dsn, postgres
from tools.checks import TIERS, tier_of

__all__ = ["dsn", "postgres", "scene"]

# However busy the machine is: how long a test takes is no finding.
slow = [HealthCheck.too_slow]
settings.register_profile("sluice", deadline=None, suppress_health_check=slow, max_examples=sizes.of(50, 200))
settings.load_profile("sluice")

SECONDS = {
    "test_first_day": 101,
    "test_killed": 95,
    "test_team_backend": 90,
    "test_stack": 82,
    "test_strays": 75,
    "test_secrets": 74,
    "test_lifecycle": 71,
    "test_operating": 65,
    "test_review": 59,
    "test_connected": 51,
    "test_killed_on_aws": 50,
    "test_rotation": 48,
    "test_function": 44,
    "test_rotation_under_load": 41,
}
"""How long the longest files take. The end of a run says which are missing here, or long no more."""

LONG_S = 40


def pytest_configure(config: pytest.Config) -> None:
    for tier in TIERS:
        config.addinivalue_line("markers", f"{tier}: given to each test by its folder; `make test TIER={tier}`")


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(tier_of(item.path))
    # A file is one worker's: with the longest ones first, no worker is left alone with one at the end.
    items.sort(key=lambda item: -SECONDS.get(item.path.stem, 0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows how long the longest files took, in words for `SECONDS`."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            seconds[Path(report.fspath).stem] += report.duration
    longest = sorted(seconds.items(), key=lambda each: -each[1])
    long = ", ".join(f'"{name}": {took:.0f}' for name, took in longest if took >= LONG_S)
    if long:
        terminalreporter.write_line(f"files that took {LONG_S} s or more (SECONDS in tests/conftest.py): {long}")
