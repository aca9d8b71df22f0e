"""An `up` that is killed at any step: the next `make up` finishes its work, and nothing has to be cleaned by hand.

What is killed and what finishes it are started as a user starts them. What comes before and after is attached. Each
test ends with what the next begins from, so that nothing has to be run for it.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from receiver.registry import Registry
from tests.support.killing import kill_postgres, kill_receiver
from tests.support.stack import CUSTOMERIO, Stack, attach, event, post, real_clone
from tests.support.waiting import until

BRIEF: dict[str, Any] = {**CUSTOMERIO, "name": "Brief"}


@pytest.fixture
def stack(real_stack: Stack) -> Stack:
    return real_stack


def half_written(stack: Stack) -> Path:
    """What a kill may leave empty: the engine (gocloud.dev, fileblob/attrs.go) first makes the attributes of each state
    file anew and then fills them.
    """
    return stack.root / ".sluice/.pulumi/stacks/sluice/dev.json.attrs"


def begin_from(stack: Stack, *integrations: dict[str, Any]) -> None:
    """Makes the stack hold these integrations, with destroyData, whatever a failed test left of a killed `up`."""
    for lock in (stack.root / ".sluice/.pulumi/locks").rglob("*.json"):
        lock.unlink()
    if half_written(stack).exists() and not half_written(stack).read_text():
        half_written(stack).unlink()
    with attach(stack):
        stack.bring_up(*integrations, destroyData=True)


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
        until(lambda: begun() or running.poll() is not None, 60, what=f"{op} of {type_} has begun")
        assert running.poll() is None, "it is killed in the middle"
        assert provider_processes(stack), "else nothing shows that it leaves"
    finally:
        running.kill()
        running.wait()
    until(lambda: not provider_processes(stack), 10, what="the provider leaves with its engine")


def assert_make_up_finishes_the_work(stack: Stack) -> None:
    made = stack.make("up")
    assert made.code == 0, made.text
    with attach(stack):
        stack.up("--expect-no-changes")
    with Registry(stack.home / "registry.db") as registry:
        live = [endpoint.schema for endpoint in registry.endpoints()]
    assert sorted(live) == sorted(stack.outputs()["integrations"])


@pytest.mark.nightly
@pytest.mark.parametrize(("type_", "kill"), [("PostgresServer", kill_postgres), ("Receiver", kill_receiver)])
def test_an_up_killed_as_it_revives_a_daemon_converges(stack: Stack, type_: str, kill: Callable[[Stack], None]) -> None:
    begin_from(stack, CUSTOMERIO)
    url = stack.url()
    kill(stack)
    kill_up_at(stack, "update", type_)
    assert_make_up_finishes_the_work(stack)
    assert (stack.url(), post(url, event(f"converged after {type_}"))) == (url, 200)


def test_an_up_killed_as_it_writes_the_state_converges(stack: Stack) -> None:
    begin_from(stack, CUSTOMERIO)
    url = stack.url()
    half_written(stack).write_text("")
    assert "EOF" in stack.pulumi("stack", "export").text, "else it does no harm, and nothing is shown"
    assert_make_up_finishes_the_work(stack)
    assert stack.url() == url


@pytest.mark.parametrize(
    ("op", "type_"),
    [
        pytest.param("create", "PostgresSchema", marks=pytest.mark.nightly),
        pytest.param("create", "RandomPassword", marks=pytest.mark.nightly),
        ("create", "Endpoint"),
        ("delete", "PostgresSchema"),
        pytest.param("delete", "RandomPassword", marks=pytest.mark.nightly),
        pytest.param("delete", "Endpoint", marks=pytest.mark.nightly),
    ],
)
def test_an_up_killed_as_it_adds_or_removes_an_integration_converges(stack: Stack, op: str, type_: str) -> None:
    both = (CUSTOMERIO, BRIEF)
    begin_from(stack, *(both if op == "delete" else [CUSTOMERIO]))
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
        until(lambda: stack.sql("SELECT count(*) FROM brief.data") == [(1,)], what="the event is loaded")


@pytest.mark.parametrize(
    ("version", "op", "type_"),
    [
        (2, "create-replacement", "Endpoint"),
        pytest.param(3, "create-replacement", "RandomPassword", marks=pytest.mark.nightly),
        pytest.param(4, "delete-replaced", "Endpoint", marks=pytest.mark.nightly),
        pytest.param(5, "delete-replaced", "RandomPassword", marks=pytest.mark.nightly),
    ],
)
def test_a_rotation_killed_at_any_step_converges(stack: Stack, version: int, op: str, type_: str) -> None:
    begin_from(stack, {**CUSTOMERIO, "tokens": {"primary": version - 1}})
    old = stack.url()
    assert post(old, event(f"before rotation {version}")) == 200
    stack.declare({**CUSTOMERIO, "tokens": {"primary": version}}, destroyData=True)
    kill_up_at(stack, op, type_)
    assert_make_up_finishes_the_work(stack)
    new = stack.url()
    assert new != old
    assert post(old, event("by the old URL")) == 401
    assert post(new, event(f"after rotation {version}")) == 200


@pytest.mark.nightly
@pytest.mark.parametrize("type_", ["PostgresServer", "Receiver"])
def test_a_first_up_killed_as_it_makes_a_daemon_converges(type_: str) -> None:
    with real_clone() as fresh:
        fresh.declare(CUSTOMERIO)
        kill_up_at(fresh, "create", type_)
        assert_make_up_finishes_the_work(fresh)
        assert post(fresh.url(), event("the first")) == 200
        until(lambda: fresh.sql("SELECT count(*) FROM stitch_customerio.data") == [(1,)], what="the event is loaded")
