"""What the function logs: one JSON object a line. Never a token, path, body, key, header, or an error's own words.

Lambda reads `level` and `timestamp` (RFC 3339) of a line on stdout and drops what is below the function's log level;
a line without them counts as INFO (AWS Lambda, "Log-level filtering").
"""

import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

import orjson

from receiver import token

REFUSALS_A_MINUTE = 100


def say(level: Literal["INFO", "WARN", "ERROR"], message: str, **facts: str | int) -> None:
    """Writes one line. Never raises: a delivery doesn't fail because it couldn't be told of."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with suppress(Exception):
        line = orjson.dumps({"timestamp": now, "level": level, "message": message, **facts})
        sys.stdout.write(line.decode() + "\n")
        sys.stdout.flush()


class Refusals:
    """Says who was refused: each token once a minute, and no more than so many a minute."""

    def __init__(self) -> None:
        self._since = 0.0
        self._said: set[str] = set()

    def say(self, hash: str, why: str) -> None:
        now = time.time()
        if not 0 <= now - self._since < 60:
            self._since = now
            self._said.clear()
        if hash not in self._said and len(self._said) < REFUSALS_A_MINUTE:
            self._said.add(hash)
            say("WARN", "refused a delivery", token=token.fingerprint(hash), why=why)
