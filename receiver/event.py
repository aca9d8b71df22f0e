"""What a delivery's body says: an event, or why it can't be one. Pure; never raises, whatever the body.

Customer.io backlogs every later event behind one that isn't answered 2xx, so a body that can't be used is not
refused but kept with its reason.
"""

import re
import zlib
from itertools import islice
from typing import NamedTuple

import orjson

MAX_BYTES = 20 * 2**20  # of a body, before and after decompression (Stitch's limit is 20 MB too)
MAX_EVENT_ID = 255  # characters
MAX_PARTS = 500_000  # of its JSON: all items of lists and objects, and these themselves once more
_AS_IT_IS = frozenset({"", "identity", "utf-8", "utf8"})  # some senders name their charset in the wrong header
_BOM = b"\xef\xbb\xbf"  # which JSON doesn't have (RFC 8259, 8.1), and a reader may ignore
_MAX_GZIP_MEMBERS = 100  # a real sender has one; each costs a pass over the rest
_INT64 = range(-(2**63), 2**63)

# Customer.io's channels. Only `in_app` has a `_` of its own, which is why a legacy `event_type` can't just be split.
_CHANNELS = ("customer", "email", "sms", "push", "in_app", "slack", "webhook", "whatsapp")


# A part is where a list or an object begins, and each comma in one: what is outside of the strings. It matches
# wherever it is tried (a string may lack its end), so that a search never looks at a byte twice.
_PART = re.compile(rb'(?:[^"\[{,]++|"(?:[^"\\]++|\\(?:.|\Z))*+(?:"|\Z))*+(?:[\[{,]|\Z)', re.DOTALL)
# The text `\\u0000` may also be an escaped backslash before "u0000", which is harmless.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")


class Event(NamedTuple):
    """A body that can be loaded. `body` is its JSON as sent (decompressed), UTF-8."""

    event_id: str
    object_type: str | None
    metric: str | None
    timestamp: int | None  # as sent; fits int64
    body: bytes


class Rejection(NamedTuple):
    """A body that can't be used: why, in plain words without its content, and the body as it came."""

    reason: str
    raw: bytes


class _Unusable(Exception):
    pass


def parse(body: bytes, encoding: str, max_bytes: int = MAX_BYTES) -> Event | Rejection:
    """Reads `body`, which came with the Content-Encoding `encoding` ("" or "identity", "gzip", "deflate").

    `max_bytes` is the most that it may have, before and after decompression, where there isn't room for MAX_BYTES.
    """
    try:
        return _event(_decoded(body, encoding, max_bytes))
    except _Unusable as unusable:
        return Rejection(str(unusable), body[:max_bytes])


def _event(document: bytes) -> Event:
    # As Python's objects 20 MB of `[],` are 600 MB, and keep every other sender waiting for 3 s (measured).
    if _has_too_many_parts(document):
        raise _Unusable(f"more than {MAX_PARTS} parts (items, lists and objects)")
    try:
        fields = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        # It refuses lone surrogates, NaN, numbers beyond a double and 1,024 levels too; jsonb would take no others.
        raise _Unusable(f"not valid JSON: {error}") from None
    if type(fields) is not dict:
        raise _Unusable("not a JSON object")
    if b"\\u0000" in document and _NUL.search(document):  # the first look is what every event pays: 0.1 µs, not 10
        raise _Unusable("holds \\u0000, which PostgreSQL can't store")
    event_id = fields.get("event_id")
    if type(event_id) is not str or not event_id:
        raise _Unusable("no event_id (a string that isn't empty)")
    if len(event_id) > MAX_EVENT_ID:
        raise _Unusable(f"event_id is longer than {MAX_EVENT_ID} characters")
    object_type, metric = fields.get("object_type"), fields.get("metric")
    if object_type is None and metric is None:
        object_type, metric = _legacy_type(fields.get("event_type"))
    timestamp = fields.get("timestamp")
    return Event(
        event_id,
        object_type if type(object_type) is str else None,
        metric if type(metric) is str else None,
        timestamp if type(timestamp) is int and timestamp in _INT64 else None,
        document,
    )


def _legacy_type(event_type: object) -> tuple[str | None, str | None]:
    """The legacy payload's `email_opened` as ("email", "opened")."""
    if type(event_type) is not str:
        return None, None
    for channel in _CHANNELS:
        if event_type.startswith(channel + "_"):
            return channel, event_type[len(channel) + 1 :]
    object_type, _, metric = event_type.partition("_")
    return object_type or None, metric or None


def _has_too_many_parts(document: bytes) -> bool:
    if len(document) <= MAX_PARTS or sum(map(document.count, (b",", b"[", b"{"))) <= MAX_PARTS:
        return False  # however many of them are in strings
    parts = _PART.finditer(document)
    return next(islice(parts, MAX_PARTS + 2, None), None) is not None  # the rest after the last part matches, twice


def _decoded(body: bytes, encoding: str, max_bytes: int) -> bytes:
    name = encoding.strip().lower()
    if name in _AS_IT_IS:
        document = body
    elif name in ("gzip", "x-gzip"):
        document = _gunzipped(body, max_bytes)
    elif name == "deflate":
        document = _inflated(body, max_bytes)
    else:
        raise _Unusable(f"Content-Encoding {name[:40]!a} isn't known (gzip, deflate, identity are)")
    if len(document) > max_bytes:
        raise _Unusable(f"larger than {max_bytes} bytes")
    return document.removeprefix(_BOM)


def _gunzipped(body: bytes, max_bytes: int) -> bytes:
    document = b""
    for _ in range(_MAX_GZIP_MEMBERS):
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        document += _bounded(member, body, len(document), max_bytes, "gzip")
        body = member.unused_data
        if not body:
            return document
    raise _Unusable(f"more than {_MAX_GZIP_MEMBERS} gzip members")


def _inflated(body: bytes, max_bytes: int) -> bytes:
    # RFC 9110 8.4.1.2: "deflate" is the zlib format; some senders send the bare stream all the same.
    is_zlib = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
    document = _bounded(stream, body, 0, max_bytes, "deflate")
    if stream.unused_data:
        raise _Unusable("bytes after the end of the deflate stream")
    return document


def _bounded(stream: "zlib._Decompress", body: bytes, before: int, max_bytes: int, name: str) -> bytes:
    """All of `stream`; with the `before` bytes it must end within `max_bytes`: a bomb is cut off, not inflated."""
    room = max_bytes - before
    try:
        document = stream.decompress(body, room + 1)
    except zlib.error:
        raise _Unusable(f"not valid {name}") from None
    if len(document) > room:
        raise _Unusable(f"larger than {max_bytes} bytes when decompressed")
    if not stream.eof:
        raise _Unusable(f"the {name} stream is cut short")
    return document
