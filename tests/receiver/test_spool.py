"""The spool by itself: what it stores, in which order, what it counts, and what it refuses."""

import itertools
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver import spool as spools
from receiver.spool import Arrival, Counts, Spool, SpoolFull

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def spool(home: Path) -> Iterator[Spool]:
    with Spool(home / "spool.db") as opened:
        yield opened


def arrival(event_id: str | None, schema: str = "a", body: bytes = b"{}", reason: str | None = None) -> Arrival:
    return Arrival("hash-" + schema, schema, 1_767_225_722_000_000, event_id, "email", "sent", 1767225722, body, reason)


def ids(spool: Spool, schema: str = "a") -> list[str | None]:
    return [row.event_id for row in spool.read(schema, 0, 1_000_000, 2**40)]


def test_rows_come_back_as_they_were_stored_schema_by_schema_in_order(spool: Spool) -> None:
    good, bad = arrival("one"), Arrival("h", "a", 5, None, None, None, None, b"\xff\x00", "not JSON")
    first, last = spool.append([good, arrival("other", "b"), bad])
    assert last == first + 2
    rows = spool.read("a", 0, 10, 1000)
    assert [tuple(row) for row in rows] == [(first, *good[1:]), (last, *bad[1:])]
    assert spool.schemas_waiting() == ["a", "b"]
    assert spool.read("a", first, 10, 1000) == rows[1:]
    assert spool.read("a", last, 10, 1000) == []


def test_sequences_rise_even_when_the_clock_steps_back(
    home: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([1000, 500, 500, 3000])
    monkeypatch.setattr("receiver.spool.time.time_ns", lambda: next(times))
    assert spool.append([arrival("1"), arrival("2")]) == (1000, 1001)
    assert spool.append([arrival("3")]) == (1002, 1002)
    assert spool.delete_through("a", 1002, loaded=3, rejected=0) == 3
    with Spool(home / "spool.db") as other:  # the empty spool still knows what it gave
        assert other.append([arrival("4")]) == (1003, 1003)
        assert other.append([arrival("5")]) == (3000, 3000)


def test_a_transaction_that_fails_stores_and_counts_nothing(spool: Spool) -> None:
    spool.append([arrival("before")])
    before = spool.report()
    broken: Any = arrival("broken")._replace(received_at=None)  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        spool.append([arrival("good"), broken])
    assert spool.report() == before
    assert ids(spool) == ["before"]
    spool.append([arrival("after")])
    assert ids(spool) == ["before", "after"]


def test_a_reader_takes_no_more_than_it_asked_for_but_always_one(spool: Spool) -> None:
    spool.append([arrival(str(number), body=b"x" * 100) for number in range(10)])
    assert len(spool.read("a", 0, 3, 10**9)) == 3
    assert len(spool.read("a", 0, 100, 250)) == 2
    assert len(spool.read("a", 0, 100, 5)) == 1


def test_deleting_counts_what_became_of_the_rows(spool: Spool) -> None:
    first, _ = spool.append([arrival(str(number), body=b"x" * 10) for number in range(10)])
    spool.append([arrival("b", "b")])
    assert spool.waiting_bytes() == 102
    assert spool.delete_through("a", first + 5, loaded=4, rejected=2) == 6
    assert spool.counts()["a"] == Counts(10, 4, 2, 4, 1_767_225_722_000_000)
    assert spool.counts()["b"].waiting == spool.waiting("b") == 1
    assert spool.waiting_bytes() == 42
    assert spool.delete_through("a", first + 5, loaded=0, rejected=0) == 0
    assert ids(spool) == ["6", "7", "8", "9"]


def test_rows_that_a_dead_loader_left_are_counted_by_their_kind(spool: Spool) -> None:
    _, last = spool.append([arrival("1"), arrival(None, reason="not JSON"), arrival("3")])
    spool.delete_through("a", last, loaded=0, rejected=0)
    assert spool.counts()["a"] == Counts(3, 2, 1, 0, 1_767_225_722_000_000)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=8),
    st.integers(1, 7),
)
def test_accepted_is_always_loaded_and_rejected_and_waiting(steps: list[tuple[int, int, int]], chunk: int) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Spool(Path(folder) / "s.db") as spool,
        pytest.MonkeyPatch.context() as m,
    ):
        m.setattr(spools, "DELETE_CHUNK", chunk)
        for arrivals, deleted, loaded in steps:
            spool.append([arrival(str(number), body=b"xy") for number in range(arrivals)])
            rows = spool.read("a", 0, max(deleted, 1), 10**9)
            loaded = min(loaded, len(rows))
            spool.delete_through("a", rows[-1].sequence, loaded=loaded, rejected=len(rows) - loaded)
            counts = spool.counts()["a"]
            assert counts.accepted == counts.loaded + counts.rejected + counts.waiting
            assert counts.waiting == len(ids(spool))
            assert spool.waiting_bytes() == 2 * counts.waiting


def test_use_is_kept_per_endpoint(spool: Spool) -> None:
    times = [3_000_000, 5_000_000, 4_000_000]
    for time in times:
        spool.append([arrival("x")._replace(received_at=time)])
    assert spool.usage()["hash-a"] == (3.0, 4.0)


def test_a_full_spool_refuses_and_takes_again_when_there_is_room(home: Path) -> None:
    limit = [250]
    with Spool(home / "spool.db", limits=lambda: (limit[0], 0)) as spool:
        first, _ = spool.append([arrival("1", body=b"x" * 100), arrival("2", body=b"x" * 100)])
        with pytest.raises(SpoolFull):
            spool.append([arrival("3", body=b"x" * 100)])
        assert ids(spool) == ["1", "2"]
        spool.delete_through("a", first, loaded=1, rejected=0)
        spool.append([arrival("3", body=b"x" * 100)])
        with pytest.raises(SpoolFull):
            spool.append([arrival("4", body=b"x" * 100)])
        limit[0] = 1000
        spool.append([arrival("4", body=b"x" * 100)])
        assert ids(spool) == ["2", "3", "4"]


def test_a_disk_with_too_little_room_is_not_filled(home: Path) -> None:
    disk = os.statvfs(home)
    with (
        Spool(home / "spool.db", limits=lambda: (2**40, disk.f_bavail * disk.f_frsize * 2)) as spool,
        pytest.raises(SpoolFull),
    ):
        spool.append([arrival("1")])


def test_the_spool_s_identity_and_privacy_last(home: Path) -> None:
    with Spool(home / "spool.db") as first, Spool(home / "spool.db") as second:
        assert first.spool_id == second.spool_id
        first.append([arrival("1")])
        for file in home.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    with Spool(home / "spool.db") as again:
        assert again.spool_id == first.spool_id


def test_space_of_loaded_rows_is_given_back_to_the_disk(home: Path, spool: Spool) -> None:
    _, last = spool.append([arrival(str(number), body=b"x" * 4000) for number in range(2000)])
    spool.delete_through("a", last, loaded=2000, rejected=0)
    for _ in range(5):
        spool.give_back(10)
    spool.close()
    assert (home / "spool.db").stat().st_size < 1_000_000


def test_another_connection_of_this_process_may_come_and_go(home: Path, spool: Spool) -> None:
    """Closing a file drops all of a process's locks on it, unless SQLite alone opens and closes it."""
    spool.append([arrival("1")])
    Spool(home / "spool.db").close()
    look = "import sys; from pathlib import Path; from receiver.spool import Spool; Spool(Path(sys.argv[1])).close()"
    subprocess.run([sys.executable, "-c", look, os.fspath(home / "spool.db")], cwd=ROOT, check=True)
    assert (home / "spool.db-wal").exists()  # the other process has seen that the spool is in use
    spool.append([arrival("2")])
    with Spool(home / "spool.db") as other:
        assert ids(other) == ["1", "2"]


def test_two_processes_write_without_losing_or_repeating_a_sequence(home: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from receiver.spool import Arrival, Spool\n"
        "with Spool(Path(sys.argv[1])) as spool:\n"
        "    for n in range(60):\n"
        "        names = [f'{sys.argv[2]}-{n}-{k}' for k in range(5)]\n"
        "        rows = [Arrival('h', 'a', 1, name, None, None, None, b'{}', None) for name in names]\n"
        "        print(*spool.append(rows))\n"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", program, os.fspath(home / "spool.db"), name], cwd=ROOT, stdout=subprocess.PIPE
        )
        for name in "xy"
    ]
    said = [writer.communicate()[0].decode().split() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    ranges = sorted(itertools.chain(*(zip(map(int, words[::2]), map(int, words[1::2]), strict=True) for words in said)))
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ranges))
    with Spool(home / "spool.db") as spool:
        assert len(ids(spool)) == len(set(ids(spool))) == 600
