"""The function behind the secret URLs, POST /v1/<schema>/<token>: the local receiver's answers on AWS.

Lambda answers 502 for a function that raises or doesn't end in time, and Customer.io comes back an hour after that:
so nothing escapes, and the answer is given before the sender stops waiting, whatever hangs.
"""

import base64
import gc
import os
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

from receiver import event, signature, token
from receiver.answers import OK, UNAUTHORIZED, UNAVAILABLE, Address, Answer, address, place
from receiver.aws import log
from receiver.aws.lake import Lake
from receiver.aws.registry import Endpoint, Registry
from receiver.aws.services import Attempt, ClientOf, Clients, Unavailable
from receiver.refusals import Refusals

MAX_BYTES = 6 * 2**20  # Lambda takes no larger request (413), and an instance hasn't the memory to inflate to more
ANSWER_SECONDS = 3.4  # from when AWS had the request; Customer.io waits 4 s in all
LEAST_SECONDS = 0.5  # for a delivery that had to wait for this instance to start
USE_SECONDS = 0.3  # for the note of an endpoint's use, which comes after the event is stored
HANGING = 32  # more than can hang at once: each hangs for some seconds, and deliveries come one after another


class Function:
    """What an instance of the function knows from one delivery to the next."""

    def __init__(self, client_of: ClientOf, table: str, bucket: str) -> None:
        self._client_of = client_of
        self._registry = Registry(table)
        self._lake = Lake(bucket)
        self._refusals = Refusals()
        self._pool = ThreadPoolExecutor(HANGING, thread_name_prefix="delivery")

    def answer(self, request: dict[str, Any]) -> Answer:
        """Never raises, and takes no longer than `seconds_for` says."""
        now = time.time()
        attempt: Attempt | None = None
        try:
            attempt = Attempt(self._client_of, seconds_for(request, now))
            answer, endpoint = self._pool.submit(self._respond, request, attempt, now).result(attempt.left)
            if endpoint and self._registry.owes_use(endpoint):
                noted = self._pool.submit(self._registry.note_use, endpoint, attempt)
                wait([noted], min(USE_SECONDS, attempt.left))  # whatever comes of it: the event is stored
        except Unavailable as error:
            log.say("ERROR", "answered 503", service=error.service, error=error.code)
            return UNAVAILABLE
        except TimeoutError:
            log.say("ERROR", "answered 503", service=attempt.waits_for if attempt else "", error="OutOfTime")
            return UNAVAILABLE
        except Exception as error:
            log.say("ERROR", "answered 503", place=place(error), error=type(error).__name__)
            return UNAVAILABLE
        return answer

    def _respond(self, request: dict[str, Any], attempt: Attempt, now: float) -> tuple[Answer, Endpoint | None]:
        """The answer, and the endpoint for which an event was stored."""
        asked = address(_method(request), request.get("rawPath") or "")
        if not isinstance(asked, Address):
            return asked, None
        hash = token.digest(asked.token)
        # The checksum turns garbage away before it costs a look-up.
        endpoint = self._registry.endpoint(hash, attempt) if token.is_wellformed(asked.token) else None
        if endpoint is None or endpoint.schema != asked.schema:
            self._say_refused(hash, "its token is not a live one of that schema")
            return UNAUTHORIZED, None
        headers = request.get("headers") or {}
        wire, is_whole = _body(request)
        if not _is_authentic(endpoint, headers, wire):
            # What is remembered of it may be older than its key, or than the word that it is signed.
            endpoint = self._registry.asked_again(endpoint, attempt)
        if endpoint is None or not _is_authentic(endpoint, headers, wire):
            self._say_refused(hash, "its signature is missing or wrong")
            return UNAUTHORIZED, None
        parsed: event.Event | event.Rejection
        if is_whole:
            parsed = event.parse(wire, headers.get("content-encoding", ""), MAX_BYTES)
        else:
            parsed = event.Rejection("not valid base64, as AWS said that it is", wire)
        self._lake.store(endpoint, parsed, int(now * 1_000_000), attempt)
        if isinstance(parsed, event.Rejection):
            log.say("WARN", log.UNUSABLE, schema=endpoint.schema, reason=_sayable(parsed.reason))
        return OK, endpoint

    def _say_refused(self, hash: str, why: str) -> None:
        # By the wall clock: the monotonic one may stand still while the instance is frozen.
        if self._refusals.is_news(hash, time.time()):
            log.say("WARN", "refused a delivery", token=token.fingerprint(hash), why=why)


def seconds_for(request: dict[str, Any], now: float) -> float:
    """How long the answer to `request` may take from `now` on: it reached AWS before it reached us.

    A request that says nothing usable of that came now.
    """
    began = request.get("requestContext", {}).get("timeEpoch")
    passed = now - began / 1_000 if isinstance(began, int | float) else 0.0
    if not 0 <= passed < ANSWER_SECONDS:
        passed = 0.0
    return max(LEAST_SECONDS, ANSWER_SECONDS - passed)


def _is_authentic(endpoint: Endpoint, headers: dict[str, str], wire: bytes) -> bool:
    """Whether the endpoint takes a body with these headers: it isn't signed, or the signature is right."""
    timestamp, given = headers.get("x-cio-timestamp", ""), headers.get("x-cio-signature", "")
    return not endpoint.signed or signature.is_valid(endpoint.signing_keys, timestamp, wire, given)


def _method(request: dict[str, Any]) -> str:
    method: str = request.get("requestContext", {}).get("http", {}).get("method", "")
    return method


def _body(request: dict[str, Any]) -> tuple[bytes, bool]:
    """The body as it came over the wire, and whether it did: base64 that isn't is given back as the text it is."""
    text = request.get("body") or ""
    if request.get("isBase64Encoded"):
        try:
            return base64.b64decode(text, validate=True), True
        except ValueError:
            return text.encode(errors="surrogatepass"), False
    return text.encode(errors="surrogatepass"), True


def _sayable(reason: str) -> str:
    """`reason` without the one thing that it may quote of the request."""
    return "Content-Encoding isn't known" if reason.startswith("Content-Encoding") else reason


# While Lambda starts an instance it has a whole CPU, whatever its size: the clients that every delivery needs are made
# now. What fails here fails again when it is asked for, where it is a 503: raised now, it would be a 502.
_clients = Clients()
with suppress(Exception):
    _clients("dynamodb")
    _clients("firehose")
# With Python's own settings, an event of two million small lists spends a second of CPU in the garbage collector.
gc.freeze()
gc.set_threshold(20_000, 10, 10)
_function = Function(_clients, os.environ.get("SLUICE_REGISTRY", ""), os.environ.get("SLUICE_BUCKET", ""))


def handle(request: dict[str, Any], _context: object) -> dict[str, Any]:
    """Lambda's entry: a request in the form of payload 2.0, and its answer."""
    status, headers, body, _ = _function.answer(request)
    return {"statusCode": status, "headers": dict(headers), "body": body.decode()}
