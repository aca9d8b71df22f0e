"""The table of answers, case by case, against the real process over HTTP."""

import gzip
import hashlib
import hmac
import json
import random
import socket
import statistics
import time
import zlib

import psutil
import pytest

from receiver import event as events
from receiver.control import ask_sync
from receiver.registry import EndpointEntry, Registry
from tests.receiver.running import (
    SCHEMA,
    Reply,
    Running,
    event,
    hash_of,
    new_token,
    register,
    set_setting,
    spooled,
    token_of,
)
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("shared")


@pytest.fixture
def path(shared: Running) -> str:
    """A live endpoint of a schema of its own, so that a test sees its rows alone."""
    made = register(shared.home, schema=f"s{random.getrandbits(48):x}")
    ask_sync(shared.home, "reload")
    return made


def rows(shared: Running, path: str) -> list[tuple[str | None, str | None, bytes]]:
    return [(row.event_id, row.reason, row.body) for row in spooled(shared.home, path.split("/")[2])]


def test_an_event_is_answered_200_and_is_in_the_spool_as_sent(shared: Running, path: str) -> None:
    body = b'{ "event_id":"e1", "object_type":"email","metric":"clicked", "timestamp":1767225600,"x":"\xc3\xa9"}\n'
    reply = shared.post(path, body, content_type="application/json")
    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, b'{"status":"ok"}', "application/json")
    [row] = spooled(shared.home, path.split("/")[2])
    assert row[3:] == ("e1", "email", "clicked", 1767225600, body, None)
    assert abs(row.received_at / 1e6 - time.time()) < 30


def test_the_same_event_again_is_answered_200(shared: Running, path: str) -> None:
    assert [shared.post(path, event("twice")).status for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not valid JSON"),
        (b"hello", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"17", "not a JSON object"),
        (b"{}", "no event_id"),
        (b'{"event_id": 5}', "no event_id"),
        (b'{"event_id": ""}', "no event_id"),
        (b'{"event_id": "%s"}' % (b"x" * 256), "event_id is longer"),
        (b'{"event_id": "a", "data": "\\u0000"}', "holds \\u0000"),
        (b'{"event_id": "a", "da\\u0000ta": 1}', "holds \\u0000"),
        (b'{"event_id": "a", "data": "\x00"}', "not valid JSON"),
        (b'{"event_id": "a", "data": "\\ud800"}', "not valid JSON"),
        (b'{"event_id": "a", "data": "\xed\xa0\x80"}', "not valid JSON"),
        (b'{"event_id": "a", "data": "\xff"}', "not valid JSON"),
        (b'{"event_id": "a", "data": NaN}', "not valid JSON"),
        (b'{"event_id": "a", "data": %s%s}' % (b"[" * 10_000, b"]" * 10_000), "not valid JSON"),
        ('{"event_id": "a"}'.encode("utf-16"), "not valid JSON"),
        (b'{"event_id": "a"', "not valid JSON"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_unusable_body_is_answered_200_and_kept_with_its_reason(
    shared: Running, path: str, body: bytes, reason: str
) -> None:
    assert shared.post(path, body).status == 200
    [(event_id, why, kept)] = rows(shared, path)
    assert event_id is None
    assert why is not None
    assert why.startswith(reason)
    assert kept == body


def test_poison_among_good_events_costs_no_other_event(shared: Running, path: str) -> None:
    deep = b'{"event_id": "deep", "data": %s%s}' % (b"[" * 10_000, b"]" * 10_000)
    poison = [
        b'{"event_id": "nul", "data": "\\u0000"}',
        b'{"event_id": "surrogate", "data": "\\ud83d"}',
        b'{"event_id": "far", "timestamp": 9404534400000}',  # the year 300,000
        b'{"event_id": "beyond", "timestamp": 99999999999999999999}',
        deep,
        b'{"event_id": "long", "data": %s}' % (b"7" * 300),
        b'{"event_id": "first", "event_id": "second", "data": 1, "data": 2}',
        b'{"event_id": "\xf0\x9f\x98\x80", "object_type": 5, "metric": null, "timestamp": true}',
    ]
    for number, body in enumerate(poison):
        assert shared.post(path, event(f"good{number}")).status == 200
        assert shared.post(path, body).status == 200
    kept = rows(shared, path)
    assert [row[0] for row in kept[0::2]] == [f"good{number}" for number in range(len(poison))]
    assert [row[2] for row in kept[1::2]] == poison
    assert [row[0] for row in kept[1::2]] == [None, None, "far", "beyond", None, "long", "second", "\U0001f600"]
    beyond = spooled(shared.home, path.split("/")[2])[7]
    assert (beyond.event_id, beyond.timestamp) == ("beyond", None)


@pytest.mark.parametrize(
    ("encoding", "encoded"),
    [
        ("gzip", gzip.compress(event("z"))),
        ("x-gzip", gzip.compress(event("z"))),
        ("GZIP", gzip.compress(event("z")[:9]) + gzip.compress(event("z")[9:])),
        ("deflate", zlib.compress(event("z"))),
        ("deflate", zlib.compress(event("z"))[2:-4]),  # the bare stream, as some send it
        ("identity", event("z")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_compressed_bodies_are_read(shared: Running, path: str, encoding: str, encoded: bytes) -> None:
    assert shared.post(path, encoded, content_encoding=encoding).status == 200
    assert rows(shared, path) == [("z", None, event("z"))]


@pytest.mark.parametrize(
    ("encoding", "raw", "reason"),
    [
        ("gzip", b"no gzip", "not valid gzip"),
        ("gzip", gzip.compress(event("z"))[:-3], "the gzip stream is cut short"),
        ("gzip", gzip.compress(event("z")) + b"tail", "not valid gzip"),
        ("deflate", b"\xff\xff\xff", "not valid deflate"),
        ("br", event("z"), "Content-Encoding 'br' isn't known"),
        ("gzip, gzip", event("z"), "Content-Encoding 'gzip, gzip' isn't known"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_body_that_can_not_be_decoded_is_kept_as_it_came(
    shared: Running, path: str, encoding: str, raw: bytes, reason: str
) -> None:
    assert shared.post(path, raw, content_encoding=encoding).status == 200
    [(_, why, kept)] = rows(shared, path)
    assert why is not None
    assert why.startswith(reason)
    assert kept == raw


def test_a_gzip_bomb_is_cut_off_and_kept_whole(shared: Running, path: str) -> None:
    bomb = _gzip_of_zeros(100 * 2**20)
    assert len(bomb) < 2**20
    before = _memory(shared)
    for _ in range(5):
        assert shared.post(path, bomb, content_encoding="gzip").status == 200
    assert _memory(shared) - before < 100 * 2**20
    assert [(why, kept) for _, why, kept in rows(shared, path)] == [
        (f"larger than {events.MAX_BYTES} bytes when decompressed", bomb)
    ] * 5


def test_a_body_at_the_limit_is_an_event_and_one_beyond_it_is_kept_in_part(shared: Running, path: str) -> None:
    at_limit = event("big")[:-1] + b" " * (events.MAX_BYTES - len(event("big"))) + b"}"
    assert len(at_limit) == events.MAX_BYTES
    assert shared.post(path, at_limit).status == 200
    assert shared.post(path, b" " + at_limit).status == 200
    whole, beyond = rows(shared, path)
    assert whole == ("big", None, at_limit)
    assert beyond[1:] == (
        f"larger than {events.MAX_BYTES} bytes, of which the first are kept",
        (b" " + at_limit)[: events.MAX_BYTES],
    )


def test_a_body_that_never_ends_is_read_to_a_bound(shared: Running, path: str) -> None:
    before = _memory(shared)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    connection = shared.raw(head)
    chunk = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    sent = 0
    try:
        for _ in range(300):
            connection.sendall(chunk)
            sent += 1
    except OSError:
        pass  # it stopped listening
    assert sent < 100
    assert _memory(shared) - before < 120 * 2**20
    [(event_id, why, kept)] = rows(shared, path)
    assert (event_id, len(kept)) == (None, events.MAX_BYTES)
    assert why is not None


@pytest.mark.parametrize("framing", ["Content-Length: 400", "Transfer-Encoding: chunked", "Content-Length: 400000"])
def test_a_body_that_is_not_whole_in_time_is_answered_408(shared: Running, path: str, framing: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode()
    started = time.monotonic()
    answer = _all(shared.raw(head, b'3\r\n{"e' if "chunked" in framing else b'{"event_id":'))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer
    assert 0.9 < time.monotonic() - started < 3
    assert rows(shared, path) == []


def test_a_body_that_trickles_in_does_not_extend_its_time(shared: Running, path: str) -> None:
    connection = shared.raw(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode())
    connection.settimeout(0.05)
    started = time.monotonic()
    answer = b""
    while not answer and time.monotonic() - started < 10:
        connection.sendall(b" ")
        try:
            answer = connection.recv(100)
        except TimeoutError:
            continue
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - started < 3


def test_a_head_that_does_not_come_ends_the_connection(shared: Running) -> None:
    started = time.monotonic()
    silent, slow = shared.raw(), shared.raw(b"POST /v1/a/b HTTP/1.1\r\nHost:")
    assert (_all(silent), _all(slow)) == (b"", b"")
    assert time.monotonic() - started < 4


def test_a_sender_that_hangs_up_half_way_leaves_no_row(shared: Running, path: str) -> None:
    whole = event("half")
    for framing in ("Content-Length: 1000", "Content-Length: 100000", "Transfer-Encoding: chunked"):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode()
        connection = shared.raw(head, b"%x\r\n" % len(whole) if "chunked" in framing else b"", whole[:-1])
        time.sleep(0.05)
        connection.close()
    assert shared.post(path, event("after")).status == 200
    time.sleep(0.1)
    assert [row[0] for row in rows(shared, path)] == ["after"]


def _refusals(shared: Running, path: str) -> dict[str, Reply]:
    revoked = register(shared.home)
    with Registry(shared.home / "registry.db") as registry:
        registry.remove_endpoint(hash_of(revoked))
    ask_sync(shared.home, "reload")
    schema, printed = path.split("/")[2:]
    asked = {
        "unknown": f"/v1/{schema}/{new_token()}",
        "revoked": revoked,
        "wrong schema": f"/v1/{SCHEMA}x/{printed}",
        "wrong case": f"/v1/{schema}/{printed.swapcase()}",
        "schema in another case": f"/v1/{schema.upper()}/{printed}",
        "cut short": path[:-1],
        "longer": path + "0",
        "garbage": f"/v1/{schema}/x",
        "not ASCII": f"/v1/{schema}/%C3%A9%00",
    }
    return {name: shared.post(wrong, event("no")) for name, wrong in asked.items()}


def test_every_wrong_token_gets_the_same_401(shared: Running, path: str) -> None:
    before = ask_sync(shared.home, "status")["unauthorized"]
    refusals = _refusals(shared, path)
    for reply in refusals.values():
        assert reply.status == 401
        assert reply.body == b'{"status":"unauthorized"}'
    [headers] = {tuple(sorted(set(reply.headers) - {"connection"})) for reply in refusals.values()}
    assert "www-authenticate" not in headers
    assert ask_sync(shared.home, "status")["unauthorized"] == before + len(refusals)
    assert rows(shared, path) == []


@pytest.mark.nightly
def test_the_time_of_a_401_tells_nothing(shared: Running, path: str) -> None:
    """Coarse on purpose: it finds a look-up in a file or a database, not a nanosecond."""
    schema = path.split("/")[2]
    kinds = {"unknown": new_token(), "garbage": "x", "wrong schema": token_of(register(shared.home, schema="other"))}
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    connection = socket.create_connection(("127.0.0.1", shared.port))
    for _ in range(150):
        for kind, printed in kinds.items():
            started = time.perf_counter()
            connection.sendall(
                f"POST /v1/{schema}/{printed:0<53} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
            )
            answer = connection.recv(4096)
            times[kind].append(time.perf_counter() - started)
            assert answer.startswith(b"HTTP/1.1 401 ")
            if b"connection: close" in answer:
                connection = socket.create_connection(("127.0.0.1", shared.port))
    medians = [statistics.median(taken) for taken in times.values()]
    assert max(medians) - min(medians) < 0.0003


def test_a_refused_sender_reads_its_answer_even_if_it_is_still_writing(shared: Running) -> None:
    reply = shared.post(f"/v1/{SCHEMA}/{new_token()}", b"x" * 500_000)
    assert reply.status == 401


@pytest.mark.parametrize(
    ("method", "where", "status"),
    [
        ("GET", "{path}", 405),
        ("PUT", "{path}", 405),
        ("DELETE", "/v1/a/b", 405),
        ("GET", "/", 404),
        ("POST", "/", 404),
        ("POST", "/v1", 404),
        ("POST", "/v1/a", 404),
        ("POST", "/v1//b", 404),
        ("POST", "{path}/", 404),
        ("POST", "{path}/more", 404),
        ("POST", "/v2{path}", 404),
        ("POST", "/v1/a/b/../../../../etc/passwd", 404),
    ],
)
def test_other_paths_and_methods(shared: Running, path: str, method: str, where: str, status: int) -> None:
    reply = shared.request(method, where.format(path=path), event("no") if method == "POST" else None)
    assert reply.status == status
    assert reply.headers.get("allow") == ("POST" if status == 405 else None)
    assert rows(shared, path) == []


def test_a_query_string_does_not_matter(shared: Running, path: str) -> None:
    assert shared.post(path + "?a=b", event("q")).status == 200


# X-CIO-Signature

VECTORS = [  # computed with openssl and with Python's hmac
    (
        "test-signing-key",
        "1613063089",
        b'{"event_id":"01E4C4CT6YDC7Y5M7FE1GWWPQJ","object_type":"email","metric":"sent","timestamp":1613063089,"data":{}}',
        "81193d814ee63ba1736ce5ef8c586c0aaf4911b8cca87533ed245a062735482a",
    ),
    (
        "demo-signing-key",
        "1767225605",
        b'{ "event_id":"01KDVDNA00RT2GZSKYPD8J86G9", "object_type":"email","metric":"clicked","timestamp":1767225600,'
        b'"data":{"subject":"Caf\xc3\xa9 \xe2\x98\x95","href":"https://example.com/a?b=1\\u0026c=2"} }\n',
        "e701cc2b26292115420ee72299c03d0dbe09031e114f8f74933b209026d6a986",
    ),
]


def _signed_path(shared: Running, *keys: str) -> str:
    made = register(shared.home, schema=f"s{random.getrandbits(48):x}", signed=True, keys=keys)
    ask_sync(shared.home, "reload")
    return made


@pytest.mark.parametrize(("key", "timestamp", "body", "signature"), VECTORS)
def test_a_signed_endpoint_takes_either_key_and_nothing_else(
    shared: Running, key: str, timestamp: str, body: bytes, signature: str
) -> None:
    def post(path: str, body: bytes = body, /, **headers: str) -> int:
        return shared.post(path, body, **headers).status

    right = {"x_cio_timestamp": timestamp, "x_cio_signature": signature}
    alone, new, previous = (_signed_path(shared, *keys) for keys in [(key,), (key, "other"), ("other", key)])
    assert [post(path, **right) for path in (alone, new, previous)] == [200, 200, 200]

    before = ask_sync(shared.home, "status")["unauthorized"]
    wrong = [
        {},
        {"x_cio_signature": signature},
        {"x_cio_timestamp": timestamp},
        {**right, "x_cio_timestamp": "1613063090"},
        {**right, "x_cio_signature": signature[:-1] + "0"},
        {**right, "x_cio_signature": "v0=" + signature},
        {**right, "x_cio_signature": "\xe9" * 64},
        {**right, "x_cio_signature": ""},
    ]
    assert [post(alone, **headers) for headers in wrong] == [401] * len(wrong)
    assert post(alone, body + b" ", **right) == 401
    assert post(alone, json.dumps(json.loads(body)).encode(), **right) == 401
    assert post(_signed_path(shared, "other", "another"), **right) == 401
    assert post(_signed_path(shared), **right) == 401
    assert ask_sync(shared.home, "status")["unauthorized"] == before + len(wrong) + 4
    assert len(rows(shared, alone)) == 1


def test_the_signature_covers_the_body_as_it_came_over_the_wire(shared: Running) -> None:
    path = _signed_path(shared, "key")
    wire = gzip.compress(event("zipped"))
    of_wire, of_json = (
        hmac.new(b"key", b"v0:1767225605:" + body, hashlib.sha256).hexdigest() for body in (wire, event("zipped"))
    )
    headers = {"content_encoding": "gzip", "x_cio_timestamp": "1767225605"}
    assert shared.post(path, wire, **headers, x_cio_signature=of_json).status == 401
    assert shared.post(path, wire, **headers, x_cio_signature=of_wire).status == 200
    assert [row[0] for row in rows(shared, path)] == ["zipped"]


def test_an_oversized_body_is_kept_only_if_its_signature_covers_all_of_it(shared: Running) -> None:
    path = _signed_path(shared, "key")
    body = b"x" * (events.MAX_BYTES + 5)
    whole = hmac.new(b"key", b"v0:1:" + body, hashlib.sha256).hexdigest()
    start = hmac.new(b"key", b"v0:1:" + body[: events.MAX_BYTES], hashlib.sha256).hexdigest()
    assert shared.post(path, body, x_cio_timestamp="1", x_cio_signature=start).status == 401
    assert shared.post(path, body, x_cio_timestamp="1", x_cio_signature=whole).status == 200
    assert len(rows(shared, path)) == 1


# The registry, followed


def test_a_change_of_the_registry_is_live_within_a_second_without_being_told(shared: Running) -> None:
    path = register(shared.home)
    started = time.monotonic()
    until(lambda: shared.post(path, event("new")).status == 200, 1)
    with Registry(shared.home / "registry.db") as registry:
        entry = registry.get_endpoint(hash_of(path))
        assert entry is not None
        registry.put_endpoint(EndpointEntry(entry.hash, entry.schema, entry.slot, entry.source, True, ("k",)))
    until(lambda: shared.post(path, event("signed")).status == 401, 1)
    with Registry(shared.home / "registry.db") as registry:
        registry.put_endpoint(entry)
    until(lambda: shared.post(path, event("unsigned")).status == 200, 1)
    with Registry(shared.home / "registry.db") as registry:
        registry.remove_endpoint(hash_of(path))
    until(lambda: shared.post(path, event("gone")).status == 401, 1)
    assert time.monotonic() - started < 4


def test_a_reload_is_live_when_it_is_answered(shared: Running) -> None:
    for _ in range(5):
        path = register(shared.home)
        assert ask_sync(shared.home, "reload") == {"reloaded": True}
        assert shared.post(path, event("r")).status == 200


def test_the_control_socket_tells_of_an_endpoint_s_use(shared: Running, path: str) -> None:
    unused = ask_sync(shared.home, "endpoint", hash=hash_of(path))
    assert (unused["live"], unused["first_used"], unused["last_used"], unused["recent"]) == (True, None, None, 0)
    started = time.time()
    for number in range(3):
        shared.post(path, event(f"u{number}"))
    used = ask_sync(shared.home, "endpoint", hash=hash_of(path))
    assert started - 1 < used["first_used"] <= used["last_used"] <= time.time()
    assert (used["recent"], used["waiting"]) == (3, 3)
    assert ask_sync(shared.home, "endpoint", hash="0" * 64)["live"] is False


def test_status_counts_what_was_accepted_and_what_waits(shared: Running, path: str) -> None:
    shared.post(path, event("one"))
    shared.post(path, b"not JSON")
    status = ask_sync(shared.home, "status")
    schema = status["schemas"][path.split("/")[2]]
    assert (schema["accepted"], schema["loaded"], schema["rejected"], schema["waiting"]) == (2, 0, 0, 2)
    assert abs(schema["last_event_at"] - time.time()) < 30
    assert status["endpoints"][hash_of(path)]["recent"] == 2
    assert status["warehouse"]["state"] == "unset"
    assert status["pid"] == shared.process.pid


def test_a_full_spool_is_answered_503_until_there_is_room(shared: Running, path: str) -> None:
    assert shared.post(path, event("before")).status == 200
    set_setting(shared.home, "spool_max_bytes", 10)
    ask_sync(shared.home, "reload")
    refused = shared.post(path, event("refused"))
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) > 0
    set_setting(shared.home, "spool_max_bytes", None)
    until(lambda: shared.post(path, event("after")).status == 200, 2)
    assert [row[0] for row in rows(shared, path)] == ["before", "after"]


def test_too_little_room_on_the_disk_is_answered_503_until_there_is_more(shared: Running, path: str) -> None:
    set_setting(shared.home, "keep_free_bytes", 2**60)
    ask_sync(shared.home, "reload")
    assert shared.post(path, event("refused")).status == 503
    set_setting(shared.home, "keep_free_bytes", None)
    until(lambda: shared.post(path, event("after")).status == 200, 2)
    assert [row[0] for row in rows(shared, path)] == ["after"]


def test_after_a_pause_the_answer_closes_the_connection_so_that_no_delivery_crosses_with_its_end(
    shared: Running, path: str
) -> None:
    time.sleep(1.1)
    assert shared.post(path, event("quiet")).headers.get("connection") == "close"
    assert shared.post(path, event("busy")).headers.get("connection") is None


def _all(connection: socket.socket) -> bytes:
    """What comes until the other side hangs up."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def _memory(running: Running) -> int:
    rss: int = psutil.Process(running.process.pid).memory_info().rss
    return rss


def _gzip_of_zeros(size: int) -> bytes:
    stream = zlib.compressobj(1, wbits=31)
    megabyte = bytes(2**20)
    return b"".join(stream.compress(megabyte) for _ in range(size // 2**20)) + stream.flush()
