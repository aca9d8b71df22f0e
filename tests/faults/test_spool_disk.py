"""A disk that fails under the spool: senders are told 503 and to try again, within their patience and never 200 without
the event being stored; the trouble is named, and when it is over the receiver goes on by itself."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.stage import Stage, fill, small_disk
from tests.receiver.running import set_setting
from tests.support.postgres import PostgresServer
from tests.support.waiting import until


@contextlib.contextmanager
def staged(home: Path, server: PostgresServer, program: str = "quick") -> Iterator[Stage]:
    with server.database() as dsn:
        stage = Stage(home, dsn)
        set_setting(home, "keep_free_bytes", 0)
        try:
            stage.start(program)
            yield stage
        finally:
            stage.close()


def assert_it_is_told(stage: Stage, says: str) -> None:
    assert says in until(lambda: stage.status()["spool"]["trouble"])
    until(lambda: stage.metrics()["sluice_ready",] == 0)
    assert says in stage.log()
    assert "the spool refuses deliveries" in stage.log()
    until(lambda: stage.refusals() >= 10)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("full", "database or disk is full"),
        ("broken", "disk I/O error"),
        ("read-only", "attempt to write a readonly database"),
    ],
)
def test_a_disk_that_fails_is_answered_503_until_it_works_again(
    home: Path, server: PostgresServer, fault: str, says: str
) -> None:
    with staged(home, server, "faulty_disk") as stage:
        stage.deliver(3)
        (home / "fault").write_text(fault)
        for _ in range(5):
            assert stage.is_refused("broken")
            assert stage.is_refused("other")
        assert_it_is_told(stage, says)
        (home / "fault").unlink()
        stage.deliver(3)  # at once
        stage.assert_all_is_well()
        assert "the spool takes deliveries again" in stage.log()


def test_a_disk_that_is_really_full_is_answered_503_until_there_is_room(tmp_path: Path, server: PostgresServer) -> None:
    home = tmp_path / "small"
    with small_disk(home, 24) as is_mounted:
        if not is_mounted:
            pytest.skip("this account can't mount a disk")
        with staged(home, server) as stage:
            stage.deliver(3)
            server.stop()
            try:
                filler = fill(home)
                until(lambda: stage.is_refused(), 60)  # what the files have got already is used up first
                for _ in range(5):
                    assert stage.is_refused("broken")
                    assert stage.is_refused("other")
                assert_it_is_told(stage, "")  # SpoolFull, or SQLite's own word, as the last bytes happen to go
                filler.unlink()
                until(stage.is_taken)
                stage.deliver(3)
            finally:
                server.start()
            stage.assert_all_is_well()


def test_what_is_to_be_kept_free_is_kept_free(home: Path, server: PostgresServer) -> None:
    with staged(home, server) as stage:
        stage.deliver(3)
        set_setting(home, "keep_free_bytes", 2 * shutil.disk_usage(home).free)
        until(lambda: stage.is_refused())
        for _ in range(5):
            assert stage.is_refused("broken")
            assert stage.is_refused("other")
        assert_it_is_told(stage, "SpoolFull")
        until(lambda: stage.waiting() == 0)  # it can still be emptied
        set_setting(home, "keep_free_bytes", 0)
        until(stage.is_taken)
        stage.assert_all_is_well()
