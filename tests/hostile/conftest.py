"""What the hostile tests share with the receiver's: a stack's folder, and a real receiver process that serves it."""

from tests.receiver.conftest import home, receiver

__all__ = ["home", "receiver"]
