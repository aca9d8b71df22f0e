"""Posts deliveries to an endpoint as Customer.io would, for `make send`."""

import hashlib
import hmac
import http.client
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from receiver import event

TIMEOUT_S = 30


class EndpointDown(Exception):
    """Nothing answers at the endpoint's address. The text holds its host, never its path."""


def bodies(files: Iterable[Path]) -> Iterator[bytes]:
    """One body a line, as it stands; empty lines are none."""
    for file in files:
        with file.open("rb") as lines:
            for line in lines:
                body = line.rstrip(b"\r\n")
                if body.strip():
                    yield body


def signature(key: str, timestamp: str, body: bytes) -> str:
    """Customer.io's X-CIO-Signature: HMAC-SHA256 over `v0:<timestamp>:<body>`, lower case hex."""
    return hmac.new(key.encode(), b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()


@dataclass
class Answers:
    """What became of deliveries: how often each status was answered, and how many of those taken are rejects."""

    statuses: Counter[int] = field(default_factory=Counter)
    rejected: int = 0


def send(url: str, deliveries: Iterable[bytes], signing_key: str | None = None) -> Answers:
    """Posts one delivery after the other over one connection.

    The receiver's own reader of bodies says whether one that is taken becomes a row or a reject. Raises EndpointDown.
    A delivery whose connection breaks is posted once more: the receiver makes no doubles.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    answers = Answers()
    try:
        for body in deliveries:
            headers = {"Content-Type": "application/json", "User-Agent": "sluice-send"}
            if signing_key:
                timestamp = str(int(time.time()))
                headers["X-CIO-Timestamp"] = timestamp
                headers["X-CIO-Signature"] = signature(signing_key, timestamp, body)
            status = _post(connection, parts.path, body, headers)
            answers.statuses[status] += 1
            answers.rejected += status == http.client.OK and isinstance(event.parse(body, ""), event.Rejection)
    except (OSError, http.client.HTTPException) as error:
        taken = f" (after {answers.statuses.total()} answers)" if answers.statuses else ""
        raise EndpointDown(f"nothing answers at {parts.netloc}{taken}: {error}; see make status") from None
    finally:
        connection.close()
    return answers


def _post(connection: http.client.HTTPConnection, path: str, body: bytes, headers: dict[str, str]) -> int:
    for last in (False, True):
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            answer.read()
        except (ConnectionError, http.client.BadStatusLine):
            connection.close()  # the next request opens it again
            if last:
                raise
        else:
            return answer.status
    raise AssertionError("unreachable")
