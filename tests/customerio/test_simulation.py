"""The simulated Customer.io does what Customer.io's documents say, case by case, against a tiny receiver."""

import contextlib
import hashlib
import hmac
import http.client
import itertools
import json
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.customerio import CustomerIO, path_hash, sign
from tests.customerio.app_api import PATH, Call
from tests.customerio.events import CHANNELS, EVENTS, FIELDS, Generator, body_of, name_of
from tests.customerio.sender import (
    ANSWER_LOST,
    EOF,
    FIRST_BACKOFF_S,
    GIVES_UP_AFTER_S,
    HOUR_S,
    REFUSED,
    RESET,
    SERVER_MISBEHAVING,
    TIMEOUT,
    X509,
    NotDrained,
    Pause,
)
from tests.support.waiting import until

HOOK = {"name": "Sluice", "endpoint": "https://example.com/v1/a/b", "events": ["email_sent", "email_opened"]}
HOUR_STATUSES = (400, 401, 402, 403, 404, 405, 410, 429, 500, 502, 521)
VECTOR_BODY = (
    b'{"event_id":"01E4C4CT6YDC7Y5M7FE1GWWPQJ","object_type":"email","metric":"sent","timestamp":1613063089,"data":{}}'
)
VECTORS = [
    (
        "test-signing-key",
        1613063089,
        VECTOR_BODY,
        "81193d814ee63ba1736ce5ef8c586c0aaf4911b8cca87533ed245a062735482a",
    ),
    (
        "demo-signing-key",
        1767225605,
        b'{ "event_id":"01KDVDNA00RT2GZSKYPD8J86G9", "object_type":"email","metric":"clicked","timestamp":1767225600,'
        b'"data":{"subject":"Caf\xc3\xa9 \xe2\x98\x95","href":"https://example.com/a?b=1\\u0026c=2"} }\n',
        "e701cc2b26292115420ee72299c03d0dbe09031e114f8f74933b209026d6a986",
    ),
]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Client:
    """Asks the API as its documents say."""

    def __init__(self, cio: CustomerIO, key: str | None = None) -> None:
        self._host = cio.api_url.removeprefix("http://")
        self._key = cio.key() if key is None else key

    def __call__(self, method: str, path: str = PATH, body: Any = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection(self._host, timeout=10)
        sent = {"Authorization": f"Bearer {self._key}"}
        if body is not None:
            sent["Content-Type"] = "application/json"
        written = body if isinstance(body, bytes | None) else json.dumps(body)
        try:
            connection.request(method, path, written, {**sent, **headers})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read().decode())
        finally:
            connection.close()


class Received(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def event_id(self) -> str:
        return str(json.loads(self.body)["event_id"])


Doing = int | str | Callable[[], int]


class Receiver:
    """Answers what `script` says next (a status, "eof", "reset" or a function that returns a status), then `always`."""

    def __init__(self) -> None:
        self.script: list[Doing] = []
        self.always: Doing = 200
        self.received: list[Received] = []
        self.most_at_once = 0
        self._at_once = 0
        receiver, connections = self, itertools.count()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                self.number = next(connections)

            def do_POST(self) -> None:
                receiver._at_once += 1
                receiver.most_at_once = max(receiver.most_at_once, receiver._at_once)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                doing = receiver.script.pop(0) if receiver.script else receiver.always
                answer = doing() if callable(doing) else doing
                receiver._at_once -= 1
                receiver.received.append(Received(self.path, headers, body, self.number))
                if isinstance(answer, str):
                    if answer == "reset":
                        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        self.connection.close()
                    self.close_connection = True
                    return
                with contextlib.suppress(OSError):  # the sender may be gone
                    self.send_response(answer)
                    self.send_header("Content-Length", "0")
                    if answer in (301, 307):
                        self.send_header("Location", "/elsewhere")
                    self.end_headers()

            def finish(self) -> None:
                with contextlib.suppress(OSError, ValueError):
                    super().finish()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1/schema/slc_secret"
        self._thread = threading.Thread(target=lambda: self.server.serve_forever(0.01), daemon=True)
        self._thread.start()

    @property
    def ids(self) -> list[str]:
        return [received.event_id for received in self.received]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def cio() -> Iterator[CustomerIO]:
    with CustomerIO() as cio:
        yield cio


@pytest.fixture
def client(cio: CustomerIO) -> Client:
    return Client(cio)


def pause_number(count: int, cio: CustomerIO) -> Pause:
    until(lambda: len(cio.sender.pauses) >= count)
    return cio.sender.pauses[count - 1]


def assert_all_is_well(cio: CustomerIO) -> None:
    sender = cio.sender
    assert (sender.undelivered, sender.untaken, sender.refusals, sender.pauses) == ([], [], [], []), sender.summary()


def pointers(answer: Answer) -> set[str]:
    assert answer.status == 400
    for error in answer.json["errors"]:
        assert error["status"] == "400"
        assert isinstance(error["detail"], str)
    return {error.get("source", {}).get("pointer", "") for error in answer.json["errors"]}


# The App API


def test_a_webhook_is_created_read_updated_and_deleted_with_the_documented_codes(
    cio: CustomerIO, client: Client
) -> None:
    made = client("POST", body={**HOOK, "with_content": True})
    assert made.status == 200
    webhook_id = made.json["id"]
    assert isinstance(webhook_id, int)
    assert {name: made.json[name] for name in ("type", "disabled", "full_resolution", "with_content")} == {
        "type": "webhook",
        "disabled": False,
        "full_resolution": False,
        "with_content": True,
    }
    read = client("GET", f"{PATH}/{webhook_id}")
    assert read.status == 200
    assert (read.json["name"], read.json["endpoint"]) == (HOOK["name"], HOOK["endpoint"])
    assert set(read.json["events"]) == set(HOOK["events"])

    changed = client("PUT", f"{PATH}/{webhook_id}", {**HOOK, "endpoint": "http://example.com/new", "disabled": True})
    assert (changed.status, changed.json["endpoint"], changed.json["disabled"]) == (200, "http://example.com/new", True)
    assert changed.json["with_content"] is True
    assert [hook["id"] for hook in client("GET").json["reporting_webhooks"]] == [webhook_id]

    gone = client("DELETE", f"{PATH}/{webhook_id}")
    assert (gone.status, gone.text) == (200, "")
    for method, body in (("GET", None), ("PUT", HOOK), ("DELETE", None)):
        answer = client(method, f"{PATH}/{webhook_id}", body)
        assert (answer.status, answer.json["errors"][0]["status"]) == (404, "404")
    assert [(call.method, call.status) for call in cio.api.calls[:2]] == [("POST", 200), ("GET", 200)]


def test_an_empty_list_is_null(cio: CustomerIO, client: Client) -> None:
    assert client("GET").json == {"reporting_webhooks": None}
    cio.api.empty_list_is_null = False
    assert client("GET").json == {"reporting_webhooks": []}


def test_the_list_has_javascript_webhooks_too(cio: CustomerIO, client: Client) -> None:
    of_type = {cio.ui.create_js("in the page"): "js", client("POST", body=HOOK).json["id"]: "webhook"}
    assert {hook["id"]: hook["type"] for hook in client("GET").json["reporting_webhooks"]} == of_type


def test_two_webhooks_may_have_one_endpoint(client: Client) -> None:
    assert client("POST", body=HOOK).json["id"] != client("POST", body=HOOK).json["id"]
    assert len(client("GET").json["reporting_webhooks"]) == 2


@pytest.mark.parametrize("missing", ["name", "endpoint", "events"])
def test_a_required_field_that_is_missing_is_pointed_at(cio: CustomerIO, client: Client, missing: str) -> None:
    webhook_id = cio.ui.create("a", "http://127.0.0.1:1/", ["email_sent"])
    body = {name: value for name, value in HOOK.items() if name != missing}
    assert pointers(client("POST", body=body)) == {f"/{missing}"}
    assert pointers(client("PUT", f"{PATH}/{webhook_id}", body)) == {f"/{missing}"}
    assert list(cio.webhooks) == [webhook_id]
    assert cio.webhook.name == "a"


@pytest.mark.parametrize(
    ("wrong", "pointed_at"),
    [
        ({"events": []}, "/events"),
        ({"events": None}, "/events"),
        ({"events": "email_sent"}, "/events"),
        ({"events": ["email_sent", "email_*"]}, "/events/1"),
        ({"events": ["all"]}, "/events/0"),
        ({"events": ["slack_undeliverable"]}, "/events/0"),
        ({"events": [{"name": "email_sent"}]}, "/events/0"),
        ({"endpoint": "example.com/a"}, "/endpoint"),
        ({"endpoint": "ftp://example.com/a"}, "/endpoint"),
        ({"endpoint": "https:///a"}, "/endpoint"),
        ({"endpoint": "https://exa mple.com"}, "/endpoint"),
        ({"endpoint": 7}, "/endpoint"),
        ({"name": None}, "/name"),
        ({"disabled": "true"}, "/disabled"),
        ({"full_resolution": 1}, "/full_resolution"),
        ({"with_content": None}, "/with_content"),
        ({"type": "webhook"}, "/type"),
        ({"id": 4}, "/id"),
    ],
)
def test_a_wrong_field_is_pointed_at(cio: CustomerIO, client: Client, wrong: dict[str, Any], pointed_at: str) -> None:
    assert pointers(client("POST", body={**HOOK, **wrong})) == {pointed_at}
    assert cio.webhooks == {}


def test_what_is_not_a_json_object_is_400(client: Client) -> None:
    for body in (b"", b"{", b"[]", b"null"):
        assert pointers(client("POST", body=body)) == {""}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert pointers(client("POST", body=json.dumps(HOOK).encode(), **form)) == {""}


def test_all_mistakes_come_at_once_and_unknown_fields_are_ignored(client: Client) -> None:
    assert pointers(client("POST", body={"events": ["no"], "endpoint": ""})) == {"/name", "/endpoint", "/events/0"}
    assert client("POST", body={**HOOK, "future": 1}).status == 200


def test_there_are_72_events_and_all_are_accepted(client: Client) -> None:
    assert len(EVENTS) == len(set(EVENTS)) == 72
    counts = {
        "customer": 3,
        "email": 14,
        "in_app": 8,
        "push": 11,
        "slack": 6,
        "sms": 11,
        "whatsapp": 12,
        "webhook": 7,
    }
    assert {channel: sum(name.startswith(f"{channel}_") for name in EVENTS) for channel in counts} == counts
    assert client("POST", body={**HOOK, "events": list(EVENTS)}).status == 200


def test_the_order_of_events_is_not_kept_and_answers_have_fields_that_nobody_knows(client: Client) -> None:
    made = client("POST", body={**HOOK, "events": list(EVENTS)}).json
    read = client("GET", f"{PATH}/{made['id']}").json
    assert len({tuple(made["events"]), tuple(read["events"]), EVENTS}) == 3
    known = {"id", "type", "name", "endpoint", "events", "disabled", "full_resolution", "with_content"}
    assert set(made) > known


def test_the_signing_key_is_in_no_answer_and_no_representation(cio: CustomerIO, client: Client) -> None:
    made = client("POST", body=HOOK)
    key = cio.ui.signing_key(made.json["id"])
    one = f"{PATH}/{made.json['id']}"
    answers = [made, client("GET"), client("GET", one), client("PUT", one, HOOK), client("DELETE", one)]
    assert not any(key in answer.text or key in str(answer.headers) for answer in answers)
    assert key not in repr(cio.webhooks)
    assert "example.com" not in repr(cio.webhooks)


@pytest.mark.parametrize("kind", ["missing", "unknown", "track", "service account", "other region", "basic", "revoked"])
def test_a_key_that_is_none_of_this_region_is_401(cio: CustomerIO, kind: str) -> None:
    key = cio.key()
    headers = {
        "missing": "",
        "unknown": "Bearer nothing",
        "track": f"Bearer {cio.track_key()}",
        "service account": f"Bearer {cio.service_account_token()}",
        "other region": f"Bearer {cio.key(region='eu')}",
        "basic": f"Basic {key}",
        "revoked": f"Bearer {key}",
    }
    if kind == "revoked":
        cio.revoke(key)
    answer = Client(cio, "")("GET", Authorization=headers[kind])
    assert (answer.status, answer.json["errors"][0]["status"]) == (401, "401")


def test_a_key_without_the_scope_is_403(cio: CustomerIO) -> None:
    assert Client(cio, cio.key(scope="send"))("GET").status == 403


def test_a_key_of_the_eu_works_in_the_eu_alone() -> None:
    with CustomerIO(region="eu") as cio:
        assert Client(cio)("GET").status == 200
        assert Client(cio, cio.key(region="us"))("GET").status == 401


def test_the_eleventh_request_in_a_second_is_429_and_says_when_to_come_again(client: Client) -> None:
    answers = [client("GET") for _ in range(11)]
    assert [answer.status for answer in answers] == [200] * 10 + [429]
    assert answers[-1].headers["retry-after"] == "1"
    (error,) = answers[-1].json["errors"]
    assert error["status"] == "429"
    assert isinstance(error["detail"], str)
    time.sleep(1)
    assert client("GET").status == 200


def test_a_daily_quota_is_429_without_a_time(cio: CustomerIO, client: Client) -> None:
    cio.api.daily_quota = True
    answer = client("GET")
    assert answer.status == 429
    assert "retry-after" not in answer.headers
    assert answer.json["errors"][0]["status"] == "429"


def test_other_paths_and_methods_are_404_and_405(client: Client) -> None:
    assert client("GET", "/v1/nothing").status == 404
    assert client("GET", f"{PATH}/abc").status == 404
    assert client("GET", f"{PATH}/").status == 404
    assert client("PATCH", f"{PATH}/1", HOOK).status == 405
    assert client("PATCH", f"{PATH}/1", HOOK).json["errors"][0]["status"] == "405"


def test_faults_come_as_often_as_the_test_says(cio: CustomerIO, client: Client) -> None:
    cio.api.fail(2, 503, method="POST")
    assert client("GET").status == 200
    assert [client("POST", body=HOOK).status for _ in range(3)] == [503, 503, 200]
    cio.api.fail(1, 429, retry_after=3)
    assert client("GET").headers["retry-after"] == "3"
    cio.api.fail(1, 502, body="<html>bad gateway</html>")
    assert client("GET").text == "<html>bad gateway</html>"
    cio.api.fail()
    assert [client("GET").status for _ in range(3)] == [500] * 3
    cio.api.heal()
    assert client("GET").status == 200


def test_a_dropped_request_is_carried_out_only_where_the_test_says_so(cio: CustomerIO, client: Client) -> None:
    cio.api.drop(1)
    with pytest.raises((http.client.HTTPException, OSError)):
        client("POST", body=HOOK)
    assert cio.webhooks == {}
    cio.api.drop(1, after=True)
    with pytest.raises((http.client.HTTPException, OSError)):
        client("POST", body=HOOK)
    assert cio.webhook.name == "Sluice"
    assert [call.status for call in cio.api.calls] == [0, 0]


def test_an_answer_can_be_late(cio: CustomerIO, client: Client) -> None:
    cio.api.delay_s = 0.2
    begun = time.monotonic()
    client("GET")
    assert time.monotonic() - begun >= 0.2


def test_the_test_can_look_at_the_world_before_an_update_is_answered(cio: CustomerIO, client: Client) -> None:
    made = client("POST", body=HOOK).json
    seen: list[tuple[str, int, int | None, str]] = []

    def look(call: Call) -> None:
        seen.append((call.method, call.status, call.webhook_id, cio.webhook.endpoint))

    cio.api.before_answer = look
    client("PUT", f"{PATH}/{made['id']}", {**HOOK, "endpoint": "https://example.com/moved"})
    assert seen == [("PUT", 200, made["id"], "https://example.com/moved")]


def test_what_the_test_raises_there_is_not_lost() -> None:
    def look(call: Call) -> None:
        raise AssertionError("the old URL is dead already")

    with pytest.raises(AssertionError, match="dead already"), CustomerIO() as cio:
        cio.api.before_answer = look
        assert Client(cio)("GET").status == 500


# Signature


@pytest.mark.parametrize(("key", "timestamp", "body", "signature"), VECTORS)
def test_the_vectors_are_signed_so_and_come_so_over_the_wire(
    receiver: Receiver, key: str, timestamp: int, body: bytes, signature: str
) -> None:
    assert sign(key, str(timestamp), body) == signature
    with CustomerIO(start=timestamp, rate=0) as cio:
        webhook_id = cio.ui.create("a", receiver.url, EVENTS)
        cio.ui.change_signing_key(webhook_id, key)
        cio.sender.send_event(body)
        cio.sender.drain()
    (delivery,) = receiver.received
    assert delivery.body == body
    assert delivery.headers["x-cio-timestamp"] == str(timestamp)
    assert delivery.headers["x-cio-signature"] == signature


def test_each_webhook_signs_with_the_key_on_its_page_and_a_new_key_counts_at_once(
    cio: CustomerIO, receiver: Receiver
) -> None:
    first, second = (cio.ui.create(name, f"{receiver.url}/{name}", ["email_sent"]) for name in "ab")
    old = cio.ui.signing_key(first)
    assert old != cio.ui.signing_key(second)
    cio.sender.send(1, ["email_sent"])
    cio.sender.drain()
    new = cio.ui.change_signing_key(first)
    assert new == cio.ui.signing_key(first) != old
    cio.sender.send(1, ["email_sent"])
    cio.sender.drain()
    used = {first: [old, new], second: [cio.ui.signing_key(second)] * 2}
    for webhook_id, letter in ((first, "a"), (second, "b")):
        deliveries = [delivery for delivery in receiver.received if delivery.path.endswith(f"/{letter}")]
        for delivery, key in zip(deliveries, used[webhook_id], strict=True):
            message = b"v0:%s:%s" % (delivery.headers["x-cio-timestamp"].encode(), delivery.body)
            expected = hmac.new(key.encode(), message, hashlib.sha256).hexdigest()
            assert delivery.headers["x-cio-signature"] == expected


@pytest.mark.parametrize("anew", [True, False])
def test_a_retry_is_signed_anew_or_not_as_the_test_wants(receiver: Receiver, anew: bool) -> None:
    receiver.script = [503]
    with CustomerIO(signs_retries_anew=anew) as cio:
        cio.ui.create("a", receiver.url, EVENTS)
        cio.sender.send()
        until(lambda: cio.sender.pauses)
        cio.clock.advance(3600)
        cio.sender.drain()
    first, second = (delivery.headers["x-cio-timestamp"] for delivery in receiver.received)
    assert (int(second) - int(first) >= 3600) is anew
    assert (first == second) is not anew


# The sender


def test_events_come_one_a_request_in_order_and_one_at_a_time(cio: CustomerIO, receiver: Receiver) -> None:
    def slowly() -> int:
        time.sleep(0.002)
        return 200

    receiver.always = slowly
    cio.ui.create("a", receiver.url, EVENTS, full_resolution=True)
    made = cio.sender.send(100)
    cio.sender.drain()
    assert receiver.ids == [event.event_id for event in made]
    assert receiver.most_at_once == 1
    assert all("Customer.io" in delivery.headers["user-agent"] for delivery in receiver.received)
    assert {delivery.headers["content-type"] for delivery in receiver.received} == {"application/json"}
    assert cio.sender.delivered == dict.fromkeys(receiver.ids, 1)
    assert_all_is_well(cio)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_connection_is_used_again_or_not_as_the_test_wants(receiver: Receiver, keeps: bool) -> None:
    with CustomerIO(keeps_connections=keeps) as cio:
        cio.ui.create("a", receiver.url, ["email_sent"])
        cio.sender.send(5, ["email_sent"])
        cio.sender.drain()
    assert len({delivery.connection for delivery in receiver.received}) == (1 if keeps else 5)


def test_a_failing_call_holds_up_all_later_ones_of_its_webhook_and_no_others(
    cio: CustomerIO, receiver: Receiver
) -> None:
    receiver.script = [503]
    failing = cio.ui.create("a", receiver.url, ["email_sent"])
    healthy = cio.ui.create("b", receiver.url, ["push_sent"])
    held = cio.sender.send(3, ["email_sent"])
    until(lambda: cio.sender.pauses)
    free = cio.sender.send(3, ["push_sent"])
    until(lambda: not cio.sender.waiting(healthy))
    assert receiver.ids == [event.event_id for event in (held[0], *free)]
    assert cio.sender.waiting(failing) == 3
    assert cio.sender.undelivered == [event.event_id for event in held]
    with pytest.raises(NotDrained, match="3 waiting"):
        cio.sender.drain(0.05)

    (pause,) = cio.sender.pauses
    assert (pause.webhook_id, pause.event_id, pause.cause) == (failing, held[0].event_id, "503")
    assert pause.seconds == FIRST_BACKOFF_S
    cio.clock.advance(pause.seconds)
    cio.sender.drain()
    assert receiver.ids[4:] == [event.event_id for event in held]
    assert [attempt.number for attempt in cio.sender.attempts if attempt.event_id == held[0].event_id] == [1, 2]


@pytest.mark.parametrize("status", [*HOUR_STATUSES, 301, 307, 408, 413, 415, 422, 503, 504])
def test_the_listed_statuses_cost_an_hour_and_others_the_ordinary_backoff(
    cio: CustomerIO, receiver: Receiver, status: int
) -> None:
    receiver.script = [status]
    cio.ui.create("a", receiver.url, ["email_sent"])
    cio.sender.send(2, ["email_sent"])
    (pause,) = until(lambda: cio.sender.pauses)
    assert pause.seconds == (HOUR_S if status in HOUR_STATUSES else FIRST_BACKOFF_S)
    assert (pause.cause, pause.waiting) == (str(status), 1)
    cio.clock.advance(pause.seconds - 5)
    time.sleep(0.03)
    assert len(receiver.received) == 1
    cio.clock.advance(5)
    cio.sender.drain()
    assert {delivery.path for delivery in receiver.received} == {"/v1/schema/slc_secret"}, "redirects are not followed"


def test_a_2xx_of_any_kind_is_a_delivery(cio: CustomerIO, receiver: Receiver) -> None:
    receiver.script = [200, 201, 202, 204, 299]
    cio.ui.create("a", receiver.url, ["email_sent"])
    cio.sender.send(5, ["email_sent"])
    cio.sender.drain()
    assert [attempt.status for attempt in cio.sender.attempts] == [200, 201, 202, 204, 299]
    assert cio.sender.refusals == []


@pytest.mark.parametrize(("doing", "error"), [("eof", EOF), ("reset", RESET)])
def test_a_connection_that_ends_early_costs_an_hour(
    cio: CustomerIO, receiver: Receiver, doing: str, error: str
) -> None:
    receiver.script = [doing]
    cio.ui.create("a", receiver.url, ["email_sent"])
    cio.sender.send(1, ["email_sent"])
    (pause,) = until(lambda: cio.sender.pauses)
    assert (pause.cause, pause.seconds) == (error, HOUR_S)
    (attempt,) = cio.sender.refusals
    assert (attempt.status, attempt.error) == (None, error)


def test_a_refused_connection_and_an_unknown_name_cost_an_hour(cio: CustomerIO) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and never listens
        cio.ui.create("a", f"http://127.0.0.1:{bound.getsockname()[1]}/", ["email_sent"])
        cio.ui.create("b", "https://example.com/", ["email_sent"])
        cio.sender.send(1, ["email_sent"])
        until(lambda: len(cio.sender.pauses) == 2)
    assert {pause.cause for pause in cio.sender.pauses} == {REFUSED, SERVER_MISBEHAVING}
    assert {pause.seconds for pause in cio.sender.pauses} == {HOUR_S}


def test_a_certificate_that_nobody_vouches_for_costs_an_hour(
    cio: CustomerIO, receiver: Receiver, tmp_path: Path
) -> None:
    made = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out crt -subj /CN=localhost"
    )
    try:
        subprocess.run(made.split(), cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl here to make a certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    cio.ui.create("a", receiver.url.replace("http:", "https:"), ["email_sent"])
    cio.sender.send(1, ["email_sent"])
    (pause,) = until(lambda: cio.sender.pauses)
    assert (pause.cause, pause.seconds) == (X509, HOUR_S)
    assert receiver.received == []


def test_an_answer_after_the_timeout_is_none_and_the_event_comes_again(receiver: Receiver) -> None:
    def late() -> int:
        time.sleep(0.3)
        return 200

    receiver.script = [late]
    with CustomerIO(answer_within_s=0.1) as cio:
        cio.ui.create("a", receiver.url, ["email_sent"])
        (made,) = cio.sender.send(1, ["email_sent"])
        (pause,) = until(lambda: cio.sender.pauses)
        assert (pause.cause, pause.seconds) == (TIMEOUT, FIRST_BACKOFF_S)
        cio.clock.advance(pause.seconds)
        cio.sender.drain()
        until(lambda: len(receiver.received) == 2)
        assert set(receiver.ids) == {made.event_id}
        assert receiver.received[0].body == receiver.received[1].body
        assert cio.sender.delivered == {made.event_id: 1}


def test_it_waits_four_seconds_unless_told_otherwise(cio: CustomerIO) -> None:
    assert cio.sender._timeout.total == 4


def test_an_answer_that_the_sender_lost_makes_a_duplicate_without_a_pause(cio: CustomerIO, receiver: Receiver) -> None:
    cio.ui.create("a", receiver.url, ["email_sent"])
    cio.sender.lose_answers(2)
    first, second = (event.event_id for event in cio.sender.send(2, ["email_sent"]))
    cio.sender.drain()
    assert receiver.ids == [first, first, first, second]
    assert [attempt.error for attempt in cio.sender.attempts] == [ANSWER_LOST, ANSWER_LOST, None, None]
    assert_all_is_well(cio)
    assert cio.sender.delivered == {first: 1, second: 1}


def test_the_backoff_doubles_until_seven_days_are_over_and_then_the_line_goes_on(
    cio: CustomerIO, receiver: Receiver
) -> None:
    receiver.always = 503
    cio.ui.create("a", receiver.url, ["email_sent"])
    first, second = cio.sender.send(2, ["email_sent"])
    begun = cio.clock.now()
    for count in itertools.count(1):
        pause = pause_number(count, cio)
        if cio.sender.given_up:
            break
        assert pause.event_id == first.event_id
        cio.clock.advance(pause.seconds)
    waits = [pause.seconds for pause in cio.sender.pauses if pause.event_id == first.event_id]
    assert waits[:-1] == [FIRST_BACKOFF_S * 2**n for n in range(len(waits) - 1)]
    assert waits[-1] < 2 * waits[-2]
    assert sum(waits) == pytest.approx(GIVES_UP_AFTER_S, abs=10)
    assert cio.clock.now() - begun == pytest.approx(GIVES_UP_AFTER_S, abs=10)
    assert [(lost.event_id, lost.reason) for lost in cio.sender.given_up] == [
        (first.event_id, "its seven days are over")
    ]
    assert set(cio.sender.undelivered) == {first.event_id, second.event_id}
    receiver.always = 200
    cio.clock.advance(FIRST_BACKOFF_S)
    cio.sender.drain()
    assert cio.sender.undelivered == [first.event_id]


def test_an_hours_wait_doubles_too(cio: CustomerIO, receiver: Receiver) -> None:
    receiver.script = [503, 401, 401, 503]
    cio.ui.create("a", receiver.url, ["email_sent"])
    cio.sender.send(1, ["email_sent"])
    for count in range(1, 5):
        cio.clock.advance(pause_number(count, cio).seconds)
    cio.sender.drain()
    waits = [FIRST_BACKOFF_S, HOUR_S, 2 * HOUR_S, FIRST_BACKOFF_S * 8]
    assert [pause.seconds for pause in cio.sender.pauses] == waits


def test_a_fast_clock_makes_an_hour_short_and_a_still_one_makes_it_endless(receiver: Receiver) -> None:
    receiver.script = [401]
    with CustomerIO(rate=0) as cio:
        cio.ui.create("a", receiver.url, ["email_sent"])
        cio.sender.send(1, ["email_sent"])
        until(lambda: cio.sender.pauses)
        now = cio.clock.now()
        with pytest.raises(NotDrained):
            cio.sender.drain(0.05)
        assert cio.clock.now() == now
        cio.clock.rate = HOUR_S * 20
        cio.sender.drain()
        assert HOUR_S <= cio.clock.now() - now < 100 * HOUR_S
        first, second = cio.sender.attempts
        assert second.at - first.at >= HOUR_S
        with pytest.raises(ValueError, match="backwards"):
            cio.clock.advance(-1)
        with pytest.raises(ValueError, match="backwards"):
            cio.clock.rate = -1


def test_a_new_endpoint_holds_from_the_next_attempt_and_ends_no_wait(cio: CustomerIO, receiver: Receiver) -> None:
    receiver.script = [401]
    webhook_id = cio.ui.create("a", receiver.url, ["email_sent"])
    cio.sender.send(2, ["email_sent"])
    (pause,) = until(lambda: cio.sender.pauses)
    cio.ui.change(webhook_id, endpoint=receiver.url + "-new")
    time.sleep(0.03)
    assert len(receiver.received) == 1, "an hour's wait goes on, whatever is repaired meanwhile"
    cio.clock.advance(pause.seconds)
    cio.sender.drain()
    paths = [delivery.path for delivery in receiver.received]
    assert paths == ["/v1/schema/slc_secret", *["/v1/schema/slc_secret-new"] * 2]
    hashes = [attempt.path_hash for attempt in cio.sender.attempts]
    assert hashes == [path_hash(receiver.url), *[path_hash(receiver.url + "-new")] * 2]


def test_a_call_under_way_finishes_at_the_old_endpoint(cio: CustomerIO, receiver: Receiver) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def hold() -> int:
        arrived.set()
        go_on.wait(5)
        return 200

    receiver.script = [hold]
    webhook_id = cio.ui.create("a", receiver.url, ["email_sent"])
    cio.sender.send(2, ["email_sent"])
    arrived.wait(5)
    cio.ui.change(webhook_id, endpoint=receiver.url + "-new")
    go_on.set()
    cio.sender.drain()
    assert [delivery.path[-4:] for delivery in receiver.received] == ["cret", "-new"]
    assert cio.sender.undelivered == []


def test_a_webhook_gets_the_events_of_its_list_alone(cio: CustomerIO, receiver: Receiver) -> None:
    webhook_id = cio.ui.create("a", receiver.url, ["email_sent"])
    sent, pushed = cio.sender.send(1, ["email_sent"]) + cio.sender.send(1, ["push_sent"])
    cio.sender.drain()
    assert receiver.ids == [sent.event_id]
    assert (sent.taken_by, pushed.taken_by) == ((webhook_id,), ())
    assert cio.sender.untaken == [pushed]
    cio.ui.change(webhook_id, events=["push_sent"])
    (later,) = cio.sender.send(1, ["push_sent"])
    cio.sender.drain()
    assert receiver.ids == [sent.event_id, later.event_id]


def test_a_change_of_events_holds_for_what_waits_too(cio: CustomerIO, receiver: Receiver) -> None:
    receiver.script = [503]
    webhook_id = cio.ui.create("a", receiver.url, ["email_sent", "push_sent"])
    first, second = cio.sender.send(1, ["email_sent"]) + cio.sender.send(1, ["push_sent"])
    until(lambda: cio.sender.pauses)
    cio.ui.change(webhook_id, events=["push_sent"])
    cio.clock.advance(FIRST_BACKOFF_S)
    cio.sender.drain()
    assert receiver.ids == [first.event_id, second.event_id]
    assert [lost.event_id for lost in cio.sender.given_up] == cio.sender.undelivered == [first.event_id]


def test_a_disabled_webhook_sends_nothing(cio: CustomerIO, receiver: Receiver) -> None:
    receiver.script = [503]
    webhook_id = cio.ui.create("a", receiver.url, ["email_sent"])
    (waiting,) = cio.sender.send(1, ["email_sent"])
    until(lambda: cio.sender.pauses)
    cio.ui.change(webhook_id, disabled=True)
    (lost,) = cio.sender.send(1, ["email_sent"])
    cio.clock.advance(FIRST_BACKOFF_S)
    time.sleep(0.03)
    assert len(receiver.received) == 1
    assert cio.sender.untaken == [lost]
    cio.ui.change(webhook_id, disabled=False)
    cio.sender.drain()
    assert receiver.ids == [waiting.event_id] * 2


def test_without_a_webhook_an_event_is_lost_and_with_a_deleted_one_given_up(
    cio: CustomerIO, receiver: Receiver
) -> None:
    (early,) = cio.sender.send(1, ["email_sent"])
    receiver.script = [401]
    webhook_id = cio.ui.create("a", receiver.url, ["email_sent"])
    waiting = cio.sender.send(2, ["email_sent"])
    until(lambda: cio.sender.pauses)
    cio.ui.delete(webhook_id)
    cio.ui.create("a", receiver.url, ["email_sent"])
    cio.sender.drain()
    cio.clock.advance(2 * HOUR_S)
    time.sleep(0.03)
    assert len(receiver.received) == 1
    assert cio.sender.untaken == [early]
    assert [lost.event_id for lost in cio.sender.given_up] == [event.event_id for event in waiting]
    assert cio.sender.undelivered == [event.event_id for event in waiting]


def test_a_javascript_webhook_sends_nothing_here(cio: CustomerIO, receiver: Receiver) -> None:
    cio.ui.create_js("a", receiver.url)
    cio.sender.send(1, ["email_sent"])
    assert len(cio.sender.untaken) == 1


def test_only_with_full_resolution_a_message_is_opened_twice(cio: CustomerIO, receiver: Receiver) -> None:
    plain = cio.ui.create("plain", receiver.url + "-plain", EVENTS)
    full = cio.ui.create("full", receiver.url + "-full", EVENTS, full_resolution=True)
    (first,) = cio.sender.send(1, ["email_opened"])
    again = cio.sender.send_event({**first.event, "event_id": "again"})
    clicked = cio.sender.send_event({**first.event, "event_id": "clicked", "metric": "clicked"})
    other = cio.sender.send_event({**first.event, "event_id": "other", "data": {"delivery_id": "another"}})
    assert [event.taken_by for event in (first, again, clicked, other)] == [
        (plain, full),
        (full,),
        (plain, full),
        (plain, full),
    ]
    cio.sender.drain()
    assert cio.sender.delivered == {first.event_id: 2, "again": 1, "clicked": 2, "other": 2}
    assert cio.sender.undelivered == []


def test_only_with_content_a_message_comes_with_its_text(cio: CustomerIO, receiver: Receiver) -> None:
    names = ["email_sent", "push_sent", "customer_subscription_preferences_changed", "email_delivered"]
    cio.ui.create("plain", receiver.url + "-plain", names)
    cio.ui.create("full", receiver.url + "-full", names, with_content=True)
    made = {event.event_id: event for event in cio.sender.send(4, names)}
    cio.sender.drain()
    for delivery in receiver.received:
        event = json.loads(delivery.body)
        whole = made[event["event_id"]].event
        if delivery.path.endswith("-full"):
            assert event == whole
        else:
            assert not {"content", "headers"} & set(event["data"])
            assert event["data"].items() <= whole["data"].items()
    assert sum("content" in event.event["data"] for event in made.values()) == 3


def test_the_button_send_test_is_beside_the_backlog(cio: CustomerIO, receiver: Receiver) -> None:
    receiver.script = [503, 200, 401]
    webhook_id = cio.ui.create("a", receiver.url, ["email_sent"])
    cio.sender.send(1, ["email_sent"])
    until(lambda: cio.sender.pauses)
    assert [cio.ui.send_test(webhook_id), cio.ui.send_test(webhook_id)] == [200, 401]
    assert receiver.received[-1].body == b"{}"
    assert len(cio.sender.pauses) == 1


# The events


def test_every_event_of_the_list_is_made_with_its_documented_fields_and_an_id_of_its_own() -> None:
    generator = Generator(seed=1)
    events = [generator.event(1767225600 + n) for n in range(72 * 20)]
    ids = [event["event_id"] for event in events]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-7][0-9A-HJKMNP-TV-Z]{25}", event_id) for event_id in ids)
    assert {name_of(event) for event in events[:72]} == set(EVENTS)
    for event in events:
        assert list(event) == ["event_id", "object_type", "metric", "timestamp", "data"]
        assert event["object_type"] in CHANNELS
        assert isinstance(event["timestamp"], int)
        wanted = {field.removeprefix("failed_") for field in FIELDS.get(name_of(event), [])}
        assert wanted | {"identifiers"} <= set(event["data"])
        assert "id" in event["data"]["identifiers"]
        assert json.loads(body_of(event)) == event
        assert not set(body_of(event)) & set(b"&<>")
    assert any(event["object_type"] == "email" and event["metric"] == "subscribed" for event in events)


@pytest.mark.parametrize(
    ("object_type", "metric", "data", "name"),
    [
        ("email", "cio_subscription_preferences_changed", {}, "customer_subscription_preferences_changed"),
        ("email", "subscribed", {}, "customer_subscribed"),
        ("sms", "unsubscribed", {}, "customer_unsubscribed"),
        ("email", "unsubscribed", {"recipient": "a", "subject": "b"}, "email_unsubscribed"),
        ("email", "unsubscribed", {"email_address": None}, "customer_unsubscribed"),
        ("in_app", "opened", {}, "in_app_opened"),
    ],
)
def test_an_events_name_is_its_channel_and_metric_with_the_exceptions(
    object_type: str, metric: str, data: dict[str, Any], name: str
) -> None:
    assert name_of({"object_type": object_type, "metric": metric, "data": data}) == name


def test_a_steady_stream_is_steady_until_it_is_stopped(cio: CustomerIO, receiver: Receiver) -> None:
    cio.ui.create("a", receiver.url, EVENTS)
    begun = time.monotonic()
    cio.sender.send_steadily(100)
    until(lambda: len(cio.sender.made) >= 50)
    cio.sender.stop()
    took = time.monotonic() - begun
    cio.sender.drain()
    made = cio.sender.made
    assert took > 0.48
    assert len(made) <= took * 100
    assert_all_is_well(cio)
    assert receiver.ids == [event.event_id for event in made if not event.is_repeat]
    time.sleep(0.05)
    assert len(cio.sender.made) == len(made)
    assert re.match(r"\d+ events, 0 taken by no webhook, 0 waiting, 0 given up", cio.sender.summary())


def test_no_record_has_the_endpoint_or_the_signing_key(cio: CustomerIO, receiver: Receiver) -> None:
    receiver.script = [401, "eof"]
    webhook_id = cio.ui.create("a", receiver.url, EVENTS)
    cio.sender.send(1)
    until(lambda: cio.sender.pauses)
    cio.clock.advance(HOUR_S)
    until(lambda: len(cio.sender.pauses) == 2)
    sender = cio.sender
    records = repr([sender.made, sender.attempts, sender.pauses, sender.summary(), cio.webhooks, cio.api.calls])
    assert "slc_secret" not in records
    assert cio.ui.signing_key(webhook_id) not in records


def test_nothing_of_it_is_left_when_the_block_ends(receiver: Receiver) -> None:
    with CustomerIO() as cio:
        cio.ui.create("a", receiver.url, EVENTS)
        cio.sender.send_steadily(200)
        until(lambda: receiver.received)
        url = cio.api_url
    assert not any(thread.name == "simulated Customer.io" for thread in threading.enumerate())
    port = int(url.rsplit(":", 1)[1])
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    count = len(receiver.received)
    time.sleep(0.05)
    assert len(receiver.received) == count
