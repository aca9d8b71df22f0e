"""What happens to a stack between two `up`s, and what the next one makes of it."""

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import psutil
import psycopg
import pytest

from provider import daemons, postgres, postgres_schema
from provider.resource import Context, Properties
from receiver import control
from receiver.registry import Registry
from receiver.spool import Spool
from tests.support.killing import kill_postgres, kill_receiver, postmaster, receiver_pid
from tests.support.stack import CUSTOMERIO, Stack, attach, event, post, processes_of
from tests.support.waiting import until
from tools import local


def troubles(stack: Stack) -> list[str]:
    """What `make status` says of the daemons."""
    running = daemons.states(stack.home)
    answer = control.ask_sync(stack.home, "status") if running["receiver"] == "running" else {}
    return local.problems(running, answer, "run make up")


def rows(stack: Stack) -> list[tuple[Any, ...]]:
    return stack.sql("SELECT event_id, _sdc_sequence FROM stitch_customerio.data ORDER BY 2")


def wait_until_loaded(stack: Stack, event_id: str) -> None:
    query = f"SELECT count(*) FROM stitch_customerio.data WHERE event_id = '{event_id}'"
    until(lambda: stack.sql(query) == [(1,)], what=f"{event_id} is loaded")


def test_a_killed_receiver_is_revived_by_a_plain_up_and_nothing_else_changes(stack: Stack) -> None:
    stack.bring_up(CUSTOMERIO)
    url = stack.url()
    kill_receiver(stack)
    assert [(step.name, step.op) for step in stack.up()] == [("receiver", "update")]
    assert post(url, event("after-the-receiver-came-back")) == 200


def test_a_killed_postgresql_is_revived_and_what_came_meanwhile_is_loaded(stack: Stack) -> None:
    stack.bring_up(CUSTOMERIO)
    kill_postgres(stack)
    assert "PostgreSQL is down: run make up" in troubles(stack)
    assert post(stack.url(), event("while-postgresql-was-down")) == 200
    assert [(step.name, step.op) for step in stack.up()] == [("postgres", "update")]
    wait_until_loaded(stack, "while-postgresql-was-down")


def test_both_killed_at_once_as_by_a_reboot_come_back_on_the_same_ports(stack: Stack) -> None:
    stack.bring_up(CUSTOMERIO)
    url = stack.url()
    kill_receiver(stack)
    kill_postgres(stack)
    assert {(step.name, step.op) for step in stack.up()} == {("postgres", "update"), ("receiver", "update")}
    assert stack.url() == url
    assert post(url, event("after-the-reboot")) == 200
    stack.up("--expect-no-changes")
    until(lambda: troubles(stack) == [], what="all is well again")


def test_new_code_takes_the_socket_over_while_deliveries_go_on(real_stack: Stack) -> None:
    stack = real_stack
    with attach(stack):
        stack.bring_up(CUSTOMERIO)
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


def test_status_names_what_is_down_and_fails(stack: Stack) -> None:
    stack.bring_up(CUSTOMERIO)
    kill_receiver(stack)
    status = stack.make("status")
    assert (status.code != 0, "the receiver is down" in status.text) == (True, True), status.text
    assert "PostgreSQL is down" not in status.text


def lives(process: psutil.Process) -> bool:
    """Not so a zombie, that only waits for whoever took the orphan in to ask for it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_stop_stops_everything_and_keeps_everything(stack: Stack) -> None:
    stack.bring_up(CUSTOMERIO)
    url = stack.url()
    assert post(url, event("before-the-stop")) == 200
    wait_until_loaded(stack, "before-the-stop")
    before, server = rows(stack), postgres.recorded(stack.home)
    running = psutil.Process(receiver_pid(stack))
    processes = [running, *running.children(), psutil.Process(postmaster(stack))]
    assert len(processes) == 3, "the receiver, its loader, PostgreSQL"
    assert processes_of(stack.root)

    assert stack.make("stop").code == 0
    assert [process for process in processes if lives(process)] == []
    assert processes_of(stack.root) == []
    assert post(url, event("while-stopped")) == 0

    stack.up()
    assert (postgres.recorded(stack.home), stack.url()) == (server, url)
    assert rows(stack) == before
    assert post(url, event("after-the-stop")) == 200


def test_a_lost_registry_is_made_whole_by_a_plain_up(stack: Stack) -> None:
    """Nothing is stopped before: the receiver that runs must take the new file for the one that is gone."""
    stack.bring_up(CUSTOMERIO)
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
        assert set(registry.settings()) == {
            *("warehouse_dsn", "spool_max_bytes", "keep_free_bytes"),
            *("admin_host", "admin_port"),
        }
    stack.up("--expect-no-changes")


def test_a_lost_data_folder_is_made_anew_with_a_warning(stack: Stack) -> None:
    stack.bring_up(CUSTOMERIO)
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
    stack.bring_up(CUSTOMERIO, destroyData=False)
    kill_postgres(stack)
    assert post(stack.url(), event(f"accepted before the destroy: {how}")) == 200
    if how == "the stack is stopped":
        daemons.stop_all(stack.home)
    stack.destroy()
    server = postgres.ensure(stack.home, 0)
    with psycopg.connect(server.dsn) as connection:
        query = "SELECT count(*) FROM stitch_customerio.data WHERE event_id = %s"
        assert connection.execute(query, [f"accepted before the destroy: {how}"]).fetchone() == (1,)


@pytest.fixture
def unloadable(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """The stack with a row that waits in the spool: by hand, the table that it belongs to was renamed away."""
    monkeypatch.setattr(postgres_schema, "LOAD_PATIENCE_S", 1.0)
    stack.bring_up(CUSTOMERIO, destroyData=True)
    stack.sql_execute("ALTER TABLE stitch_customerio.data RENAME TO elsewhere")
    assert post(stack.url(), event("accepted, and not loaded")) == 200
    yield stack
    postgres.ensure(stack.home, 0)
    stack.sql_execute("ALTER TABLE IF EXISTS stitch_customerio.elsewhere RENAME TO data")


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
    (trouble,) = troubles(stack)
    assert 'relation "stitch_customerio.data" does not exist' in trouble, "what the refusal sends people to"

    stack.sql_execute("ALTER TABLE stitch_customerio.elsewhere RENAME TO data")
    stack.up()
    assert (stack.url(), post(url, event("after the refusal"))) == (url, 200)
    wait_until_loaded(stack, "accepted, and not loaded")


def test_control_a_destroy_that_does_not_wait_for_them_is_noticed(
    unloadable: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_at_all(context: Context, state: Properties) -> None:
        return None

    monkeypatch.setattr(postgres_schema, "_load_the_rest", not_at_all)
    unloadable.destroy()
    assert not has_row_and_schema(unloadable)
