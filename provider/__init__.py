"""Sluice's own Pulumi provider: the embedded PostgreSQL, the receiver, a schema, an endpoint."""
