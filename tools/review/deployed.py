"""What a stack has, as far as a review asks: read from the state of its last `up`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from components.settings import EVENTS_BY_SOURCE
from policy.rules import BUCKETS, SCHEMA
from policy.rules import PASSWORD as TOKEN
from tools import endpoints
from tools.review.plan import INTEGRATION, STACK, Resource

ENDPOINT = "sluice:index:Endpoint"
ITEM = "aws:dynamodb/tableItem:TableItem"
SENDER = "sluice:index:Sender"
WEBHOOK = "sluice:index:ReportingWebhook"
POSTGRES = "sluice:index:PostgresServer"
RECEIVER = "sluice:index:Receiver"


@dataclass(frozen=True)
class Slot:
    """A live URL: the version of its token, and the token's hash."""

    version: int
    hash: str


@dataclass(frozen=True)
class Integration:
    schema: str
    name: str
    events: tuple[str, ...]
    slots: Mapping[str, Slot]
    active: str
    connected: bool
    signed: bool
    region: str = "us"
    full_resolution: bool = False
    with_content: bool = False
    loading: str = "upsert"
    adopt: bool = False


@dataclass(frozen=True)
class Deployed:
    """`url`: where senders reach the receiver. The three switches are None where nothing shows them."""

    integrations: Mapping[str, Integration] = field(default_factory=dict)
    resources: tuple[Resource, ...] = field(default=(), repr=False)
    url: str = ""
    destroys_data: bool | None = None
    protects: bool | None = None
    reserved_concurrency: int | None = None

    @property
    def is_new(self) -> bool:
        return not any(not its.type.startswith("pulumi:") for its in self.resources)

    @property
    def left_over(self) -> list[Resource]:
        """What was replaced by an earlier `up` and isn't deleted yet."""
        return [its for its in self.resources if its.is_left_over]


def deployed(resources: Iterable[Resource]) -> Deployed:
    everything = tuple(resources)
    live = [its for its in everything if not its.is_left_over]
    outputs: Mapping[str, Any] = next((its.outputs for its in live if its.type == STACK), {})
    shown = outputs.get("integrations")
    shown = shown if isinstance(shown, dict) else {}
    integrations = {
        its.name: _integration(its.name, [part for part in live if part.schema == its.name], shown.get(its.name) or {})
        for its in live
        if its.type == INTEGRATION
    }
    destroys = [bool(its.inputs.get("destroyData")) for its in live if its.type == SCHEMA]
    destroys += [bool(its.inputs.get("forceDestroy")) for its in live if its.type in BUCKETS]
    buckets = [its.is_protected for its in live if its.type in BUCKETS]
    limits = [its.inputs.get("reservedConcurrentExecutions") for its in live if "lambda/function:" in its.type]
    limit = next((int(found) for found in limits if found is not None and int(found) >= 0), None)
    return Deployed(
        integrations,
        everything,
        str(outputs.get("receiver") or ""),
        any(destroys) if destroys else None,
        any(buckets) if buckets else None,
        limit,
    )


def _integration(schema: str, parts: list[Resource], shown: Mapping[str, Any]) -> Integration:
    of_type = {its.type: its for its in parts}
    versions = {its.slot: its.inputs.get("keepers", {}).get("version", 0) for its in parts if its.type == TOKEN}
    slots: dict[str, Slot] = {}
    senders = [its for its in parts if its.type in (ENDPOINT, SENDER)]
    for part in parts:
        if found := endpoints.recorded({"type": part.type, "inputs": part.inputs}):
            slots[found.slot] = Slot(int(versions.get(found.slot, 0)), found.hash)
    active = next((str(its.inputs["slot"]) for its in senders if its.inputs.get("active")), shown.get("active"))
    made = Integration(
        schema,
        str(shown.get("name") or schema),
        _events(shown),
        slots,
        str(active or "primary"),
        WEBHOOK in of_type,
        any(bool(its.inputs.get("signed")) for its in senders),
    )
    if webhook := of_type.get(WEBHOOK):
        inputs = webhook.inputs
        made = replace(
            made,
            events=tuple(inputs.get("events") or ()),
            region=str(inputs.get("region", "us")),
            full_resolution=bool(inputs.get("fullResolution")),
            with_content=bool(inputs.get("withContent")),
        )
    if namespace := of_type.get(SCHEMA):
        inputs = namespace.inputs
        made = replace(
            made,
            name=str(inputs.get("displayName") or made.name),
            loading=str(inputs.get("loading", "upsert")),
            adopt=bool(inputs.get("adopt") or namespace.outputs.get("adopted")),
        )
    return made


def _events(shown: Mapping[str, Any]) -> tuple[str, ...]:
    events = shown.get("events") or ()
    return EVENTS_BY_SOURCE.get(str(shown.get("source")), ()) if list(events) == ["all"] else tuple(events)
