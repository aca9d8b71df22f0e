"""Waiting for what happens in another process."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T | None], seconds: float = 20, what: str = "") -> T:
    """Asks until `condition` is true, and returns what it said. Fails after `seconds`, naming `what`."""
    give_up = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < give_up, f"not within {seconds} s{what and ': '}{what}"
        time.sleep(0.02)
    return value
