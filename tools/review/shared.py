"""What a change means for what a stack's integrations share: the data, the address, who may do what, and the parts."""

from collections import Counter
from collections.abc import Mapping

from policy.rules import BUCKETS, DATABASE, DOCUMENTS, SCHEMA, TABLE, Recorded, holds_data, is_lost
from receiver.admin.address import is_loopback
from tools.review import costs, policies
from tools.review import deployed as there
from tools.review.declared import WHOLE, Key
from tools.review.notes import GONE, MADE, PLATFORM, REPLACED, Notes, named, number, past, who
from tools.review.plan import Step

KINDS = {SCHEMA: "schema", **dict.fromkeys(BUCKETS, "bucket"), DATABASE: "database", TABLE: "table"}
"""What holds rows, as a page calls it."""

WAYS_IN = {
    "aws:lambda/functionUrl:FunctionUrl": "its address",
    "aws:dynamodb/table:Table": "the registry of its URLs",
    "aws:lambda/function:Function": "the function",
    there.RECEIVER: "the receiver",
}
"""What every delivery passes."""


def tell(notes: Notes) -> None:
    told = _Shared(notes)
    told.rows()
    told.files_and_streams()
    told.warehouse()
    told.switches()
    told.ways_in()
    told.address()
    told.status_page()
    told.openings()
    told.parts()


class _Shared:
    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._say, self._warn, self._steps = notes.say, notes.warn, notes.steps
        self._new, self._old = notes.new, notes.old

    # What can be lost

    def rows(self) -> None:
        """Schemas, databases, tables and buckets that go or are made again."""
        found: dict[tuple[str, bool, bool], list[str]] = {}
        for step in self._steps:
            old = step.old
            if old is None or step.op not in (*GONE, *REPLACED) or not holds_data(old.type, old.inputs):
                continue
            is_kept = not is_lost(Recorded(old.urn, old.type, old.inputs, old.outputs, is_kept=old.is_kept))
            self._notes.mark(step)
            found.setdefault((step.schema or PLATFORM, step.op in GONE, is_kept), []).append(KINDS[old.type])
        for (schema, gone, is_kept), kinds in found.items():
            count = Counter(sorted(kinds, key=list(KINDS.values()).index))
            what = " and ".join(kind if n == 1 else f"{n} {kind}s" for kind, n in count.items())
            whose = f"{what} of `{schema}`" if schema else f"the stack's {what}"
            keys: list[Key] = [(schema, WHOLE)] if schema else [("", "platform"), ("", "code")]
            if gone and is_kept:
                is_adoption = schema and (self._new.platform == "aws" or set(kinds) != {"schema"})
                again = " (declared again it needs `adopt: true`)" if is_adoption else ""
                self._say(schema, f"{whose}: kept, with every row{again}", *keys)
            elif gone:
                self._say(schema, f"{whose}: dropped, with every row", *keys, tally="schema dropped")
                self._warn("data", f"{whose}: **dropped with every row**", *keys)
            else:
                old_one = "the old one is kept" if is_kept else "the old one is deleted with every row"
                self._warn("data", f"{whose}: replaced by an empty one; {old_one}", *keys)

    def files_and_streams(self) -> None:
        for step in self._steps:
            short = step.type.rsplit(":", 1)[-1].removesuffix("V2")
            keeps = short in ("BucketVersioning", "BucketLifecycleConfiguration") and step.type.startswith("aws:s3/")
            if keeps and step.op not in MADE:
                self._warn("data", f"what the bucket keeps of old and deleted files changes (`{short}`)", ("", "code"))
            if step.type.startswith("aws:kinesis/") and step.op in REPLACED:
                what = f"the stream of `{step.schema}` is replaced: what it still holds may be lost"
                self._warn("data", what, ("", "code"))

    def warehouse(self) -> None:
        """Whether new events go to another PostgreSQL."""
        servers = [its for its in self._steps if its.type == there.POSTGRES]
        moved = [its for its in self._steps if its.type == there.RECEIVER and "warehouseDsn" in its.changed]
        gone = [its for its in servers if its.op in (*GONE, *REPLACED)]
        came = [its for its in servers if its.op in MADE]
        is_same = any(its.op == "update" for its in servers)  # on another port
        if gone or (came and not self._old.is_new) or (moved and not is_same):
            self._warn(
                "data",
                "the warehouse changes: the rows that there are stay where they are, new events go to the other one",
                ("", "warehouseDsn"),
                ("", "platform"),
            )
            for step in (*gone, *came):
                self._notes.mark(step)
        for step in moved:
            self._notes.mark(step, "warehouseDsn")

    def switches(self) -> None:
        old, new, base = self._old, self._new.settings, self._notes.see.base
        told = base.settings if base else {}
        turned_on = self._notes.destroys and (old.destroys_data is False or told.get("destroyData") is False)
        if turned_on:
            self._warn(
                "data",
                "`destroyData` is turned on: after this `up` a schema is dropped with its integration, and `make down` "
                "drops them all",
                ("", "destroyData"),
            )
        elif not self._notes.destroys and old.destroys_data:
            self._say(PLATFORM, "`destroyData` is turned off: schemas outlive their integrations", ("", "destroyData"))
        if self._new.platform != "aws":
            return
        if new.get("protect") is False and (old.protects or told.get("protect") is True):
            self._warn(
                "data",
                "`protect` is turned off: nothing keeps an `up` from deleting databases, tables, bucket and URL",
                ("", "protect"),
            )
        elif new.get("protect") is True and old.protects is False:
            self._say(PLATFORM, "`protect` is turned on", ("", "protect"))
        was, limit = old.reserved_concurrency, new.get("reservedConcurrency")
        if isinstance(limit, int) and (was is None or limit < was):
            before = "no limit of its own" if was is None else str(was)
            self._warn(
                "feed",
                f"`reservedConcurrency`: {before} → {limit}. Beyond it a sender gets 429 and waits an hour",
                ("", "reservedConcurrency"),
            )

    def ways_in(self) -> None:
        """What every delivery passes, and goes or is made again."""
        for step in self._steps:
            what = WAYS_IN.get(step.type)
            short = step.type.rsplit(":", 1)[-1]
            keys: list[Key] = [("", "platform"), ("", "code")]
            if what and step.op in GONE:
                self._warn("feed", f"{what} is deleted ({short}): every sender is refused", *keys)
            elif what and step.op in REPLACED:
                self._warn("feed", f"{what} is replaced ({short}): every sender may be refused", *keys)

    def address(self) -> None:
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
        if public and any("port" in step.changed for step in self._steps if step.type == there.RECEIVER):
            self._warn(
                "feed",
                "the receiver listens on another port: until the tunnel or proxy behind `publicUrl` leads there, every "
                "sender is refused",
                ("", "port"),
            )
        stay = [its for schema, its in self._old.integrations.items() if schema in self._new.integrations]
        if not was or not will or was == will or not stay:
            return
        by_hand = [its for its in stay if not self._new.integrations[its.schema].connect]
        self._say(PLATFORM, "the address of every URL changes", *keys)
        if by_hand:
            names = ", ".join(who(its) for its in by_hand)
            self._warn(
                "feed",
                f"the address of every URL changes, and somebody must paste the new ones at the senders of {names}",
                *keys,
            )

    # What is opened

    def status_page(self) -> None:
        host = str(self._new.settings.get("adminHost") or "")
        opened = [
            step
            for step in self._steps
            if step.type == there.RECEIVER
            and (step.op in MADE or not step.changed.isdisjoint(("adminHost", "adminPort")))
        ]
        if opened and self._new.settings.get("adminPort") != 0 and not is_loopback(host):
            self._warn(
                "secret",
                f"the status page and the metrics are open to whoever reaches {named(host)}, without a password",
                ("", "adminHost"),
                ("", "adminPort"),
            )

    def openings(self) -> None:
        """Who may do more than before, on AWS."""
        guards = (
            "BucketPublicAccessBlock",
            "BucketOwnershipControls",
            "BucketServerSideEncryptionConfiguration",
            "BucketPolicy",
        )
        for step in self._steps:
            short = step.type.rsplit(":", 1)[-1].removesuffix("V2")
            what = f"{named(step.name)} ({short})"
            is_new = self._old.is_new or (step.schema is not None and step.schema not in self._old.integrations)
            if short in guards and step.type.startswith("aws:s3/") and step.op not in MADE:
                more = ["it guards the bucket"]
                if short == "BucketPolicy" and step.op == "update":
                    more = policies.widened(step.before("policy"), step.after("policy"))
                for each in more:
                    self._warn("secret", f"{what} is {past(step.op)}: {each}", ("", "code"))
            elif is_new or not step.type.startswith(("aws:iam/", "aws:lambda/permission:")):
                continue  # what is new brings its own
            elif short == "Permission" and step.op in GONE:
                self._warn("feed", f"{what} goes: without it Lambda may refuse every sender", ("", "code"))
            elif short == "Permission":
                self._warn("secret", f"{what} is {past(step.op)}: more may be let in", ("", "code"))
            elif "PolicyAttachment" in short and step.op not in GONE:
                self._warn("secret", f"{what} is {past(step.op)}: it allows what another policy says", ("", "code"))
            elif (key := DOCUMENTS.get(step.type)) and step.op not in GONE:
                is_changed = step.op != "update" or key in step.changed
                for each in policies.widened(step.before(key), step.after(key)) if is_changed else ():
                    self._warn("secret", f"{what} {each}", ("", "code"))

    # The platform

    def parts(self) -> None:
        for step in self._steps:
            if step.type == there.RECEIVER and step.op == "update":
                self._receiver(step)
            elif step.type == "aws:lambda/function:Function" and step.op == "update":
                self._function(step)
            elif step.type == "aws:cloudwatch/logGroup:LogGroup" and "retentionInDays" in step.changed:
                was, will = number(step.before("retentionInDays")), number(step.after("retentionInDays"))
                self._say(PLATFORM, f"logs are kept {was} → {will} days ({named(step.name)})", ("", "logRetentionDays"))
                self._notes.mark(step, "retentionInDays")
            elif step.type == SCHEMA and step.op == "update":
                self._views(step)
            elif step.type == there.POSTGRES and step.op == "update" and "port" in step.changed:
                self._say(PLATFORM, "PostgreSQL is given another port", ("", "postgresPort"))
                self._notes.mark(step, "port")
        if self._new.platform == "aws":
            for line in costs.changes(self._steps):
                self._say(PLATFORM, f"costs whether or not events come: {line}", ("", "code"), *self._whole_changes())

    def _whole_changes(self) -> list[Key]:
        return [key for key in self._notes.changed if key[1] in (WHOLE, "maxSilenceHours")] or [("", "platform")]

    def _receiver(self, step: Step) -> None:
        words: Mapping[str, tuple[str, Key]] = {
            "code": ("the receiver's code changes: the new process takes over the listening socket", ("", "code")),
            "spoolMaxBytes": (
                "the spool's bound: {} → {} bytes; beyond it senders get 503 and try again",
                ("", "spoolMaxBytes"),
            ),
            "keepFreeBytes": ("disk kept free: {} → {} bytes", ("", "keepFreeBytes")),
            "port": ("the receiver's port: {} → {}", ("", "port")),
            "adminHost": ("the status page gets another address", ("", "adminHost")),
            "adminPort": ("the status page's port: {} → {}", ("", "adminPort")),
            "publicUrl": ("the receiver's public address changes", ("", "publicUrl")),
        }
        for name, (text, key) in words.items():
            if name in step.changed - step.drifted:
                self._say(PLATFORM, text.format(number(step.before(name)), number(step.after(name))), key)
                self._notes.mark(step, name)

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
                self._say(PLATFORM, text, key)
                self._notes.mark(step, name)

    def _views(self, step: Step) -> None:
        """Of a PostgreSQL schema: its views by name, and what is missing in it."""
        names = sorted(path.removeprefix("views.") for path in step.paths if path.startswith("views."))
        if names:
            self._say(step.schema or PLATFORM, f"views made anew: {', '.join(map(named, names))}", ("", "code"))
            self._notes.mark(step, "views")
