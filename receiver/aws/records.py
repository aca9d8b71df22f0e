"""What Firehose is given: one flat JSON object a row, with exactly the columns of its Iceberg table. Pure.

Firehose matches keys with columns by name; it takes timestamps as integer microseconds since 1970 (amazon-firehose,
"Supported data types": milliseconds would land in 1970 and ISO texts in the error output). A column without a value
is there as null: `Iceberg.MissingColumnWithinRecord` is one of its errors.
"""

import time
from base64 import b64encode
from typing import Any, NamedTuple

import orjson

from receiver import rows
from receiver.aws import OVERSIZED
from receiver.event import Event, Rejection
from receiver.rows import Column

# Where the whole body is, if it was too large for a record. Only AWS has this column: PostgreSQL takes them whole.
_BODY_URI = {"_sdc_body_uri": Column("text")}
DATA: dict[str, Column] = {**rows.DATA, **_BODY_URI}
REJECTED: dict[str, Column] = {**rows.REJECTED, **_BODY_URI}

LARGEST = 1_000 * 1_024  # bytes of a record, "before Base64 encoding" (Firehose API, Record)
SMALL = 1_024  # bytes of a value, as JSON, that stays in a payload whose body is too large
FEW = 1_000  # fields of an object that stays in one


class Moment(NamedTuple):
    """When a row came (µs since 1970), when it is handed over (likewise), and its place in the order."""

    received_at: int
    batched_at: int
    sequence: int


def whole(parsed: Event | Rejection, moment: Moment) -> bytes:
    """The record of a row; it may be larger than LARGEST."""
    if isinstance(parsed, Event):
        # orjson has read it, so it is UTF-8; and what can't be written as such, it doesn't read.
        return _data(parsed, moment, parsed.body.decode(), None)
    return _rejected(parsed, moment, b64encode(parsed.raw).decode(), None)


def slim(parsed: Event | Rejection, moment: Moment, body_uri: str) -> bytes:
    """The record of a row whose body is too large and is kept at `body_uri`; never larger than LARGEST.

    An event's payload holds what is small, identifiers above all, and null for the rest.
    """
    if isinstance(parsed, Rejection):
        return _rejected(parsed, moment, None, body_uri)
    small = parsed._replace(object_type=_if_small(parsed.object_type), metric=_if_small(parsed.metric))
    fields = orjson.loads(parsed.body)
    least = {name: _if_small(fields[name]) for name in _LEAST if name in fields}
    record = _data(small, moment, orjson.dumps(_slim(fields, levels=3) or least).decode(), body_uri)
    if len(record) > LARGEST:
        record = _data(small, moment, orjson.dumps(least).decode(), body_uri)
    return record


_LEAST = ("event_id", "object_type", "metric", "event_type", "timestamp")


def body_key(schema: str, moment: Moment) -> str:
    """The name in the bucket of a body that is too large."""
    day = time.strftime("%Y/%m/%d", time.gmtime(moment.received_at // 1_000_000))
    return f"{OVERSIZED}{schema}/{day}/{moment.sequence}"


def _data(event: Event, moment: Moment, payload: str, body_uri: str | None) -> bytes:
    return orjson.dumps(
        {
            "event_id": event.event_id,
            "object_type": event.object_type,
            "metric": event.metric,
            "timestamp": event.timestamp,
            "payload": payload,
            "_sdc_received_at": moment.received_at,
            "_sdc_batched_at": moment.batched_at,
            "_sdc_sequence": moment.sequence,
            "_sdc_table_version": rows.TABLE_VERSION,
            "_sdc_body_uri": body_uri,
        }
    )


def _rejected(rejection: Rejection, moment: Moment, raw: str | None, body_uri: str | None) -> bytes:
    return orjson.dumps(
        {
            "_sdc_rejected_at": moment.batched_at,
            "table_name": "data",
            "reason": rows.storable(rejection.reason),
            "record": rows.record_text(rejection.raw),
            "_sdc_raw": raw,
            "_sdc_sequence": moment.sequence,
            "_sdc_replayed_at": None,
            "_sdc_body_uri": body_uri,
        }
    )


def _slim(fields: dict[str, Any], levels: int) -> dict[str, Any] | None:
    """`fields` with null for every value that is large, but objects are looked into, so many levels deep."""
    if len(fields) > FEW:
        return None
    return {
        name: _slim(value, levels - 1) if levels > 1 and type(value) is dict else _if_small(value)
        for name, value in fields.items()
    }


def _if_small(value: Any) -> Any:
    try:
        return value if len(orjson.dumps(value)) <= SMALL else None
    except orjson.JSONEncodeError:  # it writes fewer levels than it reads
        return None
