"""The receiver's control socket: one JSON object a line, over a Unix socket that only its owner may open.

The provider and `make status` ask; a new receiver takes the listening socket over through it.
"""

import asyncio
import json
import logging
import os
import socket
import stat
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from receiver.logs import Sparingly, facts

TIMEOUT_SECONDS = 10.0
CONVERSATION_SECONDS = 60.0  # how long a silent asker is kept
ACCEPT_PAUSE_SECONDS = 0.2  # after one that couldn't be taken

_log = logging.getLogger("receiver.control")


class ReceiverDown(Exception):
    """No receiver of this home answers."""


class ControlError(Exception):
    """The receiver answered that it could not do what was asked."""


def socket_path(home: Path) -> Path:
    """Where the control socket of `home` is: `/tmp/sluice-<uid>/<12 hex>.sock`.

    Not inside home: a Unix socket's path has 107 bytes at most (103 on macOS), a checkout's may have more.
    Not under $TMPDIR: asker and receiver may have been started with different ones.
    """
    name = sha256(os.fsencode(home.resolve())).hexdigest()[:12]
    return Path(f"/tmp/sluice-{os.geteuid()}") / f"{name}.sock"  # noqa: S108 (the folder is checked to be ours)


def own_folder(folder: Path) -> None:
    """Makes the sockets' folder, or checks that it is ours and nobody else's. Raises PermissionError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to somebody else; remove it")
    if status.st_mode & 0o077:
        folder.chmod(0o700)


class Conversation:
    """A connection to a running receiver, for several requests in a row. Blocking; close it after use."""

    def __init__(self, home: Path, timeout: float = TIMEOUT_SECONDS) -> None:
        """Raises ReceiverDown if nobody listens."""
        path = socket_path(home)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._received = b""
        try:
            own_folder(path.parent)
            self._socket.connect(os.fspath(path))
        except OSError as error:
            self._socket.close()
            raise ReceiverDown(f"no receiver answers for {home}: {error}") from None

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, op: str, **args: Any) -> dict[str, Any]:
        """One request and its answer. Raises ReceiverDown if the connection ends, ControlError if refused."""
        answer, descriptors = self.ask_for_descriptors(op, **args)
        for descriptor in descriptors:
            os.close(descriptor)
        return answer

    def ask_for_descriptors(self, op: str, **args: Any) -> tuple[dict[str, Any], list[int]]:
        """As `ask`, with the descriptors that came with the answer (SCM_RIGHTS); they are the caller's."""
        descriptors: list[int] = []
        try:
            self._socket.sendall(json.dumps({"op": op, **args}).encode() + b"\n")
            while b"\n" not in self._received:
                chunk, received, _, _ = socket.recv_fds(self._socket, 65536, 4)
                descriptors += received
                if not chunk:
                    raise ConnectionResetError("the receiver hung up")
                self._received += chunk
        except OSError as error:
            for descriptor in descriptors:
                os.close(descriptor)
            raise ReceiverDown(f"the receiver doesn't answer: {error}") from None
        line, _, self._received = self._received.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer and len(answer) == 1:
            raise ControlError(answer["error"])
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return answer, descriptors


def ask_sync(home: Path, op: str, *, timeout: float = TIMEOUT_SECONDS, **args: Any) -> dict[str, Any]:
    """Asks the receiver of `home`; `op` and its answer are listed at `server.Operations`.

    Raises ReceiverDown when no receiver answers within `timeout` seconds, ControlError when it refuses.
    """
    with Conversation(home, timeout) as conversation:
        return conversation.ask(op, **args)


async def ask(home: Path, op: str, *, timeout: float = TIMEOUT_SECONDS, **args: Any) -> dict[str, Any]:  # noqa: ASYNC109
    """As `ask_sync`, without blocking the event loop."""
    return await asyncio.to_thread(ask_sync, home, op, timeout=timeout, **args)


class Session:
    """The receiver's end of one conversation: what an operation may leave with it."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []  # to be sent along with the next answer
        self.when_it_ends: Callable[[], None] = lambda: None


Answer = Callable[[dict[str, Any], Session], dict[str, Any]]


class ControlServer:
    """Answers conversations, each in a thread of its own, so that it does so however busy the event loop is.

    `answer` gets the request and returns its answer; what it raises is told to the asker as {"error": ...}.
    """

    def __init__(self, home: Path, answer: Answer) -> None:
        """Takes over the control socket of `home`, from an older receiver too. Raises OSError."""
        self.path = socket_path(home)
        self._answer = answer
        own_folder(self.path.parent)
        self.claim()

    def claim(self) -> None:
        """Makes this process the one that is asked. An older one goes on answering whoever already asked it."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        fresh = self.path.with_suffix(f".{os.getpid()}")
        fresh.unlink(missing_ok=True)
        listener.bind(os.fspath(fresh))
        fresh.chmod(0o600)
        listener.listen(64)
        self._inode = fresh.stat().st_ino
        fresh.rename(self.path)  # at once: at every moment somebody listens there
        threading.Thread(target=self._accept, args=(listener,), name="control", daemon=True).start()

    def is_ours(self) -> bool:
        try:
            return self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Removes the socket, unless a newer receiver has it."""
        if self.is_ours():
            self.path.unlink(missing_ok=True)

    def _accept(self, listener: socket.socket) -> None:
        sparingly = Sparingly()
        while True:
            try:
                connection, _ = listener.accept()
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()
            except (OSError, RuntimeError) as error:  # no descriptor or no thread is left: there will be again
                more = sparingly.may_say("accept")
                if more is not None:
                    _log.error("can't take a control request", extra=facts(error=type(error).__name__, **more))
                time.sleep(ACCEPT_PAUSE_SECONDS)

    def _converse(self, connection: socket.socket) -> None:
        session = Session()
        connection.settimeout(CONVERSATION_SECONDS)
        try:
            with connection, connection.makefile("rb") as requests:
                for line in requests:
                    answer = json.dumps(self._safe_answer(line, session)).encode() + b"\n"
                    descriptors, session.descriptors = session.descriptors, []
                    if descriptors:
                        sent = socket.send_fds(connection, [answer], descriptors)
                        answer = answer[sent:]
                    connection.sendall(answer)
        except OSError:
            pass  # the asker went away
        finally:
            session.when_it_ends()

    def _safe_answer(self, line: bytes, session: Session) -> dict[str, Any]:
        try:
            return self._answer(json.loads(line), session)
        except Exception as error:
            _log.error("a control request failed", extra=facts(error=type(error).__name__))
            return {"error": f"{type(error).__name__}: {error}"}
