"""A stack's config, checked before anything is made of it.

Pure: text in, `Settings` out, or every mistake at once, each with its path, its value and what would be
right. Shapes, types and the rules of one field are in the models. What takes two fields to see is in
`_Rules`, which works on the sound parts of a config that has mistakes elsewhere, so that nobody meets their
mistakes one by one. No secret's value is in any message or `repr`.
"""

import contextlib
import difflib
import ipaddress
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic.alias_generators import to_camel

from components import naming
from components.customerio.events import DOCUMENTED_ONLY
from components.customerio.events import EVENTS as CUSTOMERIO_EVENTS
from components.passphrase import DEV_PASSPHRASE
from receiver.admin.address import is_loopback
from receiver.token import PREFIX as TOKEN_PREFIX

NAMESPACE = "sluice"
MIB = 1024**2
GIB = 1024**3

EVENTS_BY_SOURCE: Mapping[str, tuple[str, ...]] = {"customerio": CUSTOMERIO_EVENTS}

# What has a meaning on one platform alone. Pulumi.yaml gives every stack every default: another value is what counts.
ONLY_ON: Mapping[str, tuple[str, ...]] = {
    "local": (
        "port",
        "adminHost",
        "adminPort",
        "postgresPort",
        "warehouseDsn",
        "spoolMaxBytes",
        "keepFreeBytes",
        "drain",
    ),
    "aws": (
        "schemaPrefix",
        "protect",
        "logRetentionDays",
        "reservedConcurrency",
        "functionRuntime",
        "functionArchitecture",
        "streamDrain",
        "alarmEmail",
        "redshift",
    ),
}

# CloudWatch Logs takes no other numbers of days (API reference, PutRetentionPolicy).
LOG_RETENTION_DAYS = (
    1,
    3,
    5,
    7,
    14,
    30,
    60,
    90,
    120,
    150,
    180,
    365,
    400,
    545,
    731,
    1096,
    1827,
    2192,
    2557,
    2922,
    3288,
    3653,
)

Location = tuple[str | int, ...]

REGION: Location = ("aws:region",)
PASSPHRASE: Location = ("PULUMI_CONFIG_PASSPHRASE",)
OUTSIDE = (REGION, PASSPHRASE)  # of the config's own namespace


@dataclass(frozen=True)
class Mistake:
    path: str
    """As `pulumi config --path` takes it: `sluice:integrations[1].events[0]`."""

    value: str
    """What the config has there, as JSON; empty where nothing is, or where a secret may be."""

    problem: str
    """What is wrong and what would be right."""

    def __str__(self) -> str:
        return f"{self.path}{f' = {self.value}' if self.value else ''}: {self.problem}"


class SettingsError(Exception):
    """A config with mistakes; `str()` lists them all, one a line."""

    def __init__(self, mistakes: list[Mistake], *, stack: str) -> None:
        count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        lines = [f"the config of stack {stack} has {count}; nothing was changed:", *map(str, mistakes)]
        super().__init__("\n  - ".join(lines))
        self.mistakes = mistakes


class _Model(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, alias_generator=to_camel, hide_input_in_errors=True
    )


class Tokens(_Model):
    """The version of each slot's token. Adding 1 to a number rotates that slot."""

    primary: int = Field(ge=1)
    secondary: int | None = Field(None, ge=1)

    @property
    def by_slot(self) -> dict[str, int]:
        slots = {"primary": self.primary, "secondary": self.secondary}
        return {slot: version for slot, version in slots.items() if version is not None}


def _patterns(events: object) -> object:
    """`events: all` is short for the pattern that every event matches."""
    if events == "all":
        return ["*"]
    if isinstance(events, str):
        raise ValueError(f"must be `all` or a list, such as [{events}]")
    return events


class IntegrationSettings(_Model):
    """One item of `sluice:integrations`."""

    name: str
    source: Literal["customerio"]
    events: Annotated[list[str], BeforeValidator(_patterns)] = ["*"]
    tokens: Tokens
    active: Literal["primary", "secondary"] = "primary"
    connect: bool = False
    signed: bool = False
    region: Literal["us", "eu"] = "us"
    full_resolution: bool = False
    with_content: bool = False
    pinned_schema: str | None = Field(None, alias="schema")
    loading: Literal["upsert", "append"] = "upsert"
    adopt: bool = False
    max_silence_hours: int | None = Field(None, ge=1, le=168)

    @property
    def schema_name(self) -> str:
        """The pinned schema, else the one that the display name gives."""
        return self.pinned_schema or naming.schema_name(self.name)

    @property
    def event_names(self) -> list[str]:
        """The events as names, in their source's order, with patterns expanded."""
        known = EVENTS_BY_SOURCE[self.source]
        return [event for event in known if any(fnmatchcase(event, pattern) for pattern in self.events)]

    @field_validator("name")
    @classmethod
    def _is_printable(cls, name: str) -> str:
        if not name.strip():
            raise ValueError("must not be empty: it is what people call the integration")
        if name != name.strip():
            raise ValueError("must not start or end with a space")
        if not name.isprintable():
            raise ValueError("must be one line of plain text, with no control characters")
        return name

    @field_validator("events")
    @classmethod
    def _has_events(cls, events: list[str]) -> list[str]:
        if not events:
            raise ValueError("must name at least one event, or be `all`")
        return events

    @field_validator("pinned_schema")
    @classmethod
    def _can_be_a_schema(cls, schema: str | None) -> str | None:
        return None if schema is None else naming.check(schema)


class Credentials(_Model):
    """The secrets of one schema's integration. Their keys in the config are not camelCase."""

    model_config = ConfigDict(alias_generator=None)

    app_api_key: SecretStr | None = None
    signing_key: SecretStr | None = None
    previous_signing_key: SecretStr | None = None

    @field_validator("*")
    @classmethod
    def _is_one_word(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not re.fullmatch(r"\S+", key.get_secret_value()):
            raise ValueError("must not be empty, nor have a space or a line end in it or around it")
        return key

    @field_validator("app_api_key")
    @classmethod
    def _is_an_app_api_key(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and key.get_secret_value().startswith("sa_live_"):
            raise ValueError(
                "is a service account's token, which can only send messages; an App API key is needed "
                "(Customer.io: Settings > API Credentials > App API Keys)"
            )
        return key


@dataclass(frozen=True)
class Connection:
    """What it takes to register an integration's webhook at Customer.io. `api_url` None: that of its region."""

    app_api_key: SecretStr
    api_url: str | None
    waits_for_key: bool
    """Whether deliveries must be signed with a key that isn't known yet."""


class Redshift(_Model):
    """A Redshift workgroup that reads every schema: it is given an external schema over each Glue database."""

    workgroup: str = Field(pattern=r"^[a-z0-9-]{3,64}$")
    database: str = Field("dev", pattern=r"^[A-Za-z_][A-Za-z0-9_$]{0,126}$")
    iam_role: str = Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+$")


class Settings(_Model):
    """A stack's whole config, valid. A field is named as its key in the config, in snake_case."""

    platform: Literal["local", "aws"] = "local"
    integrations: list[IntegrationSettings] = []
    credentials: dict[str, Credentials] = {}
    port: int = Field(8787, ge=1, le=65535)
    admin_host: str = "127.0.0.1"
    admin_port: int = Field(8788, ge=0, le=65535)
    postgres_port: int = Field(0, ge=0, le=65535)
    public_url: str | None = None
    customerio_api: str | None = None
    warehouse_dsn: SecretStr | None = None
    spool_max_bytes: int = Field(5 * GIB, ge=1 * MIB)
    keep_free_bytes: int = Field(1 * GIB, ge=0)
    drain: int = Field(30, ge=0, le=30)
    destroy_data: bool = False
    schema_prefix: str = Field("", pattern=r"^([a-z_][a-z0-9_]{0,31})?$")
    protect: bool = True
    log_retention_days: int = 30
    reserved_concurrency: int | None = Field(None, ge=1, le=1_000_000)
    function_runtime: Literal["python3.11", "python3.12", "python3.13", "python3.14"] = "python3.13"
    function_architecture: Literal["arm64", "x86_64"] = "arm64"
    stream_drain: int = Field(180, ge=0, le=3600)
    alarm_email: str | None = Field(None, pattern=r"^[^@\s]+@[^@\s]+$")
    redshift: Redshift | None = None

    def signing_keys(self, integration: IntegrationSettings) -> list[SecretStr]:
        """The keys that its deliveries may be signed with, two while one is changed; none if not `signed`."""
        if not integration.signed:
            return []
        credentials = self.credentials.get(integration.schema_name, Credentials())
        keys = (credentials.signing_key, credentials.previous_signing_key)
        return [key for key in keys if key is not None]

    def connection(self, integration: IntegrationSettings) -> Connection | None:
        """None where a person registers the webhook."""
        if not integration.connect:
            return None
        key = self.credentials[integration.schema_name].app_api_key
        if key is None:
            raise AssertionError("checked by the rules below")
        return Connection(key, self.customerio_api, integration.signed and not self.signing_keys(integration))

    @field_validator("log_retention_days")
    @classmethod
    def _is_a_retention(cls, days: int) -> int:
        if days not in LOG_RETENTION_DAYS:
            raise ValueError(f"must be one of {', '.join(map(str, LOG_RETENTION_DAYS))}: CloudWatch takes no others")
        return days

    @field_validator("admin_host")
    @classmethod
    def _is_a_host(cls, host: str) -> str:
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(host))
        # A name's last part has a letter: 127.1 and 0177.0.0.1 are addresses to some programs and none to others.
        label = "[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?"
        if not re.fullmatch(rf"({label}\.)*(?=[^.]*[a-z]){label}", host.lower()) or len(host) > 253:
            raise ValueError("must be an address or a name of this machine, such as 0.0.0.0 or box.example.com")
        return host.lower()

    @field_validator("public_url", "customerio_api")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        right = "must be an address such as https://hooks.example.com"
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError(right) from None
        if parts.scheme not in ("http", "https") or not host or not re.fullmatch(r"[!-~]+", url):
            raise ValueError(right)
        if re.search(r"[@?#]", url):
            raise ValueError(f"{right}, with no user, query or fragment")
        if TOKEN_PREFIX in url:
            raise ValueError(f"{right}: the receiver's, not that of an endpoint with its token")
        if parts.scheme == "http" and not is_loopback(host):
            raise ValueError("must start with https://, because secrets go there")
        return url.rstrip("/")

    @field_validator("warehouse_dsn")
    @classmethod
    def _is_a_dsn(cls, dsn: SecretStr | None) -> SecretStr | None:
        if dsn is None:
            return None
        if problem := _problem_of_dsn(dsn.get_secret_value()):
            raise ValueError(problem)
        return dsn


# What other programs take in a DSN, and libpq doesn't.
_FOREIGN_PARAMETERS = {
    "pgbouncer": "Sluice works through a pooler without it",
    "schema": "each integration has a schema of its own, see its `schema:`",
}


def _problem_of_dsn(dsn: str) -> str | None:
    """What is wrong with it in the eyes of libpq, by whose parser it is read, and what would be right.

    Of the DSN itself it quotes nothing but a parameter's name.
    """
    right = "must be of the form postgresql://user:password@host:port/database"
    if not re.fullmatch(r"postgres(ql)?://\S+", dsn):
        return right
    encode = "in a user or password, @ is written %40, / is written %2F and % is written %25"
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        found = re.search(r'invalid URI query parameter: "(\w+)"', str(error))
        if found is None or "@" in dsn.partition("?")[2]:  # then the name may be a part of the password
            return f"{right}; {encode}"
        why = _FOREIGN_PARAMETERS.get(found[1].lower(), "libpq, which connects, doesn't know it")
        return f"has the parameter `{found[1]}`: take it out ({why})"
    # What follows an @ or a / in the password is taken for the host or the database, and errors would name it.
    host, database = str(parts.get("host", "")), str(parts.get("dbname", ""))
    ports = [port for port in str(parts.get("port", "")).split(",") if port]
    if "@" in host or "@" in database or not all(re.fullmatch(r"[0-9]{1,5}", port) for port in ports):
        return f"{right}; {encode}"
    if not all(1 <= int(port) <= 65535 for port in ports):
        return f"{right}, with a port from 1 to 65535"
    return None


def parse(
    raw: Mapping[str, Any],
    *,
    stack: str,
    secret_keys: Collection[str],
    aws_region: str | None = None,
    passphrase: str | None = None,
) -> Settings:
    """Check a stack's config.

    `raw`: decrypted values by key, without the namespace; as the engine hands them over (all as text, lists
    and objects as JSON) or decoded already. `secret_keys`: the keys that the stack's file holds encrypted.
    `aws_region`: what `aws:region` says. `passphrase`: what the stack's secrets are encrypted with, where it is one.
    Raises SettingsError with every mistake, in the order of the fields above.
    """
    config = _Config(raw, stack=stack, secret_keys=secret_keys)
    settings = None
    try:
        settings = Settings.model_validate(config.values)
    except ValidationError as error:
        for finding in error.errors(include_url=False, include_input=False):
            config.wrong(finding["loc"], _problem(finding["type"], finding["loc"], finding))
    _Rules(config, aws_region, passphrase).apply()
    if settings is None or config.mistakes:
        raise SettingsError(config.mistakes_in_order(), stack=stack)
    return settings


class _Config:
    """A config under examination: its values by location, and the mistakes found so far."""

    # What the engine hands over as plain text; everything else is text that stands for JSON.
    _TEXT = frozenset({"platform", "publicUrl", "customerioApi", "warehouseDsn", "schemaPrefix", "alarmEmail"}) | {
        "adminHost",
        "functionRuntime",
        "functionArchitecture",
    }
    _UNSET = frozenset({"reservedConcurrency", "redshift"})
    _SECRET = frozenset({"credentials", "warehouseDsn"})

    def __init__(self, raw: Mapping[str, Any], *, stack: str, secret_keys: Collection[str]) -> None:
        self.stack = stack
        self.secret_keys = secret_keys
        self.values = {
            key: self._decoded(key, value)
            for key, value in raw.items()
            if not (key in self._TEXT | self._UNSET and value == "")  # how Pulumi.yaml writes "none by default"
        }
        self._found: dict[Location, list[Mistake]] = {}

    def _decoded(self, key: str, value: Any) -> Any:
        if key in self._TEXT or not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            return value  # text that stands for nothing: the models say what should be there

    def at(self, *location: str | int) -> Any:
        """The value at a location, or None where nothing is."""
        value: Any = self.values
        for step in location:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def sound(self, *location: str | int) -> Any:
        """The value at a location, or None where nothing is or where something in it is wrong."""
        wrong = any(found[: len(location)] == location for found in self._found)
        return None if wrong else self.at(*location)

    @property
    def mistakes(self) -> bool:
        return bool(self._found)

    def wrong(self, location: Location, problem: str) -> None:
        mistake = Mistake(path(location), self._shown(location), problem)
        self._found.setdefault(location, []).append(mistake)

    def mistakes_in_order(self) -> list[Mistake]:
        order = _keys(Settings)

        def position(location: Location) -> tuple[int, int]:
            key, *rest = location
            index = rest[0] if rest and isinstance(rest[0], int) else -1
            return order.index(str(key)) if key in order else len(order), index

        return [found for location in sorted(self._found, key=position) for found in self._found[location]]

    def command(self, *location: str | int) -> str:
        """How to set a secret, as the person reading would type it."""
        return f"pulumi config set --stack {self.stack} --secret --path '{path(location)}'"

    def _shown(self, location: Location) -> str:
        value = self.at(*location)
        known = location[-1] in _keys(_model_at(location)) or isinstance(location[-1], int)
        if value is None or not known or location[0] in self._SECRET or location[0] in self.secret_keys:
            return ""  # the value of an unknown key may be a secret in the wrong place
        text = json.dumps(value, ensure_ascii=False, default=str)
        if TOKEN_PREFIX in text or "@" in text:
            return ""  # a token pasted in, or a password in a URL
        return text if len(text) <= 80 else text[:79] + "…"


def path(location: Location) -> str:
    """A location as `pulumi config --path` takes it."""
    if location in OUTSIDE:
        return str(location[0])
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"\w+", step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step, ensure_ascii=False)}]"
    return f"{NAMESPACE}:{text}"


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_at(location: Location) -> type[BaseModel]:
    """The model that the last step of a location is a key of."""
    match location:
        case ("integrations", _, "tokens", *rest) if rest:
            return Tokens
        case ("integrations", _, *rest) if rest:
            return IntegrationSettings
        case ("credentials", _, *rest) if rest:
            return Credentials
        case ("redshift", *rest) if rest:
            return Redshift
        case _:
            return Settings


def _problem(kind: str, location: Location, finding: Mapping[str, Any]) -> str:
    """One of pydantic's findings, in words for whoever wrote the config."""
    limits = finding.get("ctx", {})
    match kind:
        case "extra_forbidden":
            return f"unknown key{_nearest(str(location[-1]), _keys(_model_at(location)))}"
        case "missing" if location[-1] in ("tokens", "primary"):
            return "is missing: start with `tokens: {primary: 1}`"
        case "missing":
            return "is missing"
        case "string_type":
            return "must be text; a number or true and false need quotes to be text"
        case "int_type" | "int_from_float":
            return "must be a whole number"
        case "bool_type":
            return "must be true or false"
        case "list_type":
            return "must be a list"
        case "dict_type" | "model_type":
            return "must be an object, of `key: value` lines"
        case "literal_error":
            return f"must be {limits['expected'].replace(chr(39), '`')}"
        case "string_pattern_mismatch":
            return _PATTERNS[str(location[-1])]
        case "greater_than_equal":
            return f"must be {limits['ge']} or more"
        case "less_than_equal":
            return f"must be {limits['le']} or less"
        case "value_error":
            return str(limits["error"])
        case _:
            return str(finding["msg"])


_PATTERNS = {
    "schemaPrefix": "must be at most 32 of a-z, 0-9 and _, and start with a letter or _",
    "alarmEmail": "must be an e-mail address",
    "workgroup": "must be a Redshift Serverless workgroup's name: 3 to 64 of a-z, 0-9 and -",
    "database": "must be a Redshift database's name",
    "iamRole": "must be the ARN of the role that Redshift reads with, arn:aws:iam::<account>:role/<name>",
}


def _nearest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    if close and len(known) > 3:
        return f"; did you mean `{close[0]}`?"
    return f"; there are {', '.join(known)}" if 0 < len(known) <= 12 else ""


class _Rules:
    """Everything that takes more than one field to see, or that only this version asks for."""

    def __init__(self, config: _Config, aws_region: str | None, passphrase: str | None) -> None:
        self._config = config
        self._aws_region = aws_region
        self._passphrase = passphrase
        self._platform = config.at("platform") or "local"
        integrations = config.at("integrations")
        self._places = range(len(integrations)) if isinstance(integrations, list) else range(0)
        self._schemas: dict[int, str] = {}  # of the integrations that have a usable one, by place

    def apply(self) -> None:
        self._secrets_are_encrypted()
        self._keys_are_the_platforms()
        if self._platform == "aws":
            self._aws_is_set_up()
        for place in self._places:
            self._schema_is_its_own(place)
            self._events_exist(place)
            self._active_slot_is_declared(place)
        self._credentials_are_there()
        self._credentials_belong_somewhere()
        self._senders_can_reach_the_receiver()
        self._ports_differ()

    def _secrets_are_encrypted(self) -> None:
        config = self._config
        clear = "is stored in clear; take it out of the file, get a new one from its origin, and set that with "
        if "warehouseDsn" in config.values and "warehouseDsn" not in config.secret_keys:
            config.wrong(("warehouseDsn",), clear + config.command("warehouseDsn"))
        if "credentials" not in config.secret_keys:
            for schema, keys in _items(config.at("credentials")):
                for key, _ in _items(keys):
                    config.wrong(("credentials", schema, key), clear + config.command("credentials", schema, key))
        if "integrations" in config.secret_keys:
            where = config.command("credentials", "<schema>", "<key>")
            config.wrong(("integrations",), f"has an encrypted value; a secret's place is elsewhere: {where}")

    def _keys_are_the_platforms(self) -> None:
        for platform, keys in ONLY_ON.items():
            for key in keys if self._platform in ("local", "aws") and platform != self._platform else ():
                default = next(field.default for field in Settings.model_fields.values() if field.alias == key)
                if self._config.sound(key) not in (default, None):
                    self._config.wrong((key,), f"has a meaning on platform {platform} only: take it out")

    def _aws_is_set_up(self) -> None:
        config = self._config
        if not self._aws_region:
            config.wrong(REGION, f"is missing: pulumi config set --stack {config.stack} aws:region eu-west-1")
        elif not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", self._aws_region):
            config.wrong(REGION, f"{self._aws_region!r} is no region's name, such as eu-west-1")
        if self._passphrase == DEV_PASSPHRASE:
            config.wrong(
                PASSPHRASE, "is the dev stack's default, which everybody knows: this stack needs one of its own"
            )
        if config.at("destroyData") is True and config.at("protect") is not False:
            config.wrong(
                ("destroyData",), "can't be while `protect` is true, which is its default: set `protect: false`"
            )
        for place in self._places:
            if config.at("integrations", place, "adopt") is True and config.at("destroyData") is True:
                config.wrong(
                    ("integrations", place, "adopt"),
                    "can't be while `destroyData` is true: what was taken up is never dropped, and its files may lie "
                    "in the stack's bucket, which would be",
                )
            if config.at("integrations", place, "loading") == "upsert":
                config.wrong(
                    ("integrations", place, "loading"),
                    "can't be had on aws, where `data` has one row per delivery and `data_latest` one per event: "
                    "take it out, or write append",
                )

    def _schema_is_its_own(self, place: int) -> None:
        config = self._config
        name, pinned = config.sound("integrations", place, "name"), config.at("integrations", place, "schema")
        key = "name" if pinned is None else "schema"
        if config.sound("integrations", place, key) is None:
            return  # what is wrong with it has been said
        try:
            schema = naming.schema_name(name) if pinned is None else pinned
        except naming.SchemaNameError as error:
            config.wrong(("integrations", place, "name"), str(error))
            return
        for earlier, taken in self._schemas.items():
            other = config.at("integrations", earlier, "name")
            where = f"{other!r} ({path(('integrations', earlier))})"
            if taken == schema:
                config.wrong(
                    ("integrations", place, key),
                    f"{name!r} gets the schema {schema}, which {where} has already: change the name, or give "
                    "one of them another schema with `schema:`",
                )
            elif name is not None and name == other:
                config.wrong(
                    ("integrations", place, "name"),
                    f"is the name of {where} as well, and people find an integration by its name",
                )
        self._schemas[place] = schema

    def _events_exist(self, place: int) -> None:
        source = self._config.sound("integrations", place, "source")
        events = self._config.sound("integrations", place, "events")
        if source is None or not isinstance(events, list):
            return
        known = EVENTS_BY_SOURCE[source]
        for number, event in enumerate(events):
            if any(fnmatchcase(name, event) for name in known):
                continue
            if event == "all":
                problem = "is no event's name: for all events write `events: all`, without a list"
            elif event in DOCUMENTED_ONLY:
                problem = f"has a documented payload, but {source}'s API has no such event to ask for"
            elif re.search(r"[*?\[]", event):
                problem = f"matches none of the {len(known)} events of {source}"
            else:
                problem = f"is no event of {source}{_nearest(event, known)}"
            self._config.wrong(("integrations", place, "events", number), problem)

    def _active_slot_is_declared(self, place: int) -> None:
        tokens = self._config.at("integrations", place, "tokens")
        active = self._config.sound("integrations", place, "active")
        if isinstance(tokens, dict) and active is not None and tokens.get(active) is None:
            self._config.wrong(
                ("integrations", place, "active"),
                f"names a slot that has no token: add `{active}: 1` to `tokens`, or choose another slot",
            )

    def _credentials_are_there(self) -> None:
        for place, schema in self._schemas.items():
            connected = self._config.at("integrations", place, "connect") is True
            for flag, key in (("signed", "signing_key"), ("connect", "app_api_key")):
                if key == "signing_key" and connected:
                    continue  # nobody can see it before Sluice has made the webhook
                there = self._config.at("credentials", schema, key) is not None
                if self._config.at("integrations", place, flag) is True and not there:
                    command = self._config.command("credentials", schema, key)
                    self._config.wrong(
                        ("credentials", schema, key),
                        f"is missing, and {path(('integrations', place))} has `{flag}: true`; set it with " + command,
                    )

    def _credentials_belong_somewhere(self) -> None:
        all_known = len(self._schemas) == len(self._places)
        for schema, keys in _items(self._config.at("credentials")):
            if all_known and schema not in self._schemas.values():
                self._config.wrong(
                    ("credentials", schema),
                    f"no integration has this schema{_nearest(schema, self._schemas.values())}",
                )
            if dict(_items(keys)).get("previous_signing_key") and not dict(_items(keys)).get("signing_key"):
                self._config.wrong(
                    ("credentials", schema, "previous_signing_key"),
                    "stands alone: the key in use is `signing_key`; this one is for while that changes",
                )

    def _senders_can_reach_the_receiver(self) -> None:
        config = self._config
        connected = [place for place in self._places if config.at("integrations", place, "connect") is True]
        if self._platform == "aws" or not connected:
            return
        if "customerioApi" in config.values and (
            (api := config.sound("customerioApi")) is None or is_loopback(urlsplit(api).hostname or "")
        ):
            return
        needs = (
            f"{path(('integrations', connected[0]))} has `connect: true`: Customer.io must reach the receiver, by a "
        )
        needs += "tunnel or a proxy with an https address"
        if "publicUrl" not in config.values:
            config.wrong(("publicUrl",), f"is missing, and {needs}")
        elif (url := config.sound("publicUrl")) is not None and is_loopback(urlsplit(url).hostname or ""):
            config.wrong(("publicUrl",), f"is this machine's own, and {needs}")

    def _ports_differ(self) -> None:
        if self._platform != "local":
            return
        taken: dict[int, str] = {}
        for key, whose in (("port", "the receiver's"), ("adminPort", "the status page's"), ("postgresPort", "")):
            port = self._config.at(key)
            if port is None:
                port = next(field.default for field in Settings.model_fields.values() if field.alias == key)
            if type(port) is not int or port == 0 or (key == "postgresPort" and "warehouseDsn" in self._config.values):
                continue
            if port in taken:
                free = {"adminPort": "for no status page", "postgresPort": "for a free one"}[key]
                self._config.wrong((key,), f"is {taken[port]} port too: use another one, or 0 {free}")
            taken.setdefault(port, whose)


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()
