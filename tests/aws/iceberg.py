"""Real Iceberg tables without AWS: made from what Glue's CreateTable was sent, filled with what Firehose was sent, and
queried through the views that the Glue catalog was sent.

pyiceberg is the table format, DuckDB stands in for Athena (sqlglot rewrites its SQL), and PyPI's `jq` for Firehose's
JQ. What that doesn't show: whether Firehose reads integers as microseconds and writes into tables that CreateTable
made, and how Trino differs from DuckDB where both take the same SQL.
"""

import base64
import datetime
import functools
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import jq
import pyarrow as pa
import sqlglot
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import parse_transform

from components.aws.tables import IcebergTable

LARGEST_RECORD = 1_000 * 1_024  # bytes (Firehose API, Record)
_INT64 = range(-(2**63), 2**63)
_TEXT = (frozenset({"string"}), str)
_WHOLE = (frozenset({"long", "timestamp", "timestamptz"}), int)


class RecordRefused(AssertionError):
    """A record that Firehose would put into its error output, or that it would take without saying what it lost."""


def table_input(table: IcebergTable, location: str) -> dict[str, Any]:
    """`table` as the OpenTableFormatInput of glue.create_table (boto3), which is what arrives there."""
    return {
        "IcebergInput": {
            "MetadataOperation": "CREATE",
            "Version": "2",
            "CreateIcebergTableInput": {
                "Location": location,
                "Schema": {
                    "SchemaId": 0,
                    "Type": "struct",
                    "Fields": [
                        {"Id": its.id, "Name": its.name, "Type": its.type, "Required": its.required}
                        for its in table.fields
                    ],
                },
                "PartitionSpec": {
                    "SpecId": 0,
                    "Fields": [
                        {
                            "Name": table.partition.name,
                            "SourceId": table.partition.source_id,
                            "Transform": table.partition.transform,
                            "FieldId": table.partition.field_id,
                        }
                    ],
                },
                "Properties": dict(table.properties),
            },
        }
    }


def catalog(folder: Path) -> Catalog:
    """An empty catalog that keeps everything in `folder`, which exists."""
    return SqlCatalog("lake", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")


def create(catalog: Catalog, database: str, name: str, open_table_format: Mapping[str, Any]) -> Table:
    """The table that glue.create_table(Name=name, OpenTableFormatInput=…) declares, at a place of its own."""
    iceberg = open_table_format["IcebergInput"]
    assert (iceberg["MetadataOperation"], iceberg["Version"]) == ("CREATE", "2"), iceberg
    wanted = iceberg["CreateIcebergTableInput"]
    assert re.fullmatch(r"s3://[^/]+/.+", wanted["Location"]), wanted["Location"]
    assert wanted["Schema"].get("Type", "struct") == "struct"
    schema = Schema.model_validate(
        {
            "type": "struct",
            "schema-id": wanted["Schema"].get("SchemaId", 0),
            "identifier-field-ids": wanted["Schema"].get("IdentifierFieldIds", []),
            "fields": [
                {"id": its["Id"], "name": its["Name"], "type": its["Type"], "required": its["Required"]}
                for its in wanted["Schema"]["Fields"]
            ],
        }
    )
    spec = PartitionSpec(
        *(
            PartitionField(its["SourceId"], its["FieldId"], parse_transform(its["Transform"]), its["Name"])
            for its in wanted["PartitionSpec"]["Fields"]
        ),
        spec_id=wanted["PartitionSpec"].get("SpecId", 0),
    )
    catalog.create_namespace_if_not_exists(database)
    properties = {"format-version": iceberg["Version"], **wanted["Properties"]}
    table = catalog.create_table(f"{database}.{name}", schema, partition_spec=spec, properties=properties)
    # pyiceberg numbers the columns anew; whoever counts on the ids would count on others than these.
    assert [(its.field_id, its.name) for its in table.schema().fields] == [
        (its.field_id, its.name) for its in schema.fields
    ], "column ids must be 1, 2, 3, … in the order of the columns, as a new table gets them"
    return table


# Records


class Destination(NamedTuple):
    database: str
    table: str
    operation: str


def route(expression: str, record: bytes) -> Destination:
    """Where a stream with this MetadataExtractionQuery puts the record."""
    (found,) = _compiled(expression).input_text(record.decode()).all()
    assert found.keys() == {"destinationDatabaseName", "destinationTableName", "operation"}, found
    return Destination(found["destinationDatabaseName"], found["destinationTableName"], found["operation"])


@functools.cache
def _compiled(expression: str) -> Any:
    return jq.compile(expression)


def append(table: Table, records: Iterable[bytes]) -> None:
    """Appends the records as one delivery: each is one JSON object with exactly the table's columns, of their types.

    Raises RecordRefused, with nothing appended. Times are integer microseconds since 1970.
    """
    rows = [_row(table.schema(), record) for record in records]
    # Through int64, as no text may pass for a time; pyiceberg checks what is required once more.
    wanted = table.schema().as_arrow()
    plain = pa.schema([f.with_type(pa.int64()) if pa.types.is_timestamp(f.type) else f for f in wanted])
    table.append(pa.Table.from_pylist(rows, schema=plain).cast(wanted))


def _row(schema: Schema, record: bytes) -> dict[str, Any]:
    if len(record) > LARGEST_RECORD:
        raise RecordRefused(f"{len(record)} bytes are more than a record may have ({LARGEST_RECORD})")
    try:
        row = json.loads(record.decode(), object_pairs_hook=_without_duplicates)
    except ValueError as error:  # two objects in one record too
        raise RecordRefused(f"not one JSON document: {error}") from error
    if type(row) is not dict:
        raise RecordRefused("not a JSON object")
    columns = [its.name for its in schema.fields]
    if row.keys() != set(columns):
        missing, extra = sorted(set(columns) - row.keys()), sorted(row.keys() - set(columns))
        raise RecordRefused(f"columns missing: {missing}, unknown: {extra}")
    for its in schema.fields:
        value = row[its.name]
        if value is None:
            if its.required:
                raise RecordRefused(f"{its.name} is required, and null")
            continue
        (expected,) = [python for names, python in (_TEXT, _WHOLE) if str(its.field_type) in names]
        if type(value) is not expected or (expected is int and value not in _INT64):
            raise RecordRefused(f"{its.name} is {its.field_type}, not {value!r}")
    return row


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise RecordRefused("a column is there twice")
    return row


# Queries


def view_definition(original_text: str) -> dict[str, Any]:
    """What Athena reads in the ViewOriginalText of a table of the Glue catalog: `originalSql`, `columns` and more."""
    found = re.fullmatch(r"/\* Presto View: ([A-Za-z0-9+/=]+) \*/", original_text)
    assert found, original_text[:100]
    definition: dict[str, Any] = json.loads(base64.b64decode(found[1], validate=True))
    return definition


def query(database: str, tables: Mapping[str, Table], views: Mapping[str, str], sql: str) -> list[dict[str, Any]]:
    """Runs Athena's `sql` over the database's `tables` and `views` (their SQL, in the order in which they were made).

    A row is a dict by column. Times with a zone come in UTC.
    """
    with connected(database, tables, views) as connection:
        return select(connection, sql)


def connected(database: str, tables: Mapping[str, Table], views: Mapping[str, str]) -> duckdb.DuckDBPyConnection:
    """DuckDB with the database's tables, as they are now, and its views; for several calls of `select`."""
    connection = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    connection.execute(f"SET TimeZone = 'UTC'; CREATE SCHEMA \"{database}\"")
    for name, table in tables.items():
        connection.register(f"arrow_{name}", table.scan().to_arrow())
        connection.execute(f'CREATE TABLE "{database}"."{name}" AS SELECT * FROM "arrow_{name}"')
    for name, sql in views.items():
        connection.execute(f'CREATE VIEW "{database}"."{name}" AS {in_duckdb(sql)}')
    return connection


def select(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    cursor = connection.execute(in_duckdb(sql))
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, map(_plain, row), strict=True)) for row in cursor.fetchall()]


@functools.cache
def in_duckdb(sql: str) -> str:
    """One statement of Athena's as one of DuckDB's."""
    (statement,) = sqlglot.transpile(sql, read="athena", write="duckdb", unsupported_level=sqlglot.ErrorLevel.RAISE)
    return statement


def _plain(value: Any) -> Any:
    # A driver gives the time zone by name; UTC is UTC.
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.UTC)
    return value


def functions(sql: str) -> list[str]:
    """The functions that Athena's `sql` calls, by the names that it calls them, in small letters.

    By its words and not by sqlglot's tree: the tree takes what isn't known, and gives other engines' names for one
    function the same class (`nvl` is its Coalesce), so that it can't say what was written.
    """
    words = sqlglot.tokenize(sql, read="athena")
    called = [word.text.lower() for word, next_ in itertools.pairwise(words) if next_.text == "("]
    return [name for name in called if name.isidentifier() and name not in _NO_FUNCTIONS]


# What stands before a parenthesis without being called: key words, and the types that have parameters.
_NO_FUNCTIONS = frozenset(
    [
        "and",
        "as",
        "by",
        "case",
        "else",
        "from",
        "in",
        "not",
        "or",
        "over",
        "then",
        "when",
        "where",
        "decimal",
        "timestamp",
        "varchar",
    ]
)


def partitions(table: Table) -> Sequence[dict[str, Any]]:
    """The table's partitions: the values they are divided by, and how many rows and files each has."""
    return [
        {**its["partition"], "rows": its["record_count"], "files": its["file_count"]}
        for its in table.inspect.partitions().to_pylist()
    ]
