"""The sender of reporting webhooks: signs and posts events one at a time per webhook, and holds the line on a failure.

Source: Customer.io, "Reporting webhooks" (https://docs.customer.io/api/webhooks): 4 s for a 2xx, else retries over
seven days with exponential backoff while all later calls wait; an hour before the first retry after certain statuses
and errors; the v0 signature. Not documented and chosen here: the first backoff, that it doubles without bound, that
redirects are not followed, and that a disabled webhook keeps what waits but takes nothing new.

It keeps a record of every attempt for the tests, and no URL in it: an endpoint holds a secret.
"""

import asyncio
import errno
import hashlib
import hmac
import json
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from tests.customerio.clock import Clock
from tests.customerio.events import EVENTS, Generator, body_of, name_of, without_content
from tests.customerio.thread import LoopThread
from tests.customerio.workspace import Webhook, Workspace

ANSWER_WITHIN_S = 4.0
HOUR_S = 3600.0
GIVES_UP_AFTER_S = 7 * 24 * HOUR_S
FIRST_BACKOFF_S = 30.0

EOF = "EOF"
SERVER_MISBEHAVING = "server misbehaving"
REFUSED = "connect: connection refused"
RESET = "read: connection reset by peer"
X509 = "tls: failed to verify certificate: x509:"
TIMEOUT = "context deadline exceeded"
ANSWER_LOST = "answer lost"

HOUR_STATUSES = frozenset({400, 401, 402, 403, 404, 405, 410, 429, 500, 502, 521})
HOUR_ERRORS = frozenset({EOF, SERVER_MISBEHAVING, REFUSED, RESET, X509})
_NAMES_OF_ERRORS = {errno.ECONNRESET: RESET, errno.ECONNREFUSED: REFUSED, errno.EPIPE: "write: broken pipe"}


def sign(key: str, timestamp: str, body: bytes) -> str:
    """The value of X-CIO-Signature: lower-case hex of HMAC-SHA256 by the key's text over `v0:<timestamp>:<body>`."""
    return hmac.new(key.encode(), b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()


def path_hash(url: str) -> str:
    """What stands for an endpoint in the records: the first 12 hex digits of its path's SHA-256."""
    return hashlib.sha256(urlsplit(url).path.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Made:
    """An event that happened. `taken_by`: the webhooks that are to send it, decided as it happened.

    `is_repeat`: a further open or click of a message, which only webhooks with full_resolution take.
    """

    event_id: str
    name: str
    event: dict[str, Any] = field(repr=False)
    body: bytes = field(repr=False)
    taken_by: tuple[int, ...]
    is_repeat: bool


@dataclass(frozen=True)
class Attempt:
    """One call of an endpoint. `at`: by the sender's clock; `took_s`: real seconds; `number`: 1 is the first try."""

    at: float
    webhook_id: int
    event_id: str
    path_hash: str
    status: int | None
    error: str | None
    number: int
    took_s: float
    body: bytes = field(repr=False)

    @property
    def is_2xx(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_delivery(self) -> bool:
        """Answered 2xx, and the sender knows it."""
        return self.is_2xx and self.error is None

    @property
    def is_of_the_hour(self) -> bool:
        """Whether the first retry comes after an hour."""
        return self.error in HOUR_ERRORS if self.error else self.status in HOUR_STATUSES


@dataclass(frozen=True)
class Pause:
    """A wait of one webhook's whole line after a failed call, written down as it begins.

    `seconds`: by the sender's clock; `cause`: status or error; `waiting`: events behind the failed one by then.
    """

    at: float
    webhook_id: int
    event_id: str
    seconds: float
    cause: str
    waiting: int


@dataclass(frozen=True)
class GivenUp:
    """An event that a webhook took and will never deliver."""

    webhook_id: int
    event_id: str
    reason: str


@dataclass
class _Waiting:
    made: Made
    body: bytes
    attempts: int = 0
    failures: int = 0
    hour_failures: int = 0
    gives_up_at: float = 0
    signed: dict[str, str] | None = None


@dataclass
class _Line:
    webhook_id: int
    waiting: deque[_Waiting] = field(default_factory=deque)
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    is_calling: bool = False
    task: asyncio.Task[None] | None = None


class NotDrained(AssertionError):
    """The backlog didn't become empty in time; says what held it up."""


class Sender:
    """Makes events happen and sends them. Methods and records are for the test's thread.

    `answer_within_s`: the timeout, in real seconds whatever the clock says, since the receiver is real.
    `signs_retries_anew`: whether a retry has a new timestamp and signature (not documented either way).
    `keeps_connections`: whether a connection is used again (not documented either way).
    """

    def __init__(
        self,
        workspace: Workspace,
        clock: Clock,
        thread: LoopThread,
        failed: Callable[[BaseException], None],
        *,
        seed: int | None,
        answer_within_s: float,
        signs_retries_anew: bool,
        keeps_connections: bool,
    ) -> None:
        self.signs_retries_anew = signs_retries_anew
        self._workspace = workspace
        self._clock = clock
        self._thread = thread
        self._failed = failed
        self._generator = Generator(seed)
        self._timeout = aiohttp.ClientTimeout(total=answer_within_s)
        self._keeps_connections = keeps_connections
        self._session: aiohttp.ClientSession | None = None
        self._lines: dict[int, _Line] = {}
        self._steady: asyncio.Task[None] | None = None
        self._read_messages: set[tuple[str, str]] = set()
        self._answers_to_lose = 0
        self._made: list[Made] = []
        self._attempts: list[Attempt] = []
        self._pauses: list[Pause] = []
        self._given_up: list[GivenUp] = []
        self._delivered: Counter[tuple[int, str]] = Counter()
        workspace.followers.append(self._follow)

    # What the test asks of it.

    def send(self, count: int = 1, names: Sequence[str] = EVENTS) -> list[Made]:
        """Makes `count` events of `names` happen now."""
        return self._thread.call(lambda: [self._happen_one(names) for _ in range(count)])

    def send_event(self, event: dict[str, Any] | bytes) -> Made:
        """Makes just this event happen; bytes are sent as they are."""
        if isinstance(event, bytes):
            return self._thread.call(lambda: self._happen(json.loads(event), event))
        return self._thread.call(lambda: self._happen(event, body_of(event)))

    def send_steadily(self, per_second: float, names: Sequence[str] = EVENTS) -> None:
        """Makes events of `names` happen in the background, so many per real second, until `stop`."""

        def begin() -> None:
            if self._steady:
                self._steady.cancel()
            self._steady = self._watched(self._happen_steadily(per_second, names))

        self._thread.call(begin)

    def stop(self) -> None:
        """No more events happen by themselves. What waits is sent on."""

        def end() -> None:
            if self._steady:
                self._steady.cancel()
            self._steady = None

        self._thread.call(end)

    def drain(self, timeout: float = 10) -> None:
        """Waits until nothing waits in any line, disabled webhooks' included; NotDrained after `timeout` real s."""
        give_up = time.monotonic() + timeout
        while self.waiting():
            if time.monotonic() > give_up:
                raise NotDrained(f"not within {timeout} s: {self.summary()}")
            time.sleep(0.01)

    def lose_answers(self, count: int) -> None:
        """The sender doesn't get to know of the next `count` 2xx answers, and sends those events again at once."""
        self._thread.call(lambda: setattr(self, "_answers_to_lose", self._answers_to_lose + count))

    # What it says.

    def waiting(self, webhook_id: int | None = None) -> int:
        """How many events wait in one line, or in all, the one being sent included."""

        def count() -> int:
            lines = [line for line in self._lines.values() if webhook_id in (None, line.webhook_id)]
            return sum(len(line.waiting) for line in lines)

        return self._thread.call(count)

    @property
    def made(self) -> list[Made]:
        return list(self._made)

    @property
    def attempts(self) -> list[Attempt]:
        return list(self._attempts)

    @property
    def refusals(self) -> list[Attempt]:
        """Attempts that were not answered 2xx, for whatever reason."""
        return [attempt for attempt in self.attempts if not attempt.is_2xx]

    @property
    def pauses(self) -> list[Pause]:
        return list(self._pauses)

    @property
    def given_up(self) -> list[GivenUp]:
        return list(self._given_up)

    @property
    def delivered(self) -> dict[str, int]:
        """Event id → how many times it was delivered, to the sender's knowledge, over all webhooks."""
        counts: Counter[str] = Counter()
        for (_, event_id), count in self._thread.call(lambda: list(self._delivered.items())):
            counts[event_id] += count
        return dict(counts)

    @property
    def undelivered(self) -> list[str]:
        """Ids of events that a webhook took and has not delivered: waiting, or given up."""
        done = self._thread.call(lambda: set(self._delivered))
        return [made.event_id for made in self.made if any((hook, made.event_id) not in done for hook in made.taken_by)]

    @property
    def untaken(self) -> list[Made]:
        """Events that no webhook took: none was there, it was disabled, or the event is not in its list."""
        return [made for made in self.made if not made.taken_by and not made.is_repeat]

    @property
    def troubles(self) -> list[object]:
        """Each delivery that wasn't answered 2xx, wait behind one, and event that still waits or that nobody took."""
        return [*self.refusals, *self.pauses, *self.undelivered, *self.untaken]

    def summary(self) -> str:
        """One line for a failed assertion."""
        answers = Counter(str(attempt.error or attempt.status) for attempt in self.attempts)
        last = f", the last {self.pauses[-1]}" if self.pauses else ""
        return (
            f"{len(self.made)} events, {len(self.untaken)} taken by no webhook, {self.waiting()} waiting, "
            f"{len(self.given_up)} given up; answers {dict(answers)}; {len(self.pauses)} pauses{last}"
        )

    # How it works. All below runs in the loop.

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, force_close=not self._keeps_connections)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            headers={"User-Agent": "Customer.io (simulated)"},
            skip_auto_headers=["Content-Type"],
        )

    async def close(self) -> None:
        tasks = [task for task in (self._steady, *(line.task for line in self._lines.values())) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session:
            await self._session.close()

    def _watched(self, coroutine: Any) -> asyncio.Task[None]:
        def look(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()):
                self._failed(error)

        task: asyncio.Task[None] = self._thread.loop.create_task(coroutine)
        task.add_done_callback(look)
        return task

    async def _happen_steadily(self, per_second: float, names: Sequence[str]) -> None:
        begun = time.monotonic()
        happened = 0
        while True:
            for _ in range(int((time.monotonic() - begun) * per_second) - happened):
                self._happen_one(names)
                happened += 1
            await asyncio.sleep(min(1 / per_second, 0.02))

    def _happen_one(self, names: Sequence[str]) -> Made:
        event = self._generator.event(self._clock.now(), names)
        return self._happen(event, body_of(event))

    def _happen(self, event: dict[str, Any], body: bytes) -> Made:
        name = name_of(event)
        is_repeat = False
        if event["metric"] in ("opened", "clicked"):
            message = (name, event["data"].get("delivery_id", event["event_id"]))
            is_repeat = message in self._read_messages
            self._read_messages.add(message)
        takers = [
            webhook
            for webhook in self._workspace.webhooks.values()
            if webhook.type == "webhook"
            and not webhook.disabled
            and name in webhook.events
            and (webhook.full_resolution or not is_repeat)
        ]
        made = Made(event["event_id"], name, event, body, tuple(webhook.id for webhook in takers), is_repeat)
        self._made.append(made)
        for webhook in takers:
            plain = event if webhook.with_content else without_content(event)
            line = self._lines[webhook.id]
            line.waiting.append(_Waiting(made, body if plain == event else body_of(plain)))
            line.stirred.set()
        return made

    def _follow(self) -> None:
        """The webhooks changed: each has a line of its own, and lines look again at what they are to do."""
        for webhook in self._workspace.webhooks.values():
            if webhook.type == "webhook" and webhook.id not in self._lines:
                line = self._lines[webhook.id] = _Line(webhook.id)
                line.task = self._watched(self._work(line))
        for line in list(self._lines.values()):
            line.stirred.set()
            # A call that is under way goes on; a pause is over.
            if line.webhook_id not in self._workspace.webhooks and not line.is_calling:
                assert line.task is not None
                line.task.cancel()
                self._end(line)

    def _end(self, line: _Line) -> None:
        while line.waiting:
            self._give_up(line, "the webhook was deleted")
        self._lines.pop(line.webhook_id, None)

    def _give_up(self, line: _Line, reason: str) -> None:
        self._given_up.append(GivenUp(line.webhook_id, line.waiting.popleft().made.event_id, reason))

    async def _work(self, line: _Line) -> None:
        while webhook := self._workspace.webhooks.get(line.webhook_id):
            if not line.waiting or webhook.disabled:
                line.stirred.clear()
                await line.stirred.wait()
                continue
            head = line.waiting[0]
            if head.made.name not in webhook.events:
                self._give_up(line, "no longer among the webhook's events")
                continue
            if head.failures and self._clock.now() >= head.gives_up_at:
                self._give_up(line, "its seven days are over")
                continue
            line.is_calling = True
            attempt = await self._attempt(webhook, head)
            line.is_calling = False
            if attempt.is_delivery:
                self._delivered[webhook.id, attempt.event_id] += 1
                line.waiting.popleft()
            elif not attempt.is_2xx and webhook.id in self._workspace.webhooks:
                await self._pause(line, head, attempt)
        self._end(line)

    async def _attempt(self, webhook: Webhook, head: _Waiting) -> Attempt:
        head.attempts += 1
        at, begun = self._clock.now(), time.monotonic()
        if head.attempts == 1:
            head.gives_up_at = at + GIVES_UP_AFTER_S
        if head.signed is None or self.signs_retries_anew:
            head.signed = signed_headers(webhook.signing_key, str(int(at)), head.body)
        status, error = await self.post(webhook.endpoint, head.body, head.signed)
        if error is None and 200 <= (status or 0) < 300 and self._answers_to_lose:
            self._answers_to_lose -= 1
            error = ANSWER_LOST
        attempt = Attempt(
            at,
            webhook.id,
            head.made.event_id,
            path_hash(webhook.endpoint),
            status,
            error,
            head.attempts,
            time.monotonic() - begun,
            head.body,
        )
        self._attempts.append(attempt)
        return attempt

    async def _pause(self, line: _Line, head: _Waiting, attempt: Attempt) -> None:
        head.failures += 1
        wait = FIRST_BACKOFF_S * 2 ** (head.failures - 1)
        if attempt.is_of_the_hour:
            head.hour_failures += 1
            wait = max(wait, HOUR_S * 2 ** (head.hour_failures - 1))
        now = self._clock.now()
        wait = min(wait, max(0, head.gives_up_at - now))
        cause = attempt.error or str(attempt.status)
        behind = len(line.waiting) - 1
        self._pauses.append(Pause(now, line.webhook_id, head.made.event_id, wait, cause, behind))
        await self._clock.sleep_until(now + wait)

    async def post(self, endpoint: str, body: bytes, headers: dict[str, str]) -> tuple[int | None, str | None]:
        """The answer's status, or the error in the words of Customer.io's documents. One of them is None."""
        assert self._session is not None
        url = URL(endpoint, encoded=True)
        if url.host not in ("127.0.0.1", "::1", "localhost"):
            return None, SERVER_MISBEHAVING  # a test has no business on other machines: their names can't be resolved
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                await answer.read()
                return answer.status, None
        except (OSError, aiohttp.ClientError) as error:
            return None, _in_words(error)


def signed_headers(key: str, timestamp: str, body: bytes) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "X-CIO-Timestamp": timestamp,
        "X-CIO-Signature": sign(key, timestamp, body),
    }


def _in_words(error: OSError | aiohttp.ClientError) -> str:
    """The documents' words for a failed call; they are those of Go's network library. Never with the URL."""
    cause: BaseException = error
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        cause = error.os_error
    match cause:
        case TimeoutError():
            return TIMEOUT
        case aiohttp.ClientConnectorCertificateError():
            return X509
        case aiohttp.ClientSSLError():
            return "tls: handshake failure"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return EOF
        case ConnectionRefusedError():
            return REFUSED
        case ConnectionResetError():
            return RESET
        case socket.gaierror():
            return SERVER_MISBEHAVING if cause.errno == socket.EAI_AGAIN else "no such host"
        case OSError() if cause.errno in _NAMES_OF_ERRORS:
            return _NAMES_OF_ERRORS[cause.errno]
        case aiohttp.ClientResponseError():
            return "malformed HTTP response"
    return type(cause).__name__
