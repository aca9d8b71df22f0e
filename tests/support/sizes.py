"""How long the long matrices are: a few cases by default, all of them nightly.

For a test that differs in nothing but a number. What is only worth running at night has the marker `nightly` instead.
"""

import os
from typing import TypeVar

T = TypeVar("T")

NIGHTLY = os.environ.get("SLUICE_TEST_SIZES") == "nightly"
"""`make test-all` says so."""


def of(default: T, nightly: T) -> T:
    return nightly if NIGHTLY else default
