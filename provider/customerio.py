"""Customer.io's App API, as far as reporting webhooks go: list, get, create, update, delete.

Facts are from its OpenAPI document of 2026-09-17 (docs.customer.io/files/journeys-app.json): 10 requests a second, a
429 says how long to wait in Retry-After, and without one a daily quota is used up; fields may be added at any time. A
key that is wrong or lacks the scope gets a 401 or a 403. An error is a sentence that names what to do, with neither the
key nor any endpoint's URL in it: that URL holds a token.
"""

import asyncio
import json
import random
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from provider.resource import ResourceError
from receiver.token import PREFIX as TOKEN_PREFIX

HOSTS: Mapping[str, str] = {"us": "https://api.customer.io", "eu": "https://api-eu.customer.io"}
PATH = "/v1/reporting_webhooks"

CALL_TIMEOUT_S = 20.0
ATTEMPTS = 5
BACKOFF_S = 0.5
"""Before the second attempt; twice as long before each one after it."""
LIMITED_PATIENCE_S = 120.0
"""How long one operation waits, in all, because of the rate limit."""

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """A reporting webhook's fields, all of those that can be set. `endpoint` is secret."""

    name: str
    endpoint: str = field(repr=False)
    events: tuple[str, ...]
    disabled: bool
    full_resolution: bool
    with_content: bool


@dataclass(frozen=True, kw_only=True)
class Registered(Webhook):
    """A webhook as Customer.io has it."""

    id: int


class _Limited(Exception):
    """The rate limit; it may be tried again in `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


class _Fault(Exception):
    """Something that may pass by itself; the text is the reason."""


class _NotFound(Exception):
    pass


class CustomerIO:
    """One workspace's App API; used by `async with`. Every method raises ResourceError.

    region: us or eu. base_url: instead of the region's own. credential, stack: the key's path in the config of that
    stack, for messages. pause: how to wait, in seconds.
    """

    def __init__(
        self,
        key: str,
        *,
        region: str,
        credential: str,
        stack: str,
        base_url: str | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._key = key
        self._region = region
        self._credential = credential
        self._stack = stack
        self._base = (base_url or HOSTS[region]).rstrip("/")
        self._host = urlsplit(self._base).netloc
        self._pause = pause

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._key}", "User-Agent": "sluice"},
            timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def webhooks(self) -> list[Registered]:
        """Every webhook of type `webhook`; those of type `js` run code at Customer.io and have no endpoint of ours."""
        return await self._patiently(self._webhooks)

    async def get(self, webhook_id: int) -> Registered | None:
        """None when there is none of that id."""

        async def get() -> Registered:
            return self._registered(await self._call("GET", f"{PATH}/{webhook_id}"))

        return await self._found(get)

    async def create(self, wanted: Webhook) -> tuple[Registered, bool]:
        """Makes the webhook, or takes over the one that has exactly the same endpoint. Returns it and whether it did.

        The endpoint holds a token of ours, so that webhook is ours as well: made by an `up` that was killed, or by
        hand. A name says nothing: it may be that of a webhook which feeds another system. The API has no idempotency
        key, so each attempt looks first: the one before may have come through.
        """

        async def find_or_make() -> tuple[Registered, bool]:
            same = [found for found in await self._webhooks() if found.endpoint == wanted.endpoint]
            if len(same) > 1:
                ids = ", ".join(str(found.id) for found in same)
                raise ResourceError(
                    f"{len(same)} webhooks at Customer.io have the URL of {wanted.name!r} already (ids {ids}): "
                    "delete all but one of them on its Reporting Webhooks page, and run this again"
                )
            if not same:
                return self._registered(await self._call("POST", PATH, wanted)), False
            path = f"{PATH}/{same[0].id}"
            return self._registered(await self._call("PUT", path, wanted)), True

        return await self._patiently(find_or_make)

    async def update(self, webhook_id: int, wanted: Webhook) -> Registered | None:
        """Gives it all of `wanted`'s fields; None when there is none of that id."""

        async def put() -> Registered:
            return self._registered(await self._call("PUT", f"{PATH}/{webhook_id}", wanted))

        return await self._found(put)

    async def delete(self, webhook_id: int) -> bool:
        """False when there was none of that id."""

        async def delete() -> bool:
            await self._call("DELETE", f"{PATH}/{webhook_id}")
            return True

        return bool(await self._found(delete))

    async def _webhooks(self) -> list[Registered]:
        answer = await self._call("GET", PATH)
        if not isinstance(answer, dict) or "reporting_webhooks" not in answer:
            raise self._not_the_api()
        entries = answer["reporting_webhooks"] or []  # null when there is none
        return [self._registered(entry) for entry in entries if entry.get("type", "webhook") == "webhook"]

    async def _found(self, call: Callable[[], Awaitable[Result]]) -> Result | None:
        try:
            return await self._patiently(call)
        except _NotFound:
            return None

    async def _patiently(self, operation: Callable[[], Awaitable[Result]]) -> Result:
        """Repeats what may pass by itself, within bounds."""
        faults, waited = 0, 0.0
        while True:
            try:
                return await operation()
            except _Limited as limited:
                # Not all at once again, where a stack has many webhooks.
                delay = limited.seconds + random.uniform(0, 0.5)  # noqa: S311
                waited += delay
                if waited > LIMITED_PATIENCE_S:
                    raise ResourceError(
                        "Customer.io's rate limit (10 requests a second) was still reached after "
                        f"{LIMITED_PATIENCE_S:.0f} s: something else uses this workspace's API; run this again later"
                    ) from None
            except _Fault as fault:
                faults += 1
                if faults == ATTEMPTS:
                    raise ResourceError(
                        f"Customer.io's API at {self._host} fails: {fault} ({ATTEMPTS} attempts). "
                        "Run this again when it is back"
                    ) from None
                delay = BACKOFF_S * 2 ** (faults - 1)
            await self._pause(delay)

    async def _call(self, method: str, path: str, webhook: Webhook | None = None) -> Any:
        """One request: the decoded body of a 2xx, None for an empty one. Raises ResourceError, or how to go on."""
        body = None if webhook is None else _body(webhook)
        try:
            async with self._session.request(
                method,
                self._base + path,
                json=body,
                allow_redirects=False,  # the key goes to this host alone
                proxy=_proxy(self._base),
            ) as answer:
                status, headers, text = answer.status, answer.headers, await answer.read()
        except TimeoutError:
            raise _Fault(f"no answer within {CALL_TIMEOUT_S:.0f} s") from None
        except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError):
            raise ResourceError(
                f"the TLS certificate of {self._host} isn't trusted here: if a proxy of yours stands in between, "
                "set SSL_CERT_FILE to its certificate authority"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _Fault(_reason(error)) from None
        if 200 <= status < 300:
            try:
                return json.loads(text) if text.strip() else None
            except ValueError:
                raise self._not_the_api() from None
        if status == 429:
            raise _limit(headers.get("Retry-After"))
        if status >= 500 or status == 408:
            raise _Fault(f"it answered {status}")
        if status == 404 and path != PATH:
            raise _NotFound
        raise ResourceError(self._refusal(status, _details(text, body, self._secrets(webhook))))

    def _secrets(self, webhook: Webhook | None) -> list[str]:
        endpoint = [] if webhook is None else [webhook.endpoint, webhook.endpoint.rsplit("/", 1)[-1]]
        return [self._key, *endpoint]

    def _refusal(self, status: int, details: str) -> str:
        said = f" It says: {details}" if details else ""
        store = f"pulumi config set --stack {self._stack} --secret --path '{self._credential}'"
        if status == 401:
            other = "eu" if self._region == "us" else "us"
            return (
                f"Customer.io's API at {self._host} doesn't know the key in {self._credential} (401). It must be an "
                "App API key (Settings > API Credentials > App API Keys), not a Track API key, of a workspace in the "
                f"region `{self._region}` (else say `region: {other}`). Store another one with {store}; if the old one "
                f"was withdrawn, run `up` with the new one before anything else.{said}"
            )
        if status == 403:
            return (
                f"the key in {self._credential} is known to Customer.io but may not manage reporting webhooks (403): "
                "its scope lacks them. Make an App API key with that scope (Settings > API Credentials > App API Keys) "
                f"and store it with {store}.{said}"
            )
        if status in (400, 422):
            return f"Customer.io doesn't take this webhook ({status}).{said or ' It gives no reason.'}"
        if status == 404 or 300 <= status < 400:
            return str(self._not_the_api(status))
        return f"Customer.io's API at {self._host} answered {status}.{said}"

    def _not_the_api(self, status: int | None = None) -> ResourceError:
        answered = f"answered {status}" if status else "answered something else than its documents say"
        return ResourceError(
            f"{self._host} {answered}: it isn't Customer.io's App API; look at `region` and sluice:customerioApi"
        )

    def _registered(self, answer: Any) -> Registered:
        try:
            if answer.get("type", "webhook") != "webhook":
                raise ResourceError(
                    f"webhook {answer['id']} is a JavaScript webhook, which has no endpoint: only one of type "
                    "`webhook` will do"
                )
            return Registered(
                id=int(answer["id"]),
                name=str(answer["name"]),
                endpoint=str(answer["endpoint"]),
                events=tuple(map(str, answer["events"] or ())),
                disabled=bool(answer.get("disabled")),
                full_resolution=bool(answer.get("full_resolution")),
                with_content=bool(answer.get("with_content")),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise self._not_the_api() from None


def _body(webhook: Webhook) -> dict[str, Any]:
    """Always the whole webhook: a PUT requires the same fields as a POST."""
    return {
        "name": webhook.name,
        "endpoint": webhook.endpoint,
        "events": [*webhook.events],
        "disabled": webhook.disabled,
        "full_resolution": webhook.full_resolution,
        "with_content": webhook.with_content,
    }


def _limit(retry_after: str | None) -> Exception:
    if retry_after is None or not retry_after.strip().isdigit():
        return ResourceError(
            "Customer.io's daily quota of API requests is used up for this workspace (429 without Retry-After): "
            "nothing more can be changed there until it is renewed; run this again tomorrow"
        )
    return _Limited(max(1, int(retry_after)))


def _details(text: bytes, sent: dict[str, Any] | None, secrets: list[str]) -> str:
    """What an answer's errors say, `{"errors": [{"detail", "code"?, "source": {"pointer"}?}]}`, with nothing secret in
    it; each with the value of `sent` that its pointer (RFC 6901, such as /events/1) names."""
    try:
        errors = json.loads(text)["errors"]
        said = "; ".join(f"{_pointed_at(error, sent)}{error['detail']}" for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    for secret in secrets:
        said = said.replace(secret, "[secret]")
    said = re.sub(rf"{TOKEN_PREFIX}\w+", "[secret]", said)
    said = " ".join(said.split())
    return said if len(said) <= 300 else said[:299] + "…"


def _pointed_at(error: dict[str, Any], sent: Any) -> str:
    pointer = str((error.get("source") or {}).get("pointer") or "")
    try:
        for step in pointer.removeprefix("/").split("/"):
            sent = sent[int(step)] if isinstance(sent, list) else sent[step]
    except (KeyError, IndexError, ValueError, TypeError):
        return f"{pointer}: " if pointer else ""
    return f"{pointer} ({sent}): " if isinstance(sent, str) else f"{pointer}: "


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name can't be resolved"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({error.os_error.strerror or type(error.os_error).__name__})"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError | aiohttp.ClientPayloadError):
        return "the connection broke"
    return type(error).__name__


def _proxy(url: str) -> str | None:
    """The proxy of the environment for this URL, as Pulumi itself would take it.

    Not aiohttp's own `trust_env`, which wants to send a password from ~/.netrc as well.
    """
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
