"""The receiver's server with its settings, and an application that reads the body and answers: the ceiling."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import uvloop

from receiver import listener
from receiver.answers import OK
from receiver.server import Granian, Options


class Noop:
    async def __rsgi__(self, scope: Any, exchange: Any) -> None:
        await exchange()
        exchange.response_bytes(OK.status, OK.headers, OK.body)


async def _serve(port: int) -> None:
    socket = listener.listen("127.0.0.1", port, "bench")
    options = Options(Path("bench"), port)
    await Granian(Noop(), socket, options).serve()  # type: ignore[arg-type]  # as much of App as granian calls


if __name__ == "__main__":
    try:
        uvloop.run(_serve(int(sys.argv[1])))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(0)
