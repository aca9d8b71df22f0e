"""What a change means for each integration: its URLs and who posts to them, its events, its name and its switches."""

from collections.abc import Iterable, Sequence

from components.settings import EVENTS_BY_SOURCE, IntegrationSettings
from policy.rules import PASSWORD as TOKEN
from receiver.token import fingerprint
from tools.review import deployed as there
from tools.review.declared import WHOLE
from tools.review.deployed import Integration
from tools.review.notes import GONE, REPLACED, Notes, named, who
from tools.review.plan import Step

LATELY_S = 7 * 24 * 3600  # Customer.io retries for so long


def tell(notes: Notes) -> None:
    told = _Integrations(notes)
    old, new = notes.old.integrations, notes.new.integrations
    added = [its for schema, its in new.items() if schema not in old]
    for declared in added:
        told.added(declared)
    for gone in (its for schema, its in old.items() if schema not in new):
        told.removed(gone, added)
    for schema, declared in new.items():
        if schema in old:
            told.kept(old[schema], declared)


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


class _Integrations:
    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._say, self._warn, self._steps = notes.say, notes.warn, notes.steps
        self._new, self._old = notes.new, notes.old

    def added(self, new: IntegrationSettings) -> None:
        schema, whole = new.schema_name, (new.schema_name, WHOLE)
        tokens = " and ".join(f"{slot} (version {version})" for slot, version in new.tokens.by_slot.items())
        known = EVENTS_BY_SOURCE[new.source]
        self._say(schema, f"added: URL {tokens}; {self._asked(new.event_names, known)}", whole, tally="added")
        if new.adopt:
            self._say(schema, f"schema `{schema}` is taken over if it is there, and then never dropped", whole)
        else:
            fate = (
                "dropped with the integration, as `destroyData` is on"
                if self._notes.destroys
                else "kept if it is removed"
            )
            self._say(schema, f"schema `{schema}` is made; its rows will be {fate}", whole)
        if not new.connect:
            self._say(schema, "by hand: somebody pastes its URL at the sender after the `up`", whole)
        elif new.signed and not self._new.has_key(schema, "signing_key"):
            self._say(schema, "connected: the webhook is made disabled, until its signing key is stored", whole)
        else:
            self._say(schema, "connected: Sluice makes the webhook at Customer.io", whole)
        if new.signed and not new.connect and not self._new.has_key(schema, "signing_key"):
            self._warn("feed", f"{who(new)} must be signed, and has no signing key: every delivery is refused", whole)
        if new.loading == "append" and self._new.platform == "local":
            self._say(schema, "loading: append, so each delivery is a row", whole)

    def _asked(self, names: Sequence[str], known: Sequence[str]) -> str:
        if set(names) == set(known):
            return f"all {len(known)} events"
        return f"{len(names)} of {len(known)} events: {events_in_words(names, known, set(known) - set(names))}"

    def removed(self, old: Integration, added: Sequence[IntegrationSettings]) -> None:
        schema, whole = old.schema, (old.schema, WHOLE)
        slots = " and ".join(
            f"{slot} (version {its.version}, token `{fingerprint(its.hash)}`)" for slot, its in old.slots.items()
        )
        urls = f"its URLs {slots} are" if len(old.slots) > 1 else f"its URL {slots} is"
        self._say(schema, f"removed: {urls} revoked after a drain", whole, tally="removed")
        if old.connected:
            self._say(schema, "its webhook at Customer.io is deleted before that, so nothing is refused", whole)
        used = [self._use(its.hash) for its in old.slots.values()]
        busy = next((use for use in used if use not in ("never", "long ago")), None)
        hint = ""
        if len(added) == 1:
            hint = f"if {who(added[0])} is the same one renamed, pin `schema: {schema}` there: it keeps all"
        if busy:
            fate = "its webhook is deleted" if old.connected else "the sender will get 401"
            self._warn("feed", f"{who(old)} is removed: {_traffic(busy)}, and {fate}{hint and f'; {hint}'}", whole)
        elif hint:
            self._say(schema, hint, whole)
        if any(
            step.schema == schema and step.type.startswith("aws:kinesis") and step.op in GONE for step in self._steps
        ):
            wait = self._new.settings.get("streamDrain")
            if wait == 0 and self._new.platform == "aws":
                self._warn(
                    "data",
                    f"the stream of {who(old)} goes at once (`streamDrain: 0`): what it still holds may be lost",
                    whole,
                    ("", "streamDrain"),
                )

    def _use(self, token_hash: str) -> str:
        """When a URL was last used: "never", "long ago", "unknown", or how long ago that is."""
        if self._notes.see.last_used is None or token_hash not in self._notes.see.last_used:
            return "unknown"
        last = self._notes.see.last_used[token_hash]
        if last is None:
            return "never"
        passed = max(0.0, self._notes.see.now - last)
        if passed > LATELY_S:
            return "long ago"
        for seconds, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
            if passed >= seconds:
                count = int(passed // seconds)
                return f"{count} {unit}{'s' if count > 1 else ''} ago"
        return "less than a minute ago"

    def kept(self, old: Integration, new: IntegrationSettings) -> None:
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
                if its.schema == schema and its.op in REPLACED and its.type in (TOKEN, there.ENDPOINT, there.ITEM)
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
                f"the {slot} URL of {who(new)} is closed, and it is the active one: the sender posts to it until "
                "somebody has pasted the other, gets 401 and waits an hour. Switch `active`, paste, close it later",
                *keys,
            )
        elif (use := self._use(was.hash)) not in ("never", "long ago", "unknown"):
            self._warn("feed", f"the {slot} URL of {who(new)} is closed, and {_traffic(use)}", *keys)

    def _rotated(self, old: Integration, new: IntegrationSettings, slot: str, version: int) -> None:
        schema, was = old.schema, old.slots[slot]
        keys = ((schema, f"tokens.{slot}"),)
        if was.version != version:
            what = f"{slot} URL rotated: version {was.version} → {version}"
        else:
            what = f"{slot} URL replaced although its version stays {version}"
            self._warn("feed", f"the {slot} URL of {who(new)} is replaced, and no number was bumped for that", *keys)
        what += f", token `{fingerprint(was.hash)}` ends"
        use = self._use(was.hash)
        if old.active != slot:
            other = "the sender is given the other slot's URL, so nobody should notice"
            self._say(schema, f"{what}; {other}", *keys, tally="rotated")
            if use not in ("never", "long ago", "unknown"):
                self._warn(
                    "feed",
                    f"the {slot} URL of {who(new)} is rotated and isn't the active one, but {_traffic(use)}",
                    *keys,
                )
        elif old.connected and new.connect:
            moved = "connected, so Sluice moves the sender within this `up`; nothing is refused"
            self._say(schema, f"{what}; {moved}", *keys, tally="rotated")
        elif new.connect:
            self._say(schema, f"{what}; it is connected in the same `up`", *keys, tally="rotated")
            self._warn(
                "feed",
                f"{who(new)} is connected and rotated in one `up`: a webhook made by hand stays beside the new "
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
                f"the {slot} URL of {who(new)} is rotated and its sender is moved by hand: after the `up` it "
                f"gets 401 and waits an hour, with every event behind that. Without a gap: use {second} as well "
                "(docs/rotation.md)",
                *keys,
            )
        in_use = old.active == slot or use not in ("never", "long ago", "unknown")
        if in_use and self._new.platform == "local" and self._new.settings.get("drain") == 0:
            self._warn(
                "feed",
                f"`drain` is 0: the old {slot} URL of {who(new)} ends at once, what is under way is refused",
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
                f"{who(new)} is no longer connected: its webhook at Customer.io is deleted, and nothing comes "
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
                    f"{who(new)} must be signed from now on, and no signing key is stored: all is refused",
                    (schema, "signed"),
                )
        elif old.signed and not new.signed:
            self._say(schema, "no longer signed: whoever has the URL can post", (schema, "signed"))
            self._warn("secret", f"{who(new)} is no longer signed: its URL alone lets anybody post", (schema, "signed"))
        elif new.signed and self._changes(
            schema, "signingKeys", "value", of=(there.ENDPOINT, "aws:ssm/parameter:Parameter")
        ):
            self._say(schema, "its signing keys change", (schema, "signing_key"), (schema, "previous_signing_key"))
            if not self._new.has_key(schema, "previous_signing_key"):
                self._warn(
                    "feed",
                    f"the signing keys of {who(new)} change, and no `previous_signing_key` is stored: what "
                    "is signed with another key than the stored one is refused",
                    (schema, "signing_key"),
                    (schema, "previous_signing_key"),
                )
        if not (old.connected and new.connect):
            return
        if old.region != new.region:
            self._warn(
                "feed",
                f"{who(new)} moves to the {new.region} region of Customer.io: that is another workspace",
                (schema, "region"),
            )
        if self._changes(schema, "appApiKey", of=(there.WEBHOOK,)):
            self._say(
                schema, "another App API key: its webhook moves if that is another workspace's", (schema, "app_api_key")
            )
        if self._changes(schema, "apiUrl", of=(there.WEBHOOK,)):
            moves = "another `customerioApi`: its webhook moves if that is another workspace's"
            self._say(schema, moves, ("", "customerioApi"))
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


def _traffic(use: str) -> str:
    return "whether it has traffic isn't known" if use == "unknown" else f"its last delivery came {use}"
