"""Fixtures for every tier. Nothing is started before a test asks for it."""

from tests.postgres import dsn, postgres
from tests.receiver.scene import scene

__all__ = ["dsn", "postgres", "scene"]
