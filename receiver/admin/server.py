"""The status page, the metrics and two probes, on an address of their own: this machine's alone, unless told otherwise.

There is no password, so nothing secret is shown: fingerprints, never tokens; counts, never bodies. A web page open in a
browser that can reach the address can ask it too, so it answers to its own names only (DNS rebinding gives it others),
nothing it says can be read or framed by another page, and nothing can be changed here.

It runs in threads of its own beside the event loop. Whatever happens to it, deliveries are taken: a port that is taken
is said and tried again, to a receiver that takes over it is given up at once, and however many ask, a page is made once
a second.
"""

import contextlib
import errno
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from receiver import listener
from receiver.admin import metrics, page
from receiver.admin.address import LOOPBACK, AdminAddress
from receiver.admin.view import FRESH_SECONDS, STALE_SECONDS, View, Watch
from receiver.answers import place
from receiver.app import App
from receiver.logs import Sparingly, facts

TURN_SECONDS = 0.1  # how soon a port is given up
GRACE_SECONDS = 3.0  # a port may be the old receiver's for a moment
RETRY_SECONDS = 5.0
CONNECTIONS = 16
REQUEST_SECONDS = 5.0  # for all of a request, however its bytes trickle in
LOOP_SECONDS = 10.0  # an event loop that doesn't run for so long is as good as dead
_THROWN_AWAY = 65536  # bytes of a body that nobody wants, so that its sender comes to read the answer

_HEADERS = {
    "Cache-Control": "no-store",
    # The page has no script, and its one style is known by its hash: whatever else got into it would do nothing.
    "Content-Security-Policy": f"default-src 'none'; style-src '{page.STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_log = logging.getLogger("receiver.admin")


class Said(NamedTuple):
    status: int
    kind: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def _text(status: int, text: str, *headers: tuple[str, str]) -> Said:
    return Said(status, "text/plain; charset=utf-8", f"{text}\n".encode(), headers)


class Admin:
    """The server. `start` and `close` return at once."""

    def __init__(self, watch: Watch, app: App, where: Callable[[], AdminAddress], stack: str) -> None:
        """`where` says, whenever asked, where to listen."""
        self.trouble: str | None = None  # why nobody listens there
        self._watch = watch
        self._app = app
        self._where = where
        self._stack = stack
        self._listener: socket.socket | None = None
        self._bound = AdminAddress(LOOPBACK, 0)
        self._next_try = 0.0
        self._page = _Kept(lambda view: page.render(view).encode())
        self._metrics = _Kept(metrics.render)
        self._patient_until = 0.0
        self._sparingly = Sparingly()
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        self._ends = threading.Event()

    def start(self) -> None:
        self._patient_until = time.monotonic() + GRACE_SECONDS
        threading.Thread(target=self._run, name="admin", daemon=True).start()

    def close(self) -> None:
        """Gives the port up, within TURN_SECONDS."""
        self._ends.set()

    def told(self) -> dict[str, Any]:
        """Where it is to be, whether others than this machine may reach it there, and what keeps it from listening."""
        where = self._where()
        return {"port": where.port, "url": where.url, "open": where.is_open, "trouble": self.trouble}

    # The thread that listens

    def _run(self) -> None:
        while not self._ends.is_set():
            try:
                self._turn()
            except Exception as error:  # whatever it is, it may pass
                _log.error("the status page fails", extra=facts(error=type(error).__name__, at=place(error)))
                self._ends.wait(1.0)
        self._give_up()

    def _turn(self) -> None:
        wanted = self._where()
        if wanted != self._bound:
            self._give_up()
            self.trouble, self._bound, self._next_try = None, wanted, 0.0
        if self._listener is None and wanted.port and time.monotonic() >= self._next_try:
            self._listen(wanted)
        if self._listener is None:
            self._ends.wait(TURN_SECONDS)
        else:
            self._accept(self._listener)

    def _listen(self, where: AdminAddress) -> None:
        try:
            self._listener = listener.bound(*where)
            self._listener.settimeout(TURN_SECONDS)
        except OSError as error:
            if time.monotonic() < self._patient_until:
                return
            self._next_try = time.monotonic() + RETRY_SECONDS
            if self.trouble is None:
                self.trouble = self._why(error, where)
                _log.warning("there is no status page", extra=facts(reason=self.trouble))
            return
        self.trouble = None
        _log.info("the status page is there", extra=facts(**where._asdict()))
        if where.is_open:
            _log.warning("the status page has no password, and others than this machine may reach it")

    def _why(self, error: OSError, where: AdminAddress) -> str:
        if error.errno == errno.EADDRINUSE:
            try:
                listener.listen(*where, self._stack, "adminPort").close()
            except listener.PortTaken as taken:
                return str(taken)
            except OSError as other:
                error = other
        return f"can't listen on {where.host}, port {where.port}: {error.strerror or error}"

    def _give_up(self) -> None:
        if self._listener:
            self._listener.close()
        self._listener = None

    def _accept(self, listening: socket.socket) -> None:
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            return
        except OSError:  # it has gone already, or no descriptor is left: there will be
            self._ends.wait(TURN_SECONDS)
            return
        if not self._room.acquire(blocking=False):
            connection.close()
            return
        try:
            threading.Thread(target=self._serve, args=(connection,), name="admin request", daemon=True).start()
        except RuntimeError:  # nor a thread
            self._room.release()
            connection.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError), _cut_off(connection, REQUEST_SECONDS):
                _Handler(connection, self)
                connection.shutdown(socket.SHUT_WR)
        except Exception as error:
            if (more := self._sparingly.may_say("")) is not None:
                told = facts(error=type(error).__name__, at=place(error), **more)
                _log.error("a request for the status failed", extra=told)
        finally:
            self._room.release()

    # What is answered

    def answer(self, path: str, hosts: list[str]) -> Said:
        """To a GET or HEAD of `path`; `hosts` are its Host headers."""
        where = self._bound
        if len(hosts) != 1 or not where.answers_to(hosts[0]):
            return _text(421, f"This is the status page of a receiver at {where.url} and answers to that alone.")
        match path.partition("?")[0]:
            case "/":
                return self._show_page()
            case "/metrics":
                return self._show_metrics()
            case "/health":
                is_alive = time.monotonic() - self._app.swept_at < LOOP_SECONDS
                return _text(200, "ok") if is_alive else _text(503, "the event loop doesn't run")
            case "/ready":
                return self._ready()
            case _:
                return _text(404, "not found")

    def _show_page(self) -> Said:
        view = self._watch.look()
        if view is None:
            return _text(503, "there is nothing to show yet, or the disk doesn't answer")
        return Said(200, "text/html; charset=utf-8", self._page.of(view))

    def _show_metrics(self) -> Said:
        view = self._watch.look()
        if view is None or time.time() - view.at > STALE_SECONDS:
            return _text(503, "the disk doesn't answer")
        return Said(200, metrics.CONTENT_TYPE, self._metrics.of(view))

    def _ready(self) -> Said:
        view = self._watch.look()
        if self._app.is_leaving:
            return _text(503, "leaving")
        if view is None or time.time() - view.at > STALE_SECONDS:
            return _text(503, "the disk doesn't answer")
        return _text(503, view.not_ready) if view.not_ready else _text(200, "ok")


class _Kept:
    """What was made of a view, kept for as long as a view is fresh: making it holds up the event loop's thread."""

    def __init__(self, make: Callable[[View], bytes]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._view: View | None = None
        self._made = b""
        self._made_at = 0.0

    def of(self, view: View) -> bytes:
        with self._lock:
            if self._view is not view or not 0 <= time.monotonic() - self._made_at <= FRESH_SECONDS:
                self._made = self._make(view)
                self._view, self._made_at = view, time.monotonic()
            return self._made


@contextlib.contextmanager
def _cut_off(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Ends the connection after so long, whoever waits for it then."""

    def end() -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Handler(BaseHTTPRequestHandler):
    """One request of one connection."""

    protocol_version = "HTTP/1.1"
    timeout = REQUEST_SECONDS

    def __init__(self, connection: socket.socket, admin: Admin) -> None:
        self._admin = admin
        super().__init__(connection, ("", 0), None)  # type: ignore[arg-type]  # it only keeps the server

    def do_GET(self) -> None:
        self._say(self._admin.answer(self.path, self.headers.get_all("Host", [])))

    def do_HEAD(self) -> None:
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Of the standard library's own errors, whose pages quote the request: their number and name alone."""
        if code == HTTPStatus.NOT_IMPLEMENTED:  # another method
            with contextlib.suppress(ValueError, AttributeError):
                self.rfile.read(max(0, min(int(self.headers.get("Content-Length", 0)), _THROWN_AWAY)))
            self._say(_text(405, "method not allowed", ("Allow", "GET, HEAD")))
        else:
            self._say(_text(code, HTTPStatus(code).phrase))

    def _say(self, said: Said) -> None:
        self.close_connection = True
        self.send_response_only(said.status)
        own = {"Content-Type": said.kind, "Content-Length": str(len(said.body)), "Connection": "close"}
        for name, value in [*own.items(), *_HEADERS.items(), *said.headers]:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what is asked for here is of no interest, and a path may be a stranger's."""
