"""The receiver's process: takes the socket, serves, answers the control socket, keeps the loader running, and leaves
without losing a delivery."""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import resource
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server as EmbeddedServer

from receiver import broken, code, listener
from receiver.admin.address import reached_at
from receiver.admin.server import Admin
from receiver.admin.view import Serving, Watch
from receiver.app import BODY_SECONDS, App
from receiver.commit import GroupCommit
from receiver.control import ControlError, ControlServer, Conversation, ReceiverDown, Session
from receiver.endpoints import Endpoints
from receiver.logs import Sparingly, facts
from receiver.spool import Report, Spool
from receiver.supervise import STOP_SECONDS, Loader

HEAD_SECONDS = 10.0
ANSWER_SECONDS = 30.0
CONNECTIONS = 4096  # more wait in the kernel's queue
OTHER_DESCRIPTORS = 256  # for the spool, the registry, the control socket and the status page, on any day
CROWDED = 0.9  # of the connections that there may be; then the log says so
CROWD_CHECK_SECONDS = 1.0
HEAD_BYTES = 32 * 1024  # of a request's head, and of what granian reads ahead, per connection
LEAVING_SECONDS = 1.0  # how long a leaving receiver answers `Connection: close` to those still connected
QUIET_SECONDS = 0.3  # without a request: nobody who was let in waits any more
FINISH_SECONDS = 20.0  # more than a body may take
GRANIAN_STOP_SECONDS = 5.0
START_TIME_TOLERANCE_SECONDS = 5.0  # psutil's moves a little whenever the clock is set
HUNG_SECONDS = 8.0  # for a receiver that doesn't answer its control socket to leave by itself
START_SECONDS = 30.0
SPOOL_BUSY_SECONDS = 2.0  # Customer.io waits 4 s

_log = logging.getLogger("receiver.server")


@dataclass(frozen=True)
class Options:
    """What a receiver is started with. Deadlines are in seconds."""

    home: Path
    port: int
    host: str = "127.0.0.1"
    head_seconds: float = HEAD_SECONDS
    body_seconds: float = BODY_SECONDS
    answer_seconds: float = ANSWER_SECONDS


class StartFailed(Exception):
    """The receiver can't start; the message is for the user, in one line."""


class Granian(EmbeddedServer):
    """granian's embedded server (2.8.7, pinned: this is private API) on a socket that it is given."""

    def __init__(self, app: App, socket: socket.socket, options: Options) -> None:
        self._socket = socket
        host, port = socket.getsockname()[:2]
        super().__init__(
            app,
            address=host,
            port=port,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=listener.BACKLOG,
            backpressure=connections(),
            http1_settings=HTTP1Settings(
                header_read_timeout=int(options.head_seconds * 1000), max_buffer_size=HEAD_BYTES
            ),
            log_enabled=False,  # its errors quote what a handler raised
            log_access=False,  # the path holds the token
        )

    def _init_shared_socket(self) -> None:
        # A descriptor of its own: granian closes it when it ends.
        self._sfd: Any = os.dup(self._socket.fileno())
        make_holder: Any = SocketHolder  # whose stub lacks the arguments: descriptor, is it a Unix socket, backlog
        self._shd: Any = make_holder(self._sfd, False, listener.BACKLOG)


class Receiver:
    """One running receiver."""

    open_spool: Callable[..., Spool] = Spool
    group_commit: Callable[..., GroupCommit] = GroupCommit

    def __init__(self, options: Options) -> None:
        self.options = options
        self.started_at = time.time()
        self._start_time = psutil.Process().create_time()
        self.code = code.digest()
        self.port = options.port
        self._loop = asyncio.get_running_loop()
        self._loader = Loader(options.home)
        self._leave = asyncio.Event()
        self._is_handed_over = False

    async def run(self) -> None:
        """Serves until it is told to stop, or until another receiver has taken over. Raises StartFailed."""
        with _one_start_at_a_time(self.options.home):
            predecessor = _predecessor(self.options.home)
            self._socket = (predecessor and predecessor.socket_for(self.options)) or _listen(self.options)
            self.port = self._socket.getsockname()[1]
            listener.give_up_on_the_deaf(self._socket, self.options.answer_seconds)
            await self._serve()
            # From here on two receivers accept, or one. Only now does the old one stop accepting.
            self._control = ControlServer(self.options.home, self._answer)
            if predecessor:
                await asyncio.to_thread(predecessor.leave)
            self._write_receiver_json()
        _log.info("serving", extra=facts(port=self.port, code=self.code))
        self._loader.start()
        self._watch.start()
        self._admin.start()
        for name in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(name, self._leave.set)
        leave = asyncio.create_task(self._leave.wait())
        await asyncio.wait({leave, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        await self._go()
        if not leave.done():
            raise StartFailed("granian has stopped by itself")

    async def _serve(self) -> None:
        home = self.options.home
        try:
            self._endpoints = Endpoints(home / "registry.db")
            self._commit = self.group_commit(lambda: self._open_spool(sets_aside=True), self._loop)
        except (sqlite3.Error, OSError) as error:
            raise StartFailed(f"can't open the registry and the spool in {home}: {error}") from None
        self.app = App(self._endpoints, self._commit, body_seconds=self.options.body_seconds)
        serving = Serving(home, f"{self.options.host}:{self.port}", self.started_at, self.code)
        self._watch = Watch(serving, self.app, self._endpoints, self._commit, self._loader, self._open_spool)
        self._admin = Admin(self._watch, self.app, lambda: self._endpoints.admin, home.name)
        self._sweeping = asyncio.gather(self.app.sweep(), _tell_of_crowds())
        self._granian = Granian(self.app, self._socket, self.options)
        self._serving = asyncio.create_task(self._granian.serve())
        await self._until_it_answers()

    def _open_spool(self, *, sets_aside: bool = False) -> Spool:
        return self.open_spool(
            self.options.home / "spool.db",
            limits=lambda: (self._endpoints.max_bytes, self._endpoints.keep_free_bytes),
            busy_seconds=SPOOL_BUSY_SECONDS,
            sets_aside=sets_aside,
        )

    async def _until_it_answers(self) -> None:
        # While an old receiver accepts from the same socket it may be the one that answers: ask until we did.
        give_up = time.monotonic() + START_SECONDS
        host, port = self._socket.getsockname()[:2]
        while not self.app.answered:
            if self._serving.done() or time.monotonic() > give_up:
                raise StartFailed("granian doesn't serve")
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    reader, writer = await asyncio.open_connection(reached_at(host), port)
                    writer.write(b"GET / HTTP/1.1\r\nHost: sluice\r\nConnection: close\r\n\r\n")
                    await reader.read()
                    writer.close()
            await asyncio.sleep(0.005)

    async def _go(self) -> None:
        """Leaves: everything that came in is answered."""
        _log.info("leaving")
        self.app.is_leaving = True
        self._admin.close()
        stopping = asyncio.create_task(self._loader.stop())
        await asyncio.sleep(LEAVING_SECONDS)
        if not self._is_handed_over:
            listener.silence(self._socket)
            await self._until_quiet()
        await self.app.finish(FINISH_SECONDS)
        self._granian.stop()  # type: ignore[no-untyped-call]  # granian's
        await asyncio.wait({self._serving}, timeout=GRANIAN_STOP_SECONDS)
        if not await self.app.finish(FINISH_SECONDS):
            _log.warning("leaving with deliveries unanswered", extra=facts(deliveries=self.app.in_flight))
        self._sweeping.cancel()
        await self._commit.close()
        await stopping
        self._watch.close()
        self._control.close()
        self._remove_receiver_json()
        _log.info("left")

    async def _until_quiet(self) -> None:
        """Waits for the requests on connections that granian has accepted and not looked at yet: it would end them
        without an answer (seen under load: 16 of 28). There are no new ones, and each is closed with its answer."""
        answered = -1
        while answered != self.app.answered:
            answered = self.app.answered
            await asyncio.sleep(QUIET_SECONDS)

    # The control socket's operations, called in its threads

    def _answer(self, request: dict[str, Any], session: Session) -> dict[str, Any]:
        match request:
            case {"op": "ping"}:
                return self._ping()
            case {"op": "endpoint", "hash": str(hash)}:
                return self._endpoint(hash, self._ask_spool()[0])
            case {"op": "status"}:
                return self._status()
            case {"op": "reload"}:
                return {"reloaded": self._endpoints.reload()}
            case {"op": "stop"}:
                self._loop.call_soon_threadsafe(self._leave.set)
                return {"stopping": os.getpid()}
            case {"op": "handover"} if self._leave.is_set():
                raise RuntimeError("this receiver is stopping")
            case {"op": "handover"}:
                session.descriptors.append(self._socket.fileno())
                session.when_it_ends = self._take_back
                return self._ping()
            case {"op": "leave"}:
                asyncio.run_coroutine_threadsafe(self._hand_over(), self._loop).result(5)
                return {"leaving": os.getpid()}
        raise ValueError(f"no such operation: {request.get('op')}")

    def _ping(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "code": self.code,
            "port": self.port,
            "host": self.options.host,
            "started_at": self.started_at,
            "start_time": self._start_time,
        }

    def _status(self) -> dict[str, Any]:
        spool, trouble = self._ask_spool()
        return {
            **self._ping(),
            "warehouse": asdict(spool.warehouse),
            "loader": {"pid": self._loader.pid, "starts": self._loader.starts},
            "spool": {
                "waiting_bytes": spool.waiting_bytes,
                "max_bytes": self._endpoints.max_bytes,
                "trouble": self._commit.trouble or trouble,
                "set_aside": [asdict(each) for each in broken.kept(self.options.home)],
            },
            "endpoints": {hash: self._endpoint(hash, spool) for hash in self._endpoints.by_hash},
            "schemas": {
                schema: {
                    "accepted": count.accepted,
                    "loaded": count.loaded,
                    "rejected": count.rejected,
                    "waiting": count.waiting,
                    "last_event_at": count.last_received_at and count.last_received_at / 1e6,
                    "hold": spool.holds.get(schema),
                }
                for schema, count in spool.counts.items()
            },
            "unauthorized": self.app.unauthorized,
            "admin": self._admin.told(),
        }

    def _endpoint(self, hash: str, spool: Report) -> dict[str, Any]:
        entry = self._endpoints.by_hash.get(hash)
        used = spool.usage.get(hash)
        lasts = [last for last in (used and used.last_used, self.app.traffic.last(hash)) if last]
        counts = spool.counts.get(entry.schema) if entry else None
        return {
            "live": entry is not None,
            "schema": entry.schema if entry else None,
            "slot": entry.slot if entry else None,
            "first_used": used.first_used if used else None,
            "last_used": max(lasts, default=None),
            "recent": self.app.traffic.recent(hash, time.time()),
            "waiting": counts.waiting if counts else 0,
        }

    def _ask_spool(self) -> tuple[Report, str | None]:
        """What the spool tells, and why it can't: whether an endpoint is live must be told with a failing disk too."""
        try:
            with self._open_spool() as spool:
                return spool.report(), None
        except (sqlite3.Error, OSError) as error:
            return Report(), f"{type(error).__name__}: {error}"

    async def _hand_over(self) -> None:
        """The socket lives on in another receiver, which accepts by now: be deaf to it, and go."""
        self.app.is_leaving = True
        self._admin.close()
        listener.silence(self._socket)
        self._is_handed_over = True
        self._leave.set()

    def _take_back(self) -> None:
        """A successor that died before it said "leave" may have taken the control socket with it."""
        if not self._is_handed_over and not self._control.is_ours():
            _log.warning("a successor failed; carrying on")
            self._control.claim()

    def _write_receiver_json(self) -> None:
        record = {
            **self._ping(),
            "control": os.fspath(self._control.path),
        }
        path = self.options.home / "receiver.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(record) + "\n")
        fresh.replace(path)

    def _remove_receiver_json(self) -> None:
        if _recorded(self.options.home).get("pid") == os.getpid():
            (self.options.home / "receiver.json").unlink(missing_ok=True)


class Predecessor:
    """The running receiver of the same home, whose place is to be taken."""

    def __init__(self, home: Path) -> None:
        """Raises ReceiverDown."""
        self._conversation = Conversation(home)
        self._facts = self._conversation.ask("ping")

    def socket_for(self, options: Options) -> socket.socket | None:
        """Its listening socket, if it is the one that these options ask for; None if it has none to give any more."""
        try:
            answer, descriptors = self._conversation.ask_for_descriptors("handover")
        except ControlError:  # it is stopping
            _wait_for_the_end_of(self._facts["pid"])
            return None
        except ReceiverDown:
            return None
        inherited = socket.socket(fileno=descriptors[0])
        if answer["host"] == options.host and answer["port"] == (options.port or answer["port"]):
            inherited.setblocking(False)
            return inherited
        inherited.close()
        return None

    def leave(self) -> None:
        """Tells it that its successor serves."""
        with contextlib.suppress(ReceiverDown, ControlError):
            self._conversation.ask("leave")
        self._conversation.close()


def _predecessor(home: Path) -> Predecessor | None:
    try:
        return Predecessor(home)
    except ReceiverDown:
        _end_the_hung(home)
        return None


def _end_the_hung(home: Path) -> None:
    """Ends a receiver of this home that is alive but doesn't answer its control socket."""
    record = _recorded(home)
    try:
        process = psutil.Process(record["pid"])
        if abs(process.create_time() - record["start_time"]) > START_TIME_TOLERANCE_SECONDS:
            return
        _log.warning("the receiver doesn't answer, it is ended", extra=facts(receiver=process.pid))
        process.terminate()
        give_up = time.monotonic() + HUNG_SECONDS
        while process.status() != psutil.STATUS_ZOMBIE:  # nobody may have waited for it yet
            if time.monotonic() > give_up:
                process.kill()
            time.sleep(0.05)
    except (KeyError, psutil.NoSuchProcess):
        return


def _wait_for_the_end_of(pid: int) -> None:
    give_up = time.monotonic() + LEAVING_SECONDS + FINISH_SECONDS + STOP_SECONDS
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < give_up:
            time.sleep(0.05)


def _recorded(home: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((home / "receiver.json").read_text())
        return facts
    except (OSError, ValueError):
        return {}


def _listen(options: Options) -> socket.socket:
    try:
        return listener.listen(options.host, options.port, options.home.name)
    except listener.PortTaken as taken:
        raise StartFailed(str(taken)) from None
    except OSError as error:
        raise StartFailed(f"can't listen on {options.host}: {error.strerror or error}") from None


@contextlib.contextmanager
def _one_start_at_a_time(home: Path) -> Iterator[None]:
    descriptor = os.open(home / "receiver.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def raise_descriptor_limit() -> None:
    """A connection is a file descriptor, and 1,024, the usual limit, would let as many idle clients lock others out."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + OTHER_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections() -> int:
    """How many may be open at once. Those beyond wait; one beyond the limit of descriptors would cost the spool its."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return CONNECTIONS
    return min(CONNECTIONS, max(limit - OTHER_DESCRIPTORS, limit // 2))


async def _tell_of_crowds() -> None:
    """Says in the log when hardly another connection can be taken: no request of those that wait is seen anywhere."""
    process = psutil.Process()
    most = connections()
    own = process.num_fds()
    sparingly = Sparingly(1)
    while True:
        await asyncio.sleep(CROWD_CHECK_SECONDS)
        with contextlib.suppress(OSError, psutil.Error):  # counting takes a descriptor itself
            open_now = process.num_fds() - own
            if open_now > CROWDED * most and (more := sparingly.may_say("crowd")) is not None:
                _log.warning("nearly all connections are in use", extra=facts(open=open_now, most=most, **more))
