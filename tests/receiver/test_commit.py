"""Group commit against spools that hang, fail and come back."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from receiver import commit
from receiver.commit import GroupCommit, NotStored
from receiver.spool import Arrival, SpoolFull

ARRIVAL = Arrival("h", "s", 1, "e", None, None, None, b"{}", None)


class FakeSpool:
    """Stores in a list; `trouble` is called before each batch."""

    def __init__(self, trouble: Callable[[], object] = lambda: None) -> None:
        self.batches: list[list[Arrival]] = []
        self.trouble = trouble
        self.closed = 0

    def append(self, arrivals: Sequence[Arrival]) -> None:
        self.trouble()
        self.batches.append(list(arrivals))

    def give_back(self, keep_pages: int) -> None: ...

    def close(self) -> None:
        self.closed += 1


def run(spool: FakeSpool, test: Callable[[GroupCommit], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        opened: Any = spool
        group = GroupCommit(lambda: opened, asyncio.get_running_loop())
        await asyncio.wait_for(test(group), 10)
        await group.close()

    asyncio.run(main())


def test_what_comes_while_a_batch_is_written_is_the_next_batch() -> None:
    writing, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        writing.set()
        assert go_on.wait(5)

    spool = FakeSpool(wait)

    async def test(group: GroupCommit) -> None:
        first = asyncio.create_task(group.store(ARRIVAL))
        await asyncio.to_thread(writing.wait)
        rest = [asyncio.create_task(group.store(ARRIVAL)) for _ in range(commit.BATCH_ROWS + 10)]
        await asyncio.sleep(0.05)
        assert not first.done()
        go_on.set()
        await asyncio.gather(first, *rest)

    run(spool, test)
    assert [len(batch) for batch in spool.batches] == [1, commit.BATCH_ROWS, 10]
    assert spool.closed == 1


def test_a_disk_that_hangs_is_given_up_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "STALL_SECONDS", 0.2)
    go_on = threading.Event()
    spool = FakeSpool(lambda: go_on.wait(5) and None)

    async def test(group: GroupCommit) -> None:
        waiting = [asyncio.create_task(group.store(ARRIVAL)) for _ in range(3)]
        await asyncio.sleep(0.3)
        group.sweep()
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(answer) for answer in told] == [NotStored] * 3
        with pytest.raises(NotStored):  # at once, and nothing piles up in memory
            await group.store(ARRIVAL)
        go_on.set()
        await asyncio.sleep(0.1)
        await group.store(ARRIVAL)

    run(spool, test)


@pytest.mark.parametrize(
    ("error", "reopens"), [(SpoolFull("full"), 0), (OSError("broken"), 1), (ValueError("a bug"), 1)]
)
def test_any_error_is_not_stored_and_the_next_batch_is_tried(error: Exception, reopens: int) -> None:
    troubles = iter([error])

    def trouble() -> None:
        for one in troubles:
            raise one

    spool = FakeSpool(trouble)

    async def test(group: GroupCommit) -> None:
        with pytest.raises(NotStored):
            await group.store(ARRIVAL)
        assert str(error) in group.trouble
        await group.store(ARRIVAL)
        assert group.trouble == ""

    run(spool, test)
    assert spool.closed == reopens + 1


def test_what_is_queued_at_the_end_is_stored() -> None:
    spool = FakeSpool()

    async def test(group: GroupCommit) -> None:
        waiting = [asyncio.create_task(group.store(ARRIVAL)) for _ in range(5)]
        await asyncio.sleep(0)
        await group.close()
        await asyncio.gather(*waiting)

    run(spool, test)
    assert sum(map(len, spool.batches)) == 5
