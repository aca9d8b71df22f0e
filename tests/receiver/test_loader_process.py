"""The loader as a process: killed at the worst moment, orphaned, started twice, told to stop."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from receiver.admin.history import History
from receiver.registry import Loading, Registry, SchemaEntry
from receiver.spool import Spool
from tests.receiver.scene import Scene, arrival, body
from tests.support import sizes
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]

# A loader that is killed between the warehouse's commit and the spool's delete, at its first batch.
DIES_BEFORE_DELETE = """
import os, signal, sys
from receiver import loader, spool
spool.Spool.delete_through = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
sys.exit(loader.main())
"""

# The control: one that asks nobody what the warehouse has already, and claims nothing.
REMEMBERS_NOTHING = """
import sys
from receiver import loader, warehouse
warehouse.last_sequence = lambda *_: 0
warehouse.claim = lambda *_: True
sys.exit(loader.main())
"""

# A loader that dies inside a batch that has a row to reject, each time a little later.
DIES_AFTER_COMMITS = """
import os, signal, sys
from receiver import loader
commit = loader.commit
left = int(os.environ["COMMITS"])
def counting(*arguments):
    global left
    done = commit(*arguments)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
loader.commit = counting
sys.exit(loader.main())
"""


@contextmanager
def loader_process(home: Path, script: str | None = None, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    code = ["-m", "receiver.loader"] if script is None else ["-c", script]
    with (home / "loader.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *code, "--home", str(home)], cwd=ROOT, stderr=log, env={**os.environ, **environment}
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def drained(scene: Scene) -> Callable[[], bool]:
    return lambda: not scene.spool.schemas_waiting()


@pytest.mark.parametrize("loading", ["append", "upsert"])
def test_a_loader_killed_between_commit_and_delete_doubles_nothing(scene: Scene, loading: Loading) -> None:
    scene.schema(loading=loading)
    scene.accept(*(body(f"e{number}") for number in range(100)), b"rejected")
    for _ in range(2):  # the second one finds the first one's work, and dies as it cleans up
        with loader_process(scene.home, DIES_BEFORE_DELETE) as process:
            assert process.wait(10) == -signal.SIGKILL
        assert len(scene.event_ids()) == 100
        assert scene.spool.waiting("s") == 101
    scene.accept(body("after"))
    with loader_process(scene.home):
        until(drained(scene))
    assert scene.event_ids() == [*(f"e{number}" for number in range(100)), "after"]
    assert scene.rows("SELECT count(*) FROM s._sdc_rejected") == [(1,)]
    counts = scene.spool.counts()["s"]
    assert (counts.accepted, counts.loaded, counts.rejected) == (102, 101, 1)


def test_the_control_a_loader_that_does_not_keep_count_doubles_rows_under_append(scene: Scene) -> None:
    scene.schema(loading="append")
    scene.accept(*(body(f"e{number}") for number in range(100)))
    with loader_process(scene.home, DIES_BEFORE_DELETE) as process:
        assert process.wait(10) == -signal.SIGKILL
    with loader_process(scene.home, REMEMBERS_NOTHING):
        until(drained(scene))
    assert len(scene.event_ids()) == 200


def test_a_loader_killed_amid_a_batch_that_it_splits_loses_and_doubles_nothing(scene: Scene) -> None:
    scene.schema(loading="append")
    bad = arrival(body("bad"))._replace(body=b'{"x":1e200000}')
    scene.accept(*(body(f"e{number}") for number in range(7)), bad, *(body(f"e{number}") for number in range(7, 15)))
    for commits in (1, 2, 1):
        with loader_process(scene.home, DIES_AFTER_COMMITS, COMMITS=str(commits)) as process:
            assert process.wait(10) == -signal.SIGKILL
    with loader_process(scene.home):
        until(drained(scene))
    assert scene.event_ids() == [f"e{number}" for number in range(15)]
    assert scene.rows("SELECT count(*) FROM s._sdc_rejected") == [(1,)]
    counts = scene.spool.counts()["s"]
    assert (counts.loaded, counts.rejected) == (15, 1)


def test_a_loader_killed_at_random_moments_under_load_loses_and_doubles_nothing(scene: Scene) -> None:
    scene.schema(loading="append")
    sent = 0
    for round_ in range(sizes.of(3, 4)):
        with loader_process(scene.home) as process:
            started = time.monotonic()
            while time.monotonic() < started + 0.4 + 0.1 * round_:
                scene.accept(*(body(f"e{number}") for number in range(sent, sent + 50)))
                sent += 50
            process.kill()
    with loader_process(scene.home):
        until(drained(scene))
    assert scene.event_ids() == [f"e{number}" for number in range(sent)]
    assert scene.spool.counts()["s"].loaded == sent


def test_a_loader_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    Spool(tmp_path / "spool.db").close()
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time\n"
            "child = subprocess.Popen([sys.executable, '-m', 'receiver.loader', '--home', sys.argv[1]])\n"
            "print(child.pid, flush=True); time.sleep(60)",
            str(tmp_path),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout
    child = psutil.Process(int(parent.stdout.readline()))
    until((tmp_path / "loader.lock").exists)
    parent.kill()
    parent.wait()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 5)


def test_a_second_loader_waits_for_the_first_and_takes_over_when_it_is_gone(scene: Scene) -> None:
    scene.schema(loading="append")
    with loader_process(scene.home) as first:
        scene.accept(body("a"))
        until(drained(scene))
        with loader_process(scene.home) as second:
            scene.accept(body("b"))
            until(drained(scene))
            first.terminate()
            assert first.wait(5) == 0
            scene.accept(body("c"))
            until(drained(scene))
            assert second.poll() is None
            with loader_process(scene.home) as third:  # and one that only waits can be told to stop, too
                until(lambda: "loader.lock" in str(psutil.Process(third.pid).open_files()))
                third.terminate()
                assert third.wait(5) == 0
    assert scene.event_ids() == ["a", "b", "c"]


def test_a_loader_starts_in_an_empty_home_and_follows_the_registry(tmp_path: Path, dsn: str) -> None:
    with loader_process(tmp_path):
        until(lambda: "there is no registry.db" in (tmp_path / "loader.log").read_text())
        scene = Scene(tmp_path, dsn)
        scene.schema()
        scene.accept(body("a"))
        until(drained(scene))
        scene.registry.set_setting("warehouse_dsn", None)
        until(lambda: scene.spool.warehouse_state().state == "unset", 2)
        scene.registry.set_setting("warehouse_dsn", dsn)
        until(lambda: scene.spool.warehouse_state().state == "up", 2)
        scene.close()


def test_a_loader_goes_on_with_files_that_replaced_its_own(scene: Scene) -> None:
    scene.schema(loading="append")
    with loader_process(scene.home):
        scene.accept(body("a"))
        until(drained(scene))
        scene.spool.close()
        for file in scene.home.glob("spool.db*"):
            file.unlink()
        scene.spool = Spool(scene.home / "spool.db")
        scene.accept(body("b"))
        until(drained(scene))
    assert scene.event_ids() == ["a", "b"]


def test_neither_the_dsn_nor_a_body_shows_on_the_command_line_or_in_the_log(scene: Scene) -> None:
    scene.schema()
    password = psycopg.conninfo.conninfo_to_dict(scene.dsn)["password"]
    with loader_process(scene.home) as process:
        scene.accept(body("a", secret="payload"), arrival(body("b"))._replace(body=b'{"payload":1e200000}'), b"payload")
        until(drained(scene))
        seen = psutil.Process(process.pid).cmdline()
        with Registry(scene.home / "registry.db") as registry:
            registry.put_schema(SchemaEntry("gone", "gone", "customerio", "upsert"))
        scene.accept(arrival(body("c", secret="payload"), "gone"))
        until(lambda: scene.spool.holds())
    log = (scene.home / "loader.log").read_text()
    told = [json.loads(line) for line in log.splitlines()]
    (rejected,) = [line for line in told if line["event"] == "rejected a row"]
    reason = "the warehouse can't take it: 22003 NumericValueOutOfRange"
    assert (rejected["schema"], rejected["reason"]) == ("s", reason)
    assert any((line["event"], line.get("schema")) == ("rows wait", "gone") for line in told)
    with closing(History(scene.home)) as history:
        assert [(each.reason, each.times) for each in history.past(time.time())["s"].reasons] == [(reason, 1)]
    kept = b"".join(file.read_bytes() for file in scene.home.glob("history.db*"))
    for secret in (password, "payload"):
        assert str(secret) not in f"{seen} {log} {kept!r}"
