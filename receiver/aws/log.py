"""What the function logs: one JSON object a line. Never a token, path, body, key, header, or an error's own words.

Lambda reads `level` and `timestamp` (RFC 3339) of a line on stdout and drops what is below the function's log level;
a line without them counts as INFO (AWS Lambda, "Log-level filtering").
"""

import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

import orjson

UNUSABLE = "stored an unusable body"
"""Said with the schema and the reason; the stack's dashboard counts these lines."""


def say(level: Literal["INFO", "WARN", "ERROR"], message: str, **facts: str | int) -> None:
    """Writes one line. Never raises: a delivery doesn't fail because it couldn't be told of."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with suppress(Exception):
        line = orjson.dumps({"timestamp": now, "level": level, "message": message, **facts})
        sys.stdout.write(line.decode() + "\n")
        sys.stdout.flush()
