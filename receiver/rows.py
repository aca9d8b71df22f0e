"""What a row of the warehouse consists of, on every platform. Pure: PostgreSQL's tables, the Iceberg tables and the
records that are sent to them are all made from these columns.
"""

from typing import Literal, NamedTuple

Type = Literal["text", "bigint", "json", "timestamp", "bytes"]


class Column(NamedTuple):
    """A column's type, and whether every row has a value there."""

    type: Type
    is_required: bool = False


# Stitch's columns, with the whole body in `payload` instead of one column per field. _sdc_table_version is Stitch's;
# it changes when a table is truncated, which Sluice never does.
DATA: dict[str, Column] = {
    "event_id": Column("text", True),
    "object_type": Column("text"),
    "metric": Column("text"),
    "timestamp": Column("bigint"),
    "payload": Column("json", True),
    "_sdc_received_at": Column("timestamp", True),
    "_sdc_batched_at": Column("timestamp", True),
    "_sdc_sequence": Column("bigint", True),
    "_sdc_table_version": Column("bigint"),
}
# Stitch's first four (stitchdata/docs, `_data/stitch/system-tables/sdc-rejected.yml`), then the body as it came,
# its place in the order, and when it was replayed.
REJECTED: dict[str, Column] = {
    "_sdc_rejected_at": Column("timestamp", True),
    "table_name": Column("text"),
    "reason": Column("text"),
    "record": Column("text"),
    "_sdc_raw": Column("bytes"),
    "_sdc_sequence": Column("bigint"),
    "_sdc_replayed_at": Column("timestamp"),
}

TABLE_VERSION = 1
# Of an event's own `timestamp`, what the views show as a time, in seconds since 1970: years 1 to 9999, less a day at
# either end for time zones. Every warehouse and its clients can show these.
EARLIEST, LATEST = -62135510400, 253402214399
RECORD_CHARACTERS = 65_536  # of a rejected body shown as text; _sdc_raw has all of it


def record_text(body: bytes) -> str:
    """A rejected body as column `record` shows it, whatever its bytes: readable, and no longer than it may be."""
    return storable(body[: 4 * RECORD_CHARACTERS].decode(errors="replace"))[:RECORD_CHARACTERS]


def storable(text: str) -> str:
    """`text` with what PostgreSQL's text can't hold (NUL, lone surrogates) made visible."""
    return text.replace("\0", "\\u0000").encode(errors="backslashreplace").decode()
