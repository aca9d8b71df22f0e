"""What a body is read as: never an exception, and never another meaning than json's."""

import gzip
import json
import math
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import event
from receiver.event import Event, Rejection, parse

SAMPLES = Path(__file__).resolve().parents[2] / "samples"

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
deliveries = st.fixed_dictionaries(
    {},
    optional={
        "event_id": st.text(max_size=300) | json_values,
        "object_type": st.sampled_from(["email", "in_app"]) | json_values,
        "metric": st.sampled_from(["sent", "opened"]) | json_values,
        "event_type": st.sampled_from(["email_opened", "in_app_clicked", "x", "_", ""]) | json_values,
        "timestamp": st.integers(-(2**65), 2**65) | json_values,
        "data": json_values,
    },
)


@given(st.binary(), st.text() | st.sampled_from(["", "gzip", "deflate", "identity"]))
def test_any_bytes_are_an_event_or_a_rejection_that_keeps_them(body: bytes, encoding: str) -> None:
    parsed = parse(body, encoding)
    if isinstance(parsed, Rejection):
        assert parsed.raw == body
        assert parsed.reason


@given(st.binary(), st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_compressed_are_read_as_without(body: bytes, encoding: str) -> None:
    compressed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    plain, parsed = parse(body, ""), parse(compressed, encoding)
    if isinstance(plain, Rejection):
        assert parsed == Rejection(plain.reason, compressed)
    else:
        assert parsed == plain


def strict_json(body: bytes) -> Any:
    """What json makes of it, by the RFC's grammar (no NaN), or ValueError."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(body.decode("utf-8"), parse_constant=refuse)


@given(deliveries, st.booleans(), st.sampled_from([None, 2]))
def test_the_meaning_is_json_s(delivery: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    try:
        body = json.dumps(delivery, ensure_ascii=ascii_only, indent=indent).encode()
    except UnicodeEncodeError:  # a lone surrogate: no UTF-8, so not JSON
        return
    parsed = parse(body, "")
    meant = strict_json(body)
    event_id = meant.get("event_id")
    is_usable = isinstance(event_id, str) and 0 < len(event_id) < 256 and _is_storable(meant)
    assert isinstance(parsed, Event) == is_usable, parsed
    if isinstance(parsed, Event):
        assert parsed.body == body
        assert parsed.event_id == event_id
        if isinstance(meant.get("object_type"), str):
            assert parsed.object_type == meant["object_type"]
        if isinstance(meant.get("metric"), str):
            assert parsed.metric == meant["metric"]
        stamp = meant.get("timestamp")
        fits = type(stamp) is int and -(2**63) <= stamp < 2**63
        assert parsed.timestamp == (stamp if fits else None)


def _is_storable(value: Any) -> bool:
    """Whether PostgreSQL's jsonb can hold it."""
    if isinstance(value, str):
        return "\0" not in value and not any(0xD800 <= ord(letter) < 0xE000 for letter in value)
    if isinstance(value, dict):
        return all(_is_storable(key) and _is_storable(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_is_storable, value))
    return not isinstance(value, float) or math.isfinite(value)


@given(st.text(st.sampled_from('{}[]",:\\u0e+-. \n1atrue'), max_size=60))
def test_what_is_not_json_is_no_event(text: str) -> None:
    parsed = parse(b'{"event_id":"a","x":' + text.encode() + b"}", "")
    try:
        meant = strict_json(b'{"event_id":"a","x":' + text.encode() + b"}")
    except (ValueError, RecursionError):
        assert isinstance(parsed, Rejection)
    else:
        assert isinstance(parsed, Event) or not _is_storable(meant) or meant["event_id"] != "a"


@pytest.mark.parametrize("file", ["customerio_current.jsonl", "customerio_legacy.jsonl"])
def test_every_sample_is_an_event_with_a_type(file: str) -> None:
    for line in (SAMPLES / file).read_bytes().splitlines():
        parsed = parse(line, "")
        sent = json.loads(line)
        assert isinstance(parsed, Event)
        assert (parsed.event_id, parsed.timestamp, parsed.body) == (sent["event_id"], sent["timestamp"], line)
        assert f"{parsed.object_type}_{parsed.metric}" == sent.get(
            "event_type", f"{sent.get('object_type')}_{sent.get('metric')}"
        )


@pytest.mark.parametrize(
    ("event_type", "object_type", "metric"),
    [
        ("email_opened", "email", "opened"),
        ("in_app_clicked", "in_app", "clicked"),
        ("customer_subscription_preferences_changed", "customer", "subscription_preferences_changed"),
        ("newchannel_sent", "newchannel", "sent"),
        ("odd", "odd", None),
        ("", None, None),
        (7, None, None),
    ],
)
def test_a_legacy_event_type_is_split(event_type: object, object_type: str | None, metric: str | None) -> None:
    parsed = parse(json.dumps({"event_id": "a", "event_type": event_type}).encode(), "")
    assert isinstance(parsed, Event)
    assert (parsed.object_type, parsed.metric) == (object_type, metric)


def test_an_escaped_backslash_before_u0000_is_not_a_nul() -> None:
    body = rb'{"event_id":"a","path":"C:\\u0000"}'
    assert isinstance(parse(body, ""), Event)
    assert isinstance(parse(body.replace(rb"\\u0000", rb"\u0000"), ""), Rejection)


def test_a_bomb_costs_no_more_than_the_limit() -> None:
    member = gzip.compress(bytes(5 * 2**20))
    assert parse(member * 5, "gzip").reason == f"larger than {event.MAX_BYTES} bytes when decompressed"  # type: ignore[union-attr]
    nested = parse(gzip.compress(b"") * 101, "gzip")
    assert nested.reason == "more than 100 gzip members"  # type: ignore[union-attr]


def test_a_reason_never_quotes_the_body() -> None:
    for body in (b'{"event_id": "a", "secret": tango}', b'{"secret": "tango"', b'"tango"', b'{"event_id": ["tango"]}'):
        parsed = parse(body, "")
        assert isinstance(parsed, Rejection)
        assert "tango" not in parsed.reason


@pytest.mark.parametrize("encoding", ["UTF-8", " utf-8 ", "utf8"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_charset_in_the_wrong_header_and_a_bom_change_no_event(encoding: str, bom: bytes) -> None:
    body = b'{"event_id": "a"}'
    assert parse(bom + body, encoding) == parse(body, "")


def test_a_bom_inside_gzip_is_none_of_the_event_s_either() -> None:
    parsed = parse(gzip.compress(b'\xef\xbb\xbf{"event_id": "a"}'), "gzip")
    assert isinstance(parsed, Event)
    assert parsed.body == b'{"event_id": "a"}'
