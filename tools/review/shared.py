"""What a change means for what a stack's integrations share: the data, the address, who may do what, and the parts."""

from collections import Counter
from collections.abc import Mapping

from tools.review import costs, policies
from tools.review import deployed as there
from tools.review.declared import WHOLE, Key
from tools.review.notes import GONE, MADE, PLATFORM, REPLACED, Notes, named, number, past, who
from tools.review.plan import Step


def tell(notes: Notes) -> None:
    told = _Shared(notes)
    told.data()
    told.switches()
    told.address()
    told.openings()
    told.parts()


class _Shared:
    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._say, self._warn, self._steps = notes.say, notes.warn, notes.steps
        self._new, self._old = notes.new, notes.old

    # What can be lost

    def data(self) -> None:
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
            self._notes.mark(step)
            by_schema.setdefault((step.schema or PLATFORM, step.op in GONE, is_kept), []).append(kind)
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
                self._notes.mark(step, *(["warehouseDsn"] if step in moved else []))

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
        self._say(PLATFORM, "the address of every URL changes", *keys)
        if by_hand:
            names = ", ".join(who(its) for its in by_hand)
            self._warn(
                "feed",
                f"the address of every URL changes, and somebody must paste the new ones at the senders of {names}",
                *keys,
            )

    # What is opened

    def openings(self) -> None:
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
                    self._warn("secret", f"{named(step.name)} ({short}) is {past(step.op)}: {what}", ("", "code"))
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
                        f"the permission {named(step.name)} is {past(step.op)}: more may be let in",
                        ("", "code"),
                    )

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
            elif step.type == there.SCHEMA and step.op == "update":
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
