"""Connections that are slow, silent, broken off or many: they end in time, and cost a good sender nothing."""

import contextlib
import resource
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver import app, server
from receiver.control import ReceiverDown, ask_sync
from tests.hostile.raw import (
    BODY,
    CHUNKS,
    DELIVERIES,
    DESCRIPTORS,
    LENGTH,
    OTHER,
    Field,
    chunk,
    connect,
    head,
    listen_to,
    opened,
    post,
    reset,
    talk,
)
from tests.receiver.running import SCHEMA, event
from tests.support.waiting import until

BODY_SECONDS = 1.0
HEAD_SECONDS = 1.5
ANSWER_SECONDS = 1.0
LATE = 8.0  # how much later than at its deadline a busy machine may end a connection
SILENT = 2000


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("connections") / "dev"
    deadlines = {"body": BODY_SECONDS, "head": HEAD_SECONDS, "answer": ANSWER_SECONDS}
    args = [arg for name, seconds in deadlines.items() for arg in (f"--{name}-seconds", str(seconds))]
    with opened(folder, *args) as made:
        yield made


@pytest.fixture
def many_descriptors() -> Iterator[int]:
    """How many this process may have, for a client of thousands of connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SILENT + 1000 if hard == resource.RLIM_INFINITY else min(SILENT + 1000, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def drip(port: int, start: bytes, rest: bytes, count: int) -> list[tuple[bytes, float]]:
    """`count` connections that write `start` at once and then a byte of `rest` every 50 ms, whatever they hear.

    Returns for each the answer, and how long after its start the receiver ended it.
    """
    began = time.monotonic()
    dripping = {connect(port): bytearray() for _ in range(count)}
    for connection in dripping:
        connection.sendall(start)
        connection.setblocking(False)
    ended: dict[socket.socket, tuple[bytes, float]] = {}
    with selectors.DefaultSelector() as selector:
        for connection in dripping:
            selector.register(connection, selectors.EVENT_READ)
        for byte in rest:
            for connection in dripping.keys() - ended.keys():
                with contextlib.suppress(OSError):
                    connection.send(bytes([byte]))
            give_up = time.monotonic() + 0.05
            while (left := give_up - time.monotonic()) > 0 and len(ended) < count:
                for key, _ in selector.select(left):
                    connection = key.fileobj  # type: ignore[assignment]
                    assert isinstance(connection, socket.socket)
                    try:
                        heard = connection.recv(2**16)
                    except OSError:
                        heard = b""
                    dripping[connection] += heard
                    if not heard:
                        selector.unregister(connection)
                        ended[connection] = bytes(dripping[connection]), time.monotonic() - began
            if len(ended) == count:
                break
    for connection in dripping:
        connection.close()
    assert len(ended) == count, "each was ended before all was written"
    return list(ended.values())


def test_heads_that_trickle_in_are_cut_off_in_time_and_leave_nothing(field: Field) -> None:
    ends = drip(field.port, head(field.path)[:-2] + b"X: ", b"a" * 1000, count=100)
    assert {answer for answer, _ in ends} == {b""}  # granian says nothing
    assert min(seconds for _, seconds in ends) > HEAD_SECONDS - 1
    assert max(seconds for _, seconds in ends) < HEAD_SECONDS + LATE
    assert field.rows() == []


def test_a_connection_s_next_head_has_the_same_time_as_its_first(field: Field) -> None:
    ends = drip(field.port, head("/", method="GET") + head(field.path)[:-2] + b"X: ", b"a" * 1000, count=20)
    assert all(answer.count(b"HTTP/1.1 ") == 1 and answer.startswith(b"HTTP/1.1 404 ") for answer, _ in ends)
    assert max(seconds for _, seconds in ends) < HEAD_SECONDS + LATE


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_bodies_that_trickle_in_are_answered_408_in_time_counted_and_told(field: Field, framing: str) -> None:
    before = field.count(DELIVERIES, schema=SCHEMA, code="408")
    is_chunked = framing.endswith("chunked")
    ends = drip(field.port, head(field.path, framing), b"1\r\n \r\n" * 100 if is_chunked else b" " * 600, count=50)
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer, _ in ends)
    assert max(seconds for _, seconds in ends) < BODY_SECONDS + LATE
    field.rises(DELIVERIES, before + 49, schema=SCHEMA, code="408")
    assert field.logged("a delivery was not taken in whole", schema=SCHEMA, reason="its body took too long")
    assert field.rows() == []


@pytest.mark.nightly
def test_a_receiver_that_is_told_no_deadlines_has_those_that_are_documented(tmp_path: Path) -> None:
    with opened(tmp_path / "dev") as field:
        began = time.monotonic()
        silent, half = connect(field.port), connect(field.port)
        half.sendall(head(field.path, LENGTH) + BODY[:-1])
        assert (listen_to(silent, server.HEAD_SECONDS + LATE)[1:], listen_to(half).statuses) == ((b"", True), [408])
        assert time.monotonic() - began >= app.BODY_SECONDS


def test_how_many_were_cut_does_not_fill_the_log(field: Field) -> None:
    connections = [connect(field.port) for _ in range(200)]
    for connection in connections:
        connection.sendall(head(field.other, "Transfer-Encoding: chunked") + b"z\r\n")
    assert [listen_to(connection).statuses for connection in connections] == [[503]] * 200
    assert 0 < len(field.logged("a delivery was not taken in whole", schema=OTHER)) <= 60  # 20 in each minute begun


def test_silent_connections_by_the_thousand_are_closed_and_delay_no_good_sender(
    field: Field, many_descriptors: int
) -> None:
    count = min(SILENT, many_descriptors - 300)
    answered = field.good.answered
    silent = [connect(field.port) for _ in range(count)]
    try:
        until(lambda: field.good.answered > answered + 5)
        assert field.send(post(field.path, BODY, "Connection: close")).statuses == [200]
        assert {listen_to(connection, HEAD_SECONDS + LATE)[1:] for connection in silent} == {(b"", True)}
    finally:
        for connection in silent:
            connection.close()
    assert field.bodies() == [BODY]


def test_beyond_its_connections_others_wait_and_the_receiver_keeps_its_descriptors(tmp_path: Path) -> None:
    """A limit of 200 descriptors: half of them are for connections, and more than there are come at once."""
    folder = tmp_path / "dev"
    with opened(folder, "--head-seconds", str(HEAD_SECONDS), server="few_descriptors") as field:
        assert field.count("process_max_fds") == 200
        with field.holds():
            silent = [connect(field.port) for _ in range(250)]
            until(lambda: field.process.num_fds() >= 100)
            assert ask_sync(folder, "status")["spool"]["trouble"] is None  # a file, a socket and a thread were had
            assert until(lambda: field.logged("nearly all connections are in use", most=100))
            assert field.send(post(field.path, BODY, "Connection: close")).statuses == [200]  # it has waited
            assert field.process.num_fds() < 190
            for connection in silent:
                connection.close()
        assert len(field.logged("nearly all connections are in use")) <= 3
        assert field.bodies() == [BODY]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets one process limit another")
def test_the_control_socket_outlives_a_time_without_descriptors(field: Field) -> None:
    home = field.receiver.home
    limits = field.process.rlimit(resource.RLIMIT_NOFILE)
    field.process.rlimit(resource.RLIMIT_NOFILE, (4, limits[1]))  # of those that it has none is taken away
    try:
        with pytest.raises(ReceiverDown):
            for _ in range(3):  # the first gets a descriptor that the waiting thread already had
                ask_sync(home, "ping", timeout=1)
        until(lambda: field.logged("can't take a control request"))
    finally:
        field.process.rlimit(resource.RLIMIT_NOFILE, limits)
    assert ask_sync(home, "ping")["pid"] == field.process.pid


# Ends in the middle


@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        (LENGTH, BODY[:-1]),
        ("Content-Length: 100000", BODY),
        ("Transfer-Encoding: chunked", CHUNKS[:-12]),
        ("Content-Le", b""),
    ],
    ids=["body", "large body", "chunks", "head"],
)
def test_a_sender_that_stops_half_way_and_waits_is_not_waited_for(field: Field, framing: str, sent: bytes) -> None:
    start = head(field.path, framing) + sent if sent else head(field.path, framing)[:-4]
    heard = talk(field.port, start, half_close=True)
    assert heard.closed
    assert heard.statuses in ([503], [])  # hyper ends the connection of one that will send no more
    assert field.rows() == []


@pytest.mark.parametrize(("framing", "sent"), [(LENGTH, BODY), ("Transfer-Encoding: chunked", CHUNKS)])
def test_a_sender_that_closes_its_half_is_told_200_only_of_what_is_stored_and_may_be_told_nothing(
    field: Field, framing: str, sent: bytes
) -> None:
    """hyper takes such an end as one of both halves, and granian has no setting for it. No known HTTP client does it;
    one that did would post again, and the event would be stored again under its id."""
    for _ in range(10):
        heard = talk(field.port, head(field.path, framing) + sent, half_close=True)
        assert heard.closed
        assert heard.statuses in ([200], [])
        assert heard.statuses == [] or BODY in field.bodies()
    assert set(field.bodies()) <= {BODY}
    assert field.send(head(field.path, framing, "Connection: close") + sent).statuses == [200]


def test_resets_at_every_byte_leave_whole_events_or_none(field: Field) -> None:
    messages = [
        head(field.path, LENGTH) + BODY,
        head(field.path, "Transfer-Encoding: chunked") + chunk(BODY[:9]) + chunk(BODY[9:]) + b"0\r\n\r\n",
    ]
    for message in messages:
        for end in range(len(message) + 1):
            connection = connect(field.port)
            connection.sendall(message[:end])
            if end % 2:
                time.sleep(0.001)  # so that some are read before their end
            reset(connection)
    assert field.send(post(field.path, event("last"), "Connection: close")).statuses == [200]
    until(lambda: event("last") in field.bodies())
    assert set(field.bodies()) <= {BODY, event("last")}


@pytest.mark.skipif(sys.platform != "linux", reason="the option is Linux's")
def test_clients_that_never_read_their_answers_are_given_up(field: Field) -> None:
    """The kernel does it: granian would wait for ever, as long as the client's window is shut."""
    asked = head("/", method="GET") * 100
    before = field.process.num_fds()
    deaf = [connect(field.port, SO_RCVBUF=4096) for _ in range(20)]
    for connection in deaf:
        connection.settimeout(0.1)
        with pytest.raises(OSError):
            for _ in range(20_000):
                connection.sendall(asked)
    until(lambda: field.process.num_fds() <= before + DESCRIPTORS, ANSWER_SECONDS + LATE)
    for connection in deaf:
        connection.close()
