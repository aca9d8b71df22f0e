"""One declared integration: a schema, and for each token slot a token and its endpoint."""

from dataclasses import dataclass

import pulumi
from pulumi import Output, ResourceOptions

from components.platform import Platform
from components.settings import IntegrationSettings
from components.token import Token


@dataclass(frozen=True)
class Slot:
    """What a token slot offers once it is up. Only `url` is secret."""

    url: Output[str]
    fingerprint: Output[str]
    version: int


class Integration(pulumi.ComponentResource):
    """`Stitch Customer.io` as a schema, its tokens and its endpoints, named after the schema.

    The names of the children are their identity: another name is another token, hence another URL.
    Options of the caller reach the children as Pulumi inherits them (protect, providers), never merged in.
    """

    schema: str
    slots: dict[str, Slot]
    """By slot: `primary`, and `secondary` where one is declared."""

    def __init__(self, settings: IntegrationSettings, platform: Platform, opts: ResourceOptions | None = None) -> None:
        super().__init__("sluice:index:Integration", settings.schema_name, None, opts)
        self._settings = settings
        self.schema = settings.schema_name

        schema = platform.schema(settings, parent=self)
        self.slots = {}
        for slot, version in settings.tokens.by_slot.items():
            token = Token(f"{self.schema}-token-{slot}", version=version, parent=self)
            endpoint = platform.endpoint(settings, slot, token, schema=schema, parent=self)
            self.slots[slot] = Slot(endpoint.url, token.fingerprint, version)

        self.register_outputs({"schema": self.schema})

    @property
    def exported(self) -> dict[str, object]:
        """What the stack shows of it, for people and for `make`."""
        settings = self._settings
        return {
            "name": settings.name,
            "source": settings.source,
            "events": ["all"] if settings.events == ["*"] else settings.event_names,
            "schema": self.schema,
            "active": settings.active,
            "slots": {
                slot: {"url": made.url, "fingerprint": made.fingerprint, "version": made.version}
                for slot, made in self.slots.items()
            },
        }
