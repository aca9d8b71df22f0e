"""A control: receivers that share the port by SO_REUSEPORT, and close their own listener when another has come."""

import socket
import sys
from typing import Any

from receiver import listener, server
from receiver.__main__ import main
from receiver.server import Options, Predecessor, Receiver


def listen(host: str, port: int, stack: str) -> socket.socket:
    sharing = socket.socket()
    sharing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sharing.bind((host, port))
    sharing.listen(listener.BACKLOG)
    sharing.setblocking(False)
    return sharing


class OwnSocket(Predecessor):
    def socket_for(self, options: Options) -> None:
        return None


class SharedPort(Receiver):
    async def _hand_over(self) -> None:
        self.app.is_leaving = True
        self._is_handed_over = True
        self._granian.stop()
        self._socket.close()
        self._leave.set()


def patch(module: Any, **names: Any) -> None:
    for name, value in names.items():
        setattr(module, name, value)


if __name__ == "__main__":
    patch(listener, listen=listen)
    patch(server, Predecessor=OwnSocket, LEAVING_SECONDS=0.1)
    sys.exit(main(SharedPort))
