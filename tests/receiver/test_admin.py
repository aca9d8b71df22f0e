"""The status page's port: what it tells, to whom, and that no delivery is the worse for it."""

import contextlib
import re
import socket
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from receiver import token
from receiver.admin.address import AdminAddress
from receiver.control import ask_sync, socket_path
from receiver.registry import EndpointEntry, Registry, SchemaEntry
from receiver.spool import Spool
from tests.receiver import running
from tests.receiver.admin import get, metrics
from tests.receiver.running import (
    SCHEMA,
    Reply,
    Running,
    event,
    hash_of,
    new_token,
    register,
    set_setting,
    start,
    token_of,
)
from tests.receiver.scene import arrival
from tests.support.postgres import free_port
from tests.support.waiting import until

NAME = "Stitch <b>Customer.io</b>"


FRESH_S = 0.15  # after it a quick receiver looks again


def prepared(home: Path) -> int:
    """The port of the status page of the receiver that will run in `home`."""
    port = free_port()
    set_setting(home, "admin_port", port)
    with Registry(home / "registry.db") as registry:
        registry.put_schema(SchemaEntry(SCHEMA, NAME, "customerio", "upsert"))
    return port


@pytest.fixture
def port(home: Path) -> int:
    return prepared(home)


@pytest.fixture
def path(home: Path, port: int) -> str:
    return register(home)


@pytest.fixture
def receiver(home: Path, path: str) -> Iterator[Running]:
    with running.ended(start(home, server="quick")) as started:
        yield started


class Page(NamedTuple):
    """A status page that its tests only look at, on `port`; `path` is a live endpoint."""

    port: int
    path: str
    receiver: Running


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The module's, with the product's own times."""
    home = tmp_path_factory.mktemp("page") / "dev"
    home.mkdir(mode=0o700)
    port, path = prepared(home), register(home)
    with running.ended(start(home)) as started:
        assert get(port, "/health").status == 200
        yield Page(port, path, started)
    socket_path(home).unlink(missing_ok=True)


def fresh(port: int, path: str = "/") -> Reply:
    """As `get`, but not of a moment before."""
    time.sleep(FRESH_S)
    return get(port, path)


def test_the_page_tells_each_integration_and_what_became_of_its_events(port: int, path: str, receiver: Running) -> None:
    for number in range(3):
        assert receiver.post(path, event(f"e{number}")).status == 200
    receiver.post(path, b"[]")
    receiver.post(path, event("x"), content_encoding="<script>alert(1)</script>")
    receiver.post(f"/v1/{SCHEMA}/{new_token()}", event("y"))
    page = fresh(port)
    text = page.body.decode()
    assert page.status == 200
    assert "Stitch &lt;b&gt;Customer.io&lt;/b&gt;" in text
    assert f"<code>{SCHEMA}</code>" in text
    assert f"<code>{token.fingerprint(hash_of(path))}</code>" in text
    assert '<td class="wide" data-label="version">1</td>' in text
    assert re.search(r">\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+</span></header>", text), "with its time zone"
    assert "<dt>accepted</dt><dd>5</dd>" in text
    assert "<dd>5 waiting</dd>" in text
    assert "Last hour: 5 events, 2 rejected" in text
    assert "not a JSON object" in text
    assert "Content-Encoding isn&#x27;t known" in text
    assert "doesn&#x27;t know the warehouse" in text
    assert "<dd>1</dd><p>answered 401" in text
    assert "<script" not in text
    assert token_of(path) not in text


def test_the_metrics_are_prometheus_s_and_count_each_answer(port: int, path: str, receiver: Running) -> None:
    receiver.post(path, event("a"))
    receiver.post(path, b"[]")
    receiver.post(f"/v1/{SCHEMA}/{new_token()}", event("y"))
    receiver.request("GET", path)
    time.sleep(FRESH_S)
    found = metrics(port)
    assert found["sluice_deliveries_total", "200", SCHEMA] == 2
    assert found["sluice_unmatched_requests_total", "401"] == found["sluice_unmatched_requests_total", "405"] == 1
    assert found["sluice_refused_deliveries_total",] == 1
    assert found["sluice_accepted_events_total", SCHEMA] == found["sluice_spool_events", SCHEMA] == 2
    assert found["sluice_rejected_events_total", SCHEMA] == 0, "it is, when the warehouse has it"
    assert found["sluice_spool_bytes",] == len(event("a")) + 2
    assert 0 < found["sluice_loader_lag_seconds", SCHEMA] < 60
    assert (found["sluice_warehouse_up",], found["sluice_ready",]) == (0, 1)
    used = found["sluice_endpoint_last_used_timestamp_seconds", token.fingerprint(hash_of(path)), SCHEMA, "primary"]
    assert used == pytest.approx(time.time(), abs=60)
    assert found["process_resident_memory_bytes",] > 1e6
    assert found["sluice_build_info", receiver.facts["code"]] == 1
    reply = get(port, "/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    for line in reply.body.decode().splitlines():
        assert line.startswith(("# HELP ", "# TYPE ", "sluice_", "process_"))


def test_each_live_url_has_its_version(home: Path, port: int) -> None:
    with Registry(home / "registry.db") as registry:
        registry.put_endpoint(EndpointEntry("0" * 64, SCHEMA, "primary", "customerio", False, (), 7))
    with running.ended(start(home, server="quick")):
        assert '<td class="wide" data-label="version">7</td>' in get(port, "/").body.decode()


def test_a_clock_that_was_set_back_makes_no_negative_lag(home: Path, port: int, path: str) -> None:
    with Spool(home / "spool.db") as spool:
        spool.append([arrival(event("e"), SCHEMA)._replace(received_at=int((time.time() + 3600) * 1e6))])
    with running.ended(start(home, server="quick")):
        found = metrics(port)
    assert (found["sluice_loader_lag_seconds", SCHEMA], found["sluice_spool_events", SCHEMA]) == (0, 1)


def test_strangers_make_no_new_lines_of_metrics(page: Page) -> None:
    def names() -> set[tuple[str, ...]]:
        found = metrics(page.port)
        return {sample[:-1] if sample[0].startswith("sluice_unmatched_requests") else sample for sample in found}

    before = names()
    for number in range(30):
        page.receiver.post(f"/v1/schema{number}/{new_token()}", event("y"))
        page.receiver.request("GET", f"/{number}")
    time.sleep(1.1)
    assert names() - before <= {("sluice_unmatched_requests_total",)}


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:{}", 200), ("localhost:{}", 200), ("LOCALHOST:{}", 200), ("[::1]:{}", 200),
     ("127.0.0.1", 200), ("localhost:1", 200), ("evil.example:{}", 421), ("evil.example", 421), ("10.1.2.3:{}", 421),
     ("localhost.evil.example:{}", 421), ("localhost@evil.example:{}", 421), ("127.0.0.1:{}:1", 421), ("", 421)],
)  # fmt: skip
def test_only_its_own_names_are_answered(page: Page, host: str, status: int) -> None:
    for path in ("/", "/metrics", "/health", "/ready", "/nothing"):
        reply = get(page.port, path, host=host.format(page.port))
        assert reply.status == (404 if status == 200 and path == "/nothing" else status)
        assert status == 200 or SCHEMA.encode() not in reply.body


@pytest.mark.parametrize(
    ("bound", "is_open", "own", "others"),
    [
        (
            "127.0.0.1",
            False,
            ["localhost:1", "127.0.0.1", "[::1]:80"],
            ["10.1.2.3", "[fe80::1]", "box", "::1:80", ":80"],
        ),
        ("localhost", False, ["localhost:1", "127.0.0.1", "[::1]:80"], ["10.1.2.3", "box"]),
        ("127.0.0.2", False, ["localhost:1", "127.0.0.2:5"], ["127.0.0.3"]),
        ("10.1.2.3", True, ["10.1.2.3:8788", "10.9.9.9", "[fe80::1]:80", "localhost:1"], ["box", "evil.example:8788"]),
        ("::", True, ["[::1]:1", "[2001:db8::1]", "10.1.2.3"], ["box.example.com", "[box]", "[", "", "10.1.2.3.evil"]),
        ("box.example.com", True, ["BOX.example.com:1", "10.1.2.3", "localhost"], ["evil.example", "example.com"]),
    ],
)
def test_an_address_answers_to_itself_and_where_others_may_come_to_addresses_but_to_no_other_name(
    bound: str, is_open: bool, own: list[str], others: list[str]
) -> None:
    where = AdminAddress(bound, 8788)
    assert where.is_open == is_open
    assert [each for each in own if not where.answers_to(each)] == []
    assert [each for each in others if where.answers_to(each)] == []
    assert where.url == ("http://[::1]:8788/" if bound == "::" else f"http://{bound}:8788/")


def test_told_so_it_listens_on_every_address_says_that_it_is_open_and_still_looks_at_the_name(
    home: Path, port: int, path: str
) -> None:
    set_setting(home, "admin_host", "0.0.0.0")  # noqa: S104
    with running.ended(start(home, server="quick")) as receiver:
        assert get(port, "/health").status == 200
        assert get(port, "/", host=f"10.1.2.3:{port}").status == 200
        assert get(port, "/", host=f"evil.example:{port}").status == 421
        told = {"port": port, "url": f"http://127.0.0.1:{port}/", "open": True, "trouble": None}
        assert ask_sync(home, "status")["admin"] == told
        assert "others than this machine may reach it" in receiver.log()
        set_setting(home, "admin_host", None)
        assert until(lambda: get_or_none(port, f"10.1.2.3:{port}") == 421)
        assert not ask_sync(home, "status")["admin"]["open"]


def test_an_address_that_is_not_this_machine_s_is_said_and_keeps_no_delivery_out(
    home: Path, port: int, path: str
) -> None:
    set_setting(home, "admin_host", "192.0.2.1")
    with running.ended(start(home, server="quick")) as receiver:
        assert receiver.post(path, event("e")).status == 200
        trouble = until(lambda: ask_sync(home, "status")["admin"]["trouble"])
        assert trouble.startswith(f"can't listen on 192.0.2.1, port {port}: ")
        set_setting(home, "admin_host", "127.0.0.1")
        assert get(port, "/health").status == 200


def test_every_answer_forbids_what_a_browser_might_do_with_it(page: Page) -> None:
    for reply in (
        get(page.port, "/"),
        get(page.port, "/metrics"),
        get(page.port, "/no"),
        get(page.port, "/", "POST"),
        get(page.port, "/", host="x"),
    ):
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in reply.headers


def test_it_takes_no_delivery_and_the_receiver_s_port_shows_nothing_of_it(page: Page) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
        reply = get(page.port, page.path, method, body=event("x"))
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
    assert ask_sync(page.receiver.home, "status")["schemas"] == {}
    for shown in ("/", "/metrics", "/health", "/ready"):
        assert page.receiver.request("GET", shown).status == 404
    head = get(page.port, "/", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["content-length"]) > 1000


def test_nonsense_is_answered_or_cut_off_and_quotes_nothing(page: Page) -> None:
    for sent in (
        b"nonsense <b>\r\n\r\n",
        b"GET /<b> HTTP/9.9\r\n\r\n",
        b"GET " + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode(),
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
    ):
        with socket.create_connection(("127.0.0.1", page.port), timeout=10) as connection, contextlib.suppress(OSError):
            connection.sendall(sent)
            answer = connection.makefile("rb").read()
            assert b"<b>" not in answer
            assert b" 200 " not in answer
    assert get(page.port, "/health").status == 200


def test_a_length_below_nothing_is_none(page: Page) -> None:
    with socket.create_connection(("127.0.0.1", page.port), timeout=30) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nContent-Length: -1\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 405 "), "though the body never ends"


def test_a_request_that_trickles_in_is_cut_off(page: Page) -> None:
    with socket.create_connection(("127.0.0.1", page.port), timeout=0.2) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nx: ")
        for _ in range(300):  # a byte each fifth of a second
            try:
                connection.sendall(b"x")
                assert connection.recv(1000) == b""
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            raise AssertionError("it holds the connection for as long as it likes")


def test_a_page_is_made_once_a_second_however_many_ask(page: Page) -> None:
    get(page.port, "/")
    asked = 60
    with ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(lambda _: get(page.port, "/metrics").body, range(asked)))
    assert len(set(pages)) < asked / 2, "each has the processor time of its making"


def test_health_and_readiness(port: int, home: Path, path: str, receiver: Running) -> None:
    assert (get(port, "/health").body, get(port, "/ready").body) == (b"ok\n", b"ok\n")
    set_setting(home, "keep_free_bytes", 2**60)
    assert until(lambda: fresh(port, "/ready").status == 503)
    assert b"bytes are left" in get(port, "/ready").body
    assert get(port, "/health").status == 200
    assert "The spool takes no events" in fresh(port).body.decode()
    set_setting(home, "keep_free_bytes", 0)
    assert until(lambda: fresh(port, "/ready").status == 200), "although no delivery has tried"
    for file in home.glob("registry.db*"):
        file.unlink()
    assert until(lambda: fresh(port, "/ready").status == 503)
    assert b"registry" in get(port, "/ready").body
    assert receiver.post(path, event("still")).status == 200


def test_a_spool_that_another_holds_makes_it_not_ready_and_the_page_shows_what_was(
    port: int, home: Path, path: str, receiver: Running
) -> None:
    receiver.post(path, event("e"))
    assert "<dt>accepted</dt><dd>1</dd>" in fresh(port).body.decode()
    with contextlib.closing(sqlite3.connect(home / "spool.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(FRESH_S)
        started = time.monotonic()
        assert get(port, "/ready").status == 503
        assert get(port, "/health").status == 200
        page = get(port, "/")
        assert time.monotonic() - started < 8
        assert page.status == 200
        assert "<dt>accepted</dt><dd>1</dd>" in page.body.decode()
        other.execute("ROLLBACK")
    until(lambda: fresh(port, "/ready").status == 200)


def test_a_taken_port_keeps_no_delivery_out_is_said_and_is_taken_when_it_is_free(home: Path, path: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        set_setting(home, "admin_port", port)
        with running.ended(start(home, server="quick")) as receiver:
            assert receiver.post(path, event("e")).status == 200
            trouble = until(lambda: ask_sync(home, "status")["admin"]["trouble"])
            assert f"port {port} is taken by another process" in trouble
            assert "set sluice:adminPort in Pulumi.dev.yaml" in trouble
            assert trouble in receiver.log()
            other.close()
            until(lambda: ask_sync(home, "status")["admin"]["trouble"] is None, 15)
            assert get(port, "/health").status == 200


def test_another_port_and_none_are_followed_without_a_restart(home: Path, port: int, receiver: Running) -> None:
    assert get(port, "/health").status == 200
    other = free_port()
    set_setting(home, "admin_port", other)
    assert get(other, "/health").status == 200
    set_setting(home, "admin_port", 0)

    def refuses(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    assert until(lambda: refuses(port) and refuses(other))
    assert ask_sync(home, "status")["admin"]["trouble"] is None


def test_a_successor_takes_it_over_with_its_history(home: Path, port: int, path: str, receiver: Running) -> None:
    receiver.post(path, event("a"))
    receiver.post(path, b"[]")
    assert "Last hour: 2 events, 1 rejected" in fresh(port).body.decode()
    with running.ended(start(home, server="quick", port=receiver.port)) as new:
        new.post(path, event("b"))
        assert receiver.process.wait(30) == 0
        text = until(lambda: seen if f"pid {new.process.pid}" in (seen := fresh(port).body.decode()) else None)
        assert "Last hour: 3 events, 1 rejected" in text
        assert "there is no status page" not in new.log()


def test_senders_are_served_while_the_page_is_asked_by_too_many(port: int, path: str, receiver: Running) -> None:
    get(port, "/")
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    for number in range(50):
        assert receiver.post(path, event(f"e{number}")).status == 200
    for each in silent:
        each.close()
    assert until(lambda: get_or_none(port) == 200)


def get_or_none(port: int, host: str | None = None) -> int | None:
    with contextlib.suppress(ConnectionError):
        return get(port, "/health", host=host).status
    return None


def test_a_broken_history_costs_the_charts_alone(home: Path, port: int, path: str) -> None:
    (home / "history.db").write_bytes(b"not a database, but long enough to be looked at as one " * 50)
    with running.ended(start(home, server="quick")) as receiver:
        assert receiver.post(path, event("e")).status == 200
        assert fresh(port).status == 200
    (home / "history.db").unlink()
    (home / "history.db").mkdir()
    with running.ended(start(home, server="quick")) as receiver:
        assert receiver.post(path, event("f")).status == 200
        assert "<dt>accepted</dt><dd>2</dd>" in fresh(port).body.decode()
        assert "the charts are left out" in receiver.log()


def test_the_probe_leaves_the_order_of_rows_alone(home: Path) -> None:
    with Spool(home / "spool.db") as spool:
        first, _ = spool.append([arrival(event("a"))])
        spool.append([])
        second, _ = spool.append([arrival(event("b"))])
        assert second > first
        assert [row.event_id for row in spool.read("s", 0, 10, 10**6)] == ["a", "b"]
        assert spool.oldest() == {"s": 1_790_000_000_000_000}
