"""Tokens that are none, by the many: all get one answer in one time, cost no look-up in any file, no memory and few
lines of log, and no good sender notices.

What must be alike is every token that has the form of one: whether its checksum is right anybody can tell offline. The
local receiver treats even the others alike; the function on AWS turns them away before it asks its registry.
"""

import asyncio
import contextlib
import gc
import random
import socket
import statistics
import string
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from receiver import token
from receiver.app import App
from receiver.commit import GroupCommit
from receiver.endpoints import FOLLOW_SECONDS, Endpoints
from receiver.refusals import LOGGED_A_MINUTE, Refusals
from receiver.registry import EndpointEntry, Registry
from receiver.spool import Spool
from tests.hostile.stack import Peak, Stack, standing
from tests.receiver.running import SCHEMA, event, hash_of, new_token, register, spooled, token_of
from tests.support import sizes
from tests.support.postgres import PostgresServer
from tests.support.secrecy import places_of
from tests.support.waiting import until

OTHER = "other_customerio"
LETTERS = string.ascii_letters + string.digits


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Stack]:
    with standing(tmp_path_factory.mktemp("tokens") / "dev", postgres, server="traced") as made:
        yield made


def checksum_wrong() -> str:
    made = new_token()
    return made[:-1] + random.choice(LETTERS.replace(made[-1], ""))


def recased(printed: str) -> str:
    """With one letter of its secret in the other case."""
    at = random.choice([at for at in range(4, 47) if printed[at].isalpha()])
    return printed[:at] + printed[at].swapcase() + printed[at + 1 :]


def misspelt(printed: str) -> str:
    """With one letter of its secret changed, and the checksum that goes with it."""
    at = random.randrange(4, 47)
    return token.printed(printed[4:at] + random.choice(LETTERS.replace(printed[at], "")) + printed[at + 1 : 47])


class Wrong:
    """Makes paths that are for no live endpoint, near ones and far ones."""

    def __init__(self, stack: Stack) -> None:
        live = token_of(stack.path)
        elsewhere = register(stack.receiver.home, schema=OTHER)
        revoked = register(stack.receiver.home)
        until(lambda: stack.receiver.post(revoked, event("before")).status == 200)
        with Registry(stack.receiver.home / "registry.db") as registry:
            registry.remove_endpoint(hash_of(revoked))
        until(lambda: stack.receiver.post(revoked, event("after")).status == 401)
        here = f"/v1/{SCHEMA}/"
        self.makers: dict[str, Callable[[], str]] = {
            "unknown": lambda: here + new_token(),
            "of a wrong checksum": lambda: here + checksum_wrong(),
            "cut short": lambda: here + live[: random.randrange(1, len(live))],
            "its end alone": lambda: here + live[random.randrange(1, len(live)) :],
            "longer": lambda: here + live + "".join(random.choices(LETTERS, k=random.randrange(1, 200))),
            "twice": lambda: here + live + live,
            "in another case": lambda: here + recased(live),
            "misspelt": lambda: here + misspelt(live),
            "without its prefix": lambda: here + live.removeprefix(token.PREFIX),
            "its digest": lambda: here + token.digest(live),
            "its fingerprint": lambda: here + token.fingerprint(token.digest(live)),
            "another schema's": lambda: here + token_of(elsewhere),
            "under another schema": lambda: f"/v1/{OTHER}/{live}",
            "under no schema": lambda: f"/v1/{new_token()}/{live}",
            "under a schema in another case": lambda: f"/v1/{SCHEMA.upper()}/{live}",
            "revoked": lambda: revoked,
            "revoked, under another schema": lambda: revoked.replace(SCHEMA, OTHER),
            "with a blank before": lambda: here + "%20" + live,
            "with a NUL behind": lambda: here + live + "%00",
            "SQL": lambda: here + "'%20OR%201=1--",
        }
        self.secrets = [live, token_of(elsewhere), token_of(revoked)]

    def path(self) -> str:
        return random.choice(list(self.makers.values()))()


@pytest.fixture(scope="module")
def wrong(stack: Stack) -> Wrong:
    return Wrong(stack)


def request(path: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()


def answers(port: int, paths: list[str], at_once: int = 50) -> list[bytes]:
    """What is answered to a POST to each of `paths`, head and body, many of them on one connection."""
    found: list[bytes] = []
    connection = None
    while len(found) < len(paths):
        connection = connection or socket.create_connection(("127.0.0.1", port), timeout=30)
        batch = paths[len(found) : len(found) + at_once]
        connection.sendall(b"".join(map(request, batch)))
        received = b""
        while received.count(b'"}') < len(batch):
            chunk = connection.recv(2**16)
            received += chunk
            if not chunk or b"connection: close" in received:
                break
        whole = [answer + b'"}' for answer in received.split(b'"}')[:-1]]
        found += whole
        if len(whole) < len(batch):  # as after a pause: what wasn't answered is sent again
            assert whole
            connection.close()
            connection = None
    if connection:
        connection.close()
    return found


def without(answer: bytes, *names: bytes) -> list[bytes]:
    """The lines of an answer but those headers."""
    return [line for line in answer.split(b"\r\n") if line.partition(b":")[0].lower() not in names]


def test_each_kind_of_wrong_token_gets_the_same_answer_to_the_byte(stack: Stack, wrong: Wrong) -> None:
    paths = {name: [make() for _ in range(20)] for name, make in wrong.makers.items()}
    found = {name: answers(stack.receiver.port, each) for name, each in paths.items()}
    seen = {tuple(without(answer, b"date", b"connection")) for each in found.values() for answer in each}
    [lines] = seen
    assert lines[0] == b"HTTP/1.1 401 Unauthorized"
    assert lines[-1] == b'{"status":"unauthorized"}'
    [last] = answers(stack.receiver.port, [stack.path])
    assert last.startswith(b"HTTP/1.1 200 "), "and the right one is let in"


def statements(home: Path, file: str) -> list[str]:
    """What was run on that file, by the receiver's process."""
    lines = (home / "sql.log").read_text().splitlines()
    return [line.removeprefix(file + " ") for line in lines if line.startswith(file + " ")]


def flood(stack: Stack, paths: list[str]) -> set[bytes]:
    """Posts to all of `paths`, on several connections at once; returns how the answers begin."""
    shares = [paths[start::SENDERS] for start in range(SENDERS)]
    with ThreadPoolExecutor(SENDERS) as senders:
        found = list(senders.map(lambda share: answers(stack.receiver.port, share), shares))
    assert sum(map(len, found)) == len(paths)
    return {answer[:13] for each in found for answer in each}


FLOOD = sizes.of(2_000, 10_000)
SENDERS = 8  # at once


def test_wrong_tokens_by_the_many_cost_nothing_that_lasts(stack: Stack, wrong: Wrong) -> None:
    flood(stack, [wrong.path() for _ in range(FLOOD // 5)])  # what it once needs for this, it has now
    assert stack.is_well()  # and nothing of another test lands from now on
    paths = [wrong.path() for _ in range(FLOOD)]
    home, after = stack.receiver.home, stack.sequence()
    refused = until(lambda: stack.metrics()["sluice_refused_deliveries_total",])
    asked, stored = len(statements(home, "registry.db")), len(statements(home, "spool.db"))
    lines = len(stack.lines())
    started = time.monotonic()
    with Peak(stack.process) as memory:
        good = []
        for start in range(0, FLOOD, FLOOD // 10):
            assert flood(stack, paths[start : start + FLOOD // 10]) == {b"HTTP/1.1 401 "}
            good.append(stack.receiver.post(stack.path, event(f"good {start}")).status)
    assert set(good) == {200}
    assert memory.growth < 24 * 2**20
    seconds = time.monotonic() - started

    looks = statements(home, "registry.db")[asked:]
    # It asks whether another has written, and reads it all if so. Once for each time that it follows, and no more.
    assert set(looks) <= {"PRAGMA data_version"}
    assert len(looks) <= seconds / FOLLOW_SECONDS + 10
    # The spool is written to for the good ones, and looked at for its numbers now and then.
    assert len(statements(home, "spool.db")) - stored < FLOOD / 10

    told = stack.lines()[lines:]
    minutes = {line["ts"][:16] for line in told}
    assert len([line for line in told if line["event"] == "refused a delivery"]) <= 100 * (len(minutes) + 1)
    until(lambda: stack.metrics()["sluice_refused_deliveries_total",] >= refused + FLOOD)
    assert all(places_of(secret, {"log": stack.receiver.log().encode()}) == [] for secret in wrong.secrets)
    assert [row.event_id for row in stack.landed(10, after)] == [f"good {at}" for at in range(0, FLOOD, FLOOD // 10)]
    assert stack.is_well()


def test_control_a_receiver_that_asks_the_registry_about_each_token_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer
) -> None:
    with standing(tmp_path_factory.mktemp("asking") / "dev", postgres, server="asking") as stack:
        home = stack.receiver.home
        asked = len(statements(home, "registry.db"))
        answers(stack.receiver.port, [f"/v1/{SCHEMA}/{new_token()}" for _ in range(200)])
        looks = statements(home, "registry.db")[asked:]
    assert len([each for each in looks if each.startswith("SELECT hash")]) >= 200


# The time that it takes
#
# Two looks at one promise. The instructions that Python runs are always the same ones, whatever the token is: that is
# exact, however busy the machine, but says nothing of the time within one (a look-up, a hash). The clock does, over
# many requests: nightly, as a busy machine spoils it.


class Scope:
    """A request's head, as granian gives it."""

    method = "POST"

    def __init__(self, path: str) -> None:
        self.path = path
        self.headers: dict[str, str] = {}


class Exchange:
    """A request without a body; keeps the status that it was answered."""

    status = 0

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status = status


EACH = 200  # tokens of a kind
ROUNDS = 50  # in which each of them is asked for once
ERRORS = 5.0  # standard errors between the means of two kinds: by chance once in a million times
SHARE = 0.006  # of the time, 60 ns of 10 µs: what is less comes from where in memory a token happens to lie
TRIES = 3  # a busy machine may spoil one
KINDS = ("unknown", "as unknown", "of a wrong checksum", "revoked", "another schema's")


Instructions = tuple[tuple[str, int], ...]
"""Of what function, and where in it."""


class Asked:
    """The receiver's own code in this process, with the registry's file: what the network's noise would hide shows."""

    def __init__(self, home: Path) -> None:
        self.paths: dict[str, list[str]] = {kind: [] for kind in KINDS}
        for _ in range(EACH):  # by turns, so that none of the kinds lies apart in memory
            for kind in KINDS:
                printed = checksum_wrong() if kind == "of a wrong checksum" else new_token()
                self.paths[kind].append(f"/v1/{SCHEMA}/{printed}")
        with Registry(home / "registry.db") as registry:
            for kind, schema in (("another schema's", OTHER), ("revoked", SCHEMA)):
                for path in self.paths[kind]:
                    registry.put_endpoint(EndpointEntry(hash_of(path), schema, "primary", "customerio", False, ()))
            self.endpoints = Endpoints(home / "registry.db")
            assert len(self.endpoints.by_hash) == 2 * EACH
            for path in self.paths["revoked"]:
                registry.remove_endpoint(hash_of(path))
        assert self.endpoints.reload()
        assert len(self.endpoints.by_hash) == EACH
        self._loop = asyncio.new_event_loop()
        self._commit = GroupCommit(lambda: Spool(home / "spool.db"), self._loop)
        self.app = App(self.endpoints, self._commit)

    def close(self) -> None:
        self._loop.run_until_complete(self._commit.close())
        self._loop.close()

    def nanoseconds(self, path: str) -> int:
        """How long one request takes, from its head to its answer."""
        exchange = Exchange()
        handling: Any = self.app.__rsgi__(Scope(path), exchange)  # type: ignore[arg-type]
        started = time.perf_counter_ns()
        with contextlib.suppress(StopIteration):
            handling.send(None)  # nothing in it waits
        taken = time.perf_counter_ns() - started
        assert exchange.status == 401
        return taken

    def instructions(self, path: str) -> Instructions:
        """Those of the Python that one request runs, in order."""
        run: list[tuple[str, int]] = []

        def note(frame: FrameType, event: str, _: object) -> Any:
            frame.f_trace_lines, frame.f_trace_opcodes = False, True
            if event == "opcode":
                run.append((frame.f_code.co_qualname, frame.f_lasti))
            return note

        before = sys.gettrace()
        gc.disable()  # what a collection calls, wherever it falls, is no part of a request
        sys.settrace(note)
        try:
            self.nanoseconds(path)
        finally:
            sys.settrace(before)
            gc.enable()
        return tuple(run)

    def distinct(self) -> set[str]:
        """The kinds for whose tokens other instructions run than for unknown tokens."""
        self.app._refusals = Refusals()
        some = LOGGED_A_MINUTE // len(KINDS)
        for kind in KINDS:  # the first time each is logged
            for path in self.paths[kind][:some]:
                self.nanoseconds(path)
        run = {kind: {self.instructions(path) for path in self.paths[kind][:some]} for kind in KINDS}
        assert len(run["unknown"]) == 1
        return {kind for kind in KINDS if run[kind] != run["unknown"]}

    def times(self) -> dict[str, list[float]]:
        """By kind, how long each of its tokens takes: its first decile, with all kinds in a random order.

        What else the machine does makes some requests slower, and none faster.
        """
        order = [(kind, at) for kind in KINDS for at in range(EACH)]
        taken: dict[tuple[str, int], list[int]] = {each: [] for each in order}
        gc.disable()
        try:
            for number in range(ROUNDS + 1):
                random.shuffle(order)
                for kind, at in order:
                    nanoseconds = self.nanoseconds(self.paths[kind][at])
                    if number:  # the first is for what is done, or logged, once
                        taken[kind, at].append(nanoseconds)
        finally:
            gc.enable()
        return {kind: [statistics.quantiles(taken[kind, at], n=10)[0] for at in range(EACH)] for kind in KINDS}

    def separable(self) -> set[str]:
        """The kinds that take another time than unknown tokens do."""
        times = self.times()
        unknown = times["unknown"]
        return {
            kind
            for kind, taken in times.items()
            if abs(welch(taken, unknown)) > ERRORS
            and abs(statistics.fmean(taken) / statistics.fmean(unknown) - 1) > SHARE
        }


def welch(one: list[float], other: list[float]) -> float:
    """Welch's t: the difference of two means in standard errors."""
    error = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return (statistics.fmean(one) - statistics.fmean(other)) / error**0.5


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    made = Asked(tmp_path_factory.mktemp("asked"))
    yield made
    made.close()


Look = Callable[[Asked], set[str]]
LOOKS = pytest.mark.parametrize(
    "look",
    [
        pytest.param(Asked.distinct, id="instructions"),
        pytest.param(Asked.separable, id="time", marks=pytest.mark.nightly),
    ],
)


@LOOKS
def test_the_time_that_a_refusal_takes_does_not_tell_what_is_wrong_with_a_token(asked: Asked, look: Look) -> None:
    assert set() in (look(asked) for _ in range(TRIES))


class SchemaSecond:
    """A look-up by the token alone, whose schema is compared if there is one."""

    def __init__(self, by_hash: dict[str, EndpointEntry]) -> None:
        self._by_hash = by_hash

    def get(self, address: tuple[str, str]) -> EndpointEntry | None:
        entry = self._by_hash.get(address[1])
        return entry if entry is not None and entry.schema == address[0] else None


@LOOKS
def test_control_a_look_up_that_compares_the_schema_second_is_noticed(
    asked: Asked, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked.endpoints, "by_address", SchemaSecond(asked.endpoints.by_hash))
    assert {"another schema's"} in (look(asked) for _ in range(TRIES))


@LOOKS
def test_control_a_receiver_that_looks_at_the_checksum_first_is_noticed(
    asked: Asked, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = token.digest
    monkeypatch.setattr(token, "digest", lambda printed: digest(printed) if token.is_wellformed(printed) else "")
    assert {"of a wrong checksum"} in (look(asked) for _ in range(TRIES))


def test_no_other_endpoint_is_reached_by_any_of_them(stack: Stack, wrong: Wrong) -> None:
    assert spooled(stack.receiver.home, OTHER) == []
