"""Posts deliveries to an endpoint as Customer.io would, for `make send`."""

import hashlib
import hmac
import http.client
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

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


def send(url: str, deliveries: Iterable[bytes], signing_key: str | None = None) -> Counter[int]:
    """Posts one delivery after the other over one connection; returns how often each status was answered.

    Raises EndpointDown. A delivery whose connection breaks is posted once more: the receiver makes no doubles.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    answers: Counter[int] = Counter()
    try:
        for body in deliveries:
            headers = {"Content-Type": "application/json", "User-Agent": "sluice-send"}
            if signing_key:
                timestamp = str(int(time.time()))
                headers["X-CIO-Timestamp"] = timestamp
                headers["X-CIO-Signature"] = signature(signing_key, timestamp, body)
            answers[_post(connection, parts.path, body, headers)] += 1
    except (OSError, http.client.HTTPException) as error:
        taken = f" (after {sum(answers.values())} answers)" if answers else ""
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
