"""Bodies made to do harm, through a real receiver and its loader into a real warehouse: each is answered 200, is a row
of `data`, or of `_sdc_rejected` with its reason and the bytes as they came, and costs a bounded amount of memory."""

import gzip
import http.client
import json
import struct
import threading
import zlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from receiver import event as events
from receiver.event import Event, Rejection, parse
from tests.hostile.stack import Landed, Peak, Stack, standing
from tests.receiver.running import SCHEMA, event
from tests.support import sizes
from tests.support.postgres import PostgresServer
from tests.support.secrecy import places_of
from tests.support.waiting import until

PIPELINE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Stack]:
    with standing(tmp_path_factory.mktemp("bodies") / "dev", postgres) as made:
        yield made


class Case(NamedTuple):
    """A body, how it is labelled, and what must become of it: the event_id of its row, or how its reason begins."""

    body: bytes
    event_id: str | None = None
    reason: str | None = None
    encoding: str | None = None


def good(body: bytes, event_id: str = "a", encoding: str | None = None) -> Case:
    return Case(body, event_id, None, encoding)


def bad(body: bytes, reason: str, encoding: str | None = None) -> Case:
    return Case(body, None, reason, encoding)


def holding(value: bytes) -> bytes:
    return b'{"event_id": "a", "d": %s}' % value


def nested(levels: int, opening: bytes = b"[", inner: bytes = b"", closing: bytes = b"]") -> bytes:
    return holding(opening * levels + inner + closing * levels)


def of_parts(parts: int) -> bytes:
    """A valid event of so many: the object itself, the comma after its event_id, the list, and the list's commas."""
    return holding(b"[" + b"0," * (parts - 3) + b"0]")


def with_header(flags: int, extra: bytes) -> bytes:
    """The event in gzip with optional parts in its header (RFC 1952, 2.3)."""
    plain = gzip.compress(event("a"))
    return plain[:3] + bytes([flags]) + plain[4:10] + extra + plain[10:]


def zstd(content: bytes) -> bytes:
    """A frame with one raw block (RFC 8878, 3.1.1)."""
    block = (len(content) << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd" + b"\x20" + bytes([len(content)]) + block + content


NOT_JSON, NOT_OBJECT, NO_ID, NUL = "not valid JSON: ", "not a JSON object", "no event_id", "holds \\u0000"
ZIPPED, DEFLATED = gzip.compress(event("a")), zlib.compress(event("a"))
UNKNOWN = "Content-Encoding {!a} isn't known (gzip, deflate, identity are)"

CORPUS: dict[str, Case] = {
    # No object at all
    "blanks": bad(b" \t\r\n", NOT_JSON),
    "true": bad(b"true", NOT_OBJECT),
    "a string": bad(b'"event_id"', NOT_OBJECT),
    "an event in a list": bad(b"[" + event("a") + b"]", NOT_OBJECT),
    "two events by lines": bad(event("a") + b"\n" + event("b"), NOT_JSON),
    "a form": bad(b"event_id=a&metric=sent", NOT_JSON),
    "a NUL": bad(b"\0", NOT_JSON),
    "NULs after it": bad(event("a") + b"\0\0", NOT_JSON),
    "a comma too many": bad(b'{"event_id": "a",}', NOT_JSON),
    "a comment": bad(b'{"event_id": "a" /* */}', NOT_JSON),
    "single quotes": bad(b"{'event_id': 'a'}", NOT_JSON),
    "no quotes": bad(b"{event_id: 1}", NOT_JSON),
    # Numbers
    "Infinity": bad(holding(b"Infinity"), NOT_JSON),
    "-Infinity": bad(holding(b"-Infinity"), NOT_JSON),
    "-NaN": bad(holding(b"-NaN"), NOT_JSON),
    "10^400 in digits": bad(holding(b"1" + b"0" * 400), NOT_JSON),
    "1e400": bad(holding(b"1e400"), NOT_JSON),
    "-1e400": bad(holding(b"-1e400"), NOT_JSON),
    "1e-400": good(holding(b"1e-400")),
    "the largest double": good(holding(b"1.7976931348623157e308")),
    "more than the largest double": bad(holding(b"1.8e308"), NOT_JSON),
    "10^5 digits": bad(holding(b"7" * 10**5), NOT_JSON),
    "10^4 decimals": good(holding(b"0." + b"7" * 10**4)),
    "minus zero": good(holding(b"[-0, -0.0]")),
    "2^64": good(holding(b"[18446744073709551615, 18446744073709551616, -9223372036854775809]")),
    "01": bad(holding(b"01"), NOT_JSON),
    "+1": bad(holding(b"+1"), NOT_JSON),
    ".5": bad(holding(b".5"), NOT_JSON),
    "1.": bad(holding(b"1."), NOT_JSON),
    "0x10": bad(holding(b"0x10"), NOT_JSON),
    "a timestamp of 2^63": good(b'{"event_id": "a", "timestamp": 9223372036854775808}'),
    "a timestamp of -2^63": good(b'{"event_id": "a", "timestamp": -9223372036854775808}'),
    "a timestamp of 1e3": good(b'{"event_id": "a", "timestamp": 1e3}'),
    "a timestamp in quotes": good(b'{"event_id": "a", "timestamp": "1767225600"}'),
    # Text
    "a low surrogate": bad(holding(b'"\\udc00"'), NOT_JSON),
    "surrogates the wrong way round": bad(holding(b'"\\udc00\\ud800"'), NOT_JSON),
    "a surrogate in a key": bad(holding(b'{"\\ud800": 1}'), NOT_JSON),
    "a surrogate in the event_id": bad(b'{"event_id": "\\udfff"}', NOT_JSON),
    "a pair of surrogates": good(holding(b'"\\ud83d\\ude00"')),
    "\\u0000 deep inside": bad(holding(b'[{"x": [{"\\u0000": 1}]}]'), NUL),
    "\\u0000 in the event_id": bad(b'{"event_id": "a\\u0000"}', NUL),
    "\\u0000 in a key that comes again": bad(holding(b'{"x": "\\u0000", "x": 1}'), NUL),
    "\\u0000 behind an escaped backslash": bad(holding(b'"\\\\\\u0000"'), NUL),
    "no \\u0000, but a backslash before it": good(holding(b'"\\\\\\\\u0000"')),
    "a control character": bad(holding(b'"\x1f"'), NOT_JSON),
    "a line's end in a string": bad(holding(b'"\n"'), NOT_JSON),
    "escaped control characters": good(holding(b'"\\u0001\\u001f\\b\\f"')),
    "noncharacters": good(holding('"\uffff\ufffe\U0010ffff\x7f\u2028\u202e"'.encode())),
    "\\x41": bad(holding(b'"\\x41"'), NOT_JSON),
    "a huge string": good(holding(b'"' + b"x" * (19 * 2**20) + b'"')),
    "a huge key": good(holding(b'{"' + b"k" * 2**20 + b'": 1}')),
    "a UTF-8 BOM alone": bad(b"\xef\xbb\xbf", NOT_JSON),
    "UTF-16 with a BOM": bad(event("a").decode().encode("utf-16"), NOT_JSON),
    "UTF-16 BE": bad(event("a").decode().encode("utf-16-be"), NOT_JSON),
    "UTF-32": bad(event("a").decode().encode("utf-32"), NOT_JSON),
    "UTF-32 LE": bad(event("a").decode().encode("utf-32-le"), NOT_JSON),
    "UTF-7": good(holding(b'"+AGE-"')),
    "Latin-1": bad(holding(b'"caf\xe9"'), NOT_JSON),
    "an overlong slash": bad(holding(b'"\xc0\xaf"'), NOT_JSON),
    "an overlong NUL": bad(holding(b'"\xc0\x80"'), NOT_JSON),
    "beyond U+10FFFF": bad(holding(b'"\xf4\x90\x80\x80"'), NOT_JSON),
    "half a character": bad(holding(b'"\xf0\x9f\x98"'), NOT_JSON),
    "bytes after a whole one": bad(holding(b'"\xc3\xa9\xa9"'), NOT_JSON),
    # Shape
    "depth 900": good(nested(900)),
    "depth 10^5": bad(nested(10**5), NOT_JSON),
    "depth 10^5 of objects": bad(nested(10**5, b'{"a":', b"1", b"}"), NOT_JSON),
    "depth 10^6 without an end": bad(b"[" * 10**6, "more than 500000 parts"),
    "10^5 keys": good(holding(b"{%s}" % b",".join(b'"%d":1' % number for number in range(10**5)))),
    "10^5 times the same key": good(holding(b"{%s}" % b",".join([b'"k":1'] * 10**5))),
    "as many parts as may be": good(of_parts(events.MAX_PARTS)),
    "a part too many": bad(of_parts(events.MAX_PARTS + 1), "more than 500000 parts"),
    "no part of it is in a string": good(holding(b'"' + b'\\"[{,' * 400_000 + b'"')),
    "two event_ids": good(b'{"event_id": "first", "event_id": "second"}', "second"),
    "two event_ids, one of no use": bad(b'{"event_id": "first", "event_id": null}', NO_ID),
    "an Event_ID": bad(b'{"Event_ID": "a"}', NO_ID),
    "keys that differ in case": good(b'{"event_id": "a", "EVENT_ID": "b", "Data": 1, "data": 2}'),
    "an empty key": good(holding(b'{"": {"": []}}')),
    "a __proto__": good(holding(b'{"__proto__": {"event_id": "b"}}')),
    "an event_id of null": bad(b'{"event_id": null}', NO_ID),
    "an event_id of true": bad(b'{"event_id": true}', NO_ID),
    "an event_id in a list": bad(b'{"event_id": ["a"]}', NO_ID),
    "an event_id of a blank": good(b'{"event_id": " "}', " "),
    "the longest event_id": good(b'{"event_id": "%s"}' % ("\U0001f600" * 255).encode(), "\U0001f600" * 255),
    "one character more": bad(b'{"event_id": "%s"}' % ("\U0001f600" * 256).encode(), "event_id is longer than 255"),
    "an event_id that is SQL": good(b'{"event_id": "\'; DROP TABLE data; --"}', "'; DROP TABLE data; --"),
    # Compressed
    "deflate, gzip's label": bad(DEFLATED, "not valid gzip", "gzip"),
    "gzip, deflate's label": bad(ZIPPED, "not valid deflate", "deflate"),
    "gzip, no label": bad(ZIPPED, NOT_JSON),
    "JSON, gzip's label": bad(event("a"), "not valid gzip", "gzip"),
    "JSON, deflate's label": bad(event("a"), "not valid deflate", "deflate"),
    "nothing, gzip's label": bad(b"", "the gzip stream is cut short", "gzip"),
    "nothing, deflate's label": bad(b"", "the deflate stream is cut short", "deflate"),
    "gzip of nothing": bad(gzip.compress(b""), NOT_JSON, "gzip"),
    "gzip in gzip": bad(gzip.compress(ZIPPED), NOT_JSON, "gzip"),
    "deflate in deflate": bad(zlib.compress(DEFLATED), NOT_JSON, "deflate"),
    "labelled twice": bad(gzip.compress(ZIPPED), UNKNOWN.format("gzip, gzip"), "gzip, gzip"),
    "labelled with both": bad(gzip.compress(DEFLATED), UNKNOWN.format("deflate, gzip"), "deflate, gzip"),
    "labelled with nothing else": bad(ZIPPED, UNKNOWN.format("identity, gzip"), "identity, gzip"),
    "zstd": bad(zstd(event("a")), UNKNOWN.format("zstd"), "zstd"),
    "compress": bad(b"\x1f\x9d\x90", UNKNOWN.format("compress"), "compress"),
    "any": bad(event("a"), UNKNOWN.format("*"), "*"),
    "a weight": bad(ZIPPED, UNKNOWN.format("gzip;q=1"), "gzip;q=1"),
    "a long label": bad(event("a"), UNKNOWN.format("x" * 40), "x" * 4000),
    "blanks around the label": good(ZIPPED, encoding="  GZip\t"),
    "an empty label": good(event("a"), encoding=""),
    "a hundred members": good(ZIPPED + gzip.compress(b"") * 99, encoding="gzip"),
    "one member more": bad(ZIPPED + gzip.compress(b"") * 100, "more than 100 gzip members", "gzip"),
    "the second member is cut": bad(ZIPPED + gzip.compress(b" ")[:-1], "the gzip stream is cut short", "gzip"),
    "gzip padded with NULs": bad(ZIPPED + bytes(512), "not valid gzip", "gzip"),
    "deflate twice": bad(DEFLATED * 2, "bytes after the end of the deflate stream", "deflate"),
    "bare deflate and more": bad(DEFLATED[2:-4] + b"!", "bytes after the end of the deflate stream", "deflate"),
    "names and notes in the header": good(with_header(4 + 8 + 16, b"\3\0abcname\0note\0"), encoding="gzip"),
    "an endless name": bad(with_header(8, b"")[:10] + b"n" * 10**6, "the gzip stream is cut short", "gzip"),
    "an unknown method": bad(ZIPPED[:2] + b"\7" + ZIPPED[3:], "not valid gzip", "gzip"),
    "a wrong checksum": bad(ZIPPED[:-8] + bytes(4) + ZIPPED[-4:], "not valid gzip", "gzip"),
    "a wrong length": bad(ZIPPED[:-4] + struct.pack("<I", 7), "not valid gzip", "gzip"),
    "a dictionary that nobody has": bad(b"\x78\xbb" + DEFLATED[2:], "not valid deflate", "deflate"),
}  # fmt: skip


@pytest.fixture(scope="module")
def landed(stack: Stack) -> dict[str, Landed]:
    """What became of each case, all of them posted on one connection as a sender would."""
    after = stack.sequence()
    connection = http.client.HTTPConnection("127.0.0.1", stack.receiver.port, timeout=30)
    for name, case in CORPUS.items():
        headers = {} if case.encoding is None else {"Content-Encoding": case.encoding}
        connection.request("POST", stack.path, case.body, headers)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"status":"ok"}'), name
    connection.close()
    return dict(zip(CORPUS, stack.landed(len(CORPUS), after), strict=True))


@pytest.mark.parametrize("name", CORPUS)
def test_every_body_is_a_row_in_the_warehouse_or_a_reject_with_its_reason_and_its_bytes(
    name: str, landed: dict[str, Landed]
) -> None:
    case, row = CORPUS[name], landed[name]
    if case.reason is None:
        assert row.event_id == case.event_id
        parsed = parse(case.body, case.encoding or "")
        assert isinstance(parsed, Event)
        assert _means(row.payload) == _means(parsed.body)
    else:
        assert row.reason is not None
        assert row.reason.startswith(case.reason)
        assert row.raw == case.body


def test_they_are_counted_and_told_of_within_bounds_and_without_what_they_hold(
    stack: Stack, landed: dict[str, Landed]
) -> None:
    bad_ones = sum(case.reason is not None for case in CORPUS.values())
    assert bad_ones > 60
    until(lambda: stack.metrics()["sluice_rejected_events_total", SCHEMA] >= bad_ones)
    found = stack.metrics()
    assert found["sluice_deliveries_total", "200", SCHEMA] >= len(CORPUS)
    assert set(found) & {("sluice_deliveries_total", status, SCHEMA) for status in ("500", "503")} == set()
    told = [line for line in stack.lines() if line["event"] == "rejected a delivery"]
    # Twenty a minute at most, and as many minutes as that took may have begun.
    minutes = {line["ts"][:16] for line in told}
    assert 0 < len(told) <= 20 * (len(minutes) + 1)
    log = {"the log": stack.receiver.log().encode()}
    assert places_of(stack.path.rsplit("/", 1)[1], log) == []
    assert places_of("DROP TABLE data", log) == []
    assert stack.is_well()


def _means(text: str | bytes | None) -> Any:
    """What a JSON text says, its numbers exactly."""
    assert text is not None
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


# Any bytes


texts = st.text(st.characters(exclude_categories=()), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
deliveries = st.dictionaries(
    st.sampled_from(["object_type", "metric", "event_type", "timestamp", "data"]) | texts, values, max_size=5
).flatmap(lambda fields: st.just(fields) | st.text(max_size=300).map(lambda event_id: {**fields, "event_id": event_id}))
written = st.builds(
    lambda value, ascii_only: json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass"),
    deliveries | values,
    st.booleans(),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A delivery with some bytes taken out, doubled or put in."""
    body = bytearray(draw(written))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 8)))
        piece = st.sampled_from(
            [b"", bytes(body[start:end]) * 2, b"\\u0000", b"\\ud800", b'"', b"\0", b"NaN", b"[" * 2000]
        )
        body[start:end] = draw(piece | st.binary(max_size=4))
    return bytes(body)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[bytes, str]:
    """A body and the Content-Encoding that it comes with, which is mostly the right one."""
    body = draw(st.binary() | mutated())
    encoding = draw(st.sampled_from(["", "", "gzip", "deflate", "br", "zstd"]))
    if draw(st.integers(0, 9)):
        body = gzip.compress(body, mtime=0) if encoding == "gzip" else body
        body = zlib.compress(body) if encoding == "deflate" else body
    if encoding and draw(st.booleans()):
        body = body[: draw(st.integers(0, len(body)))] + draw(st.binary(max_size=4))
    return body, encoding


@settings(
    max_examples=sizes.of(5, 15),
    suppress_health_check=PIPELINE,
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
)
@given(sent=st.lists(labelled(), min_size=20, max_size=60))
def test_any_bytes_get_through_to_the_warehouse(stack: Stack, sent: list[tuple[bytes, str]]) -> None:
    """No shrinking: each try has rows of its own in the warehouse, and each of its bodies is looked at by itself."""
    after = stack.sequence()
    connection = http.client.HTTPConnection("127.0.0.1", stack.receiver.port, timeout=30)
    for body, encoding in sent:
        connection.request("POST", stack.path, body, {"Content-Encoding": encoding})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"status":"ok"}'), (body, encoding)
    connection.close()
    for (body, encoding), row in zip(sent, stack.landed(len(sent), after), strict=True):
        parsed = parse(body, encoding)
        if row.event_id is None:
            assert row.raw == (body if isinstance(parsed, Rejection) else parsed.body)
            assert row.reason
        else:
            assert isinstance(parsed, Event), (body, encoding)
            assert row.event_id == parsed.event_id
            assert _means(row.payload) == _means(parsed.body)


@settings(max_examples=sizes.of(100, 300))
@given(mutated() | st.binary(), st.sampled_from(["gzip", "deflate"]), st.data())
def test_a_stream_with_a_fault_anywhere_is_never_read_as_something_else(
    body: bytes, encoding: str, data: st.DataObject
) -> None:
    """Cut short it is rejected; with one byte changed too, unless it means nothing (gzip's header has some)."""
    body = event("a") + body
    stream = gzip.compress(body, mtime=0) if encoding == "gzip" else zlib.compress(body)
    whole = parse(stream, encoding)
    cut = stream[: data.draw(st.integers(0, len(stream) - 1))]
    parsed = parse(cut, encoding)
    assert isinstance(parsed, Rejection)
    assert parsed.raw == cut
    at = data.draw(st.integers(0, len(stream) - 1))
    changed = stream[:at] + bytes([stream[at] ^ data.draw(st.integers(1, 255))]) + stream[at + 1 :]
    parsed = parse(changed, encoding)
    assert parsed == whole or (isinstance(parsed, Rejection) and parsed.raw == changed)


def parts(value: Any) -> int:
    """How many parts a value has: each list and object, and each item of them after its first."""
    if not isinstance(value, (list, dict)):
        return 0
    inner = list(value.values()) if isinstance(value, dict) else value
    return 1 + max(len(inner) - 1, 0) + sum(map(parts, inner))


@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_parts_are_counted_exactly_and_none_in_a_string(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps({"event_id": 'a,[{\\"', "d": value}, ensure_ascii=ascii_only, indent=indent)
    count = parts(json.loads(text))
    with pytest.MonkeyPatch.context() as patch:
        for limit, is_too_many in ((count, False), (count - 1, True)):
            patch.setattr(events, "MAX_PARTS", limit)
            assert events._has_too_many_parts(text.encode(errors="surrogatepass")) == is_too_many


# Bombs


def bomb(size: int, wbits: int) -> bytes:
    """A stream of `size` bytes of zeros, about a thousandth as long.

    Its last checksum is wrong, as nobody could take part of a minute to make one: it is not what it is rejected for.
    """
    stream = zlib.compressobj(9, zlib.DEFLATED, wbits)
    megabyte = bytes(2**20)
    start, again = (stream.compress(megabyte) + stream.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return start + again * (size // 2**20 - 1) + stream.flush()


BOMBS = {
    "gzip": (bomb(10 * 2**30, 31), "gzip"),
    "bare deflate": (bomb(10 * 2**30, -15), "deflate"),
    "a bomb in a bomb": (gzip.compress(bomb(10 * 2**30, 31)), "gzip"),
}
if sizes.NIGHTLY:
    BOMBS |= {
        "deflate": (bomb(10 * 2**30, 15), "deflate"),
        "a bomb after many members": (gzip.compress(b"") * 99 + bomb(10 * 2**30, 31), "gzip"),
    }
MOST_MEMORY = 160 * 2**20  # above what there was: 128 MiB of budget for all bodies, and what one costs to read


def test_bombs_cost_bounded_memory_and_keep_nobody_waiting(stack: Stack) -> None:
    assert all(len(body) < 11 * 2**20 for body, _ in BOMBS.values())
    after = stack.sequence()
    answers: list[int] = []
    is_over = threading.Event()

    def send_events() -> None:
        while not is_over.is_set():
            answers.append(stack.receiver.post(stack.path, event("meanwhile")).status)

    def send_bombs() -> None:
        for body, encoding in BOMBS.values():
            statuses.append(stack.receiver.post(stack.path, body, content_encoding=encoding).status)

    statuses: list[int] = []
    sender = threading.Thread(target=send_events)
    bombers = [threading.Thread(target=send_bombs) for _ in range(3)]
    with Peak(stack.process) as memory:
        for thread in (sender, *bombers):
            thread.start()
        for thread in bombers:
            thread.join()
        is_over.set()
        sender.join()
    assert memory.growth < MOST_MEMORY
    assert set(statuses) == set(answers) == {200}
    rows = stack.landed(len(statuses) + len(answers), after)
    bombs = [row for row in rows if row.event_id is None]
    assert len(bombs) == 3 * len(BOMBS)
    reasons = {row.raw: row.reason for row in bombs}
    beyond = f"larger than {events.MAX_BYTES} bytes when decompressed"
    for name, (body, _) in BOMBS.items():
        reason = reasons[body]
        assert reason is not None
        assert reason.startswith("not valid JSON" if name == "a bomb in a bomb" else beyond), name
    assert stack.is_well()


def heavy(size: int) -> bytes:
    """As JSON it has `size` bytes, compressed a thousandth of that, and as Python's objects the thirtyfold."""
    body = holding(b"[" + b"[]," * (size // 3 - 20) + b"0]")
    assert 0.99 * size < len(body) <= size
    return gzip.compress(body)


def test_what_unfolds_in_the_parser_costs_no_more_than_what_unfolds_before_it(stack: Stack) -> None:
    after = stack.sequence()
    sent = [heavy(events.MAX_BYTES), gzip.compress(of_parts(events.MAX_PARTS))]
    assert all(len(body) < 100_000 for body in sent)
    with Peak(stack.process) as memory:
        for body in sent * 2:
            assert stack.receiver.post(stack.path, body, content_encoding="gzip").status == 200
    assert memory.growth < MOST_MEMORY
    rows = stack.landed(4, after)
    assert [row.event_id for row in rows] == [None, "a", None, "a"]
    assert [row.raw for row in rows[::2]] == [sent[0]] * 2
    assert stack.is_well()


def test_control_a_parser_without_that_bound_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer
) -> None:
    folder = tmp_path_factory.mktemp("boundless") / "dev"
    with standing(folder, postgres, server="boundless") as stack, Peak(stack.process) as memory:
        assert stack.receiver.post(stack.path, heavy(12 * 2**20), content_encoding="gzip").status == 200
    assert memory.growth > 1.5 * MOST_MEMORY
