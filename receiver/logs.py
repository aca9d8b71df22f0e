"""How receiver and loader log: one JSON object a line, for machines, that `readable` shows to people.

{"ts": "2026-11-24T10:21:16.123Z", "level": "warning", "logger": "receiver.app", "pid": 71, "event": "refused a
delivery", "token": "222e5a24029f", "reason": "…"}: `event` says what happened and is the same each time, the rest says
to whom. No line has a token, a path, a body or a key in it: whoever logs names what may be told, and of an exception
only its kind and its place are told, since its text may quote any of these.
"""

import json
import logging
import sys
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from receiver.answers import place

LINES_A_MINUTE = 20  # of one kind, from `Sparingly`
_USUAL = ("ts", "level", "logger", "pid", "event")


def facts(**values: object) -> dict[str, dict[str, object]]:
    """What a line says beside its event: `log.info("serving", extra=facts(port=8787))`."""
    return {"facts": values}


def log_to(handler: logging.Handler) -> None:
    """Sends everything that this process logs to `handler`, and what ends it as well; at a terminal as plain lines."""
    is_at_terminal = isinstance(handler, logging.StreamHandler) and handler.stream.isatty()
    handler.setFormatter(Readable() if is_at_terminal else Formatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    sys.excepthook = _report


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("receiver").critical("ended by an error", exc_info=(kind, error, trace))


class Formatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "ts": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "event": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            line |= {"error": type(error).__name__, "at": place(error)}
        line |= getattr(record, "facts", {})
        return json.dumps(line, default=str)


class Readable(Formatter):
    """A record as a person reads it."""

    def format(self, record: logging.LogRecord) -> str:
        return readable(super().format(record))


def readable(line: str) -> str:
    """One line of a log as a person reads it; a line that isn't of ours stays as it is.

    What isn't printable is shown escaped: a terminal would obey it.
    """
    try:
        told = json.loads(line)
        ts, level, logger, _, event = (told.pop(name) for name in _USUAL)
        at = datetime.fromisoformat(ts).astimezone()
        more = ", ".join(f"{name} {value}" for name, value in told.items())
        shown = f"{at:%Y-%m-%d %H:%M:%S} {level.upper():8}{logger}: {event}{f' ({more})' if more else ''}"
    except (ValueError, KeyError, AttributeError, TypeError):
        shown = line
    return "".join(
        each if each.isprintable() or each == "\t" else each.encode("unicode_escape").decode() for each in shown
    )


class Sparingly:
    """Bounds how much a stranger can make us log: some lines a minute for each key, and then how many were left out."""

    def __init__(self, lines: int = LINES_A_MINUTE) -> None:
        self._lines = lines
        self._minute = 0
        self._said: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def may_say(self, key: str) -> dict[str, int] | None:
        """None: not now. Else what the line is to say of the ones that were left out before it."""
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute = minute
            self._said.clear()
        self._said[key] = self._said.get(key, 0) + 1
        if self._said[key] > self._lines:
            self._left_out[key] = self._left_out.get(key, 0) + 1
            return None
        left_out = self._left_out.pop(key, 0)
        return {"left_out_before": left_out} if left_out else {}
