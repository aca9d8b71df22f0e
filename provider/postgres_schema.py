"""The resource `PostgresSchema`: one integration's namespace in the warehouse, with its tables and views.

A schema carries a mark (its comment) that says which stack made it, by the stack's identity. Ours is taken up again
whenever it is found; somebody else's is refused, or adopted where the stack says so, and then never dropped. Deleting
the resource
keeps the data unless the stack said `destroyData` in an earlier `up`.
"""

import asyncio
import json
import time
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import psycopg
from psycopg import sql

from provider import postgres, postgres_views, receiver_process, views
from provider.resource import Context, Properties, Resource, ResourceError
from provider.warehouse import Connection, in_schema
from receiver import warehouse
from receiver.registry import Registry, SchemaEntry
from receiver.spool import Spool

LOAD_PATIENCE_S = 60.0
MARK = "Made by Sluice; do not edit this comment: "


@dataclass(frozen=True)
class Mark:
    """Who made a schema, as its comment says. adopted: it was there before, so that it is never dropped.

    project and stack are for people to read: two stacks may have the same. identity: `StackIdentity`'s.
    """

    project: str
    stack: str
    identity: str
    adopted: bool = False

    def text(self) -> str:
        return MARK + json.dumps(asdict(self))

    @classmethod
    def parse(cls, comment: str | None) -> "Mark | None":
        """None for a comment that isn't Sluice's."""
        if not comment or not comment.startswith(MARK):
            return None
        try:
            return cls(**json.loads(comment.removeprefix(MARK)))
        except (ValueError, TypeError):
            return None


class PostgresSchema(Resource):
    """Inputs: name, displayName, source, loading, adopt, stackIdentity, destroyData, dsn (secret), missing and views.

    The last two come from check. views: {name: digest of its definition}, so that a preview names the views that change
    and a refresh those that are gone. missing: the tables and indexes that aren't there, none when all is well.
    Outputs: the same, adopted, and registered: whether receiver and loader know of it.
    """

    token = "sluice:index:PostgresSchema"  # noqa: S105
    secrets: ClassVar = frozenset({"dsn"})
    replaces: ClassVar = frozenset({"name"})
    outputs: ClassVar = frozenset({"adopted", "registered"})

    async def check(self, context: Context, inputs: Properties) -> Properties:
        return {
            **inputs,
            "missing": [],
            "views": {name: view.digest for name, view in views.views(inputs["source"], inputs["loading"]).items()},
        }

    async def create(self, context: Context, inputs: Properties) -> tuple[str, Properties]:
        return inputs["name"], await self.update(context, {}, inputs)

    async def update(self, context: Context, state: Properties, inputs: Properties) -> Properties:
        adopted = await asyncio.to_thread(_make, context, state, inputs)
        await asyncio.to_thread(_register, context, inputs)
        return {**inputs, "adopted": adopted, "registered": True}

    async def drift(self, context: Context, state: Properties) -> set[str]:
        # The registry alone: it costs nothing to look there, and `up` must work while the warehouse is down.
        return set() if await asyncio.to_thread(_is_registered, context, state) else {"registered"}

    async def read(self, context: Context, state: Properties) -> Properties | None:
        found = await asyncio.to_thread(_look, state)
        return found and {**found, "registered": await asyncio.to_thread(_is_registered, context, state)}

    async def delete(self, context: Context, state: Properties) -> None:
        """Loads what still waits in the spool, then lets go of the schema: kept, or dropped with `destroyData`."""
        name = state["name"]
        await _load_the_rest(context, state)
        dropped = False
        if state.get("destroyData") and not state.get("adopted"):
            dsn = await asyncio.to_thread(_revived, context, state)
            dropped = await asyncio.to_thread(_drop, {**state, "dsn": dsn})
        await asyncio.to_thread(_unregister, context, name)
        if not dropped:
            await context.say(f"schema {name} and its rows stay in the warehouse", False)


def _entry(inputs: Properties) -> SchemaEntry:
    return SchemaEntry(inputs["name"], inputs["displayName"], inputs["source"], inputs["loading"])


def _register(context: Context, inputs: Properties) -> None:
    with Registry(context.home / "registry.db") as registry:
        registry.put_schema(_entry(inputs), inputs["dsn"])


def _is_registered(context: Context, state: Properties) -> bool:
    with Registry.present(context.home / "registry.db") as registry:
        return registry is not None and registry.get_schema(state["name"]) == _entry(state)


def _unregister(context: Context, name: str) -> None:
    with Registry(context.home / "registry.db") as registry:
        registry.remove_schema(name)


def _make(context: Context, state: Properties, inputs: Properties) -> bool:
    """Creates or completes the schema in one transaction. Returns whether it is an adopted one."""
    name = inputs["name"]

    def make(connection: Connection) -> bool:
        mark = _claim(connection, context, state, inputs)
        try:
            warehouse.create_tables(connection, name, inputs["loading"])
            postgres_views.make(connection, name, views.views(inputs["source"], inputs["loading"]))
        except warehouse.LoadingError as error:
            raise ResourceError(str(error)) from None
        except psycopg.errors.DependentObjectsStillExist as error:
            raise ResourceError(
                f"tables or views of schema {name} can't be changed, since objects of yours are built on them "
                f"({'; '.join((error.diag.message_detail or '').splitlines())}): drop those, run `up`, and create them "
                "again. Nothing was changed"
            ) from None
        return mark.adopted

    return in_schema(inputs["dsn"], name, "made", make)


def _claim(connection: Connection, context: Context, state: Properties, inputs: Properties) -> Mark:
    """The schema's mark after it is ours, or ResourceError when it is somebody else's."""
    name, ours = inputs["name"], Mark(context.project, context.stack, inputs["stackIdentity"])
    # Before, it may have been another one: `pulumi state delete` of the identity alone.
    identities = {ours.identity, state.get("stackIdentity")}
    row = connection.execute(
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", [name]
    ).fetchone()
    mark = ours
    if row is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    else:
        found = Mark.parse(row[0])
        if found is not None and found.identity in identities:
            mark = replace(ours, adopted=found.adopted)
        elif inputs.get("adopt"):
            mark = replace(ours, adopted=True)
        else:
            raise ResourceError(
                f"schema {name} is there already and {_whose(found, ours)}. Give the integration another name or "
                f"`schema:`, or say `adopt: true` to use it as it is (it will then never be dropped)"
            )
    try:
        with connection.transaction():
            comment = sql.SQL("COMMENT ON SCHEMA {} IS {}")
            connection.execute(comment.format(sql.Identifier(name), sql.Literal(mark.text())))
    except psycopg.errors.InsufficientPrivilege:
        # Its owner let us in, and keeps it: without a mark it is adopted anew by each `up`, and dropped by none.
        if not mark.adopted:
            raise
    return mark


def _whose(found: Mark | None, ours: Mark) -> str:
    if found is None:
        return "wasn't made by Sluice"
    whose = f"belongs to stack {found.stack} of project {found.project}"
    if (found.project, found.stack) != (ours.project, ours.stack):
        return whose
    return (
        f"{whose}, though not to this one: a colleague's of the same name, with the identity {found.identity}, or this "
        "one's before its state was lost"
    )


def _look(state: Properties) -> Properties | None:
    """The schema as it is, or None when it is gone."""
    name = state["name"]

    def look(connection: Connection) -> tuple[warehouse.Description, dict[str, postgres_views.Present]]:
        return warehouse.describe(connection, name), postgres_views.present(connection, name)

    found, present = in_schema(state["dsn"], name, "looked at", look)
    if not found.exists:
        return None
    # People may add views of their own beside ours; only those that Sluice knows can drift.
    ours = {view: present[view].digest for view in state.get("views", {}) if view in present}
    return {**state, "loading": found.loading or state["loading"], "missing": found.missing(), "views": ours}


def _drop(state: Properties) -> bool:
    """Drops the schema if its mark still says that this stack made it."""
    name = state["name"]

    def drop(connection: Connection) -> bool:
        row = connection.execute(
            "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", [name]
        ).fetchone()
        if row is None:
            return True
        mark = Mark.parse(row[0])
        if mark is None or mark.identity != state["stackIdentity"] or mark.adopted:
            return False
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))
        return True

    return in_schema(state["dsn"], name, "dropped", drop)


async def _load_the_rest(context: Context, state: Properties) -> None:
    """Waits until the loader has moved the schema's spooled rows; ResourceError when it can't."""
    name = state["name"]
    waiting = await asyncio.to_thread(_waiting, context, name)
    if not waiting:
        return
    await asyncio.to_thread(_revived, context, state)
    with receiver_process.loading(context.home):
        deadline = time.monotonic() + LOAD_PATIENCE_S
        while time.monotonic() < deadline:
            left = await asyncio.to_thread(_waiting, context, name)
            if left == 0:
                return
            if left < waiting:  # it is getting on: as long as it does, it may
                waiting, deadline = left, time.monotonic() + LOAD_PATIENCE_S
            await asyncio.sleep(0.1)
    raise ResourceError(
        f"{waiting} accepted events of {name} still wait in the spool and can't be loaded: make status says why. "
        "The schema stays, with its rows. Run this again when they are loaded; a URL that was revoked meanwhile comes "
        "back with make up"
    )


def _waiting(context: Context, name: str) -> int:
    path = context.home / "spool.db"
    if not path.exists():
        return 0
    with Spool(path) as spool:
        return spool.waiting(name)


def _revived(context: Context, state: Properties) -> str:
    """The warehouse's DSN, after the embedded server was started if it was down: a stopped stack can be destroyed too,
    and has work left to do. Not always the state's: in a copied folder that is the first one's."""
    server = postgres.recorded(context.home)
    if server is not None and server.dsn == state["dsn"]:
        return postgres.ensure(context.home, 0).dsn
    return str(state["dsn"])
