"""The embedded platform: PostgreSQL and the receiver on this machine, shared by a stack's integrations."""

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi import Output, ResourceOptions

from components.identity import StackIdentity
from components.local import resources
from components.platform import Endpoint
from components.settings import IntegrationSettings, Settings
from components.token import Token


class LocalPlatform:
    """A `Platform`. Starts PostgreSQL, unless `sluice:warehouseDsn` names another one, and the receiver."""

    settle_seconds = 0  # the endpoint's own drain waits

    dsn: Output[str]
    """Secret: the warehouse."""

    url: Output[str]

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        identity = StackIdentity(keeps_here=True)
        self._identity = identity.identity
        # First, whether the stack's folder is its own: no server is to begin with an empty one.
        after = ResourceOptions(depends_on=[identity])
        if settings.warehouse_dsn is None:
            self.dsn = Output.secret(resources.PostgresServer("postgres", port=settings.postgres_port, opts=after).dsn)
        else:
            self.dsn = Output.secret(settings.warehouse_dsn.get_secret_value())
        self._receiver = resources.Receiver(
            "receiver",
            host="127.0.0.1",
            port=settings.port,
            admin_host=settings.admin_host,
            admin_port=settings.admin_port,
            warehouse_dsn=self.dsn,
            public_url=settings.public_url,
            spool_max_bytes=settings.spool_max_bytes,
            keep_free_bytes=settings.keep_free_bytes,
            opts=after,
        )
        self.url = self._receiver.url

    @property
    def warehouse(self) -> Mapping[str, Any]:
        return {"dsn": self.dsn}

    def schema(self, integration: IntegrationSettings, *, parent: pulumi.Resource) -> pulumi.Resource:
        return resources.PostgresSchema(
            f"{integration.schema_name}-schema",
            name=integration.schema_name,
            display_name=integration.name,
            source=integration.source,
            loading=integration.loading,
            adopt=integration.adopt,
            stack_identity=self._identity,
            destroy_data=self._settings.destroy_data,
            dsn=self.dsn,
            # Not for its making: a deleted schema waits for its spooled rows, so the loader must outlive it.
            opts=ResourceOptions(parent=parent, depends_on=[self._receiver]),
        )

    def endpoint(
        self,
        integration: IntegrationSettings,
        slot: str,
        token: Token,
        *,
        schema: pulumi.Resource,
        parent: pulumi.Resource,
    ) -> Endpoint:
        endpoint = resources.Endpoint(
            f"{integration.schema_name}-endpoint-{slot}",
            schema=integration.schema_name,
            slot=slot,
            version=token.version,
            token_hash=token.hash,
            source=integration.source,
            active=slot == integration.active,
            connected=integration.connect,
            signed=integration.signed,
            signing_keys=[key.get_secret_value() for key in self._settings.signing_keys(integration)],
            opts=ResourceOptions(parent=parent, depends_on=[schema, self._receiver]),
        )
        url = Output.concat(self.url, "/v1/", integration.schema_name, "/", token.printed)
        return Endpoint(url=url, resource=endpoint)
