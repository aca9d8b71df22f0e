"""Signed deliveries that were repeated, altered or made up: the signature of exactly these bytes decides, and nothing
else. How old its timestamp is does not: Customer.io repeats a delivery for seven days, perhaps with the first signature
(its documentation does not say), and what is repeated is the same event again."""

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.registry import EndpointEntry, Registry
from receiver.signature import Check, is_valid
from tests.hostile.stack import Stack, standing
from tests.receiver.running import SCHEMA, event, hash_of
from tests.support.postgres import PostgresServer
from tests.support.secrecy import places_of
from tests.support.waiting import until

KEY, PREVIOUS = "the-signing-key-of-now", "the-signing-key-before"
BODY = b'{"event_id": "signed", "object_type": "email", "metric": "sent", "timestamp": 1767225600, "data": {}}\n'
AT = "1767225605"


def signature(timestamp: str, body: bytes, key: str = KEY, version: str = "v0") -> str:
    return hmac.new(key.encode(), f"{version}:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()


RIGHT = signature(AT, BODY)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Stack]:
    """Its endpoint takes signed deliveries alone."""
    with standing(tmp_path_factory.mktemp("signatures") / "dev", postgres, loading="upsert") as made:
        entry = EndpointEntry(hash_of(made.path), SCHEMA, "primary", "customerio", True, (KEY, PREVIOUS))
        with Registry(made.receiver.home / "registry.db") as registry:
            registry.put_endpoint(entry)
        until(lambda: made.receiver.post(made.path, b"").status == 401)
        yield made


def deliver(stack: Stack, body: bytes, timestamp: str | None = None, key: str = KEY) -> int:
    """Posts it as Customer.io does; returns the status."""
    timestamp = timestamp or str(int(time.time()))
    signed = signature(timestamp, body, key)
    return stack.receiver.post(stack.path, body, x_cio_timestamp=timestamp, x_cio_signature=signed).status


def is_well(stack: Stack) -> bool:
    """Whether the same process still takes a good sender's event into the warehouse."""
    assert stack.receiver.process.poll() is None
    made = f"good {time.time_ns()}"
    assert deliver(stack, event(made)) == 200
    return bool(until(lambda: stack.rows(f"SELECT 1 FROM {SCHEMA}.data WHERE event_id = '{made}'"), 60))


def raw(stack: Stack, body: bytes, *headers: tuple[str, str]) -> int:
    """Posts it with just those headers, in that order, however often each; returns the status."""
    head = f"POST {stack.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    with socket.create_connection(("127.0.0.1", stack.receiver.port), timeout=30) as connection:
        connection.sendall((head + lines + "\r\n").encode("latin-1") + body)
        answer = connection.recv(4096)
    return int(answer.split()[1])


# Replays


def test_a_delivery_that_is_repeated_is_answered_200_and_is_one_row(stack: Stack) -> None:
    """At once and one after another, with the same signature and with new ones, by either key."""
    body = event("repeated")
    week_ago = str(int(time.time()) - 7 * 86400)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.extend(deliver(stack, body, week_ago) for _ in range(5)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses += [deliver(stack, body, timestamp, key) for timestamp in (week_ago, AT, None) for key in (KEY, PREVIOUS)]
    assert statuses == [200] * 26
    assert is_well(stack)
    assert stack.rows(f"SELECT count(*) FROM {SCHEMA}.data WHERE event_id = 'repeated'") == [(1,)]


def test_a_repeated_delivery_changes_nothing_of_its_event(stack: Stack) -> None:
    body = event("unchanged")
    row = f"SELECT object_type, metric, timestamp, payload FROM {SCHEMA}.data WHERE event_id = 'unchanged'"
    assert deliver(stack, body, AT) == 200
    before = until(lambda: stack.rows(row), 60)
    assert deliver(stack, body, AT) == 200
    assert is_well(stack)
    assert stack.rows(row) == before


# The clock


def of_now(seconds: int) -> str:
    return str(int(time.time()) + seconds)


TIMESTAMPS = [
    *(of_now(60 * minutes) for minutes in (0, -4, -5, -6, 5, -10, 10)),
    *(of_now(86400 * days) for days in (-6, -7, -8, -3650, 1, 3650)),
    *("0", "-1", "1", str(2**31 - 1), str(2**31), str(2**63), "9" * 400),
    *("1767225605.5", "1.767225605e9", "01767225605", "+1767225605", "0x6955", "1 767 225 605", "soon", "v0:1", "::"),
]


@pytest.mark.parametrize("timestamp", TIMESTAMPS, ids=range(len(TIMESTAMPS)))
def test_a_timestamp_is_text_that_was_signed_and_no_age(stack: Stack, timestamp: str) -> None:
    """Any that was signed is taken, and none that was not, however near."""
    assert deliver(stack, BODY, timestamp) == 200
    signed = signature(timestamp, BODY)
    near = [timestamp + "0", "0" + timestamp, timestamp[:-1], timestamp[:-1] + chr(ord(timestamp[-1]) ^ 1)]
    for other in near:
        assert stack.receiver.post(stack.path, BODY, x_cio_timestamp=other, x_cio_signature=signed).status == 401


# What is altered, and what is made up


def _flipped() -> Iterator[tuple[str, str, bytes, str]]:
    for at in range(len(BODY)):
        changed = BODY[:at] + bytes([BODY[at] ^ 1]) + BODY[at + 1 :]
        yield f"byte {at} of the body", AT, changed, RIGHT
    for at in range(len(AT)):
        changed_at = AT[:at] + chr(ord(AT[at]) ^ 1) + AT[at + 1 :]
        yield f"digit {at} of the timestamp", changed_at, BODY, RIGHT
    for at in range(64):
        digit = format(int(RIGHT[at], 16) ^ 1, "x")
        yield f"digit {at} of the signature", AT, BODY, RIGHT[:at] + digit + RIGHT[at + 1 :]


def _forged() -> Iterator[tuple[str, str, bytes, str]]:
    yield "no signature", AT, BODY, ""
    yield "no timestamp", "", BODY, RIGHT
    yield "neither", "", BODY, ""
    yield "in capitals", AT, BODY, RIGHT.upper()
    yield "half in capitals", AT, BODY, RIGHT[:32] + RIGHT[32:].upper()
    yield "cut short", AT, BODY, RIGHT[:-1]
    yield "its first half", AT, BODY, RIGHT[:32]
    yield "its first digit", AT, BODY, RIGHT[0]
    yield "longer", AT, BODY, RIGHT + "0"
    yield "twice", AT, BODY, RIGHT + RIGHT
    yield "in a list", AT, BODY, f"{RIGHT},{RIGHT}"
    yield "with its version", AT, BODY, "v0=" + RIGHT
    yield "as others write it", AT, BODY, "sha256=" + RIGHT
    yield "in quotes", AT, BODY, f'"{RIGHT}"'
    yield "in base64", AT, BODY, base64.b64encode(bytes.fromhex(RIGHT)).decode()
    yield "zeros", AT, BODY, "0" * 64
    yield "not ASCII", AT, BODY, "\xe9" * 64
    yield "a fullwidth digit", AT, BODY, "\xb2" + RIGHT[1:]
    yield "very long", AT, BODY, RIGHT * 200
    yield "the body shorter", AT, BODY[:-1], RIGHT
    yield "the body longer", AT, BODY + b" ", RIGHT
    yield "no body", AT, b"", RIGHT
    yield "the body in other words", AT, json.dumps(json.loads(BODY)).encode(), RIGHT
    yield "a colon moved to the body", AT[:-1], AT[-1:].encode() + b":" + BODY, RIGHT
    yield "another version", AT, BODY, signature(AT, BODY, version="v1")
    yield "the body alone", AT, BODY, hmac.new(KEY.encode(), BODY, hashlib.sha256).hexdigest()
    yield "no timestamp in it", AT, BODY, signature("", BODY)
    yield "another key", AT, BODY, signature(AT, BODY, "another")
    yield "no key", AT, BODY, signature(AT, BODY, "")
    yield "the key and more", AT, BODY, signature(AT, BODY, KEY + "\0more")
    yield "both keys", AT, BODY, signature(AT, BODY, KEY + PREVIOUS)
    yield (
        "another hash",
        AT,
        BODY,
        hmac.new(KEY.encode(), b"v0:" + AT.encode() + b":" + BODY, "sha512").hexdigest()[:64],
    )
    yield "no hmac", AT, BODY, hashlib.sha256(b"v0:" + AT.encode() + b":" + BODY).hexdigest()


FORGED = {name: (at, body, forged) for name, at, body, forged in (*_flipped(), *_forged())}


def let_in(stack: Stack) -> set[str]:
    """Which of the forged deliveries are not answered 401."""
    found = set()
    for name, (timestamp, body, forged) in FORGED.items():
        if raw(stack, body, ("X-CIO-Timestamp", timestamp), ("X-CIO-Signature", forged)) != 401:
            found.add(name)
    return found


def test_nothing_that_differs_in_one_bit_is_let_in_and_it_is_counted_and_told_of_once(stack: Stack) -> None:
    assert raw(stack, BODY, ("X-CIO-Timestamp", AT), ("X-CIO-Signature", RIGHT)) == 200
    assert is_well(stack)
    after = stack.sequence()
    answered, refused = ("sluice_deliveries_total", "401", SCHEMA), ("sluice_refused_deliveries_total",)
    before = stack.metrics()
    lines = len(stack.lines())
    assert let_in(stack) == set()
    until(lambda: stack.metrics()[answered] >= before[answered] + len(FORGED))
    assert stack.metrics()[refused] >= before[refused] + len(FORGED)
    assert is_well(stack)
    assert len(stack.landed(1, after)) == 1, "the good sender's"
    told = [line for line in stack.lines()[lines:] if line["event"] == "refused a delivery"]
    minutes = {line["ts"][:16] for line in stack.lines()}
    assert len(told) <= len(minutes) + 1, "once a minute for each token"
    log = {"log": stack.receiver.log().encode()}
    assert [places_of(each, log) for each in (KEY, PREVIOUS, RIGHT, stack.path.rsplit("/", 1)[1])] == [[]] * 4
    reasons = {line["reason"] for line in stack.lines() if line["event"] == "refused a delivery"}
    assert reasons == {"its signature is missing or wrong"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("X-CIO-Signature", RIGHT), ("X-CIO-Signature", "0" * 64)], 200),
        ([("X-CIO-Signature", "0" * 64), ("X-CIO-Signature", RIGHT)], 401),
        ([("X-CIO-Signature", RIGHT), ("X-CIO-Timestamp", "1")], 200),
        ([("x-cio-signature", RIGHT)], 200),
        ([("X-CIO-SIGNATURE", f"  {RIGHT}\t")], 200),
        ([("X-CIO-Signature-256", RIGHT)], 401),
        ([("X_CIO_Signature", RIGHT)], 401),
        ([("X-CIO-Signature", RIGHT[:32]), ("X-CIO-Signature", RIGHT[32:])], 401),
    ],
    ids=range(8),
)
def test_of_two_headers_the_first_counts(stack: Stack, headers: list[tuple[str, str]], status: int) -> None:
    """So that what a proxy put before the sender's own is not overruled, and two halves are no whole."""
    assert raw(stack, BODY, ("X-CIO-Timestamp", AT), *headers) == status
    assert is_well(stack)


def test_an_unusable_body_is_kept_if_it_is_signed(stack: Stack) -> None:
    for body in (b"", b"no JSON", b"\xff" * 100):
        after = stack.sequence()
        assert deliver(stack, body) == 200
        [row] = stack.landed(1, after)
        assert (row.event_id, row.raw) == (None, body)
        assert row.reason


# The check by itself


keys = st.lists(st.text(max_size=20), max_size=3)
header = st.binary(max_size=80).map(lambda value: value.decode("utf-8", "surrogateescape"))  # as it may come


@given(keys, header, st.binary(max_size=200), st.none() | header)
def test_it_is_valid_just_if_it_is_the_hmac_by_one_of_the_keys(
    keys: list[str], timestamp: str, body: bytes, other: str | None
) -> None:
    text = b"v0:" + timestamp.encode("utf-8", "surrogateescape") + b":" + body
    right = [hmac.new(key.encode(), text, hashlib.sha256).hexdigest() for key in keys if key]
    for each in right if other is None else [other]:
        assert is_valid(keys, timestamp, body, each) == (each in right)


class Timeless(Check):
    """Weakened: the timestamp isn't part of it."""

    def __init__(self, keys: Sequence[str], timestamp: str) -> None:
        super().__init__(keys, AT)


class AnyCase(Check):
    """Weakened: upper case is taken as well."""

    def accepts(self, signature: str) -> bool:
        return super().accepts(signature.lower())


class Half(Check):
    """Weakened: half of the digits will do."""

    def accepts(self, signature: str) -> bool:
        return any(code.hexdigest()[:32] == signature[:32] for code in self._codes)


class StartOnly(Check):
    """Weakened: what was given is compared as far as it goes."""

    def accepts(self, signature: str) -> bool:
        return any(code.hexdigest().startswith(signature) for code in self._codes)


class Blind(Check):
    """Weakened: blanks at the end aren't looked at."""

    def update(self, chunk: bytes) -> None:
        super().update(chunk.rstrip(b" "))


def passes(check: Callable[[Sequence[str], str], Check]) -> set[str]:
    """The forged deliveries that a check of that kind takes."""
    found = set()
    for name, (timestamp, body, forged) in FORGED.items():
        one = check((KEY, PREVIOUS), timestamp)
        one.update(body)
        if one.accepts(forged):
            found.add(name)
    return found


@pytest.mark.parametrize(
    ("weakened", "example"),
    [
        (Timeless, "digit 9 of the timestamp"),
        (AnyCase, "half in capitals"),
        (Half, "digit 63 of the signature"),
        (StartOnly, "its first digit"),
        (Blind, "the body longer"),
    ],
)
def test_control_a_weakened_check_lets_some_of_the_forged_in(weakened: type[Check], example: str) -> None:
    assert passes(Check) == set()
    assert example in passes(weakened)


def test_control_a_receiver_with_a_weakened_check_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer
) -> None:
    with standing(tmp_path_factory.mktemp("lenient") / "dev", postgres, server="lenient") as made:
        entry = EndpointEntry(hash_of(made.path), SCHEMA, "primary", "customerio", True, (KEY, PREVIOUS))
        with Registry(made.receiver.home / "registry.db") as registry:
            registry.put_endpoint(entry)
        until(lambda: made.receiver.post(made.path, b"").status == 401)
        assert let_in(made) == {"in capitals", "half in capitals"}
