"""Which endpoint a person means, and how deliveries are posted to it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from receiver import token
from tools import deliveries, endpoints, local
from tools.stack import Stack
from tools.table import table

PRINTED = token.printed("a" * 43)


def outputs(**names: str) -> dict[str, Any]:
    made = {
        schema: {
            "name": name,
            "source": "customerio",
            "schema": schema,
            "active": "primary",
            "slots": {
                slot: {"url": f"http://127.0.0.1:8787/v1/{schema}/{PRINTED}", "version": 2.0}
                for slot in ("secondary", "primary")
            },
        }
        for schema, name in names.items()
    }
    return {"integrations": made}


TWO = endpoints.of(outputs(stitch_customerio="Stitch Customer.io", other="Other"))


def test_an_endpoint_shows_fingerprint_and_host_and_never_its_url() -> None:
    endpoint = TWO[0]
    assert (endpoint.slot, endpoint.active, endpoint.version) == ("primary", True, 2)
    assert endpoint.fingerprint == token.fingerprint(token.digest(PRINTED))
    assert endpoint.host == "127.0.0.1:8787"
    assert PRINTED not in f"{endpoint!r} {endpoint}"


@pytest.mark.parametrize(
    "name", ["Stitch Customer.io", "stitch customer.io", "stitch_customerio", " Stitch Customer.io"]
)
def test_it_is_found_by_display_or_schema_name(name: str) -> None:
    assert endpoints.chosen(TWO, name, "secondary") is TWO[1]


def test_the_name_may_be_left_out_where_there_is_one() -> None:
    assert endpoints.chosen(TWO[:2], "", "primary") is TWO[0]


@pytest.mark.parametrize(
    ("given", "name", "slot", "says"),
    [
        (TWO, "Stich", "primary", 'no integration "Stich"; there is "Stitch Customer.io", "Other"'),
        (TWO, "", "primary", "which integration"),
        (TWO, "other", "tertiary", 'no slot "tertiary"; it has primary, secondary'),
        ([], "other", "primary", "run make up"),
    ],
)
def test_otherwise_what_there_is_is_listed(given: Any, name: str, slot: str, says: str) -> None:
    with pytest.raises(endpoints.NoSuchEndpoint) as error:
        endpoints.chosen(given, name, slot)
    assert says in str(error.value)
    assert PRINTED not in str(error.value)


def test_a_stack_without_outputs_has_no_endpoint() -> None:
    assert endpoints.of({}) == []


@pytest.fixture
def sender() -> Iterator[Any]:
    """A server that answers 200, but 401 to a body with `bad`, and keeps what it was sent; it closes at `close`."""
    received: list[tuple[str, bytes, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if body == b'"close"' and sum(b == body for _, b, _ in received) == 0:
                received.append((self.path, body, self.headers))
                self.connection.close()
                self.close_connection = True
                return
            received.append((self.path, body, self.headers))
            self.send_response(401 if b"bad" in body else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/s/t", received
    server.shutdown()
    thread.join()
    server.server_close()


def test_deliveries_are_posted_as_they_stand_and_counted_by_answer(sender: Any, tmp_path: Path) -> None:
    url, received = sender
    file = tmp_path / "a file.jsonl"
    file.write_bytes('{"a": 1}\r\n\n{"bad": "é"}\nnot json\n'.encode())
    assert deliveries.send(url, deliveries.bodies([file])).statuses == {200: 2, 401: 1}
    assert [body for _, body, _ in received] == [b'{"a": 1}', '{"bad": "é"}'.encode(), b"not json"]
    assert received[0][0] == "/v1/s/t"
    assert "X-CIO-Signature" not in received[0][2]


def test_what_is_taken_and_is_no_event_is_counted_as_rejected(sender: Any) -> None:
    url, _ = sender
    answers = deliveries.send(url, [b'{"event_id": "a"}', b"{}", b'{"bad": 1}'])
    assert (answers.statuses, answers.rejected) == ({200: 2, 401: 1}, 1), "a reject is one of those answered 200"


def test_a_connection_that_breaks_is_opened_again(sender: Any) -> None:
    url, received = sender
    assert deliveries.send(url, [b"1", b'"close"', b"2"]).statuses == {200: 3}
    assert [body for _, body, _ in received] == [b"1", b'"close"', b'"close"', b"2"]


def test_the_signature_is_customerios() -> None:
    """The vector of Customer.io's scheme that the receiver's tests check against, too."""
    body = (
        b'{"event_id":"01E4C4CT6YDC7Y5M7FE1GWWPQJ","object_type":"email","metric":"sent",'
        b'"timestamp":1613063089,"data":{}}'
    )
    expected = "81193d814ee63ba1736ce5ef8c586c0aaf4911b8cca87533ed245a062735482a"
    assert deliveries.signature("test-signing-key", "1613063089", body) == expected


def test_with_a_key_each_delivery_is_signed(sender: Any) -> None:
    url, received = sender
    deliveries.send(url, [b"{}"], signing_key="k")
    headers = received[0][2]
    assert headers["X-CIO-Signature"] == deliveries.signature("k", headers["X-CIO-Timestamp"], b"{}")


def test_an_endpoint_that_is_down_is_told_without_its_url() -> None:
    with pytest.raises(deliveries.EndpointDown) as error:
        deliveries.send(f"http://127.0.0.1:9/v1/s/{PRINTED}", [b"{}"])
    assert PRINTED not in str(error.value)
    assert "127.0.0.1:9" in str(error.value)
    assert error.value.__suppress_context__


def test_columns_are_aligned() -> None:
    assert table(["a", "bb"], [("ccc", 1), ("", 22)]) == "a    bb\nccc  1\n     22"


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"destroyData": True, "adopt": False}, "will drop schema s (S) with all its data"),
        ({"destroyData": True, "adopt": True}, "keeps schema s (S)"),
        ({"destroyData": False}, "keeps schema s (S)"),
    ],
)
def test_down_lists_what_it_drops_and_keeps(inputs: dict[str, Any], says: str) -> None:
    schema = {"type": "sluice:index:PostgresSchema", "inputs": {"name": "s", "displayName": "S", **inputs}}
    place = local.ThisMachine(Stack(Path("/nowhere"), "dev", {}))
    assert place.loss([{"type": "pulumi:pulumi:Stack"}, schema]) == [says]
