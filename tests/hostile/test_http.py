"""Every shape of an HTTP request that a stranger, a broken proxy or a smuggler may send.

The answers 400 and 431 are granian's own: such a head never reaches our code, so they are in no count and no log. All
that does reach it is. After each hostile message stands a canary, a good request to another endpoint: it must be taken
on its own right or not at all, and never as a part of what came before it.
"""

import hashlib
import hmac
import random
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.control import ask_sync
from tests.hostile.raw import (
    BODY,
    CHUNKS,
    DELIVERIES,
    LENGTH,
    OTHER,
    REFUSED_DELIVERIES,
    UNMATCHED,
    Field,
    Heard,
    chunk,
    connect,
    head,
    listen_to,
    opened,
    post,
    talk,
)
from tests.receiver.running import SCHEMA, event, new_token, register, token_of
from tests.support import sizes

BODY_SECONDS = 1.0
CANARY = event("canary")

TAKEN = [200, 200], [BODY], [CANARY]  # the message, then the canary
TAKEN_AND_CLOSED: "Outcome" = [200], [BODY], []
REFUSED: "Outcome" = [400], [], []
TOO_LARGE: "Outcome" = [431], [], []

Outcome = tuple[list[int], list[bytes], list[bytes]]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("http") / "dev"
    with opened(folder, "--body-seconds", str(BODY_SECONDS), "--head-seconds", "4") as made:
        yield made


def canary(field: Field) -> bytes:
    return post(field.other, CANARY, "Connection: close")


def outcome(field: Field, message: bytes) -> Outcome:
    """The answers, and the bodies that were stored for the endpoint and for the canary's."""
    heard = field.send(message + canary(field))
    assert heard.closed
    assert not quotes(field, heard)
    return heard.statuses, field.bodies(), field.bodies(OTHER)


def quotes(field: Field, heard: Heard) -> bool:
    return any(token_of(path).encode() in heard.raw for path in (field.path, field.other))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([LENGTH], TAKEN),
        ([f"Content-Length: 000{len(BODY)}"], TAKEN),
        ([f"Content-Length:\t {len(BODY)}  "], TAKEN),
        ([LENGTH, LENGTH], TAKEN),
        ([f"Content-Length: {len(BODY) - 9}"], ([200, 400], [BODY[:-9]], [])),
        ([f"Content-Length: {len(BODY) + 9}"], ([200, 400], [BODY + b"POST /v1/"], [])),
        ([], ([200, 400], [b""], [])),
        (["Content-Length: 0"], ([200, 400], [b""], [])),
        ([f"Content-Length: {2**63}"], ([408], [], [])),
        ([LENGTH, f"Content-Length: {len(BODY) - 1}"], REFUSED),
        ([f"Content-Length: {len(BODY)}, {len(BODY)}"], REFUSED),
        ([f"Content-Length: {len(BODY)}, {len(BODY) - 1}"], REFUSED),
        *(
            ([f"Content-Length: {value}"], REFUSED)
            for value in ("-1", f"+{len(BODY)}", "abc", "0x5d", "", "9_3", "93.0", "1e2", "9" * 23, "٩٣")
        ),
        ([f"Content-Length: {2**64 - 1}"], TOO_LARGE),
    ],
    ids=lambda value: ascii(value)[:60] if isinstance(value, list) else "",
)
def test_a_false_length_never_makes_two_messages_of_one(field: Field, lines: list[str], expected: Outcome) -> None:
    assert outcome(field, head(field.path, *lines) + BODY) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Transfer-Encoding: chunked"], TAKEN),
        (["transfer-encoding:\tCHUNKED"], TAKEN),
        (["Transfer-Encoding: identity, chunked"], TAKEN),
        (["Transfer-Encoding: gzip, chunked"], TAKEN),
        (["Transfer-Encoding: chunked, chunked"], TAKEN),
        (["Transfer-Encoding: identity", "Transfer-Encoding: chunked"], TAKEN),
        (["Transfer-Encoding: chunked\nX: a bare line feed"], TAKEN),
        # Both: the chunks count, and the connection ends, as RFC 9112 (6.3) wants it. hyper does that.
        (["Transfer-Encoding: chunked", "Content-Length: 5"], TAKEN_AND_CLOSED),
        (["Content-Length: 5", "Transfer-Encoding: chunked"], TAKEN_AND_CLOSED),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], REFUSED),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: xchunked"], REFUSED),
        (["Transfer-Encoding : chunked"], REFUSED),
        ([" Transfer-Encoding: chunked"], REFUSED),
        (["Transfer-Encoding:\r\n chunked"], REFUSED),
        (["Transfer-Encoding: identity", f"Content-Length: {len(CHUNKS)}"], REFUSED),
        (["Transfer-Encoding: chunked\rX: y"], REFUSED),
        *(
            ([f"Transfer-Encoding: {value}"], REFUSED)
            for value in (
                "xchunked",
                "chunked, identity",
                "identity",
                '"chunked"',
                "chunked;q=1",
                "chunked\0",
                "",
                "\vchunked",
            )
        ),
        # Not that header at all
        (["Transfer_Encoding: chunked", f"Content-Length: {len(CHUNKS)}"], ([200, 200], [CHUNKS], [CANARY])),
    ],
    ids=lambda value: ascii(value)[:60] if isinstance(value, list) else "",
)
def test_a_disguised_transfer_encoding_is_understood_as_one_thing_or_refused(
    field: Field, lines: list[str], expected: Outcome
) -> None:
    assert outcome(field, head(field.path, *lines) + CHUNKS) == expected


def test_a_request_hidden_in_another_s_body_is_never_read_as_one(field: Field) -> None:
    hidden = post(field.other, event("smuggled"))
    both = "Content-Length: {}", "Transfer-Encoding: chunked"
    within = {
        "CL.TE": head(field.path, both[0].format(len(b"0\r\n\r\n" + hidden)), both[1]) + b"0\r\n\r\n" + hidden,
        "TE.CL": head(field.path, both[1], both[0].format(4)) + chunk(hidden) + b"0\r\n\r\n",
        "TE.TE": head(field.path, both[1], "Transfer-Encoding: cow") + b"0\r\n\r\n" + hidden,
        "1.0": head(field.path, both[1], version="HTTP/1.0") + b"0\r\n\r\n" + hidden,
        "GET": head("/", both[0].format(len(hidden)), method="GET") + hidden,
        "401": post(f"/v1/{SCHEMA}/{new_token()}", hidden),
        "401, too large to be read": head(f"/v1/{SCHEMA}/{new_token()}", both[0].format(2**21)) + hidden,
        "404, in chunks": head("/", both[1]) + chunk(hidden) + b"0\r\n\r\n",
        "404, in broken chunks": head("/", both[1]) + b"z\r\n" + hidden,
        "405": head(field.path, both[0].format(len(hidden)), method="PUT") + hidden,
        "408": head(field.path, both[0].format(2**20)) + hidden,
        "503": head(field.path, both[1]) + b"z\r\n" + hidden,
    }
    statuses = {name: field.send(message + canary(field)).statuses for name, message in within.items()}
    assert statuses == {
        "CL.TE": [200],
        "TE.CL": [200],
        "TE.TE": [400],
        "1.0": [400],
        "GET": [404, 200],
        "401": [401, 200],
        "401, too large to be read": [401],
        "404, in chunks": [404, 200],
        "404, in broken chunks": [404],
        "405": [405, 200],
        "408": [408],
        "503": [503],
    }
    assert field.bodies() == [b"", hidden]
    assert field.bodies(OTHER) == [CANARY] * 4


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (b"".join(chunk(BODY[i : i + 1]) for i in range(len(BODY))) + b"0\r\n\r\n", TAKEN),
        (b'%x;a=b;c="d"\r\n%s\r\n0;e\r\n\r\n' % (len(BODY), BODY), TAKEN),
        (b"%x \r\n%s\r\n00\r\n\r\n" % (len(BODY), BODY), TAKEN),
        (b"000%X\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY), TAKEN),
        # granian shows trailers as it shows a body that broke off: what may have them is taken if it is a whole event.
        (chunk(BODY) + b"0\r\nX-Checksum: 1\r\n\r\n", TAKEN_AND_CLOSED),
        (chunk(BODY) + b"0\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", TAKEN_AND_CLOSED),
        (chunk(BODY) + b"0\r\n" + b"X: y\r\n" * 3000 + b"\r\n", TAKEN_AND_CLOSED),
        (chunk(BODY) + b"0\r\nnot a trailer\r\n\r\n", TAKEN_AND_CLOSED),
        (chunk(BODY) + b"zz\r\n", TAKEN_AND_CLOSED),
        (b"%x\r\n%s0\r\n\r\n" % (len(BODY), BODY), TAKEN_AND_CLOSED),
        (b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY) + 1, BODY), ([200], [BODY + b"\r"], [])),
        (chunk(BODY[:-1]) + b"0\r\nX-Checksum: 1\r\n\r\n", ([503], [], [])),
        *(
            (b"%s\r\n%s\r\n0\r\n\r\n" % (size, BODY), ([503], [], []))
            for size in (
                b"zz",
                b"",
                b"-1",
                b"0x5d",
                b"5_d",
                b" 5d",
                b"%x" % (len(BODY) - 1),
                b"f" * 17,
                b"%x;%s" % (len(BODY), b"x" * 20_000),
                b"%x;a\nb" % len(BODY),
            )
        ),
        (b"%x\n%s\n0\n\n" % (len(BODY), BODY), ([503], [], [])),
        (b"f" * 16 + b"\r\n" + BODY, ([408], [], [])),
    ],
    ids=lambda value: ascii(value[:30]) if isinstance(value, bytes) else "",
)
def test_chunks_are_read_or_the_connection_ends(field: Field, chunks: bytes, expected: Outcome) -> None:
    assert outcome(field, head(field.path, "Transfer-Encoding: chunked") + chunks) == expected


def test_a_signature_covers_what_came_before_the_trailers_and_one_that_was_cut_is_not_called_forged(
    field: Field,
) -> None:
    home = field.receiver.home
    path = register(home, schema="signed", signed=True, keys=("key",))
    ask_sync(home, "reload")
    signature = hmac.new(b"key", b"v0:1:" + BODY, hashlib.sha256).hexdigest()
    start = head(path, "X-CIO-Timestamp: 1", f"X-CIO-Signature: {signature}", "Transfer-Encoding: chunked")
    assert field.send(start + chunk(BODY) + b"0\r\nX-Checksum: 1\r\n\r\n").statuses == [200]
    refused = field.count(REFUSED_DELIVERIES)
    before = field.count(DELIVERIES, schema="signed", code="503")
    assert field.send(start + chunk(BODY[:-1]) + b"z\r\n").statuses == [503]
    field.rises(DELIVERIES, before, schema="signed", code="503")
    assert field.count(REFUSED_DELIVERIES) == refused
    assert field.bodies("signed") == [BODY]


def test_a_delivery_that_is_cut_or_malformed_is_counted_and_told_with_its_reason(field: Field) -> None:
    before = {status: field.count(DELIVERIES, schema=SCHEMA, code=status) for status in ("408", "503")}
    assert field.send(head(field.path, "Transfer-Encoding: chunked") + b"z\r\n").statuses == [503]
    assert field.send(head(field.path, LENGTH) + BODY[:-1]).statuses == [408]
    for status, count in before.items():
        field.rises(DELIVERIES, count, schema=SCHEMA, code=status)
    reasons = {line["reason"] for line in field.logged("a delivery was not taken in whole", schema=SCHEMA)}
    assert reasons == {"its body took too long", "its connection ended, or its framing is malformed"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Host: y", TAKEN),  # a second one: the host decides nothing here
        ("Host: a b/c", TAKEN),
        ("X: \xff\xe9", TAKEN),
        ("X: " + "a" * 20_000, TAKEN),
        ("\r\n".join(f"X{number}: a" for number in range(90)), TAKEN),
        ("Expect: nothing", TAKEN),
        ("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", TAKEN),
        ("X: a\r\n folded", REFUSED),
        (f"X: a\r\n Content-Length: {len(BODY) - 1}", REFUSED),
        (f"Content-Length : {len(BODY)}", REFUSED),
        ("X: a\rb", REFUSED),
        ("X: a\0b", REFUSED),
        (": nameless", REFUSED),
        ("no colon", REFUSED),
        ("\r\n".join(f"X{number}: a" for number in range(150)), TOO_LARGE),
    ],
    ids=lambda value: ascii(value)[:40] if isinstance(value, str) else "",
)
def test_a_header_is_ignored_or_its_request_refused(field: Field, line: str, expected: Outcome) -> None:
    message = head(field.path, LENGTH)[:-2] + line.encode("latin-1") + b"\r\n\r\n" + BODY
    assert outcome(field, message) == expected


def test_a_head_with_bare_line_feeds_and_without_a_host_is_read(field: Field) -> None:
    bare = head(field.path, LENGTH).replace(b"\r\n", b"\n") + BODY
    hostless = head(field.path, LENGTH).replace(b"Host: x\r\n", b"") + BODY
    after_blank_lines = b"\r\n" * 20 + post(field.path, BODY)
    assert outcome(field, bare + hostless + after_blank_lines) == ([200] * 4, [BODY] * 3, [CANARY])


@pytest.mark.parametrize(
    "start",
    [
        b"X: " + b"a" * 100_000 + b"\r\n",
        b"".join(b"X%d: a\r\n" % number for number in range(10_000)),
        b"X: a" * 2**20,
    ],
    ids=["one huge header", "10,000 headers", "without an end"],
)
def test_an_oversized_head_is_cut_off(field: Field, start: bytes) -> None:
    heard = field.send(head(field.path, LENGTH)[:-2] + start + b"\r\n" + BODY)
    assert heard.closed
    assert heard.statuses in ([431], [])  # a reset may overtake the answer: the rest isn't read
    assert field.bodies() == []


def test_a_huge_request_line_is_cut_off(field: Field) -> None:
    for target in (field.path + "/" + "a" * 200_000, field.path + "?" + "a" * 200_000):
        heard = field.send(post(target, BODY))
        assert heard.closed
        assert heard.statuses in ([431], [])
    assert field.bodies() == []


# Answers in the order of their requests


def test_pipelined_requests_are_answered_in_order_each_for_its_own_endpoint(field: Field) -> None:
    unknown = f"/v1/{SCHEMA}/{new_token()}"
    requests = [
        (post(field.path, event("p0")), 200),
        (post(unknown, event("p1")), 401),
        (post(field.other, event("p2")), 200),
        (post("/nowhere", event("p3")), 404),
        (head(field.path, "Transfer-Encoding: chunked") + chunk(event("p4")) + b"0\r\n\r\n", 200),
        (head(field.path, LENGTH, method="PUT") + BODY, 405),
        (post(field.path, b"no event"), 200),
        (post(field.other.replace(OTHER, SCHEMA), event("p7")), 401),
        (post(field.other, event("p8")), 200),
        (post(field.path, event("p9")), 200),
    ]
    before = {status: field.count(UNMATCHED, code=status) for status in ("401", "404", "405")}
    heard = field.send(b"".join(message for message, _ in requests) + canary(field))
    assert heard.statuses == [status for _, status in requests] + [200]
    assert field.bodies() == [event("p0"), event("p4"), b"no event", event("p9")]
    assert field.bodies(OTHER) == [event("p2"), event("p8"), CANARY]
    for status, count in before.items():
        field.rises(UNMATCHED, count, code=status)


def test_what_came_before_a_malformed_request_is_answered_and_nothing_behind_it_is_read(field: Field) -> None:
    good = post(field.path, BODY)
    assert outcome(field, good + head(field.path, "Content-Length: -1") + BODY) == ([200, 400], [BODY], [])


# Other protocols


@pytest.mark.parametrize(
    ("version", "lines", "expected"),
    [
        ("HTTP/1.0", [LENGTH], TAKEN_AND_CLOSED),
        ("HTTP/1.0", [LENGTH, "Connection: keep-alive"], TAKEN),
        ("HTTP/1.0", ["Transfer-Encoding: chunked"], REFUSED),
        *(
            (version, [LENGTH], REFUSED)
            for version in ("HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.1 x", "")
        ),
    ],
    ids=str,
)
def test_only_http_1_0_and_1_1_are_spoken(field: Field, version: str, lines: list[str], expected: Outcome) -> None:
    assert outcome(field, head(field.path, *lines, version=version) + BODY) == expected


@pytest.mark.parametrize(
    "hello",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"),
        bytes.fromhex("16030100c8010000c40303") + random.Random(1).randbytes(189),
        bytes.fromhex("80" * 40),
        b"\0" * 100,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        *(random.Random(seed).randbytes(3000) for seed in range(20)),
    ],
    ids=lambda hello: ascii(hello[:12]),
)
def test_what_is_no_http_ends_the_connection(field: Field, hello: bytes) -> None:
    heard = talk(field.port, hello + b"\r\n\r\n" + post(field.path, BODY))
    assert heard.closed
    assert heard.statuses in ([400], [431], [])
    assert field.bodies() == []


def test_http_0_9_gets_no_page(field: Field) -> None:
    heard = talk(field.port, f"GET {field.path}\r\n\r\n".encode())
    assert (heard.statuses, heard.closed) == ([400], True)


METHODS = ["GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "DELETE", "PUT", "post", "M-SEARCH", "X" * 5000]


def test_other_methods_are_405_and_their_bodies_are_nobody_s(field: Field) -> None:
    before = field.count(UNMATCHED, code="405")
    for method in METHODS:
        heard = field.send(head(field.path, LENGTH, method=method) + BODY + canary(field))
        assert (method, heard.statuses) == (method, [405, 200])
        assert b"allow: POST" in heard.raw
        assert not quotes(field, heard)
    assert field.bodies() == []
    field.rises(UNMATCHED, before + len(METHODS) - 1, code="405")


def test_no_other_protocol_is_switched_to_and_no_other_host_reached(field: Field) -> None:
    websocket = "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="
    asked = {
        head(field.path, *websocket, method="GET"): 405,
        head("localhost:22", method="CONNECT"): 404,
        head("*", method="OPTIONS"): 404,
        head(field.path, method="P@ST"): 400,
        head(field.path, method=""): 400,
    }
    for message, status in asked.items():
        heard = field.send(message + canary(field))
        assert heard.statuses == ([status] if status == 400 else [status, 200])
    assert field.bodies() == []


# Paths

SAME = 200  # other spellings of the same endpoint
PATHS = [
    ("{path}?a=b", SAME),
    ("{path}?", SAME),
    ("{path}#part", SAME),
    ("http://elsewhere.example{path}", SAME),
    ("HTTPS://elsewhere.example:1{path}", SAME),
    ("/v1/{schema}/%73{rest}", SAME),
    ("/v1%2f{schema}%2F{token}", SAME),
    ("{path};a=b", 401),
    ("{path}%00", 401),
    ("{path}%0d%0a", 401),
    ("{path}%20", 401),
    ("{path}%", 401),
    ("{path}%zz", 401),
    ("{path}%C3%A9", 401),
    ("{path}\xc3\xa9", 401),
    ("{path}%ff", 401),
    ("/v1/{schema}/%2573{rest}", 401),
    ("/v1/{schema}/..", 401),
    ("/v1/{SCHEMA}/{token}", 401),
    ("/v1/{schema}/{TOKEN}", 401),
    ("/v1/{schema}/{token}{token}", 401),
    ("/v1/./{token}", 401),
    ("//v1/{schema}/{token}", 404),
    ("/v1//{schema}/{token}", 404),
    ("/v1/{schema}//{token}", 404),
    ("{path}/", 404),
    ("{path}//", 404),
    ("{path}%2f", 404),
    ("{path}/.", 404),
    ("{path}/../{token}", 404),
    ("/.{path}", 404),
    ("/x/..{path}", 404),
    ("/%2e%2e{path}", 404),
    ("/V1/{schema}/{token}", 404),
    ("//elsewhere.example{path}", 404),
    ("/v1/{schema}", 404),
    ("/v1/{schema}?{token}", 404),
    ("*", 404),
    ("/", 404),
    ("/" + "a" * 9000, 404),
    ("/" + "a/" * 5000, 404),
    ("/" + "%2e%2e%2f" * 1000 + "etc/passwd", 404),
    ("v1/{schema}/{token}", 400),
    ("\\v1\\{schema}\\{token}", 400),
    ("", 400),
    ("{path} ", 400),
    ("{path}\t", 400),
    ("{path}\0", 400),
    ("{path}\r", 400),
]


@pytest.mark.parametrize(("target", "status"), PATHS, ids=lambda value: ascii(value)[:40])
def test_a_path_is_an_endpoint_s_or_it_is_refused_and_never_quoted(field: Field, target: str, status: int) -> None:
    _, _, schema, token = field.path.split("/")
    names = {"path": field.path, "schema": schema, "token": token, "rest": token[1:]}
    asked = target.format(**names, SCHEMA=schema.upper(), TOKEN=token.swapcase())
    message = f"POST {asked} HTTP/1.1\r\nHost: x\r\n{LENGTH}\r\n\r\n".encode("latin-1") + BODY
    answers = [400] if status == 400 else [status, 200]
    assert outcome(field, message) == (answers, [BODY] if status == SAME else [], [CANARY] if status != 400 else [])


def test_wrong_tokens_are_counted_and_told_without_the_token(field: Field) -> None:
    before = field.count(REFUSED_DELIVERIES), len(field.logged("refused a delivery"))
    wrong = new_token()
    assert outcome(field, post(f"/v1/{SCHEMA}/{wrong}", BODY)) == ([401, 200], [], [CANARY])
    field.rises(REFUSED_DELIVERIES, before[0])
    assert len(field.logged("refused a delivery")) == before[1] + 1
    assert wrong not in field.receiver.log()


# Expect: 100-continue


def test_a_sender_that_waits_to_be_asked_for_its_body_is_asked(field: Field) -> None:
    connection = connect(field.port)
    connection.sendall(head(field.path, LENGTH, "Expect: 100-continue", "Connection: close"))
    assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(BODY)
    assert listen_to(connection).statuses == [200]
    assert field.bodies() == [BODY]


def test_one_that_does_not_wait_is_taken_too_and_one_with_a_wrong_token_is_refused(field: Field) -> None:
    expect = head(field.path, LENGTH, "Expect: 100-continue") + BODY
    assert outcome(field, expect) == ([100, 200, 200], [BODY], [CANARY])
    connection = connect(field.port)
    large = f"Content-Length: {2**30}"
    connection.sendall(head(f"/v1/{SCHEMA}/{new_token()}", large, "Expect: 100-continue"))
    assert listen_to(connection).statuses == [401]  # without having been asked for a gigabyte


# Anything at all

MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "insert", "delete", "repeat"]),
        st.integers(0, 400),
        st.one_of(
            st.binary(min_size=1, max_size=3), st.sampled_from([b"\r\n", b"\n", b"\0", b" ", b":", b";", b"0", b"-"])
        ),
    ),
    min_size=1,
    max_size=4,
)


def mutated(message: bytes, mutations: list[tuple[str, int, bytes]]) -> bytes:
    changed = bytearray(message)
    for kind, where, new in mutations:
        at = where % (len(changed) + 1)
        match kind:
            case "put":
                changed[at : at + len(new)] = new
            case "insert":
                changed[at:at] = new
            case "delete":
                del changed[at : at + len(new)]
            case "repeat":
                changed[at:at] = changed[at : at + 10 * len(new)]
    return bytes(changed)


def test_a_good_request_with_bytes_changed_is_stored_as_sent_or_not_at_all(ground: Field) -> None:
    sent: list[bytes] = []

    @given(mutations=MUTATIONS, in_chunks=st.booleans())
    @settings(max_examples=sizes.of(50, 150), derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    def tried(mutations: list[tuple[str, int, bytes]], in_chunks: bool) -> None:
        framing = "Transfer-Encoding: chunked" if in_chunks else LENGTH
        message = mutated(head(ground.path, framing) + (CHUNKS if in_chunks else BODY), mutations)
        sent.append(message + canary(ground))
        connection = connect(ground.port)
        connection.sendall(sent[-1])
        heard = listen_to(connection, 0.3)  # one whose body is awaited is left
        assert set(heard.statuses) <= {100, 200, 400, 401, 404, 405, 408, 431, 503}
        assert not quotes(ground, heard)
        assert ground.receiver.process.poll() is None

    with ground.holds():
        tried()
        time.sleep(BODY_SECONDS)  # those that were left
        stored = ground.bodies()
        assert stored
        assert len(stored) <= len(sent)
        assert all(any(body in message for message in sent) for body in stored)
        assert set(ground.bodies(OTHER)) == {CANARY}
