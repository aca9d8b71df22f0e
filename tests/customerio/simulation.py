"""One simulated Customer.io workspace on 127.0.0.1: the API, the sender, and the UI as a person would use it."""

import secrets
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.customerio.app_api import AppAPI
from tests.customerio.clock import Clock
from tests.customerio.sender import ANSWER_WITHIN_S, Sender, signed_headers
from tests.customerio.thread import LoopThread
from tests.customerio.workspace import REPORTING_SCOPE, Key, Webhook, Workspace


class UI:
    """What a person does in Customer.io's pages. The API's rate limit, checks and faults don't hold here."""

    def __init__(self, workspace: Workspace, thread: LoopThread, sender: Sender, clock: Clock) -> None:
        self._workspace = workspace
        self._thread = thread
        self._sender = sender
        self._clock = clock

    def create(self, name: str, endpoint: str, events: list[str] | tuple[str, ...], **flags: bool) -> int:
        """A new webhook; returns its id. Flags: disabled, full_resolution, with_content."""
        return self._thread.call(
            lambda: self._workspace.create(name=name, endpoint=endpoint, events=events, **flags).id
        )

    def create_js(self, name: str, endpoint: str = "https://example.com/js") -> int:
        """A JavaScript webhook: it is in the API's list with type `js`, and never sends anything here."""
        return self._thread.call(
            lambda: self._workspace.create(type="js", name=name, endpoint=endpoint, events=["email_sent"]).id
        )

    def change(self, webhook_id: int, **fields: Any) -> None:
        self._thread.call(lambda: self._workspace.change(webhook_id, **fields))

    def delete(self, webhook_id: int) -> None:
        self._thread.call(lambda: self._workspace.delete(webhook_id))

    def signing_key(self, webhook_id: int) -> str:
        """The key as it is copied from the webhook's page; no API gives it."""
        return self._thread.call(lambda: self._workspace.webhooks[webhook_id].signing_key)

    def change_signing_key(self, webhook_id: int, key: str | None = None) -> str:
        """Gives the webhook another signing key, at once; returns it."""
        new = secrets.token_hex(32) if key is None else key
        self.change(webhook_id, signing_key=new)
        return new

    def send_test(self, webhook_id: int, body: bytes = b"{}") -> int | str | None:
        """The button "Send Test", beside the backlog: the answer's status or the error. Its body is not documented."""

        async def post() -> int | str | None:
            webhook = self._workspace.webhooks[webhook_id]
            headers = signed_headers(webhook.signing_key, str(int(self._clock.now())), body)
            status, error = await self._sender.post(webhook.endpoint, body, headers)
            return error or status

        return self._thread.run(post())


class CustomerIO:
    """A simulated Customer.io for `with`: serves on a free port of 127.0.0.1 until the block ends.

    `start`, `rate`: of the sender's clock, in seconds since the epoch (None = now) and simulated seconds per second.
    `seed`: of the events' shapes (their ids are always new). The others are the sender's, see there.

    A fault of the simulation's own, or of a `before_answer` of the test, is raised at the end of the block.
    """

    def __init__(
        self,
        *,
        region: str = "us",
        start: float | None = None,
        rate: float = 1.0,
        seed: int | None = None,
        answer_within_s: float = ANSWER_WITHIN_S,
        signs_retries_anew: bool = True,
        keeps_connections: bool = True,
    ) -> None:
        self._errors: list[BaseException] = []
        self._thread = LoopThread()
        self._workspace = Workspace(region)
        self.clock = Clock(self._thread.loop, start, rate)
        self.api = AppAPI(self._workspace, self._thread, self._errors.append)
        self.sender = Sender(
            self._workspace,
            self.clock,
            self._thread,
            self._errors.append,
            seed=seed,
            answer_within_s=answer_within_s,
            signs_retries_anew=signs_retries_anew,
            keeps_connections=keeps_connections,
        )
        self.ui = UI(self._workspace, self._thread, self.sender, self.clock)
        self.api_url = ""

    def __enter__(self) -> Self:
        self._thread.run(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.run(self._close())
        self._thread.stop()
        if self._errors and error is None:
            raise self._errors[0]

    async def _open(self) -> None:
        self._runner = web.AppRunner(self.api.application(), access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.api_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        await self.sender.open()

    async def _close(self) -> None:
        await self._runner.cleanup()
        await self.sender.close()

    @property
    def webhooks(self) -> dict[int, Webhook]:
        """The reporting webhooks that there are, by id, JavaScript ones included."""
        return self._thread.call(lambda: dict(self._workspace.webhooks))

    @property
    def webhook(self) -> Webhook:
        """The only one; fails if there are more or none."""
        (webhook,) = self.webhooks.values()
        return webhook

    def key(self, scope: str = REPORTING_SCOPE, region: str | None = None) -> str:
        """A new App API key. Any other scope has no right to reporting webhooks; any other region is not this one."""
        printed = secrets.token_hex(16)
        self._thread.call(
            lambda: self._workspace.keys.__setitem__(printed, Key(scope, region or self._workspace.region))
        )
        return printed

    def track_key(self) -> str:
        """A Track API key, which is no App API key."""
        return secrets.token_hex(10)

    def service_account_token(self) -> str:
        """A token that only works for the endpoints that send messages."""
        return f"sa_live_{secrets.token_hex(16)}"

    def revoke(self, key: str) -> None:
        self._thread.call(lambda: self._workspace.keys.pop(key, None))
