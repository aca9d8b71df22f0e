"""What happens to a stack between two `up`s, and what the next one makes of it."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import psycopg
import pytest
from stack import CUSTOMERIO, Stack, event, post, processes_of, temporary_clone

from provider import postgres, receiver_process
from receiver.registry import Registry
from receiver.spool import Spool


def wait_until(condition: Callable[[], bool], what: str, patience_s: float = 20) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def receiver_pid(stack: Stack) -> int:
    running = receiver_process.answers(stack.home)
    assert running is not None
    return int(running["pid"])


def postmaster(stack: Stack) -> int:
    """The pid of PostgreSQL's main process."""
    server = postgres.recorded(stack.home)
    assert server is not None
    return int((server.data / "postmaster.pid").read_text().splitlines()[0])


def kill_receiver(stack: Stack) -> None:
    os.kill(receiver_pid(stack), signal.SIGKILL)
    wait_until(lambda: receiver_process.answers(stack.home) is None, "the receiver is gone")


def kill_postgres(stack: Stack) -> None:
    server = postgres.recorded(stack.home)
    assert server is not None
    os.kill(postmaster(stack), signal.SIGKILL)
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


def provider_processes(stack: Stack) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "provider" in line and str(stack.root) in " ".join(line):
            found.append(process)
    return found


def kill_up_at(stack: Stack, op: str, type_: str) -> None:
    """Kills -9 the engine as soon as it has begun that step; its provider must follow it."""
    log = stack.root / "killed.json"
    log.unlink(missing_ok=True)
    running = subprocess.Popen(
        ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--event-log", str(log)],
        cwd=stack.root, env=stack.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def begun() -> bool:
        whole_lines = log.read_text().rpartition("\n")[0].splitlines() if log.exists() else []
        steps = [json.loads(line).get("resourcePreEvent", {}).get("metadata") for line in whole_lines]
        return any(step["op"] == op and step["type"].endswith(f":{type_}") for step in steps if step)

    try:
        wait_until(lambda: begun() or running.poll() is not None, f"{op} of {type_} has begun", 60)
        assert running.poll() is None, "it is killed in the middle"
        assert provider_processes(stack), "else nothing shows that it leaves"
    finally:
        running.kill()
        running.wait()
    wait_until(lambda: not provider_processes(stack), "the provider leaves with its engine", 10)


def assert_make_up_finishes_the_work(stack: Stack) -> None:
    made = stack.make("up")
    assert made.code == 0, made.text
    stack.up("--expect-no-changes")
    with Registry(stack.home / "registry.db") as registry:
        live = [endpoint.schema for endpoint in registry.endpoints()]
    assert sorted(live) == sorted(stack.outputs()["integrations"])


def bring_up(stack: Stack, *integrations: dict[str, Any]) -> None:
    """Makes the stack hold these integrations, with destroyData; nothing to do where it does already."""
    if (stack.config["integrations"], stack.config.get("destroyData")) != (list(integrations), True):
        stack.declare(*integrations, destroyData=True)
        stack.up()


@pytest.mark.parametrize(("type_", "kill"), [("PostgresServer", kill_postgres), ("Receiver", kill_receiver)])
def test_an_up_killed_as_it_revives_a_daemon_converges(stack: Stack, type_: str, kill: Callable[[Stack], None]) -> None:
    url = stack.url()
    kill(stack)
    kill_up_at(stack, "update", type_)
    assert_make_up_finishes_the_work(stack)
    assert (stack.url(), post(url, event(f"converged after {type_}"))) == (url, 200)


BRIEF: dict[str, Any] = {**CUSTOMERIO, "name": "Brief"}


@pytest.mark.parametrize(
    ("op", "type_"),
    [
        ("create", "PostgresSchema"),
        ("delete", "PostgresSchema"),
        ("create", "RandomPassword"),
        ("delete", "RandomPassword"),
        ("create", "Endpoint"),
        ("delete", "Endpoint"),
    ],
)
def test_an_up_killed_as_it_adds_or_removes_an_integration_converges(stack: Stack, op: str, type_: str) -> None:
    both = (CUSTOMERIO, BRIEF)
    bring_up(stack, *(both if op == "delete" else [CUSTOMERIO]))
    kept, removed = stack.url(), stack.url("brief") if op == "delete" else ""
    if removed:
        assert post(removed, event("to be dropped")) == 200
    stack.declare(*([CUSTOMERIO] if op == "delete" else both), destroyData=True)
    kill_up_at(stack, op, type_)
    assert_make_up_finishes_the_work(stack)
    assert (stack.url(), post(kept, event(f"converged after {op} of {type_}"))) == (kept, 200)
    if op == "delete":
        assert post(removed, event("too late")) == 401
        assert stack.sql("SELECT 1 FROM pg_namespace WHERE nspname = 'brief'") == []
    else:
        assert post(stack.url("brief"), event("converged")) == 200
        wait_until(lambda: stack.sql("SELECT count(*) FROM brief.data") == [(1,)], "the event is loaded")


@pytest.mark.parametrize(
    ("version", "op", "type_"),
    [
        (2, "create-replacement", "RandomPassword"),
        (3, "create-replacement", "Endpoint"),
        (4, "delete-replaced", "Endpoint"),
        (5, "delete-replaced", "RandomPassword"),
    ],
)
def test_a_rotation_killed_at_any_step_converges(stack: Stack, version: int, op: str, type_: str) -> None:
    bring_up(stack, {**CUSTOMERIO, "tokens": {"primary": version - 1}})
    old = stack.url()
    assert post(old, event(f"before rotation {version}")) == 200
    stack.declare({**CUSTOMERIO, "tokens": {"primary": version}}, destroyData=True)
    kill_up_at(stack, op, type_)
    assert_make_up_finishes_the_work(stack)
    new = stack.url()
    assert new != old
    assert post(old, event("by the old URL")) == 401
    assert post(new, event(f"after rotation {version}")) == 200


@pytest.mark.parametrize("type_", ["PostgresServer", "Receiver"])
def test_a_first_up_killed_as_it_makes_a_daemon_converges(type_: str) -> None:
    with temporary_clone() as fresh:
        fresh.declare(CUSTOMERIO)
        kill_up_at(fresh, "create", type_)
        assert_make_up_finishes_the_work(fresh)
        assert post(fresh.url(), event("the first")) == 200
        wait_until(lambda: fresh.sql("SELECT count(*) FROM stitch_customerio.data") == [(1,)], "the event is loaded")


def test_an_up_killed_as_it_writes_the_state_converges(stack: Stack) -> None:
    """The engine (gocloud.dev, fileblob/attrs.go) first makes each state file's `.attrs` anew and then fills it."""
    url = stack.url()
    attributes = stack.root / ".sluice/.pulumi/stacks/sluice/dev.json.attrs"
    attributes.write_text("")
    try:
        assert "EOF" in stack.pulumi("stack", "export").text, "else it does no harm, and nothing is shown"
        assert_make_up_finishes_the_work(stack)
    finally:
        if attributes.exists() and not attributes.read_text():
            attributes.unlink()  # the next tests need the stack
    assert stack.url() == url


def test_status_names_what_is_down_and_fails_until_all_is_well(stack: Stack) -> None:
    def status_is_well() -> bool:
        return stack.make("status").code == 0

    wait_until(status_is_well, "all is well")
    kill_receiver(stack)
    status = stack.make("status")
    assert (status.code != 0, "the receiver is down" in status.text) == (True, True), status.text
    assert "PostgreSQL is down" not in status.text
    stack.up()
    kill_postgres(stack)
    status = stack.make("status")
    assert (status.code != 0, "PostgreSQL is down" in status.text) == (True, True), status.text
    assert "the receiver is down" not in status.text
    stack.up()
    wait_until(status_is_well, "all is well again")


def rows(stack: Stack) -> list[tuple[Any, ...]]:
    return stack.sql("SELECT event_id, _sdc_sequence FROM stitch_customerio.data ORDER BY 2")


def wait_until_loaded(stack: Stack, event_id: str) -> None:
    query = f"SELECT count(*) FROM stitch_customerio.data WHERE event_id = '{event_id}'"
    wait_until(lambda: stack.sql(query) == [(1,)], f"{event_id} is loaded")


def lives(process: psutil.Process) -> bool:
    """Not so a zombie, that only waits for whoever took the orphan in to ask for it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_stop_stops_everything_and_keeps_everything(stack: Stack) -> None:
    url = stack.url()
    assert post(url, event("before-the-stop")) == 200
    wait_until_loaded(stack, "before-the-stop")
    before, server = rows(stack), postgres.recorded(stack.home)
    running = psutil.Process(receiver_pid(stack))
    daemons = [running, *running.children(), psutil.Process(postmaster(stack))]
    assert len(daemons) == 3, "the receiver, its loader, PostgreSQL"
    assert processes_of(stack.root)

    assert stack.make("stop").code == 0
    assert [daemon for daemon in daemons if lives(daemon)] == []
    assert processes_of(stack.root) == []
    assert post(url, event("while-stopped")) == 0

    stack.up()
    assert (postgres.recorded(stack.home), stack.url()) == (server, url)
    assert rows(stack) == before
    assert post(url, event("after-the-stop")) == 200


def test_a_lost_registry_is_made_whole_by_a_plain_up(stack: Stack) -> None:
    """Nothing is stopped before: the receiver that runs must take the new file for the one that is gone."""
    url = stack.url()
    for file in stack.home.glob("registry.db*"):
        file.unlink()
    stack.up()
    assert stack.url() == url
    assert post(url, event("after-the-registry-was-lost")) == 200
    wait_until_loaded(stack, "after-the-registry-was-lost")
    with Registry(stack.home / "registry.db") as registry:
        assert [endpoint.schema for endpoint in registry.endpoints()] == ["stitch_customerio"]
        assert [schema.schema for schema in registry.schemas()] == ["stitch_customerio"]
        assert set(registry.settings()) == {"warehouse_dsn", "spool_max_bytes", "keep_free_bytes"}
    stack.up("--expect-no-changes")


def test_a_lost_data_folder_is_made_anew_with_a_warning(stack: Stack) -> None:
    url, server = stack.url(), postgres.recorded(stack.home)
    assert server is not None
    postgres.stop(stack.home)
    shutil.rmtree(server.data)
    stack.up()
    assert f"the data in {server.data} was gone" in stack.said[-1]
    assert "warning" in stack.said[-1]
    assert post(url, event("after-the-data-was-lost")) == 200
    wait_until_loaded(stack, "after-the-data-was-lost")
    stack.up("--expect-no-changes")


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


@pytest.fixture
def unloadable(stack: Stack) -> Iterator[Stack]:
    """The stack with a row that waits in the spool: by hand, the table that it belongs to was renamed away."""
    code = stack.root / "provider" / "postgres_schema.py"
    patient = code.read_text()
    assert patient.count("LOAD_PATIENCE_S = 60.0") == 1, f"{code.name} has changed: this test needs another edit"
    code.write_text(patient.replace("LOAD_PATIENCE_S = 60.0", "LOAD_PATIENCE_S = 2.0"))
    try:
        stack.declare(CUSTOMERIO, destroyData=True)
        stack.up()
        stack.sql_execute("ALTER TABLE stitch_customerio.data RENAME TO elsewhere")
        assert post(stack.url(), event("accepted, and not loaded")) == 200
        yield stack
    finally:
        code.write_text(patient)


def has_row_and_schema(stack: Stack) -> bool:
    """Whether what was accepted is still there, in the spool, and the schema that it belongs to."""
    with Spool(stack.home / "spool.db") as spool:
        waiting = [row.event_id for row in spool.read("stitch_customerio", 0, 100, 2**20)]
    server = postgres.ensure(stack.home, 0)
    with psycopg.connect(server.dsn) as connection:
        found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'stitch_customerio'").fetchall()
    return waiting == ["accepted, and not loaded"] and found == [(1,)]


def test_destroy_says_why_it_keeps_rows_that_the_warehouse_does_not_take(unloadable: Stack) -> None:
    stack, url = unloadable, unloadable.url()
    refused = stack.pulumi("destroy", "--yes", "--skip-preview")
    assert refused.code != 0
    assert "1 accepted events of stitch_customerio still wait in the spool" in refused.text
    assert has_row_and_schema(stack)
    status = stack.make("status")
    assert 'relation "stitch_customerio.data" does not exist' in status.text, "what the refusal sends people to"

    stack.sql_execute("ALTER TABLE stitch_customerio.elsewhere RENAME TO data")
    stack.up()
    assert (stack.url(), post(url, event("after the refusal"))) == (url, 200)
    wait_until_loaded(stack, "accepted, and not loaded")


def test_control_a_destroy_that_does_not_wait_for_them_is_noticed(unloadable: Stack) -> None:
    code = unloadable.root / "provider" / "postgres_schema.py"
    waits = "        await _load_the_rest(context, state)\n"
    assert code.read_text().count(waits) == 1
    code.write_text(code.read_text().replace(waits, ""))
    unloadable.destroy()
    assert not has_row_and_schema(unloadable)
