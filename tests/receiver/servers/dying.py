"""A successor that dies while it takes over, at the moment that $DIES names."""

import os
import sys

from receiver import server
from receiver.__main__ import main
from receiver.server import Predecessor, Receiver


def die_at(moment: str) -> None:
    if os.environ["DIES"] == moment:
        sys.stdout.write("dying")
        sys.stdout.flush()
        os._exit(9)


class DyingPredecessor(Predecessor):
    def leave(self) -> None:
        die_at("before the old one leaves")
        super().leave()


class Dying(Receiver):
    async def _serve(self) -> None:
        die_at("before it serves")
        await super()._serve()
        die_at("before it is asked")


if __name__ == "__main__":
    server.Predecessor = DyingPredecessor  # type: ignore[misc]
    sys.exit(main(Dying))
