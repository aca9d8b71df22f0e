"""A control: a receiver that answers before the commit. Whoever tests that nothing is lost must find it out."""

import asyncio
import sys

from receiver.__main__ import main
from receiver.commit import GroupCommit
from receiver.server import Receiver
from receiver.spool import Arrival


class Early(GroupCommit):
    async def store(self, arrival: Arrival) -> None:
        self.pending = asyncio.ensure_future(super().store(arrival))


class EarlyReceiver(Receiver):
    group_commit = Early


if __name__ == "__main__":
    sys.exit(main(EarlyReceiver))
