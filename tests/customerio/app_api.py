"""The App API's reporting webhooks over HTTP, as documented and no kinder, with switches for what goes wrong.

Source: Customer.io, OpenAPI of the App API, 2026-09-17 (https://docs.customer.io/files/journeys-app.json), and where
it says nothing what others who use it have seen: 401 and 403, the null list, a PUT that keeps the optional fields it
doesn't name.
"""

import asyncio
import json
import math
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from tests.customerio.events import EVENTS
from tests.customerio.thread import LoopThread
from tests.customerio.workspace import REPORTING_SCOPE, Webhook, Workspace

REQUESTS_PER_SECOND = 10
PATH = "/v1/reporting_webhooks"
REQUIRED = ("name", "endpoint", "events")
FLAGS = ("disabled", "full_resolution", "with_content")
READ_ONLY = ("id", "type")
Handler = Callable[[web.Request], Any]


@dataclass
class Call:
    """One request to the API as it was answered; `status` is 0 where the connection was dropped."""

    method: str
    path: str
    status: int = 0
    webhook_id: int | None = None


@dataclass
class _Fault:
    left: float
    method: str | None
    status: int = 0
    body: str | None = None
    retry_after: int | None = None
    is_dropped_after: bool = False


CALL = web.RequestKey("call", Call)


def mistakes(body: Any, *, pointer: str = "") -> list[tuple[str, str]]:
    """What is wrong with the body of a POST or PUT: pairs of JSON pointer and sentence."""
    if not isinstance(body, dict):
        return [(pointer, "the body must be a JSON object")]
    found = [(f"/{name}", f"{name} is required") for name in REQUIRED if name not in body]
    found += [(f"/{name}", f"{name} is read-only") for name in READ_ONLY if name in body]
    found += [
        (f"/{name}", f"{name} must be a boolean") for name in FLAGS if name in body and not isinstance(body[name], bool)
    ]
    if "name" in body and not isinstance(body["name"], str):
        found.append(("/name", "name must be a string"))
    if "endpoint" in body and not _is_url(body["endpoint"]):
        found.append(("/endpoint", "endpoint must be an http or https URL"))
    if "events" in body:
        events = body["events"]
        if not isinstance(events, list):
            found.append(("/events", "events must be an array"))
        elif not events:
            found.append(("/events", "events must have at least 1 item"))
        else:
            found += [
                (f"/events/{position}", "is not an event")
                for position, event in enumerate(events)
                if not isinstance(event, str) or event not in EVENTS
            ]
    return found


def _is_url(value: Any) -> bool:
    if not isinstance(value, str) or any(character.isspace() for character in value):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _error(status: int, *details: tuple[str, str], headers: dict[str, str] | None = None) -> web.Response:
    """The documented body of an error; `details` are pairs of JSON pointer ("" for none) and sentence."""
    errors = [
        {"detail": detail, "status": str(status), **({"source": {"pointer": pointer}} if pointer else {})}
        for pointer, detail in details
    ]
    return web.json_response({"errors": errors}, status=status, headers=headers)


class AppAPI:
    """The API's switches and its record of calls. All may be set and read from the test's thread.

    `delay_s`: every answer waits so long, in real seconds. `daily_quota`: True = every request is 429 without
    Retry-After. `empty_list_is_null`: what the list says when there is none (seen by others, so it is the default).
    `before_answer`: called in a thread of its own after a request was carried out and before it is answered: the
    test can look at the world in the middle of an update; what it raises fails the simulation.
    """

    def __init__(self, workspace: Workspace, thread: LoopThread, failed: Callable[[BaseException], None]) -> None:
        self.calls: list[Call] = []
        self.delay_s = 0.0
        self.daily_quota = False
        self.empty_list_is_null = True
        self.before_answer: Callable[[Call], None] | None = None
        self._workspace = workspace
        self._thread = thread
        self._failed = failed
        self._faults: list[_Fault] = []
        self._served: deque[float] = deque()

    def fail(
        self,
        count: float = math.inf,
        status: int = 500,
        *,
        method: str | None = None,
        body: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        """The next `count` requests (of `method`) get `status` and are not carried out."""
        self._add(_Fault(count, method, status, body, retry_after))

    def drop(self, count: float = math.inf, *, method: str | None = None, after: bool = False) -> None:
        """The next `count` requests (of `method`) get no answer; with `after` they are carried out all the same."""
        self._add(_Fault(count, method, is_dropped_after=after))

    def heal(self) -> None:
        """Ends all that `fail` and `drop` began, the daily quota and the delay."""
        self._thread.call(self._faults.clear)
        self.daily_quota, self.delay_s = False, 0.0

    def _add(self, fault: _Fault) -> None:
        self._thread.call(lambda: self._faults.append(fault))

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._recorded, self._faulty, self._guarded])
        router = application.router
        router.add_get(PATH, self._list, allow_head=False)
        router.add_post(PATH, self._create)
        router.add_get(PATH + "/{id}", self._get, allow_head=False)
        router.add_put(PATH + "/{id}", self._update)
        router.add_delete(PATH + "/{id}", self._delete)
        return application

    @web.middleware
    async def _recorded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        call = Call(request.method, request.path)
        self.calls.append(call)
        request[CALL] = call
        await asyncio.sleep(self.delay_s)
        answer: web.StreamResponse = await handler(request)
        call.status = 0 if request.transport is None or request.transport.is_closing() else answer.status
        return answer

    @web.middleware
    async def _faulty(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = next((f for f in self._faults if f.method in (None, request.method)), None)
        if fault is None:
            return await self._carried_out(request, handler)
        fault.left -= 1
        if fault.left <= 0:
            self._faults.remove(fault)
        if fault.is_dropped_after:
            await self._carried_out(request, handler)
        if not fault.status:
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=500)  # goes nowhere
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        if fault.body is not None:
            return web.Response(status=fault.status, text=fault.body, content_type="text/html", headers=headers)
        return _error(fault.status, ("", "as the test wants it"), headers=headers)

    async def _carried_out(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        answer: web.StreamResponse
        try:
            answer = await handler(request)
        except web.HTTPException as error:
            answer = _error(error.status, ("", error.reason))
        if self.before_answer is not None:
            call: Call = request[CALL]
            call.status = answer.status
            try:
                await asyncio.to_thread(self.before_answer, call)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # pytest.fail raises no Exception
                self._failed(error)
                return _error(500, ("", "the test's before_answer failed"))
        return answer

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Who asks, and how often: 401, 403, 429."""
        scheme, _, printed = request.headers.get("Authorization", "").partition(" ")
        key = self._workspace.keys.get(printed) if scheme == "Bearer" else None
        # A key of the other region is unknown here, as is a Track API key.
        if key is None or key.region != self._workspace.region:
            return _error(401, ("", "unauthorized"))
        if key.scope != REPORTING_SCOPE:
            return _error(403, ("", "forbidden"))
        if self.daily_quota:
            return _error(429, ("", "daily quota reached"))
        now = time.monotonic()
        while self._served and self._served[0] <= now - 1:
            self._served.popleft()
        if len(self._served) >= REQUESTS_PER_SECOND:
            wait = max(1, math.ceil(self._served[0] + 1 - now))
            return _error(429, ("", "too many requests"), headers={"Retry-After": str(wait)})
        self._served.append(now)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _list(self, request: web.Request) -> web.Response:
        found = [_shown(webhook) for webhook in self._workspace.webhooks.values()]
        random.shuffle(found)
        return web.json_response({"reporting_webhooks": found or (None if self.empty_list_is_null else [])})

    async def _create(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if isinstance(body, web.Response):
            return body
        webhook = self._workspace.create(**body)
        request[CALL].webhook_id = webhook.id
        return web.json_response(_shown(webhook))

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(_shown(self._found(request)))

    async def _update(self, request: web.Request) -> web.Response:
        webhook = self._found(request)
        body = await self._body(request)
        if isinstance(body, web.Response):
            return body
        if webhook.id not in self._workspace.webhooks:
            raise web.HTTPNotFound  # deleted while the body came in
        return web.json_response(_shown(self._workspace.change(webhook.id, **body)))

    async def _delete(self, request: web.Request) -> web.Response:
        self._workspace.delete(self._found(request).id)
        return web.Response(status=200)

    def _found(self, request: web.Request) -> Webhook:
        written = request.match_info["id"]
        webhook = self._workspace.webhooks.get(int(written)) if written.isascii() and written.isdigit() else None
        if webhook is None:
            raise web.HTTPNotFound
        request[CALL].webhook_id = webhook.id
        return webhook

    async def _body(self, request: web.Request) -> dict[str, Any] | web.Response:
        """The fields of a valid body that there are here (others are ignored), or the 400."""
        if request.content_type != "application/json":
            return _error(400, ("", "the body must be application/json"))
        try:
            body = json.loads(await request.read())
        except ValueError:
            return _error(400, ("", "the body is not JSON"))
        if found := mistakes(body):
            return _error(400, *found)
        return {name: body[name] for name in (*REQUIRED, *FLAGS) if name in body}


def _shown(webhook: Webhook) -> dict[str, Any]:
    """The webhook in a response: events in no order, a field that nobody knows yet, no signing key."""
    return {
        "id": webhook.id,
        "type": webhook.type,
        "name": webhook.name,
        "endpoint": webhook.endpoint,
        "events": random.sample(webhook.events, len(webhook.events)),
        "disabled": webhook.disabled,
        "full_resolution": webhook.full_resolution,
        "with_content": webhook.with_content,
        "added_in_future": {"signing": None},
    }
