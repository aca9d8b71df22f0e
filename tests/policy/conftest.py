"""Policies on the real engine: moto's server and a clone with a stack on it, as AWS's tests have them."""

from tests.aws.conftest import at, stack

__all__ = ["at", "stack"]
