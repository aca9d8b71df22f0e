"""The receiver's one route, POST /v1/<schema>/<token>: an event's way from the request to the spool."""

import asyncio
import logging
import time
from typing import Any, Protocol

from receiver import event, token
from receiver.answers import OK, TOO_SLOW, UNAUTHORIZED, UNAVAILABLE, Address, Answer, address, place
from receiver.body import (
    BUDGET_BYTES,
    SMALL_BYTES,
    BrokenBody,
    Budget,
    Deadline,
    Held,
    OutOfBudget,
    Request,
    SlowBody,
    read,
    read_small,
    throw_away,
)
from receiver.commit import GroupCommit, NotStored
from receiver.endpoints import Endpoints, Traffic
from receiver.logs import Sparingly, facts
from receiver.refusals import Refusals
from receiver.registry import EndpointEntry
from receiver.rejects import Rejects
from receiver.signature import Check
from receiver.spool import Arrival

BODY_SECONDS = 15.0
SWEEP_SECONDS = 0.1
QUIET_SECONDS = 1.0
THROWN_AWAY_BYTES = 2**20  # of a body that nobody wants, so that its sender comes to read the answer

_log = logging.getLogger("receiver.app")


class Headers(Protocol):
    def get(self, key: str, default: Any = None) -> Any: ...


class Scope(Protocol):
    """granian's RSGI scope, as far as it is used."""

    path: str
    method: str
    headers: Headers


class Exchange(Request, Protocol):
    """granian's RSGIHTTPProtocol: the request's body, and the answer's way back."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...


TOO_LARGE = f"larger than {event.MAX_BYTES} bytes, of which the first are kept"

WHY_NOT_WHOLE = {
    SlowBody: "its body took too long",
    BrokenBody: "its connection ended, or its framing is malformed",
    OutOfBudget: "too much memory is held by other bodies",
}


class App:
    """The RSGI application. All of it runs in the event loop's thread."""

    def __init__(
        self,
        endpoints: Endpoints,
        commit: GroupCommit,
        *,
        body_seconds: float = BODY_SECONDS,
        budget_bytes: int = BUDGET_BYTES,
    ) -> None:
        self.traffic = Traffic()
        self.rejects = Rejects()
        self.unauthorized = 0  # deliveries answered 401 since the start
        # Since the start, by schema and status; without a schema what wasn't for a live endpoint.
        self.answers: dict[tuple[str | None, int], int] = {}
        self.swept_at = time.monotonic()  # proof that the event loop runs
        self.in_flight = 0
        self.answered = 0
        self.is_leaving = False  # answers `Connection: close`: this process is about to go
        self._endpoints = endpoints
        self._commit = commit
        self._deadline = Deadline(body_seconds)
        self._budget = Budget(budget_bytes)
        self._last_request = 0.0
        self._refusals = Refusals()
        self._cuts = Sparingly()

    async def __rsgi__(self, scope: Scope, exchange: Exchange) -> None:
        self.in_flight += 1
        now = time.time()
        # After a pause the connection is closed with the answer: one left idle is closed by granian when its time
        # for the next head is up, and a delivery that crosses with that is lost to the sender for an hour.
        is_quiet = not 0 <= now - self._last_request < QUIET_SECONDS
        self._last_request = now
        try:
            status, headers, body, closes = await self._answer(scope, exchange, now)
            if closes or is_quiet or self.is_leaving:
                headers = [*headers, ("connection", "close")]
            exchange.response_bytes(status, headers, body)
        finally:
            self.in_flight -= 1
            self.answered += 1

    async def _answer(self, scope: Scope, exchange: Exchange, now: float) -> Answer:
        schema = None
        try:
            asked = address(scope.method, scope.path)
            if isinstance(asked, Address):
                # Every token is hashed and looked up alike, well-formed or not: the time tells nothing.
                hash = token.digest(asked.token)
                endpoint = self._endpoints.by_address.get((asked.schema, hash))
                if endpoint is not None:
                    schema = endpoint.schema
                    self.traffic.saw(hash, now)
                    answer = await self._receive(endpoint, scope.headers, exchange, now)
                else:
                    self._count_refusal(hash, "its token is not a live one of that schema")
                    answer = await self._refuse(scope, exchange, UNAUTHORIZED)
            else:
                answer = await self._refuse(scope, exchange, asked)
        except (SlowBody, BrokenBody, OutOfBudget) as cut:
            answer = TOO_SLOW if isinstance(cut, SlowBody) else UNAVAILABLE._replace(closes=True)
            self._tell_of_cut(schema, cut)
        except NotStored:
            answer = UNAVAILABLE
        except Exception as error:
            # A 500 costs an hour. The error's text may quote the path or the body, so only its place is told.
            told = facts(schema=schema, error=type(error).__name__, at=place(error))
            _log.error("answered 503 after an unforeseen error", extra=told)
            answer = UNAVAILABLE
        kind = schema, answer.status
        self.answers[kind] = self.answers.get(kind, 0) + 1
        return answer

    async def _receive(self, endpoint: EndpointEntry, headers: Headers, exchange: Exchange, now: float) -> Answer:
        """A delivery with a live token: its body, its signature, and into the spool with it."""
        check = None
        if endpoint.signed:
            check = Check(endpoint.signing_keys, headers.get("x-cio-timestamp", ""))
        with Held(self._budget) as held:
            length = _announced(headers)
            if length is not None and length <= SMALL_BYTES:
                content = await read_small(exchange, self._deadline)
                total, may_be_cut = len(content), False
                if check:
                    check.update(content)
            else:
                content, total, may_be_cut = await read(exchange, length, self._deadline, held, check)
            if check and not check.accepts(headers.get("x-cio-signature", "")):
                if may_be_cut:
                    raise BrokenBody
                self._count_refusal(endpoint.hash, "its signature is missing or wrong")
                return UNAUTHORIZED
            if total > len(content):
                parsed: event.Event | event.Rejection = event.Rejection(TOO_LARGE, content)
            else:
                parsed = event.parse(content, headers.get("content-encoding", ""))
            if may_be_cut and isinstance(parsed, event.Rejection):
                raise BrokenBody
            arrival = _arrival(endpoint, parsed, now)
            if len(arrival.body) > max(total, SMALL_BYTES):  # it was compressed
                held.take(len(arrival.body))
            await self._commit.store(arrival)
        if arrival.reason is not None:
            self.rejects.saw(arrival.schema, arrival.hash, arrival.reason, total)
        return OK._replace(closes=True) if may_be_cut else OK

    async def _refuse(self, scope: Scope, exchange: Exchange, answer: Answer) -> Answer:
        """Lets the sender finish writing, so that it reads the answer instead of a reset; within bounds."""
        is_whole = await throw_away(exchange, _announced(scope.headers), self._deadline, THROWN_AWAY_BYTES)
        return answer if is_whole else answer._replace(closes=True)

    def _count_refusal(self, hash: str, why: str) -> None:
        self.unauthorized += 1
        if self._refusals.is_news(hash, time.monotonic()):
            _log.warning("refused a delivery", extra=facts(token=token.fingerprint(hash), reason=why))

    def _tell_of_cut(self, schema: str | None, cut: Exception) -> None:
        # Of strangers' requests the counts alone are kept.
        more = self._cuts.may_say(schema) if schema is not None else None
        if more is not None:
            told = facts(schema=schema, reason=WHY_NOT_WHOLE[type(cut)], **more)
            _log.warning("a delivery was not taken in whole", extra=told)

    async def sweep(self) -> None:
        """Keeps the deadlines; runs as long as the receiver does."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.swept_at = time.monotonic()
            self._deadline.sweep()
            self._commit.sweep()

    async def finish(self, seconds: float) -> bool:
        """Waits until nothing is in flight; False if that took longer than `seconds`."""
        give_up = time.monotonic() + seconds
        while self.in_flight:
            if time.monotonic() > give_up:
                return False
            await asyncio.sleep(0.01)
        return True


def _arrival(endpoint: EndpointEntry, parsed: event.Event | event.Rejection, now: float) -> Arrival:
    received_at = int(now * 1_000_000)
    if isinstance(parsed, event.Event):
        return Arrival(endpoint.hash, endpoint.schema, received_at, *parsed, None)
    return Arrival(endpoint.hash, endpoint.schema, received_at, None, None, None, None, parsed.raw, parsed.reason)


def _announced(headers: Headers) -> int | None:
    """The body's length as announced; 0 without a body, None if it comes in chunks of unknown number."""
    if headers.get("transfer-encoding") is not None:
        return None
    return int(headers.get("content-length", 0))  # hyper has refused what isn't a number
