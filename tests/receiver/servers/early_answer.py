"""A control: a receiver that answers before the commit. Whoever tests that nothing is lost must find it out."""

import sys
from collections import deque

from receiver.__main__ import main
from receiver.commit import GroupCommit
from receiver.server import Receiver
from receiver.spool import Arrival

BEHIND = 32  # deliveries: so many are answered and not stored at any time, however fast the disk is


class Early(GroupCommit):
    async def store(self, arrival: Arrival) -> None:
        held = self.__dict__.setdefault("held", deque())
        held.append(arrival)
        if len(held) > BEHIND:
            await super().store(held.popleft())


class EarlyReceiver(Receiver):
    group_commit = Early


if __name__ == "__main__":
    sys.exit(main(EarlyReceiver))
