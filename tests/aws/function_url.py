"""A Function URL on this machine: HTTP in front of several instances of the function, as AWS has them.

Each instance has a cache of its own, so that a delivery may meet one that hasn't looked its endpoint up lately. An
instance takes one request at a time, and what it answers is passed on as it is.
"""

import itertools
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.aws.function import Function, request


class FunctionUrl:
    def __init__(self) -> None:
        self._instances: Sequence[tuple[Function, threading.Lock]] = []
        self._turns = itertools.count()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def serve(self, *instances: Function) -> None:
        """Requests go to these from now on, in turn."""
        self._instances = [(instance, threading.Lock()) for instance in instances]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        url = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                instance, lock = url._instances[next(url._turns) % len(url._instances)]
                with lock:
                    answer = instance.call(request(self.path, body, headers=dict(self.headers.items())))
                content = answer.body.encode()
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
