"""The stack's two daemons together: what `make status` asks, and what `make stop` stops."""

from pathlib import Path

from provider import postgres, receiver_process


def states(home: Path) -> dict[str, str]:
    """{"postgres": …, "receiver": …}: "running", "stopped", or "none" for one that this stack never had."""
    server = postgres.recorded(home)
    receiver = receiver_process.recorded(home)
    return {
        "postgres": _word(server is not None, server is not None and postgres.answers(server)),
        "receiver": _word(receiver is not None, receiver_process.answers(home) is not None),
    }


def stop_all(home: Path) -> list[str]:
    """Stops the receiver, then PostgreSQL, and keeps everything they have. Returns what was stopped."""
    stopped = []
    if receiver_process.stop(home):
        stopped.append("receiver")
    if postgres.stop(home):
        stopped.append("postgres")
    return stopped


def _word(exists: bool, runs: bool) -> str:
    return "running" if runs else "stopped" if exists else "none"
