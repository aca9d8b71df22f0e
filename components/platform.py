"""What an Integration asks of the place where it runs; each platform answers with resources of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pulumi

from components.settings import IntegrationSettings
from components.token import Token


@dataclass(frozen=True)
class Endpoint:
    """One live URL, and the resource after which it is live."""

    url: pulumi.Output[str]
    """Secret: the token is its last segment."""

    resource: pulumi.Resource


class Platform(Protocol):
    """Makes an integration's parts as children of `parent`, under names that start with its schema's."""

    settle_seconds: int
    """How long after the sender was moved a delivery to the old URL may still be under way."""

    url: pulumi.Output[str]
    """Where senders reach the receiver, without a path."""

    @property
    def warehouse(self) -> Mapping[str, Any]:
        """Where the rows are, for the stack's outputs."""
        ...

    def schema(self, integration: IntegrationSettings, *, parent: pulumi.Resource) -> pulumi.Resource:
        """Where the integration's events land."""
        ...

    def endpoint(
        self,
        integration: IntegrationSettings,
        slot: str,
        token: Token,
        *,
        schema: pulumi.Resource,
        parent: pulumi.Resource,
    ) -> Endpoint:
        """The URL of a token slot, opened once `schema` is there: no event comes before its tables."""
        ...
