"""What loader and provider must agree on: the tables of an integration's schema, how they are made, and how rows get
into them. Everything takes an open psycopg connection and a schema that exists.

A row of the spool lands once, even if the loader dies between the warehouse's commit and the spool's delete: `claim`
moves the spool's last sequence forward in the same transaction as the rows, and says no when that was done before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from receiver.registry import Loading
from receiver.rows import DATA, EARLIEST, LATEST, REJECTED, TABLE_VERSION, Column, Type, record_text, storable
from receiver.spool import SpooledRow

Connection = psycopg.Connection[Any]

_POSTGRES: Mapping[Type, str] = {
    "text": "text",
    "bigint": "bigint",
    "json": "jsonb",
    "timestamp": "timestamp with time zone",
    "bytes": "bytea",
}


def _definitions(columns: Mapping[str, Column]) -> dict[str, str]:
    return {name: _POSTGRES[its.type] + (" NOT NULL" if its.is_required else "") for name, its in columns.items()}


DATA_COLUMNS = _definitions(DATA)
SPOOLS_COLUMNS = {"spool_id": "text PRIMARY KEY", "last_sequence": "bigint NOT NULL"}

TABLES: dict[str, dict[str, str]] = {
    "data": DATA_COLUMNS,
    "_sdc_rejected": _definitions(REJECTED),
    "_sdc_spools": SPOOLS_COLUMNS,
}

# When the event happened, by its own word, within what timestamptz and its clients can show, else NULL. Views and index
# share the expression, so that a condition on occurred_at uses the index.
OCCURRED_AT = (
    f'CASE WHEN "timestamp" BETWEEN {EARLIEST} AND {LATEST} THEN to_timestamp("timestamp"::double precision) END'
)

# Every index is paid for by each event, so there are three. Beside the one that `loading` needs: _sdc_sequence for
# incremental reads (a B-tree whose inserts are all at its right edge), and a BRIN on the event's time, which costs
# next to nothing and skips most of a large table since events arrive nearly in order. None on object_type (few
# values, one of them most of the rows) or inside payload (docs/querying.md has one to add where look-ups need it).
_INDEXES = {
    "data_sdc_sequence": "CREATE INDEX {name} ON {schema}.data (_sdc_sequence)",
    "data_occurred_at": "CREATE INDEX {name} ON {schema}.data USING brin (("
    + OCCURRED_AT
    + ")) WITH (autosummarize = on)",
}
_APPEND_INDEX = "data_event_id_sequence"  # what data_latest looks up under append
_KEY = "data_pkey"


OLDEST = 15
"""The oldest PostgreSQL that is supported: what docs/querying.md asks runs on it, and views have security_invoker."""


class LoadingError(Exception):
    """The schema can't be loaded as asked; the message says why and what to do."""


class DuplicatesPresent(LoadingError):
    """`append` can't become `upsert` while several rows share an event_id. `query` finds them."""

    def __init__(self, schema: str, query: str) -> None:
        super().__init__(
            f"{schema}.data holds several rows of one event_id, so it can't be loaded by upsert until only one of each "
            f"is left (docs/querying.md has the statement). This finds them: {query}"
        )
        self.query = query


@dataclass(frozen=True)
class Description:
    """What exists of a schema's tables: by table its columns with their types, and the indexes.

    `loading` is what the table's key makes of it: None if there is no table `data`.
    """

    exists: bool
    loading: Loading | None = None
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    indexes: frozenset[str] = frozenset()

    def missing(self) -> list[str]:
        """The tables and indexes that `create_tables` would make."""
        tables = [name for name in TABLES if name not in self.tables]
        return tables + [name for name in self._indexes_wanted() if name not in self.indexes]

    def mismatches(self) -> list[str]:
        """What the tables have otherwise than the loader needs it; such a table isn't Sluice's."""
        found = []
        for table, columns in TABLES.items():
            for column, definition in columns.items() if table in self.tables else ():
                wanted = definition.removesuffix(" NOT NULL").removesuffix(" PRIMARY KEY")
                has = self.tables[table].get(column)
                if has is None:
                    found.append(f"{table} has no column {column} ({wanted})")
                elif has != wanted:
                    found.append(f"{table}.{column} is {has}, not {wanted}")
        return found

    def _indexes_wanted(self) -> list[str]:
        return [*_INDEXES, *([_APPEND_INDEX] if self.loading == "append" else [])]


# Life cycle: the provider's side


def create_tables(connection: Connection, schema: str, loading: Loading) -> None:
    """Makes what is missing of the tables and indexes, and sets how they are loaded; touches no row. Idempotent.

    One transaction. Raises LoadingError (DuplicatesPresent among them) and psycopg.Error.
    """
    version = connection.info.server_version // 10_000
    if version < OLDEST:
        raise LoadingError(f"the warehouse is PostgreSQL {version}; it must be {OLDEST} or later")
    encoding = connection.execute("SELECT current_setting('server_encoding')").fetchone()
    if encoding != ("UTF8",):
        raise LoadingError(f"the warehouse's database is encoded in {encoding and encoding[0]}; it must be UTF8")
    with connection.transaction():
        found = describe(connection, schema)
        if mismatches := found.mismatches():
            raise LoadingError(f"schema {schema} has tables of another shape: {'; '.join(mismatches)}")
        for table, columns in TABLES.items():
            if table not in found.tables:
                _create_table(connection, schema, table, columns, loading)
        # Looked at first rather than IF NOT EXISTS, which locks the table against the loader just to find out.
        for name, statement in _INDEXES.items():
            if name not in found.indexes:
                _execute(connection, statement, schema, name)
        set_loading(connection, schema, loading)


def set_loading(connection: Connection, schema: str, loading: Loading) -> None:
    """Gives table `data` the key that `upsert` needs, or takes it away for `append`. Idempotent.

    Raises DuplicatesPresent, with nothing changed, and psycopg.Error.
    """
    with connection.transaction():
        found = describe(connection, schema)
        if loading == "upsert":
            if found.loading == "append":
                _add_key(connection, schema)
                if _identity(connection, schema) == "f":  # as under append; the key is enough, and costs less
                    _execute(connection, "ALTER TABLE {schema}.data REPLICA IDENTITY DEFAULT", schema, None)
            if _APPEND_INDEX in found.indexes:
                _execute(connection, "DROP INDEX {schema}.{name}", schema, _APPEND_INDEX)
        else:
            # The index first: readers go on while it is made, and only then wait for the moment that the rest takes.
            if _APPEND_INDEX not in found.indexes:
                _execute(
                    connection,
                    "CREATE INDEX {name} ON {schema}.data (event_id, _sdc_sequence)",
                    schema,
                    _APPEND_INDEX,
                )
            if found.loading == "upsert":
                _execute(
                    connection,
                    "ALTER TABLE {schema}.data DROP CONSTRAINT {name}",
                    schema,
                    _key(connection, schema),
                )
        for (table,) in connection.execute(_UNIDENTIFIED, [schema, [*TABLES]]).fetchall():
            _execute(connection, "ALTER TABLE {schema}.{name} REPLICA IDENTITY FULL", schema, table)


def duplicates_query(schema: str) -> str:
    """The query that finds the event_ids with more than one row."""
    query = sql.SQL("SELECT event_id, count(*) FROM {}.data GROUP BY event_id HAVING count(*) > 1")
    return query.format(sql.Identifier(schema)).as_string()


def describe(connection: Connection, schema: str) -> Description:
    """What exists of `schema`, without touching any of it."""
    if connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema]).fetchone() is None:
        return Description(exists=False)
    tables: dict[str, dict[str, str]] = {}
    for table, column, type_ in connection.execute(_TABLES_FOUND, [schema]).fetchall():
        columns = tables.setdefault(str(table), {})
        if column is not None:
            columns[str(column)] = str(type_)
    indexes = connection.execute(_INDEXES_FOUND, [schema]).fetchall()
    return Description(
        exists=True,
        loading=None if "data" not in tables else "append" if _key(connection, schema) is None else "upsert",
        tables=tables,
        indexes=frozenset(str(name) for (name,) in indexes),
    )


_TABLES_FOUND = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = %s AND c.relkind IN ('r', 'p')
ORDER BY c.relname, a.attnum"""

_INDEXES_FOUND = """
SELECT c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index i ON i.indexrelid = c.oid
WHERE n.nspname = %s AND i.indisvalid"""

_KEY_FOUND = """
SELECT k.conname
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND k.conkey = ARRAY[a.attnum]
WHERE n.nspname = %s AND c.relname = 'data' AND k.contype IN ('p', 'u') AND a.attname = 'event_id'
ORDER BY k.contype LIMIT 1"""


# Readers go on while an index is made. Of a partitioned table, PostgreSQL takes no index for the key.
_KEY_OF_A_TABLE = (
    "CREATE UNIQUE INDEX {name} ON {schema}.data (event_id)",
    "ALTER TABLE {schema}.data ADD CONSTRAINT {name} PRIMARY KEY USING INDEX {name}",
)
_KEY_OF_PARTITIONS = ("ALTER TABLE {schema}.data ADD CONSTRAINT {name} PRIMARY KEY (event_id)",)

_PARTITIONED = """
SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = 'data' AND c.relkind = 'p'"""


# PostgreSQL refuses to update or delete rows of a published table whose rows it can't tell apart (55000). Only where
# the table is ours: an adopted one may be somebody else's.
_UNIDENTIFIED = """
SELECT c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = ANY (%s) AND c.relkind IN ('r', 'p') AND c.relreplident = 'd'
  AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
  AND pg_has_role(c.relowner, 'USAGE')"""

_IDENTITY = """
SELECT c.relreplident::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = 'data'"""


def _identity(connection: Connection, schema: str) -> str | None:
    found = connection.execute(_IDENTITY, [schema]).fetchone()
    return str(found[0]) if found else None


def _is_partitioned(connection: Connection, schema: str) -> bool:
    return connection.execute(_PARTITIONED, [schema]).fetchone() is not None


def _key(connection: Connection, schema: str) -> str | None:
    """The name of the constraint that makes event_id unique."""
    found = connection.execute(_KEY_FOUND, [schema]).fetchone()
    return str(found[0]) if found else None


def _add_key(connection: Connection, schema: str) -> None:
    try:
        with connection.transaction():
            for statement in _KEY_OF_PARTITIONS if _is_partitioned(connection, schema) else _KEY_OF_A_TABLE:
                _execute(connection, statement, schema, _KEY)
    except psycopg.errors.UniqueViolation as error:
        raise DuplicatesPresent(schema, duplicates_query(schema)) from error


def _create_table(
    connection: Connection, schema: str, table: str, columns: Mapping[str, str], loading: Loading
) -> None:
    lines = [sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_)) for name, type_ in columns.items()]
    if table == "data" and loading == "upsert":
        lines.append(sql.SQL("CONSTRAINT {} PRIMARY KEY (event_id)").format(sql.Identifier(_KEY)))
    connection.execute(
        sql.SQL("CREATE TABLE IF NOT EXISTS {}.{} ({})").format(
            sql.Identifier(schema), sql.Identifier(table), sql.SQL(", ").join(lines)
        )
    )


def _execute(connection: Connection, statement: str, schema: str, name: str | None) -> None:
    text = sql.SQL(statement)
    connection.execute(text.format(schema=sql.Identifier(schema), name=sql.Identifier(name or "")))


# Rows: the loader's side. Each of these runs inside the caller's transaction.


def last_sequence(connection: Connection, schema: str, spool_id: str) -> int:
    """The last sequence of that spool that the schema holds, 0 if none."""
    query = sql.SQL("SELECT last_sequence FROM {}._sdc_spools WHERE spool_id = %s").format(sql.Identifier(schema))
    found = connection.execute(query, [spool_id]).fetchone()
    return int(str(found[0])) if found else 0


def claim(connection: Connection, schema: str, spool_id: str, first: int, last: int) -> bool:
    """Notes that the spool's rows from `first` to `last` are in, unless `first` already is: then it returns False.

    Comes first in the transaction: it waits for another transaction that claims the same rows, such as the one that
    a killed loader left to be committed.
    """
    statement = sql.SQL(
        "INSERT INTO {}._sdc_spools AS s VALUES (%s, %s) ON CONFLICT (spool_id) DO UPDATE"
        " SET last_sequence = EXCLUDED.last_sequence WHERE s.last_sequence < %s"
    )
    return connection.execute(statement.format(sql.Identifier(schema)), [spool_id, last, first]).rowcount == 1


# Arrays in, one statement a batch: 11 µs of CPU a row on both sides together, as COPY into a temporary table needs,
# with none of its catalog traffic. The `%b` matters: the driver packs binary arrays in C (2 µs a row, as text 45 µs).
_INSERT = """
INSERT INTO {schema}.data AS d ({columns})
SELECT event_id, object_type, metric, sent, body::jsonb,
       'epoch'::timestamptz + received * interval '1 microsecond', now(), sequence, {version}
FROM unnest(%b::text[], %b::text[], %b::text[], %b::int8[], %b::text[], %b::int8[], %b::int8[])
  AS row(event_id, object_type, metric, sent, body, received, sequence)"""

_UPDATE = """
ON CONFLICT (event_id) DO UPDATE SET {assignments}
WHERE d._sdc_sequence < EXCLUDED._sdc_sequence"""


def insert_events(connection: Connection, schema: str, loading: Loading, rows: Sequence[SpooledRow]) -> None:
    """Puts the rows into `data`: under `upsert` the highest sequence of an event_id stays, in or outside of `rows`.

    Raises UnicodeError for a row that isn't UTF-8, and psycopg.Error.
    """
    if loading == "upsert":  # ON CONFLICT can't take the same key twice
        rows = list({row.event_id: row for row in rows}.values())
    statement = sql.SQL(_INSERT + (_UPDATE if loading == "upsert" else "")).format(
        schema=sql.Identifier(schema),
        columns=sql.SQL(", ").join(map(sql.Identifier, DATA_COLUMNS)),
        version=sql.Literal(TABLE_VERSION),
        assignments=sql.SQL(", ").join(
            sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(column))
            for column in DATA_COLUMNS
            if column != "event_id"
        ),
    )
    connection.execute(
        statement,
        [
            [row.event_id for row in rows],
            [row.object_type for row in rows],
            [row.metric for row in rows],
            [row.timestamp for row in rows],
            [row.body.decode() for row in rows],
            [row.received_at for row in rows],
            [row.sequence for row in rows],
        ],
    )


_REJECT = """
INSERT INTO {}._sdc_rejected (_sdc_rejected_at, table_name, reason, record, _sdc_raw, _sdc_sequence)
SELECT now(), 'data', reason, record, raw, sequence
FROM unnest(%b::text[], %b::text[], %b::bytea[], %b::int8[]) AS row(reason, record, raw, sequence)"""


def insert_rejects(connection: Connection, schema: str, rows: Sequence[SpooledRow]) -> None:
    """Puts the rows, each with its reason, into `_sdc_rejected`. Takes any bytes."""
    connection.execute(
        sql.SQL(_REJECT).format(sql.Identifier(schema)),
        [
            [storable(row.reason or "") for row in rows],
            [record_text(row.body) for row in rows],
            [row.body for row in rows],
            [row.sequence for row in rows],
        ],
    )


def rejected_among(connection: Connection, schema: str, sequences: Sequence[int]) -> int:
    """How many of these rows of a spool were rejected."""
    query = sql.SQL("SELECT count(*) FROM {}._sdc_rejected WHERE _sdc_sequence = ANY(%s)").format(
        sql.Identifier(schema)
    )
    found = connection.execute(query, [list(sequences)]).fetchone()
    return int(str(found[0])) if found else 0
