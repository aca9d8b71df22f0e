"""SIGTERM in the midst of deliveries, with nobody to take over: whoever was let in is answered, 200 or 503, and what
was answered 200 lands."""

import asyncio

from tests.faults.stage import Stage, twice
from tests.receiver.running import Senders
from tests.support import sizes
from tests.support.waiting import until

SENDERS = 28


async def stop_under_load(stage: Stage, name: str) -> Senders:
    senders = Senders(stage.receiver.port, stage.paths["broken"], keep_alive=SENDERS - 4, fresh=4, name=name)
    async with senders.at_work():
        await asyncio.to_thread(until, lambda: len(senders.acked) > 200, 30)
        stage.receiver.process.terminate()
        assert await asyncio.to_thread(stage.receiver.process.wait, 30) == 0
    return senders


def test_a_stop_under_load_answers_whom_it_let_in_and_loses_nothing(stage: Stage) -> None:
    acked: set[str] = set()
    for round_ in sizes.of("a", "ab"):
        if stage.receiver.process.poll() is None:
            stage.kill()
        stage.start(None)  # the product's own, which takes its time to leave
        stage.deliver(1, schemas=["other"])
        senders = asyncio.run(stop_under_load(stage, round_))
        acked |= senders.acked
        assert set(senders.answers) <= {200, 503}
        # Refused is who comes after the end, and reset, at most once each, who was still waiting to be let in then.
        # An answer that ends half-way, or a connection that ends without one, is neither.
        others = [error for error in senders.errors if not error.startswith("ConnectionRefusedError")]
        assert [error for error in others if not error.startswith("ConnectionResetError")] == []
        assert len(others) <= SENDERS
        assert "leaving with deliveries unanswered" not in stage.log()
    stage.start()
    until(lambda: stage.waiting() == 0, 30)
    landed = stage.landed("broken")
    assert acked - set(landed) == set()
    assert twice(landed) == []
    assert stage.landed("other") == stage.sent["other"]
