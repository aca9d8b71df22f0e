"""Fixtures for every tier. Nothing is started before a test asks for it."""

from hypothesis import HealthCheck, settings

from tests.postgres import dsn, postgres
from tests.receiver.scene import scene

__all__ = ["dsn", "postgres", "scene"]

# However busy the machine is: how long a test takes is no finding.
settings.register_profile("sluice", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sluice")
