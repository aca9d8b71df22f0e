"""What a Customer.io workspace holds: reporting webhooks with their signing keys, and API keys. State only."""

import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

REPORTING_SCOPE = "reporting_webhooks"


@dataclass(frozen=True)
class Webhook:
    """One reporting webhook. Its signing key is shown in the UI, and in no answer of the API."""

    id: int
    type: str
    name: str
    endpoint: str = field(repr=False)
    events: tuple[str, ...]
    disabled: bool = False
    full_resolution: bool = False
    with_content: bool = False
    signing_key: str = field(repr=False, default_factory=lambda: secrets.token_hex(32))


@dataclass(frozen=True)
class Key:
    """What an App API key may be used for, and in which region."""

    scope: str
    region: str


class Workspace:
    """Lives in the simulation's event loop; whoever follows it puts a function in `followers`."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.webhooks: dict[int, Webhook] = {}
        self.keys: dict[str, Key] = {}
        self.followers: list[Callable[[], None]] = []
        self._ids = itertools.count(1000 + secrets.randbelow(9000))

    def create(self, **fields: Any) -> Webhook:
        """No two have one id, ever; nothing else is unique, the endpoint neither."""
        webhook = Webhook(**{"id": next(self._ids), "type": "webhook", **fields, "events": tuple(fields["events"])})
        self.webhooks[webhook.id] = webhook
        self._tell()
        return webhook

    def change(self, webhook_id: int, **fields: Any) -> Webhook:
        """Changes the fields that are given. Raises KeyError where there is no such webhook."""
        if "events" in fields:
            fields["events"] = tuple(fields["events"])
        webhook = self.webhooks[webhook_id] = replace(self.webhooks[webhook_id], **fields)
        self._tell()
        return webhook

    def delete(self, webhook_id: int) -> None:
        """Raises KeyError where there is no such webhook."""
        del self.webhooks[webhook_id]
        self._tell()

    def _tell(self) -> None:
        for follower in self.followers:
            follower()
