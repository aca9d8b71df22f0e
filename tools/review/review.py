"""What a change means, in sentences for whoever has to say yes or no: a preview and two configs in, a Review out.

Pure, and the one place that decides what is shown of a preview: names, numbers, versions and fingerprints. A value of
the engine's own diff is compared here and never quoted, since some that are secret aren't marked as such.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from components.settings import EVENTS_BY_SOURCE, IntegrationSettings
from receiver.token import fingerprint
from tools.review import costs, policies
from tools.review import deployed as there
from tools.review.declared import WHOLE, Declared, Key, changes, is_http
from tools.review.deployed import Deployed, Integration
from tools.review.plan import UNKNOWN, Plan, Step

LATELY_S = 7 * 24 * 3600  # Customer.io retries for so long
GONE = ("delete", "discard", "read-discard")
MADE = ("create", "import")
REPLACED = ("replace", "create-replacement", "import-replacement")

Danger = Literal["data", "feed", "secret"]


@dataclass(frozen=True)
class Evidence:
    """All that a review is made of.

    base: the config of the commit that the change starts from, None where none was named. last_used: by the hash of a
    token, when its URL last took a delivery (seconds since 1970; None: never); the whole None where nobody knows.
    code: which parts of the project the change touches, as ("", "code"). left: sentences on what an earlier `up` left.
    """

    stack: str
    declared: Declared
    deployed: Deployed = field(default_factory=Deployed)
    plan: Plan = field(default_factory=Plan)
    base: Declared | None = None
    base_name: str = ""
    last_used: Mapping[str, float | None] | None = None
    code: frozenset[Key] = frozenset()
    left: Sequence[str] = ()
    now: float = 0.0


@dataclass(frozen=True)
class Alarm:
    """What must not be overlooked. `is_earlier`: it isn't this change that asks for it."""

    danger: Danger
    text: str
    is_earlier: bool = False


@dataclass(frozen=True)
class Section:
    """Of one integration, or of the platform. Names in a text stand in backquotes."""

    title: str
    sign: Literal["+", "-", "~"]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Review:
    stack: str
    platform: str
    base_name: str
    summary: str
    errors: tuple[str, ...]
    alarms: tuple[Alarm, ...]
    sections: tuple[Section, ...]
    earlier: tuple[Section, ...]
    """What the config said at the base already, and no `up` has done yet."""
    left: tuple[str, ...]
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    """Texts that must not be shown, wherever they come from."""


def review(evidence: Evidence) -> Review:
    return _Reading(evidence).review()


def named(name: str) -> str:
    """A name from a config, so that it can't be anything else in Markdown: no markup, no mention of a person."""
    return "`" + name.replace("`", "'").replace("\n", " ") + "`"


def events_in_words(names: Iterable[str], all_of: Sequence[str], rest: Iterable[str]) -> str:
    """Events by name; a whole channel of which nothing is in `rest` as `sms_*`."""
    chosen, others = set(names), {_channel(name) for name in rest}
    words: dict[str, None] = {}
    for name in sorted(chosen, key=lambda its: all_of.index(its) if its in all_of else len(all_of)):
        channel = _channel(name)
        whole = [its for its in all_of if _channel(its) == channel]
        if len(whole) > 1 and channel not in others and chosen.issuperset(whole):
            words[f"`{channel}_*` ({len(whole)})"] = None
        else:
            words[named(name)] = None
    return ", ".join(words)


def _channel(event: str) -> str:
    return "in_app" if event.startswith("in_app_") else event.split("_")[0]


_PLATFORM = ""


class _Reading:
    def __init__(self, evidence: Evidence) -> None:
        self._see = evidence
        self._new, self._old = evidence.declared, evidence.deployed
        self._changed = evidence.code | (changes(evidence.base, self._new) if evidence.base else frozenset())
        self._steps = evidence.plan.steps
        self._alarms: list[Alarm] = []
        self._lines: dict[tuple[bool, str], list[str]] = {}
        self._left: list[str] = list(evidence.left)
        self._tally: Counter[str] = Counter()
        self._told: set[tuple[str, str]] = set()  # steps that have been said in words of their own

    def review(self) -> Review:
        self._config_itself()
        if not self._see.plan.errors:
            added = [its for schema, its in self._new.integrations.items() if schema not in self._old.integrations]
            removed = [its for schema, its in self._old.integrations.items() if schema not in self._new.integrations]
            for declared in added:
                self._added(declared)
            for gone in removed:
                self._removed(gone, added)
            for schema, declared in self._new.integrations.items():
                if schema in self._old.integrations:
                    self._kept(self._old.integrations[schema], declared)
            self._data()
            self._switches()
            self._address()
            self._openings()
            self._platform()
            self._the_rest()
        sections = self._sections(earlier=False)
        return Review(
            self._see.stack,
            self._new.platform,
            self._see.base_name,
            self._summary(),
            self._see.plan.errors,
            tuple(sorted(self._alarms, key=lambda its: (its.is_earlier, ("data", "feed", "secret").index(its.danger)))),
            sections,
            self._sections(earlier=True),
            tuple(self._left),
            self._new.clear_values | (self._see.base.clear_values if self._see.base else frozenset()),
        )

    # Saying

    def _is_earlier(self, keys: Iterable[Key]) -> bool:
        keys = list(keys)
        if self._see.base is None or not keys:
            return False
        return not any(key in self._changed or (key[0], WHOLE) in self._changed for key in keys)

    def _say(self, of: str, text: str, *keys: Key, tally: str = "") -> None:
        earlier = self._is_earlier(keys)
        lines = self._lines.setdefault((earlier, of), [])
        if text not in lines:
            lines.append(text)
        if tally:
            self._tally[tally] += 1

    def _warn(self, danger: Danger, text: str, *keys: Key) -> None:
        alarm = Alarm(danger, text, self._is_earlier(keys))
        if alarm not in self._alarms:
            self._alarms.append(alarm)

    def _sections(self, *, earlier: bool) -> tuple[Section, ...]:
        found = []
        for (its, of), lines in sorted(self._lines.items(), key=lambda item: item[0][1] == _PLATFORM):
            if its == earlier:
                found.append(Section(self._title(of), self._sign(of), tuple(lines)))
        return tuple(found)

    def _title(self, of: str) -> str:
        if of == _PLATFORM:
            return "The platform"
        new, old = self._new.integrations.get(of), self._old.integrations.get(of)
        name = new.name if new else old.name if old else of
        return f"{named(name)}, schema `{of}`"

    def _sign(self, of: str) -> Literal["+", "-", "~"]:
        if of == _PLATFORM or (of in self._new.integrations and of in self._old.integrations):
            return "~"
        return "+" if of in self._new.integrations else "-"

    def _summary(self) -> str:
        if self._see.plan.errors:
            return "The preview failed: nothing can be said of what would change."
        if not self._lines:
            return "Nothing changes." if not self._steps else f"{len(self._steps)} resources change."
        counted = [f"{count} {what}" for what, count in self._tally.items()]
        first = "The first `up` of this stack: " if self._old.is_new else ""
        return first + (", ".join(counted) or "no integration is added, removed or rotated") + "."

    def _who(self, integration: Integration | IntegrationSettings) -> str:
        return named(integration.name)

    # The config's own mistakes

    def _config_itself(self) -> None:
        new, base = self._new, self._see.base
        for path in new.in_clear:
            self._warn(
                "secret",
                f"{named(path)} holds a secret in clear: take it out and get another, as the history keeps this one",
            )
        for path in base.in_clear if base else ():
            if path not in new.in_clear:
                self._warn(
                    "secret",
                    f"{named(path)} held a secret in clear before, and the history still does: get another one",
                )
        for key in ("publicUrl", "customerioApi"):
            if is_http(new.settings.get(key)):
                self._warn(
                    "secret", f"`sluice:{key}` is an http address: the secrets that go there travel in clear", ("", key)
                )
        if base and base.encryption != new.encryption and base.encryption != "[null, null, null]":
            self._warn("secret", "what the config's secrets are encrypted with changes", ("", "encryption"))

    # Integrations

    def _added(self, new: IntegrationSettings) -> None:
        schema, whole = new.schema_name, (new.schema_name, WHOLE)
        tokens = " and ".join(f"{slot} (version {version})" for slot, version in new.tokens.by_slot.items())
        known = EVENTS_BY_SOURCE[new.source]
        self._say(schema, f"added: URL {tokens}; {self._asked(new.event_names, known)}", whole, tally="added")
        if new.adopt:
            self._say(schema, f"schema `{schema}` is taken over if it is there, and then never dropped", whole)
        else:
            fate = (
                "dropped with the integration, as `destroyData` is on" if self._destroys() else "kept if it is removed"
            )
            self._say(schema, f"schema `{schema}` is made; its rows will be {fate}", whole)
        if not new.connect:
            self._say(schema, "by hand: somebody pastes its URL at the sender after the `up`", whole)
        elif new.signed and not self._new.has_key(schema, "signing_key"):
            self._say(schema, "connected: the webhook is made disabled, until its signing key is stored", whole)
        else:
            self._say(schema, "connected: Sluice makes the webhook at Customer.io", whole)
        if new.signed and not new.connect and not self._new.has_key(schema, "signing_key"):
            self._warn(
                "feed", f"{self._who(new)} must be signed, and has no signing key: every delivery is refused", whole
            )
        if new.loading == "append" and self._new.platform == "local":
            self._say(schema, "loading: append, so each delivery is a row", whole)

    def _asked(self, names: Sequence[str], known: Sequence[str]) -> str:
        if set(names) == set(known):
            return f"all {len(known)} events"
        return f"{len(names)} of {len(known)} events: {events_in_words(names, known, set(known) - set(names))}"

    def _removed(self, old: Integration, added: Sequence[IntegrationSettings]) -> None:
        schema, whole = old.schema, (old.schema, WHOLE)
        slots = " and ".join(
            f"{slot} (version {its.version}, token `{fingerprint(its.hash)}`)" for slot, its in old.slots.items()
        )
        self._say(schema, f"removed: its URL {slots} is revoked after a drain", whole, tally="removed")
        if old.connected:
            self._say(schema, "its webhook at Customer.io is deleted before that, so nothing is refused", whole)
        used = [self._use(its.hash) for its in old.slots.values()]
        busy = next((use for use in used if use not in ("never", "long ago")), None)
        if busy:
            hint = ""
            if len(added) == 1:
                hint = f". If {self._who(added[0])} is the same one renamed, pin `schema: {schema}` there: it keeps all"
            fate = "its webhook is deleted" if old.connected else "the sender will get 401"
            self._warn("feed", f"{self._who(old)} is removed: {_traffic(busy)}, and {fate}{hint}", whole)
        if any(
            step.schema == schema and step.type.startswith("aws:kinesis") and step.op in GONE for step in self._steps
        ):
            wait = self._new.settings.get("streamDrain")
            if wait == 0 and self._new.platform == "aws":
                self._warn(
                    "data",
                    f"the stream of {self._who(old)} goes at once (`streamDrain: 0`): what it still holds may be lost",
                    whole,
                    ("", "streamDrain"),
                )

    def _use(self, token_hash: str) -> str:
        """When a URL was last used: "never", "long ago", "unknown", or how long ago that is."""
        if self._see.last_used is None or token_hash not in self._see.last_used:
            return "unknown"
        last = self._see.last_used[token_hash]
        if last is None:
            return "never"
        passed = max(0.0, self._see.now - last)
        if passed > LATELY_S:
            return "long ago"
        for seconds, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
            if passed >= seconds:
                count = int(passed // seconds)
                return f"{count} {unit}{'s' if count > 1 else ''} ago"
        return "less than a minute ago"

    def _kept(self, old: Integration, new: IntegrationSettings) -> None:
        schema = old.schema
        if old.name != new.name:
            self._say(
                schema,
                f"renamed from {named(old.name)}; its schema, rows and URLs stay",
                (schema, "name"),
                tally="renamed",
            )
        for slot in ("primary", "secondary"):
            self._slot(old, new, slot)
        self._active(old, new)
        self._events(old, new)
        self._sender(old, new)
        if old.loading != new.loading and self._new.platform == "local":
            what = "each delivery is a row from now on" if new.loading == "append" else "one row per event from now on"
            self._say(schema, f"loading: {old.loading} → {new.loading}, so {what}", (schema, "loading"))
        if not old.adopt and new.adopt:
            self._say(schema, "`adopt` is on: the schema is never dropped", (schema, "adopt"))

    def _slot(self, old: Integration, new: IntegrationSettings, slot: str) -> None:
        schema, keys = old.schema, ((old.schema, f"tokens.{slot}"),)
        was, version = old.slots.get(slot), new.tokens.by_slot.get(slot)
        if was is None and version is not None:
            text = f"{slot} URL opened (version {version}): the integration has two live URLs"
            self._say(schema, text, *keys, tally="second URL opened")
        elif was is not None and version is None:
            self._closed(old, new, slot)
        elif was is not None and version is not None:
            replaced = [
                its
                for its in self._steps
                if its.schema == schema and its.op in REPLACED and its.type in (there.TOKEN, there.ENDPOINT, there.ITEM)
                if its.resource.slot == slot
            ]
            if replaced or was.version != version:
                self._rotated(old, new, slot, version)

    def _closed(self, old: Integration, new: IntegrationSettings, slot: str) -> None:
        keys = ((old.schema, f"tokens.{slot}"),)
        was = old.slots[slot]
        token = f"version {was.version}, token `{fingerprint(was.hash)}`"
        self._say(old.schema, f"{slot} URL closed ({token})", *keys, tally="second URL closed")
        if old.connected and new.connect:
            if old.active == slot:
                self._say(old.schema, f"the sender is moved to {new.active} before that; nothing is refused", *keys)
        elif old.active == slot:
            self._warn(
                "feed",
                f"the {slot} URL of {self._who(new)} is closed, and it is the active one: the sender posts to it until "
                "somebody has pasted the other, gets 401 and waits an hour. Switch `active`, paste, close it later",
                *keys,
            )
        elif (use := self._use(was.hash)) not in ("never", "long ago", "unknown"):
            self._warn("feed", f"the {slot} URL of {self._who(new)} is closed, and {_traffic(use)}", *keys)

    def _rotated(self, old: Integration, new: IntegrationSettings, slot: str, version: int) -> None:
        schema, was = old.schema, old.slots[slot]
        keys = ((schema, f"tokens.{slot}"),)
        if was.version != version:
            what = f"{slot} URL rotated: version {was.version} → {version}"
        else:
            what = f"{slot} URL replaced although its version stays {version}"
            self._warn(
                "feed", f"the {slot} URL of {self._who(new)} is replaced, and no number was bumped for that", *keys
            )
        what += f", token `{fingerprint(was.hash)}` ends"
        use = self._use(was.hash)
        if old.active != slot:
            other = "the sender is given the other slot's URL, so nobody should notice"
            self._say(schema, f"{what}; {other}", *keys, tally="rotated")
            if use not in ("never", "long ago", "unknown"):
                self._warn(
                    "feed",
                    f"the {slot} URL of {self._who(new)} is rotated and isn't the active one, but {_traffic(use)}",
                    *keys,
                )
        elif old.connected and new.connect:
            moved = "connected, so Sluice moves the sender within this `up`; nothing is refused"
            self._say(schema, f"{what}; {moved}", *keys, tally="rotated")
        elif new.connect:
            self._say(schema, f"{what}; it is connected in the same `up`", *keys, tally="rotated")
            self._warn(
                "feed",
                f"{self._who(new)} is connected and rotated in one `up`: a webhook made by hand stays beside the new "
                "one and gets 401. Connect first, rotate in the next",
                *keys,
            )
        else:
            self._say(
                schema,
                f"{what}; by hand: 401 from the end of the `up` until somebody pastes the new URL",
                *keys,
                tally="rotated",
            )
            second = "secondary" if slot == "primary" else "primary"
            self._warn(
                "feed",
                f"the {slot} URL of {self._who(new)} is rotated and its sender is moved by hand: after the `up` it "
                f"gets 401 and waits an hour, with every event behind that. Without a gap: use {second} as well "
                "(docs/rotation.md)",
                *keys,
            )
        in_use = old.active == slot or use not in ("never", "long ago", "unknown")
        if in_use and self._new.platform == "local" and self._new.settings.get("drain") == 0:
            self._warn(
                "feed",
                f"`drain` is 0: the old {slot} URL of {self._who(new)} ends at once, what is under way is refused",
                *keys,
                ("", "drain"),
            )

    def _active(self, old: Integration, new: IntegrationSettings) -> None:
        if old.active == new.active:
            return
        if new.connect:
            how = "Sluice moves the sender"
        else:
            how = f"by hand: nothing changes until somebody pastes the {new.active} URL at the sender"
        self._say(
            old.schema, f"active URL: {old.active} → {new.active}; {how}", (old.schema, "active"), tally="switched"
        )

    def _events(self, old: Integration, new: IntegrationSettings) -> None:
        known = EVENTS_BY_SOURCE[new.source]
        was, will = set(old.events), set(new.event_names)
        keys = ((old.schema, "events"),)
        if more := will - was:
            text = f"events added ({len(more)}): {events_in_words(more, known, was)}"
            self._say(old.schema, text, *keys, tally="with more events")
        if less := was - will:
            text = f"events removed ({len(less)}): {events_in_words(less, known, will)}"
            self._say(old.schema, text, *keys, tally="with fewer events")
        if (more or less) and not new.connect:
            self._say(old.schema, "by hand: choose the same events at the sender, Sluice can't", *keys)

    def _sender(self, old: Integration, new: IntegrationSettings) -> None:
        schema = old.schema
        if new.connect and not old.connected:
            made = "Sluice registers the webhook at Customer.io, or takes over the one that has this very URL"
            self._say(schema, f"connected: {made}", (schema, "connect"), tally="connected")
        elif old.connected and not new.connect:
            self._say(schema, "no longer connected: its webhook at Customer.io is deleted", (schema, "connect"))
            self._warn(
                "feed",
                f"{self._who(new)} is no longer connected: its webhook at Customer.io is deleted, and nothing comes "
                "until somebody makes one by hand",
                (schema, "connect"),
            )
        has_key = self._new.has_key(schema, "signing_key")
        if new.signed and not old.signed:
            self._say(
                schema, "signed: what has no valid signature is refused from now on", (schema, "signed"), tally="signed"
            )
            if not has_key:
                self._warn(
                    "feed",
                    f"{self._who(new)} must be signed from now on, and no signing key is stored: all is refused",
                    (schema, "signed"),
                )
        elif old.signed and not new.signed:
            self._say(schema, "no longer signed: whoever has the URL can post", (schema, "signed"))
            self._warn(
                "secret", f"{self._who(new)} is no longer signed: its URL alone lets anybody post", (schema, "signed")
            )
        elif new.signed and self._changes(
            schema, "signingKeys", "value", of=(there.ENDPOINT, "aws:ssm/parameter:Parameter")
        ):
            self._say(schema, "its signing keys change", (schema, "signing_key"), (schema, "previous_signing_key"))
            if not self._new.has_key(schema, "previous_signing_key"):
                self._warn(
                    "feed",
                    f"the signing keys of {self._who(new)} change, and no `previous_signing_key` is stored: what "
                    "is signed with another key than the stored one is refused",
                    (schema, "signing_key"),
                    (schema, "previous_signing_key"),
                )
        if not (old.connected and new.connect):
            return
        if old.region != new.region:
            self._warn(
                "feed",
                f"{self._who(new)} moves to the {new.region} region of Customer.io: that is another workspace",
                (schema, "region"),
            )
        if self._changes(schema, "appApiKey", of=(there.WEBHOOK,)):
            self._say(
                schema, "another App API key: its webhook moves if that is another workspace's", (schema, "app_api_key")
            )
        if self._changes(schema, "disabled", of=(there.WEBHOOK,)):
            self._say(schema, "the webhook is disabled or enabled", (schema, "signed"), (schema, "signing_key"))
        for was, will, key in (
            (old.full_resolution, new.full_resolution, "fullResolution"),
            (old.with_content, new.with_content, "withContent"),
        ):
            if was != will:
                size = "more" if will else "less"
                self._say(
                    schema, f"`{key}` is {'on' if will else 'off'}: {size} comes, and costs {size}", (schema, key)
                )

    def _changes(self, schema: str, *properties: str, of: Sequence[str]) -> list[Step]:
        return [
            its
            for its in self._steps
            if its.schema == schema and its.type in of and its.op == "update" and not its.changed.isdisjoint(properties)
        ]

    # What can be lost

    def _destroys(self) -> bool:
        return self._new.settings.get("destroyData") is True

    def _data(self) -> None:
        """Schemas, databases, tables and buckets that go or are made again."""
        by_schema: dict[tuple[str, bool, bool], list[str]] = {}
        for step in self._steps:
            kind = {
                there.SCHEMA: "schema",
                there.DATABASE: "database",
                there.TABLE: "table",
                there.BUCKET: "bucket",
            }.get(step.type)
            if kind is None or not (step.op in GONE or step.op in REPLACED) or step.old is None:
                continue
            if step.type == there.TABLE and not step.old.inputs.get("openTableFormatInput"):
                continue  # a view holds no rows
            if step.type == there.SCHEMA:
                inputs, outputs = step.old.inputs, step.old.outputs
                is_kept = not inputs.get("destroyData") or bool(inputs.get("adopt") or outputs.get("adopted"))
            else:
                is_kept = step.old.is_kept
            self._mark(step)
            by_schema.setdefault((step.schema or _PLATFORM, step.op in GONE, is_kept), []).append(kind)
        for (schema, gone, is_kept), kinds in by_schema.items():
            count = Counter(sorted(kinds, key=("schema", "bucket", "database", "table").index))
            what = " and ".join(f"{kind if n == 1 else f'{n} {kind}s'}" for kind, n in count.items())
            whose = f"{what} of `{schema}`" if schema else f"the stack's {what}"
            keys: list[Key] = [(schema, WHOLE)] if schema else [("", "platform"), ("", "code")]
            if gone and is_kept:
                again = ""
                if self._new.platform == "aws" or any(kind != "schema" for kind in kinds):
                    again = " (declared again it needs `adopt: true`)" if schema else ""
                self._say(schema, f"{whose}: kept, with every row{again}", *keys)
            elif gone:
                self._say(schema, f"{whose}: dropped, with every row", *keys, tally="schema dropped")
                self._warn("data", f"{whose}: **dropped with every row**", *keys)
            else:
                old = "the old one is kept" if is_kept else "the old one is deleted with every row"
                self._warn("data", f"{whose}: replaced by an empty one; {old}", *keys)
        for step in self._steps:
            short = step.type.rsplit(":", 1)[-1]
            if (
                step.type.startswith("aws:s3/")
                and short in ("BucketVersioning", "BucketLifecycleConfiguration")
                and step.op not in MADE
            ):
                self._warn("data", f"what the bucket keeps of old and deleted files changes (`{short}`)", ("", "code"))
            if step.type.startswith("aws:kinesis/") and step.op in REPLACED:
                self._warn(
                    "data", f"the stream of `{step.schema}` is replaced: what it still holds may be lost", ("", "code")
                )
        gone_server = [its for its in self._steps if its.type == there.POSTGRES and its.op in (*GONE, *REPLACED)]
        moved = [its for its in self._steps if its.type == there.RECEIVER and "warehouseDsn" in its.changed]
        came = [its for its in self._steps if its.type == there.POSTGRES and its.op in MADE]
        port = [its for its in self._steps if its.type == there.POSTGRES and its.op == "update"]
        if gone_server or (came and not self._old.is_new) or (moved and not port):
            self._warn(
                "data",
                "the warehouse changes: the rows that there are stay where they are, new events go to the other one",
                ("", "warehouseDsn"),
                ("", "platform"),
            )
            for step in [*gone_server, *came, *moved]:
                self._mark(step, *(["warehouseDsn"] if step in moved else []))

    def _switches(self) -> None:
        old, new, base = self._old, self._new.settings, self._see.base
        told = base.settings if base else {}
        turned_on = self._destroys() and (old.destroys_data is False or told.get("destroyData") is False)
        if turned_on:
            self._warn(
                "data",
                "`destroyData` is turned on: after this `up` a schema is dropped with its integration, and `make down` "
                "drops them all",
                ("", "destroyData"),
            )
        elif not self._destroys() and old.destroys_data:
            self._say(_PLATFORM, "`destroyData` is turned off: schemas outlive their integrations", ("", "destroyData"))
        if self._new.platform != "aws":
            return
        if new.get("protect") is False and (old.protects or told.get("protect") is True):
            self._warn(
                "data",
                "`protect` is turned off: nothing keeps an `up` from deleting databases, tables, bucket and URL",
                ("", "protect"),
            )
        elif new.get("protect") is True and old.protects is False:
            self._say(_PLATFORM, "`protect` is turned on", ("", "protect"))
        was, limit = old.reserved_concurrency, new.get("reservedConcurrency")
        if isinstance(limit, int) and (was is None or limit < was):
            before = "no limit of its own" if was is None else str(was)
            self._warn(
                "feed",
                f"`reservedConcurrency`: {before} → {limit}. Beyond it a sender gets 429 and waits an hour",
                ("", "reservedConcurrency"),
            )

    def _address(self) -> None:
        """Where senders reach the receiver; each URL begins with it."""
        settings = self._new.settings
        public = str(settings.get("publicUrl") or "").rstrip("/")
        keys: list[Key] = [("", "publicUrl")]
        if self._new.platform == "local":
            will = public or f"http://127.0.0.1:{settings.get('port')}"
            keys += [("", "port")] if not public else []
        else:
            function = [its for its in self._old.resources if its.type == "aws:lambda/functionUrl:FunctionUrl"]
            will = public or next((str(its.outputs.get("functionUrl", "")).rstrip("/") for its in function), "")
        was = self._old.url.rstrip("/")
        lost = [
            step
            for step in self._steps
            if step.type
            in (
                "aws:lambda/functionUrl:FunctionUrl",
                "aws:dynamodb/table:Table",
                "aws:lambda/function:Function",
                there.RECEIVER,
            )
            if step.op in (*GONE, *REPLACED)
        ]
        for step in lost:
            short = step.type.rsplit(":", 1)[-1]
            what = {"FunctionUrl": "its address", "Table": "the registry of its URLs", "Function": "the function"}.get(
                short, "the receiver"
            )
            if step.op in GONE:
                self._warn(
                    "feed", f"{what} is deleted ({short}): every sender is refused", ("", "platform"), ("", "code")
                )
            else:
                self._warn(
                    "feed", f"{what} is replaced ({short}): every sender may be refused", ("", "platform"), ("", "code")
                )
        if not was or not will or was == will:
            return
        by_hand = [
            its
            for schema, its in self._old.integrations.items()
            if schema in self._new.integrations and not self._new.integrations[schema].connect
        ]
        self._say(_PLATFORM, "the address of every URL changes", *keys)
        if by_hand:
            names = ", ".join(self._who(its) for its in by_hand)
            self._warn(
                "feed",
                f"the address of every URL changes, and somebody must paste the new ones at the senders of {names}",
                *keys,
            )

    # What is opened

    def _openings(self) -> None:
        """Who may do more than before, on AWS."""
        guards = (
            "BucketPublicAccessBlock",
            "BucketOwnershipControls",
            "BucketServerSideEncryptionConfiguration",
            "BucketPolicy",
        )
        for step in self._steps:
            short = step.type.rsplit(":", 1)[-1]
            own = (
                step.schema is not None and step.schema not in self._old.integrations
            )  # a new integration brings its own
            if short in guards and step.type.startswith("aws:s3/") and step.op not in MADE:
                more = (
                    policies.widened(step.before("policy"), step.after("policy"))
                    if short == "BucketPolicy" and step.op == "update"
                    else ["it guards the bucket"]
                )
                for what in more:
                    self._warn("secret", f"{named(step.name)} ({short}) is {_past(step.op)}: {what}", ("", "code"))
            elif short in ("RolePolicy", "Role", "Policy") and step.type.startswith("aws:iam/") and step.op not in GONE:
                key = "assumeRolePolicy" if short == "Role" else "policy"
                if self._old.is_new or own or (step.op == "update" and key not in step.changed):
                    continue
                for what in policies.widened(step.before(key), step.after(key)):
                    self._warn("secret", f"{named(step.name)} ({short}) {what}", ("", "code"))
            elif step.type == "aws:lambda/permission:Permission" and not self._old.is_new:
                if step.op in GONE:
                    self._warn(
                        "feed",
                        f"the permission {named(step.name)} goes: without it Lambda may refuse every sender",
                        ("", "code"),
                    )
                else:
                    self._warn(
                        "secret",
                        f"the permission {named(step.name)} is {_past(step.op)}: more may be let in",
                        ("", "code"),
                    )

    # The platform

    def _platform(self) -> None:
        for step in self._steps:
            if step.type == there.RECEIVER and step.op == "update":
                self._receiver(step)
            elif step.type == "aws:lambda/function:Function" and step.op == "update":
                self._function(step)
            elif step.type == "aws:cloudwatch/logGroup:LogGroup" and "retentionInDays" in step.changed:
                was, will = _number(step.before("retentionInDays")), _number(step.after("retentionInDays"))
                self._say(
                    _PLATFORM, f"logs are kept {was} → {will} days ({named(step.name)})", ("", "logRetentionDays")
                )
                self._mark(step, "retentionInDays")
            elif step.type == there.SCHEMA and step.op == "update":
                self._views(step)
            elif step.type == there.POSTGRES and step.op == "update" and "port" in step.changed:
                self._say(_PLATFORM, "PostgreSQL is given another port", ("", "postgresPort"))
                self._mark(step, "port")
        if self._new.platform == "aws":
            for line in costs.changes(self._steps):
                self._say(_PLATFORM, f"costs whether or not events come: {line}", ("", "code"), *self._whole_changes())

    def _whole_changes(self) -> list[Key]:
        return [key for key in self._changed if key[1] in (WHOLE, "maxSilenceHours")] or [("", "platform")]

    def _receiver(self, step: Step) -> None:
        words: Mapping[str, tuple[str, Key]] = {
            "code": ("the receiver's code changes: the new process takes over the listening socket", ("", "code")),
            "spoolMaxBytes": (
                "the spool's bound: {} → {} bytes; beyond it senders get 503 and try again",
                ("", "spoolMaxBytes"),
            ),
            "keepFreeBytes": ("disk kept free: {} → {} bytes", ("", "keepFreeBytes")),
            "port": ("the receiver's port: {} → {}", ("", "port")),
            "adminPort": ("the status page's port: {} → {}", ("", "adminPort")),
            "publicUrl": ("the receiver's public address changes", ("", "publicUrl")),
        }
        for name, (text, key) in words.items():
            if name in step.changed - step.drifted:
                self._say(_PLATFORM, text.format(_number(step.before(name)), _number(step.after(name))), key)
                self._mark(step, name)

    def _function(self, step: Step) -> None:
        words: Mapping[str, tuple[str, Key]] = {
            "code": ("the function's code changes", ("", "code")),
            "runtime": ("the function's runtime changes", ("", "functionRuntime")),
            "architectures": ("the function's processor changes", ("", "functionArchitecture")),
            "reservedConcurrentExecutions": (
                "the function's reserved concurrency changes",
                ("", "reservedConcurrency"),
            ),
        }
        for name, (text, key) in words.items():
            if name in step.changed:
                self._say(_PLATFORM, text, key)
                self._mark(step, name)

    def _views(self, step: Step) -> None:
        """Of a PostgreSQL schema: its views by name, and what is missing in it."""
        names = sorted(path.removeprefix("views.") for path in step.paths if path.startswith("views."))
        if names:
            self._say(step.schema or _PLATFORM, f"views made anew: {', '.join(map(named, names))}", ("", "code"))
            self._mark(step, "views")

    # Everything else

    def _mark(self, step: Step, *properties: str) -> None:
        for name in properties or ("*",):
            self._told.add((step.resource.urn, name))

    _SAID_BY_NAME = frozenset(
        (there.TOKEN, there.ENDPOINT, there.ITEM, there.SENDER, there.WEBHOOK, "sluice:index:Integration", there.SCHEMA)
    )
    """Types whose changes have been said integration by integration."""

    def _the_rest(self) -> None:
        """What drifted, and what no sentence above is about: counted by type, with the names of what differs."""
        counted: Counter[tuple[str, str, str]] = Counter()
        for step in self._steps:
            short = step.type.rsplit(":", 1)[-1]
            if step.drifted:
                self._left.append(f"{named(step.name)} ({short}) isn't as the last `up` left it, and is put right")
            if step.schema is not None and (
                step.schema not in self._old.integrations or step.schema not in self._new.integrations
            ):
                continue  # of an integration that comes or goes as a whole
            if step.type in self._SAID_BY_NAME or self._old.is_new or (step.resource.urn, "*") in self._told:
                continue
            told = {name for urn, name in self._told if urn == step.resource.urn}
            rest = sorted(step.changed - step.drifted - told)
            if step.op == "update" and not rest:
                continue
            counted[
                (step.op, short, ", ".join(f"`{name}`" for name in rest) if step.op not in (*GONE, *MADE) else "")
            ] += 1
        for (op, short, names), count in sorted(counted.items()):
            much = f"{count} × " if count > 1 else ""
            self._say(_PLATFORM, f"{much}{short} {_past(op)}{f' ({names})' if names else ''}", *self._every_key())
        for left in self._old.left_over:
            slot = self._old.integrations.get(left.schema or "")
            what = f"{named(left.name)} was replaced by an earlier `up` and is deleted now"
            if slot and left.type in (there.ENDPOINT, there.ITEM):
                what = (
                    f"the old {left.slot} URL of {named(slot.name)} still works, from an `up` that failed; it ends now"
                )
            self._left.append(what)

    def _every_key(self) -> list[Key]:
        """For what may come from anything: it counts as this change's if this change has anything at all in it."""
        return list(self._changed) or [("", "code")]


def _past(op: str) -> str:
    return {"create": "made", "import": "taken over", "update": "changed", "delete": "deleted"}.get(op, "replaced")


def _traffic(use: str) -> str:
    return "whether it has traffic isn't known" if use == "unknown" else f"its last delivery came {use}"


def _number(value: object) -> str:
    """A number as it may be shown; anything else isn't."""
    if isinstance(value, bool) or value == UNKNOWN or not isinstance(value, (int, float, str)):
        return "?"
    try:
        return f"{int(float(value)):,}".replace(",", " ") if float(value) >= 100_000 else str(int(float(value)))
    except ValueError:
        return "?"
