"""The Iceberg tables of one integration, as data: made from the columns of the records that fill them.

What is in here outlives every file that it writes. Iceberg knows a column by its id, not by its name, so an id is
never changed and never used again, also not after its column is gone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from receiver.aws.records import DATA, REJECTED
from receiver.rows import Column, Type

IcebergType = Literal["string", "long", "timestamptz"]

# Bodies stay texts: Iceberg v2 has no JSON type. Bytes are base64, which is what a JSON record can hold of them.
_ICEBERG: Mapping[Type, IcebergType] = {
    "text": "string",
    "bigint": "long",
    "json": "string",
    "timestamp": "timestamptz",
    "bytes": "string",
}

# A new column gets the next free id, and must be one that may be null: rows without it are there already.
_IDS: Mapping[str, Mapping[str, int]] = {
    "data": {
        "event_id": 1,
        "object_type": 2,
        "metric": 3,
        "timestamp": 4,
        "payload": 5,
        "_sdc_received_at": 6,
        "_sdc_batched_at": 7,
        "_sdc_sequence": 8,
        "_sdc_table_version": 9,
        "_sdc_body_uri": 10,
    },
    "_sdc_rejected": {
        "_sdc_rejected_at": 1,
        "table_name": 2,
        "reason": 3,
        "record": 4,
        "_sdc_raw": 5,
        "_sdc_sequence": 6,
        "_sdc_replayed_at": 7,
        "_sdc_body_uri": 8,
    },
}

# Of Iceberg's own (iceberg.apache.org/docs/1.5.2/configuration), since that library writes (Firehose has 1.5.2).
# Athena reads by the same names, and has others for what its OPTIMIZE and VACUUM do ("Create Iceberg tables").
_PROPERTIES: Mapping[str, str] = {
    "write.format.default": "parquet",  # Firehose writes no other
    # The library's default, but one that it writes down when it makes a table itself; without it, it is gzip.
    "write.parquet.compression-codec": "zstd",
    # Each commit leaves a metadata file that lists all snapshots: with one a minute they would outweigh the events.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "100",
}


@dataclass(frozen=True)
class Field:
    """A column. `type` is Iceberg's name of a primitive type."""

    id: int
    name: str
    type: IcebergType
    required: bool


@dataclass(frozen=True)
class PartitionField:
    """What the files are divided by: `transform` of the column with the id `source_id`."""

    name: str
    source_id: int
    transform: str
    field_id: int


@dataclass(frozen=True)
class IcebergTable:
    """A table as it is created. `folder` is its place beside the integration's other tables."""

    name: str
    folder: str
    fields: tuple[Field, ...]
    partition: PartitionField
    properties: Mapping[str, str]


def _table(name: str, columns: Mapping[str, Column], received: str) -> IcebergTable:
    ids = _IDS[name]
    fields = tuple(Field(ids[column], column, _ICEBERG[its.type], its.is_required) for column, its in columns.items())
    return IcebergTable(
        name=name,
        folder=name.removeprefix("_"),  # readers of Hive's kind take a folder that starts with "_" for a hidden one
        fields=fields,
        # By when rows came, not by when events happened: a batch then is one file or two, whatever its events say.
        partition=PartitionField(f"{received.removesuffix('_at')}_day", ids[received], "day", field_id=1000),
        properties=dict(_PROPERTIES),
    )


TABLES: dict[str, IcebergTable] = {
    "data": _table("data", DATA, "_sdc_received_at"),
    "_sdc_rejected": _table("_sdc_rejected", REJECTED, "_sdc_rejected_at"),
}


def routing(database: str) -> str:
    """The JQ 1.6 expression by which a stream tells the table of a record (Firehose, "Route incoming records to
    different Iceberg tables"). Only a rejected body's record has a `reason`."""
    # A string of JSON is one of JQ: the backslash of JQ's interpolation, `\(…)`, is escaped too.
    return (
        f"{{destinationDatabaseName:{json.dumps(database)},"
        'destinationTableName:(if has("reason") then "_sdc_rejected" else "data" end),'
        'operation:"insert"}'
    )
