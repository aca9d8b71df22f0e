"""Typed faces of the resources that Sluice's own provider (`provider/`) makes on one machine.

Inputs keep their names on the wire. What is secret is wrapped here, at the last door before the engine, and
named in `additional_secret_outputs` as well, so that a provider's answer can't bring it back in clear.
"""

from collections.abc import Sequence

import pulumi
from pulumi import Input, Output, ResourceOptions


def _hiding(opts: ResourceOptions | None, *outputs: str) -> ResourceOptions:
    return ResourceOptions.merge(opts, ResourceOptions(additional_secret_outputs=list(outputs)))


class PostgresServer(pulumi.CustomResource):
    """A PostgreSQL server of the stack's own, on 127.0.0.1. `port` 0 takes a free one and keeps it."""

    dsn: Output[str]
    """Secret: `postgresql://sluice:<password>@127.0.0.1:<port>/sluice`."""

    def __init__(self, resource_name: str, *, port: Input[int], opts: ResourceOptions | None = None) -> None:
        inputs = {"port": port, "dsn": None, "version": None}
        super().__init__("sluice:index:PostgresServer", resource_name, inputs, _hiding(opts, "dsn"))


class Receiver(pulumi.CustomResource):
    """The process that answers the senders. Sizes in bytes; `admin_port` 0 for no status page."""

    url: Output[str]
    """Where senders reach it, without a path: `public_url` if one is given, else `http://<host>:<port>`."""

    def __init__(
        self,
        resource_name: str,
        *,
        host: Input[str],
        port: Input[int],
        admin_host: Input[str],
        admin_port: Input[int],
        warehouse_dsn: Input[str],
        public_url: Input[str] | None,
        spool_max_bytes: Input[int],
        keep_free_bytes: Input[int],
        opts: ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "host": host,
            "port": port,
            "adminHost": admin_host,
            "adminPort": admin_port,
            "warehouseDsn": Output.secret(warehouse_dsn),
            "publicUrl": public_url,
            "spoolMaxBytes": spool_max_bytes,
            "keepFreeBytes": keep_free_bytes,
            "url": None,
        }
        super().__init__("sluice:index:Receiver", resource_name, inputs, _hiding(opts, "warehouseDsn"))


class PostgresSchema(pulumi.CustomResource):
    """One integration's schema, with its tables and views, in PostgreSQL."""

    def __init__(
        self,
        resource_name: str,
        *,
        name: Input[str],
        display_name: Input[str],
        source: Input[str],
        loading: Input[str],
        adopt: Input[bool],
        stack_identity: Input[str],
        destroy_data: Input[bool],
        dsn: Input[str],
        opts: ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "name": name,
            "displayName": display_name,
            "source": source,
            "loading": loading,
            "adopt": adopt,
            "stackIdentity": stack_identity,
            "destroyData": destroy_data,
            "dsn": Output.secret(dsn),
        }
        super().__init__("sluice:index:PostgresSchema", resource_name, inputs, _hiding(opts, "dsn"))


class Endpoint(pulumi.CustomResource):
    """One live URL at the receiver, known to it by its token's SHA-256 alone."""

    def __init__(
        self,
        resource_name: str,
        *,
        schema: Input[str],
        slot: Input[str],
        version: Input[int],
        token_hash: Input[str],
        source: Input[str],
        active: Input[bool],
        connected: Input[bool],
        signed: Input[bool],
        signing_keys: Input[Sequence[str]],
        opts: ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "schema": schema,
            "slot": slot,
            "version": version,
            "hash": token_hash,
            "source": source,
            "active": active,
            "connected": connected,
            "signed": signed,
            "signingKeys": Output.secret(signing_keys),
        }
        super().__init__("sluice:index:Endpoint", resource_name, inputs, _hiding(opts, "signingKeys"))
