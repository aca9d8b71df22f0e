"""A receiver with a fault: storing a delivery raises what quotes it."""

import sys

from receiver.__main__ import main
from receiver.commit import GroupCommit
from receiver.server import Receiver
from receiver.spool import Arrival


class Raising(GroupCommit):
    async def store(self, arrival: Arrival) -> None:
        raise ValueError(f"can't store {arrival}")


class RaisingReceiver(Receiver):
    group_commit = Raising


if __name__ == "__main__":
    sys.exit(main(RaisingReceiver))
