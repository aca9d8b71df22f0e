"""A simulated Customer.io: its App API and its sender of reporting webhooks, as documented and as strict. For tests."""

from tests.customerio.sender import path_hash, sign
from tests.customerio.simulation import CustomerIO

__all__ = ["CustomerIO", "path_hash", "sign"]
