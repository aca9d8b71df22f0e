"""The listening socket: bound so that nobody shares it, passed from an old receiver to a new one, and silenced.

granian's own sockets have SO_REUSEPORT, with which a second clone would share the port and split the deliveries, and
which resets what is queued when one of the listeners closes. So the socket is made here.
"""

import errno
import os
import socket
import sys
import tempfile
from pathlib import Path

import psutil

BACKLOG = 4096


class PortTaken(Exception):
    """Another process listens there; the message is for the user."""


def listen(host: str, port: int, stack: str, key: str = "port") -> socket.socket:
    """A listening socket of our own. Raises PortTaken, or OSError (a host that isn't one of this machine's).

    `key`: of the config of `stack`, where the port comes from.
    """
    try:
        return bound(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {port} is taken by another process ({_owner(port)});"
                f" set sluice:{key} in Pulumi.{stack}.yaml to a free one"
            ) from None
        raise


def bound(host: str, port: int) -> socket.socket:
    """As `listen`; EADDRINUSE for a port that is taken, without a look at who has it: that takes a while."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Only so that connections of a receiver that has just ended don't hold the port; it can't share a listener's.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "darwin" and port and _somebody_answers(family, host, port):
            raise OSError(errno.EADDRINUSE, "taken")  # there it could share one that listens on every address
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def give_up_on_the_deaf(listener: socket.socket, seconds: float) -> None:
    """Ends a connection through `listener` whose other side has taken nothing of what it was sent for so long.

    granian waits for ever (seen with 2.8.7), and such clients could hold all the connections that there may be. The
    kernel does it, where it can: the option is Linux's, and an accepted connection has it from its listener.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def silence(listener: socket.socket) -> None:
    """Makes this process deaf: puts a listener that nobody can reach under every descriptor of `listener`.

    Closing them instead would lose connections that granian's runtime has accepted but not looked at yet (seen: 1 to 9
    in 35,000 requests). The socket itself lives on in the process that it was passed to, with all that is queued.
    """
    silent = _unreachable_listener()
    inode = os.fstat(listener.fileno()).st_ino
    device = os.fstat(listener.fileno()).st_dev
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 (only the names are wanted, and the folder changes)
        try:
            status = os.fstat(int(name))
        except OSError:  # the one that listed the folder
            continue
        if (status.st_ino, status.st_dev) == (inode, device):
            os.dup2(silent.fileno(), int(name), inheritable=False)
    silent.close()


def _unreachable_listener() -> socket.socket:
    silent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="sluice-") as folder:  # $TMPDIR may be too long
        silent.bind(os.fspath(Path(folder) / "s"))
        silent.listen(1)
    silent.setblocking(False)
    return silent


def _somebody_answers(family: int, host: str, port: int) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def _owner(port: int) -> str:
    """Who listens on `port`, as far as this user may know; no arguments of other programs, they may be secret."""
    try:
        for connection in psutil.net_connections("tcp"):
            is_it = connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,)
            if is_it and connection.pid:
                process = psutil.Process(connection.pid)
                command = process.cmdline()
                if "receiver" in command and "--home" in command[:-1]:
                    home = command[command.index("--home") + 1]
                    return f"pid {connection.pid}, the receiver of {home}"
                return f"pid {connection.pid}, {process.name()}"
    except psutil.Error:
        pass
    return "of another user"
