"""One declared integration: a schema, for each token slot a token and its endpoint, and the sender's webhook."""

from dataclasses import dataclass

import pulumi
from pulumi import Output, ResourceOptions

from components.customerio.signing import waiting_for_key
from components.customerio.webhook import ReportingWebhook
from components.platform import Platform
from components.settings import Connection, IntegrationSettings
from components.token import Token


@dataclass(frozen=True)
class Slot:
    """What a token slot offers once it is up. Only `url` is secret."""

    url: Output[str]
    fingerprint: Output[str]
    version: int


class Integration(pulumi.ComponentResource):
    """`Stitch Customer.io` as a schema, its tokens and its endpoints, named after the schema.

    With a connection, Sluice tells the sender where to post; without one, a person does.
    The names of the children are their identity: another name is another token, hence another URL.
    Options of the caller reach the children as Pulumi inherits them (protect, providers), never merged in.
    """

    schema: str
    slots: dict[str, Slot]
    """By slot: `primary`, and `secondary` where one is declared."""

    def __init__(
        self,
        settings: IntegrationSettings,
        platform: Platform,
        connection: Connection | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("sluice:index:Integration", settings.schema_name, None, opts)
        self._settings = settings
        self._platform = platform
        self.schema = settings.schema_name

        schema = platform.schema(settings, parent=self)
        self.slots = {}
        endpoints = []
        for slot, version in settings.tokens.by_slot.items():
            token = Token(f"{self.schema}-token-{slot}", version=version, parent=self)
            endpoint = platform.endpoint(settings, slot, token, schema=schema, parent=self)
            self.slots[slot] = Slot(endpoint.url, token.fingerprint, version)
            endpoints.append(endpoint.resource)
        self._webhook = "by hand"
        if connection is not None:
            self._webhook = "waiting for its signing key" if connection.waits_for_key else "connected"
            self._connect(connection, endpoints)

        self.register_outputs({"schema": self.schema})

    def _connect(self, connection: Connection, endpoints: list[pulumi.Resource]) -> None:
        """Depends on the endpoints: the sender moves to a URL that is live, and from one that is still."""
        settings = self._settings
        webhook = ReportingWebhook(
            f"{self.schema}-webhook",
            schema=self.schema,
            name=settings.name,
            endpoint=self.slots[settings.active].url,
            events=settings.event_names,
            disabled=connection.waits_for_key,
            full_resolution=settings.full_resolution,
            with_content=settings.with_content,
            region=settings.region,
            signed=settings.signed,
            app_api_key=connection.app_api_key.get_secret_value(),
            api_url=connection.api_url,
            settle_seconds=self._platform.settle_seconds or None,
            opts=ResourceOptions(parent=self, depends_on=endpoints),
        )
        if connection.waits_for_key and not pulumi.runtime.is_dry_run():
            pulumi.log.warn(waiting_for_key(self.schema, pulumi.get_stack()), webhook)

    @property
    def exported(self) -> dict[str, object]:
        """What the stack shows of it, for people and for `make`."""
        settings = self._settings
        silence = settings.max_silence_hours
        return {
            "name": settings.name,
            "source": settings.source,
            "events": ["all"] if settings.events == ["*"] else settings.event_names,
            "schema": self.schema,
            "active": settings.active,
            "webhook": self._webhook,
            "slots": {
                slot: {"url": made.url, "fingerprint": made.fingerprint, "version": made.version}
                for slot, made in self.slots.items()
            },
            **({} if silence is None else {"maxSilenceHours": silence}),
        }
