"""A stack's config file as a review reads it: also one with mistakes, and one of an earlier commit.

The program is the one that refuses a config. Here, what can't be read is left out: its mistakes are the page's top.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from components.naming import SchemaNameError
from components.settings import IntegrationSettings, Settings
from receiver.admin.address import is_loopback

Key = tuple[str, str]
"""What a config says of something: (schema, key), or ("", key) for the whole stack."""

WHOLE = "*"
"""In place of a key: the integration itself came or went."""

_NAMESPACE = "sluice:"
_SECRET = ("credentials", "warehouseDsn")
_SECRETS_NAME = re.compile(
    r"(secret|password|passphrase|token|dsn|(api|app|signing|private|access|secret)_?key)$", re.IGNORECASE
)
"""How a key ends whose value is to be kept: one of ours at another place than its own, or one of a provider's."""
_TOKEN = re.compile(r"slc_[0-9A-Za-z]{20,}|\b(AKIA|ASIA)[0-9A-Z]{16}\b")
_USER_IN_URL = re.compile(r"\w+://[^\s/@:]*:[^\s/@]+@")


@dataclass(frozen=True)
class Declared:
    """What a config file declares. `settings`: the stack's own, with their defaults, by their key."""

    integrations: Mapping[str, IntegrationSettings] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    keys: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Which credentials each schema has, by name."""
    credentials: Mapping[Key, str] = field(default_factory=dict, repr=False)
    """What the file holds of each, encrypted: to be compared, never to be shown."""
    in_clear: tuple[str, ...] = ()
    """Where a secret stands in clear, as paths."""
    clear_values: frozenset[str] = field(default=frozenset(), repr=False)
    """Those secrets, so that they can be taken out of whatever is shown."""
    encryption: str = field(default="", repr=False)
    keys_are_known: bool = True
    """False where the credentials are encrypted as a whole."""

    @property
    def platform(self) -> str:
        return str(self.settings.get("platform", "local"))

    def has_key(self, schema: str, name: str) -> bool:
        return name in self.keys.get(schema, ()) or not self.keys_are_known


def declared(file: Mapping[str, Any]) -> Declared:
    """From the content of Pulumi.<stack>.yaml."""
    config = file.get("config")
    values = {
        str(key).removeprefix(_NAMESPACE): value
        for key, value in (config.items() if isinstance(config, dict) else ())
        if str(key).startswith(_NAMESPACE)
    }
    settings = {
        model.alias or name: model.default
        for name, model in Settings.model_fields.items()
        if name not in ("integrations", "credentials", "warehouse_dsn")
    }
    settings |= {key: _meant(key, value) for key, value in values.items() if key in settings and value != ""}
    integrations: dict[str, IntegrationSettings] = {}
    items = values.get("integrations")
    for item in items if isinstance(items, list) else ():
        try:
            made = IntegrationSettings.model_validate(item)
            integrations.setdefault(made.schema_name, made)
        except (ValidationError, SchemaNameError):
            continue
    credentials = values.get("credentials")
    sealed = isinstance(credentials, dict) and set(credentials) == {"secure"}
    named = {
        (schema, name): json.dumps(value, default=str)
        for schema, keys in (credentials.items() if isinstance(credentials, dict) and not sealed else ())
        for name, value in (keys.items() if isinstance(keys, dict) else ())
    }
    if "warehouseDsn" in values:
        named[("", "warehouseDsn")] = json.dumps(values["warehouseDsn"], default=str)
    clear = dict(_in_clear(config if isinstance(config, dict) else {}))
    return Declared(
        integrations,
        settings,
        {schema: frozenset(name for its, name in named if its == schema) for schema, _ in named},
        named,
        tuple(clear),
        frozenset(clear.values()),
        json.dumps([file.get("secretsprovider"), file.get("encryptionsalt"), file.get("encryptedkey")]),
        not sealed,
    )


def _meant(key: str, value: Any) -> Any:
    """A setting as the program reads it: Pulumi, when it writes the file anew, makes a text of a number or a flag."""
    if not isinstance(value, str):
        return value
    for name, model in Settings.model_fields.items():
        if key == (model.alias or name) and model.annotation is not None:
            with contextlib.suppress(ValidationError):
                read = TypeAdapter[Any](model.annotation).validate_python(value)
                return read if isinstance(read, bool | int | float) else value
    return value


def _in_clear(value: Any, path: str = "", *, secret: bool = False) -> Iterator[tuple[str, str]]:
    """Each text that is a secret by its place or by its look: where it is, and the text."""
    if isinstance(value, dict):
        if set(value) == {"secure"}:
            return
        for key, item in value.items():
            key = str(key)
            below = f"{path}.{key}" if path else key
            is_one = (not path and key.removeprefix(_NAMESPACE) in _SECRET) or bool(_SECRETS_NAME.search(key))
            yield from _in_clear(item, below, secret=secret or is_one)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _in_clear(item, f"{path}[{place}]", secret=secret)
    elif isinstance(value, str) and value and (secret or _TOKEN.search(value) or _USER_IN_URL.search(value)):
        yield path, value


def changes(before: Declared, after: Declared) -> frozenset[Key]:
    """What another config says differently."""
    found: set[Key] = set()
    for schema in {*before.integrations, *after.integrations}:
        old, new = before.integrations.get(schema), after.integrations.get(schema)
        if old is None or new is None:
            found.add((schema, WHOLE))
            continue
        theirs = {key: (value, _wire(new)[key]) for key, value in _wire(old).items()}
        found |= {(schema, key) for key, (was, is_) in theirs.items() if was != is_}
    for key in {*before.settings, *after.settings}:
        if before.settings.get(key) != after.settings.get(key):
            found.add(("", key))
    for place in {*before.credentials, *after.credentials}:
        if before.credentials.get(place) != after.credentials.get(place):
            found.add(place)
    if before.encryption != after.encryption:
        found.add(("", "encryption"))
    return frozenset(found)


def _wire(integration: IntegrationSettings) -> dict[str, Any]:
    tokens = integration.tokens.by_slot
    events = integration.event_names
    own = integration.model_dump(by_alias=True, exclude={"tokens", "events", "pinned_schema"})
    return {**own, "events": events, **{f"tokens.{slot}": tokens.get(slot) for slot in ("primary", "secondary")}}


def is_http(url: object) -> bool:
    """Whether it is an address that senders' secrets would travel to in clear."""
    try:
        parts = urlsplit(str(url or ""))
    except ValueError:
        return False
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")
