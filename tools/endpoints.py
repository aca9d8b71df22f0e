"""The endpoints that a stack has, taken from its outputs; and the one that a person means."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from receiver import token


class NoSuchEndpoint(Exception):
    """The name or the slot that was asked for isn't there; the text lists what is."""


@dataclass(frozen=True)
class Endpoint:
    """One live URL. `url` is secret, so it is left out of the text that a traceback or a log would show."""

    name: str
    source: str
    schema: str
    slot: str
    active: bool
    version: int
    webhook: str
    """Who tells the sender where to post, and what is left to do for that: as `Integration.exported` has it."""
    url: str = field(repr=False)
    max_silence_hours: int | None = None

    @property
    def hash(self) -> str:
        """What the receiver knows the token by."""
        return token.digest(self.url.rsplit("/", 1)[-1])

    @property
    def fingerprint(self) -> str:
        return token.fingerprint(self.hash)

    @property
    def host(self) -> str:
        """Host and port: the part of the URL that may be shown."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True)
class Recorded:
    """An endpoint in a stack's state."""

    hash: str
    schema: str
    slot: str


def recorded(resource: Mapping[str, Any]) -> Recorded | None:
    """The endpoint that a resource of a stack's state is, on either platform; None if it is something else."""
    inputs = resource.get("inputs", {})
    if resource["type"] == "sluice:index:Endpoint":
        return Recorded(inputs["hash"], inputs["schema"], inputs["slot"])
    if resource["type"] == "aws:dynamodb/tableItem:TableItem":
        item = json.loads(inputs["item"])
        return Recorded(*(item[key]["S"] for key in ("hash", "schema", "slot")))
    return None


def known_hashes(resources: Sequence[Mapping[str, Any]]) -> set[str]:
    """The hashes of all endpoints in a stack's state."""
    return {its.hash for its in map(recorded, resources) if its}


def of(outputs: Mapping[str, Any]) -> list[Endpoint]:
    """The endpoints in a stack's outputs (`integrations`: by schema, as `Integration.exported`), primary slot first."""
    return [
        Endpoint(
            name=made["name"],
            source=made["source"],
            schema=schema,
            slot=slot,
            active=made.get("active") == slot,
            version=int(offered["version"]),
            webhook=made.get("webhook", "by hand"),
            url=offered["url"],
            max_silence_hours=int(made["maxSilenceHours"]) if "maxSilenceHours" in made else None,
        )
        for schema, made in (outputs.get("integrations") or {}).items()
        for slot, offered in sorted(made["slots"].items(), key=lambda item: item[0] != "primary")
    ]


def chosen(endpoints: Sequence[Endpoint], name: str, slot: str) -> Endpoint:
    """The endpoint of the integration with this display or schema name. `name` may be empty where there is only one.

    Raises NoSuchEndpoint.
    """
    names = list(dict.fromkeys(endpoint.name for endpoint in endpoints))
    listed = ", ".join(f'"{name}"' for name in names)
    if not endpoints:
        raise NoSuchEndpoint("this stack has no integration: run make up")
    if not name and len(names) > 1:
        raise NoSuchEndpoint(f"which integration? Say NAME=… with one of {listed}")
    wanted = name.strip().casefold()
    of_name = [endpoint for endpoint in endpoints if not name or wanted in (endpoint.name.casefold(), endpoint.schema)]
    if not of_name:
        raise NoSuchEndpoint(f'there is no integration "{name}"; there is {listed}')
    for endpoint in of_name:
        if endpoint.slot == slot:
            return endpoint
    slots = ", ".join(endpoint.slot for endpoint in of_name)
    raise NoSuchEndpoint(f'"{of_name[0].name}" has no slot "{slot}"; it has {slots}')
