"""What happens to a stack between two `up`s, and what the next one makes of it."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable

import psutil
import psycopg
import pytest
from stack import CUSTOMERIO, Stack, event, post

from provider import postgres, receiver_process


def wait_until(condition: Callable[[], bool], what: str, patience_s: float = 20) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def receiver_pid(stack: Stack) -> int:
    running = receiver_process.answers(stack.home)
    assert running is not None
    return int(running["pid"])


def kill_receiver(stack: Stack) -> None:
    os.kill(receiver_pid(stack), signal.SIGKILL)
    wait_until(lambda: receiver_process.answers(stack.home) is None, "the receiver is gone")


def kill_postgres(stack: Stack) -> None:
    server = postgres.recorded(stack.home)
    assert server is not None
    os.kill(int((server.data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
    wait_until(lambda: not postgres.answers(server), "PostgreSQL is gone")


@pytest.fixture(scope="module", autouse=True)
def _declared(stack: Stack) -> None:
    stack.declare(CUSTOMERIO)
    stack.up()


def test_a_killed_receiver_is_revived_by_a_plain_up_and_nothing_else_changes(stack: Stack) -> None:
    url = stack.url()
    kill_receiver(stack)
    assert [(step.name, step.op) for step in stack.up()] == [("receiver", "update")]
    assert post(url, event("after-the-receiver-came-back")) == 200


def test_a_killed_postgresql_is_revived_and_what_came_meanwhile_is_loaded(stack: Stack) -> None:
    kill_postgres(stack)
    assert post(stack.url(), event("while-postgresql-was-down")) == 200
    assert [(step.name, step.op) for step in stack.up()] == [("postgres", "update")]
    wait_until(
        lambda: (
            stack.sql("SELECT 1 FROM stitch_customerio.data WHERE event_id = 'while-postgresql-was-down'") == [(1,)]
        ),
        "the event is loaded",
    )


def test_both_killed_at_once_as_by_a_reboot_come_back_on_the_same_ports(stack: Stack) -> None:
    url = stack.url()
    kill_receiver(stack)
    kill_postgres(stack)
    assert {(step.name, step.op) for step in stack.up()} == {("postgres", "update"), ("receiver", "update")}
    assert stack.url() == url
    assert post(url, event("after-the-reboot")) == 200
    stack.up("--expect-no-changes")


def test_a_dropped_view_shows_in_refresh_and_up_repairs_it_without_touching_data(stack: Stack) -> None:
    before = stack.sql("SELECT count(*) FROM stitch_customerio.data")
    stack.sql_execute("DROP VIEW stitch_customerio.email_events")
    refreshed = {step.name: step for step in stack.refresh()}
    assert "views.email_events" in refreshed["stitch_customerio-schema"].changed
    assert [(step.name, step.op, step.changed) for step in stack.up()] == [
        ("stitch_customerio-schema", "update", ["views.email_events"])
    ]
    assert stack.sql("SELECT count(*) FROM stitch_customerio.email_events")
    assert stack.sql("SELECT count(*) FROM stitch_customerio.data") == before


def test_a_view_changed_by_hand_is_put_right(stack: Stack) -> None:
    ((definition,),) = stack.sql("SELECT pg_get_viewdef('stitch_customerio.data_latest'::regclass)")
    by_hand = definition.rstrip(";") + " WHERE false"
    stack.sql_execute(f"CREATE OR REPLACE VIEW stitch_customerio.data_latest AS {by_hand}")
    stack.refresh()
    assert [(step.name, step.op) for step in stack.up()] == [("stitch_customerio-schema", "update")]
    assert stack.sql("SELECT count(*) > 0 FROM stitch_customerio.data_latest") == [(True,)]


def test_a_deleted_registry_row_shows_in_refresh_and_up_repairs_it(stack: Stack) -> None:
    url = stack.url()
    with sqlite3.connect(stack.home / "registry.db", timeout=10) as registry:
        registry.execute("DELETE FROM endpoints")
    registry.close()
    wait_until(lambda: post(url, event("lost")) == 401, "the receiver follows")
    assert "stitch_customerio-endpoint-primary" in {step.name for step in stack.refresh()}
    assert [(step.name, step.op) for step in stack.up()] == [("stitch_customerio-endpoint-primary", "update")]
    assert post(url, event("found")) == 200


def test_new_code_takes_the_socket_over_while_deliveries_go_on(stack: Stack) -> None:
    url, before = stack.url(), receiver_pid(stack)
    code = stack.root / "receiver" / "event.py"
    code.write_text(code.read_text() + "\n# another version\n")
    sender = subprocess.Popen(
        ["python", "-c", SENDER, url], stdout=subprocess.PIPE, text=True, env=stack.environment
    )  # fmt: skip
    try:
        steps = stack.up()
    finally:
        sender.terminate()
        statuses = sender.communicate(timeout=30)[0].split()
    assert [(step.name, step.op, step.changed) for step in steps] == [("receiver", "update", ["code"])]
    assert receiver_pid(stack) != before
    assert len(statuses) > 50
    assert set(statuses) == {"200"}


SENDER = """
import json, signal, sys, urllib.request, itertools
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
for number in itertools.takewhile(lambda _: not ended, itertools.count()):
    body = json.dumps({"event_id": f"handed-{number}", "object_type": "email", "metric": "sent", "data": {}})
    try:
        status = urllib.request.urlopen(sys.argv[1], body.encode(), timeout=10).status
    except Exception as error:
        status = getattr(error, "code", type(error).__name__)
    print(status, flush=True)
"""


@pytest.mark.parametrize("moment", ["PostgresServer", "Receiver", "PostgresSchema", "RandomPassword", "Endpoint"])
def test_an_up_killed_at_any_step_converges(stack: Stack, moment: str) -> None:
    """The engine is killed as soon as that step has begun; the next run of the same command must finish the work."""
    stack.declare({**CUSTOMERIO, "name": f"Killed at {moment}"}, port=stack.port, destroyData=True)
    if moment in ("PostgresServer", "Receiver"):
        (kill_postgres if moment == "PostgresServer" else kill_receiver)(stack)
    log = stack.root / "killed.json"
    log.unlink(missing_ok=True)
    running = subprocess.Popen(
        ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--event-log", str(log)],
        cwd=stack.root, env=stack.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def begun() -> bool:
        lines = log.read_text().splitlines() if log.exists() else []
        events = [json.loads(line).get("resourcePreEvent") for line in lines if line.endswith("}")]
        return any(
            moment in found["metadata"]["type"] and found["metadata"]["op"] != "same" for found in events if found
        )

    wait_until(lambda: begun() or running.poll() is not None, f"{moment} has begun", 60)
    assert running.poll() is None, "the engine was killed in the middle"
    running.kill()
    running.wait()
    wait_until(lambda: not provider_processes(stack), "the provider leaves with its engine", 10)
    made = stack.make("up")
    assert made.code == 0, made.text
    schema = f"killed_at_{moment.lower()}"
    assert post(stack.url(schema), event("converged")) == 200
    stack.up("--expect-no-changes")


def provider_processes(stack: Stack) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "provider" in line and str(stack.root) in " ".join(line):
            found.append(process)
    return found


def test_stop_stops_everything_and_keeps_everything(stack: Stack) -> None:
    assert stack.make("stop").code == 0
    assert post(f"http://127.0.0.1:{stack.port}/", b"") == 0
    stack.up()
    assert stack.sql("SELECT count(*) FROM stitch_customerio.data")


@pytest.mark.parametrize("how", ["PostgreSQL is down", "the stack is stopped"])
def test_destroy_loads_what_waits_in_the_spool_first(stack: Stack, how: str) -> None:
    stack.declare(CUSTOMERIO, destroyData=False)
    stack.up()
    kill_postgres(stack)
    assert post(stack.url(), event(f"accepted before the destroy: {how}")) == 200
    if how == "the stack is stopped":
        assert stack.make("stop").code == 0
    stack.destroy()
    server = postgres.ensure(stack.home, 0)
    with psycopg.connect(server.dsn) as connection:
        query = "SELECT count(*) FROM stitch_customerio.data WHERE event_id = %s"
        assert connection.execute(query, [f"accepted before the destroy: {how}"]).fetchone() == (1,)
