"""The function in a process of its own, with the files of its zip and what Lambda's runtime brings, and nothing else.

`Function` is an instance; `request` makes what a Function URL hands to it; `Door` stands between it and a service.
"""

import base64
import contextlib
import importlib.util
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from receiver.aws import MODULES

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("function_runner.py")
HANDLER = "receiver.aws.handler.handle"
LIBRARIES = ("boto3", "botocore", "s3transfer", "jmespath", "urllib3", "dateutil", "six")  # what Lambda brings
PATIENCE_S = 30


class Reply(NamedTuple):
    """What the sender gets, and how long it waited."""

    status: int
    headers: dict[str, str]
    body: str
    seconds: float


class Function:
    """One instance of the function."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        handler: str = HANDLER,
        talkative: bool = False,
        constants: Mapping[str, float] | None = None,
    ) -> None:
        """`folder` is the unpacked zip; `environment` all of the function's. `talkative`: its libraries log, as they
        would if nothing kept them from it. `constants`: other values for some of its modules' constants, in the order
        in which the modules are imported. Raises AssertionError with what it said if it doesn't start."""
        self._place = tempfile.TemporaryDirectory(prefix="function-")
        self._log = Path(self._place.name) / "log"
        brought = libraries(Path(self._place.name) / "libraries")
        reading, writing = os.pipe()
        options = json.dumps({"handler": handler, "talkative": talkative, "constants": dict(constants or {})})
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", RUNNER, folder, brought, str(writing), options],
                cwd=folder, env=dict(environment), pass_fds=[writing], stdin=subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip
        os.close(writing)
        self._said: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=[reading], daemon=True)
        self._reader.start()
        try:
            self.start_seconds: float = self._next()["started"]
        except AssertionError:
            self.close()
            raise

    def call(self, request: Any) -> Reply:
        """The answer to one request, after it was looked at: AWS answers 502 for one that isn't of this form."""
        started = time.monotonic()
        said = self._ask(request=request)
        seconds = time.monotonic() - started
        assert "answer" in said, f"raised {said['raised']}"
        answer = said["answer"]
        assert set(answer) == {"statusCode", "headers", "body"}
        assert all(type(value) is str for value in answer["headers"].values())
        assert (type(answer["statusCode"]), type(answer["body"])) == (int, str)
        return Reply(answer["statusCode"], answer["headers"], answer["body"], seconds)

    def move_clock(self, seconds: float) -> None:
        """Moves the instance's wall clock, and no other of its clocks: as if it had been frozen meanwhile."""
        self._ask(clock=seconds)

    @property
    def modules(self) -> list[str]:
        """The files of all that it has imported."""
        files: list[str] = self._ask(modules=True)["modules"]
        return files

    @property
    def logs(self) -> str:
        """All that it wrote to stdout and stderr."""
        return self._log.read_text() if self._log.exists() else ""

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log, line by line. Raises ValueError if one isn't JSON."""
        return [json.loads(line) for line in self.logs.splitlines()]

    def close(self) -> None:
        """Ends it, and removes its log."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self._reader.join()
        self._place.cleanup()

    def __enter__(self) -> "Function":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        return self._next()

    def _next(self) -> dict[str, Any]:
        try:
            said = self._said.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise AssertionError(f"no answer in {PATIENCE_S} s: {self.logs}") from None
        assert said, f"the function ended: {self.logs}"
        return said

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor) as answers:
            for line in answers:
                self._said.put(json.loads(line))
        self._said.put({})


def unpacked(folder: Path) -> Path:
    """`folder` with what the zip holds: the project's modules, and orjson for this machine."""
    for name in MODULES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(_place_of("orjson"), folder / "orjson", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def libraries(folder: Path) -> Path:
    """`folder` with the libraries of Lambda's runtime, and no others of this virtual environment."""
    folder.mkdir()
    for name in LIBRARIES:
        place = _place_of(name)
        (folder / place.name).symlink_to(place)
    return folder


def _place_of(library: str) -> Path:
    spec = importlib.util.find_spec(library)
    assert spec, f"{library} isn't installed"
    assert spec.origin
    place = Path(spec.origin)
    return place.parent if place.name == "__init__.py" else place


def request(
    path: str,
    body: bytes | str | None = None,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    base64: bool | None = None,
    arrived: float | None = None,
) -> dict[str, Any]:
    """What a Function URL hands to the function (payload 2.0). `path` may have a query.

    `base64`: whether the body comes so; by itself, if it isn't text. `arrived`: when AWS had it, in seconds since 1970.
    """
    where, _, query = path.partition("?")
    parts = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": where,
        "rawQueryString": query,
        "headers": {
            "content-type": "application/json",
            "host": "abcdefghij.lambda-url.eu-west-1.on.aws",
            "user-agent": "Customer.io",
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-proto": "https",
            **{name.lower(): value for name, value in (headers or {}).items()},
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abcdefghij",
            "domainName": "abcdefghij.lambda-url.eu-west-1.on.aws",
            "http": {"method": method, "path": where, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"},
            "requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
            "timeEpoch": int(1_000 * (time.time() if arrived is None else arrived)),
        },
        "isBase64Encoded": False,
    }
    if body:  # an empty one is left out
        parts.update(_body(body, base64))
    return parts


def _body(body: bytes | str, is_base64: bool | None) -> dict[str, Any]:
    if isinstance(body, str):
        return {"body": body, "isBase64Encoded": bool(is_base64)}
    if is_base64 is None:
        try:
            return {"body": body.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            is_base64 = True
    return {"body": base64.b64encode(body).decode() if is_base64 else body.decode(), "isBase64Encoded": is_base64}


class Door:
    """An HTTP proxy in front of one service, which can be shut in all the ways in which a service fails.

    `state`: "open"; "hanging", which never answers; "trickling", whose answer never ends, so that no timeout of a
    single read notices; "dropping", which ends the connection without an answer; or a status and a body of its own.
    """

    def __init__(self, service_url: str) -> None:
        self.state: str | tuple[int, bytes] = "open"
        self.passed: list[tuple[str, bytes]] = []
        """What went through and was answered 200: the operation (X-Amz-Target, else method and path), and the body."""
        self.knocks = 0
        address = urlsplit(service_url)
        assert address.hostname
        self._service = address.hostname, address.port
        self._is_over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @contextlib.contextmanager
    def shut(self, state: str | tuple[int, bytes]) -> Iterator[None]:
        self.state = state
        try:
            yield
        finally:
            self.state = "open"

    def close(self) -> None:
        self._is_over.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                door._serve(self)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _serve(self, asked: BaseHTTPRequestHandler) -> None:
        body = asked.rfile.read(int(asked.headers.get("content-length", 0)))
        self.knocks += 1
        state = self.state
        if state == "hanging":
            self._is_over.wait(PATIENCE_S)
        if state == "trickling":
            with contextlib.suppress(OSError):
                while not self._is_over.wait(0.2):
                    asked.wfile.write(b"H")
        if state in ("hanging", "trickling", "dropping"):
            asked.close_connection = True
            return
        if isinstance(state, tuple):
            _answer(asked, *state, {"content-type": "application/x-amz-json-1.1"})
            return
        connection = HTTPConnection(*self._service, timeout=PATIENCE_S)
        try:
            connection.request(asked.command, asked.path, body, dict(asked.headers.items()))
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, HTTPException):
            asked.close_connection = True
            return
        finally:
            connection.close()
        if answer.status == 200:
            self.passed.append((asked.headers.get("x-amz-target", f"{asked.command} {asked.path}"), body))
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in ("content-length", "connection", "date")}
        _answer(asked, answer.status, content, kept)


def _answer(asked: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    asked.send_response_only(status)
    for name, value in headers.items():
        asked.send_header(name, value)
    asked.send_header("content-length", str(len(body)))
    asked.end_headers()
    asked.wfile.write(body)
