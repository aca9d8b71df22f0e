"""What each `make` target does. Runs in the virtual environment; `tools/bootstrap.py` starts it.

What a target was given comes in SLUICE_STACK, SLUICE_NAME, SLUICE_SLOT, SLUICE_FILE, SLUICE_SQL and
SLUICE_ARGS (see the Makefile).
"""

import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from components.customerio.signing import waiting_for_key
from provider import daemons, postgres
from provider.resource import ResourceError
from receiver import control
from tools import deliveries, endpoints, environment, interrupted, progress
from tools import stack as stacks
from tools.endpoints import Endpoint
from tools.engine import engine, plugins
from tools.stack import Stack, StackError
from tools.table import table

ROOT = Path(__file__).resolve().parent.parent

ERRORS = (
    StackError,
    environment.MissingPassphrase,
    engine.NoEngine,
    plugins.NoPlugin,
    endpoints.NoSuchEndpoint,
    deliveries.EndpointDown,
    control.ControlError,
    progress.StepFailed,
    ResourceError,
    OSError,
)
"""What a person can do something about: shown as it is, without a traceback."""


def given(name: str) -> str:
    return os.environ.get(f"SLUICE_{name}", "")


def prepared() -> Stack:
    """The stack that was asked for, with the engine and the plugins it needs at hand."""
    name = given("STACK") or environment.DEV
    found = engine.get(os.environ)
    settings = stacks.settings(ROOT, name)
    outer = dict(os.environ)
    phrase = environment.passphrase(name, settings, outer)
    if phrase is not None:
        outer[environment.PASSPHRASE] = phrase
    environment.make_backend(ROOT)
    without = environment.variables(ROOT, outer, engine=found.folder)
    standins = plugins.ready(stacks.platform(ROOT, name), without, engine.cache(outer))
    if stacks.platform(ROOT, name) == "aws":
        from tools import function_library  # it needs Pulumi's SDK, which takes half a second

        function_library.ready(ROOT, stacks.config(ROOT, name), engine.cache(outer))
    stack = Stack(ROOT, name, environment.variables(ROOT, outer, engine=found.folder, standins=standins))
    stack.mend()
    return stack


def existing() -> Stack:
    """As `prepared`, for what makes no sense before the first `up`."""
    stack = prepared()
    if not stack.exists():
        raise StackError(f"there is no stack {stack.name} yet: run make up{_of(stack)}")
    return stack


def _of(stack: Stack) -> str:
    return "" if stack.name == environment.DEV else f" STACK={stack.name}"


def _unasked(stack: Stack) -> list[str]:
    """The dev stack is changed without a question; another one asks, as Pulumi does, where there is a terminal."""
    if stack.name != environment.DEV and stacks.is_interactive():
        return []
    return ["--yes", "--skip-preview"]


def up() -> int:
    stack = prepared()
    stack.select(create=True)
    stack.recover()
    code = stack.run("up", *_unasked(stack), "--suppress-outputs")
    if code == 0:
        made = endpoints.of(stack.outputs())
        rows = [
            (e.name, e.source, e.schema, e.slot, e.fingerprint, e.host, _state(stack.home, e), _webhook(e))
            for e in made
        ]
        print()
        print(table(["integration", "source", "schema", "slot", "token", "endpoint", "state", "webhook"], rows))
    return code


def preview() -> int:
    stack = prepared()
    stack.select(create=True)
    stack.recover()
    return stack.run("preview")


def refresh() -> int:
    stack = existing()
    stack.recover()
    return stack.run("refresh", *_unasked(stack), "--suppress-outputs")


def down() -> int:
    stack = prepared()
    if stack.exists():
        stack.recover()
        for line in _loss(stack.resources()):
            print(line, flush=True)
        code = stack.run("destroy", *_unasked(stack), "--suppress-outputs")
        if code != 0:
            return code
    # A daemon that the state didn't know of, after a state file was lost, say, goes as well.
    for stopped in daemons.stop_all(stack.home):
        print(f"stopped: {stopped}")
    return 0


def _loss(resources: list[dict[str, Any]]) -> list[str]:
    """What a destroy drops and keeps of the schemas, one line each, from the stack's state."""
    lines = []
    for resource in resources:
        if resource["type"] != "sluice:index:PostgresSchema":
            continue
        inputs = resource["inputs"]
        schema = f"schema {inputs['name']} ({inputs['displayName']})"
        if inputs.get("destroyData") and not inputs.get("adopt"):
            lines.append(f"will drop {schema} with all its data")
        else:
            lines.append(f"keeps {schema}")
    return lines


def stop() -> int:
    home = ROOT / ".sluice" / (given("STACK") or environment.DEV)
    for stopped in daemons.stop_all(home) or ["nothing was running"]:
        print(f"stopped: {stopped}" if stopped != "nothing was running" else stopped)
    return 0


def status() -> int:
    stack = existing()
    resources = stack.resources()
    outputs = stack.outputs()
    made = endpoints.of(outputs)
    if not made:
        raise StackError(f"stack {stack.name} has no integration: run make up{_of(stack)}")
    running = daemons.states(stack.home)
    if not any(resource["type"] == "sluice:index:PostgresServer" for resource in resources):
        running["postgres"] = (
            "none"  # the warehouse is elsewhere; an embedded one of before is not this stack's any more
        )
    answer: dict[str, Any] = {}
    if running["receiver"] == "running":
        try:
            answer = control.ask_sync(stack.home, "status")
        except (control.ReceiverDown, control.ControlError) as error:
            running["receiver"] = f"not answering ({error})"
    problems = _problems(running, answer, stack)

    rows = []
    shown: set[str] = set()
    for endpoint in made:
        state = _state(stack.home, endpoint)
        counts = answer.get("schemas", {}).get(endpoint.schema, {}) if endpoint.schema not in shown else None
        shown.add(endpoint.schema)
        used = answer.get("endpoints", {}).get(endpoint.hash, {}).get("last_used")
        shown_first = (endpoint.name, endpoint.schema, endpoint.slot, endpoint.fingerprint, state, _when(used))
        rows.append((*shown_first, _webhook(endpoint), *_counts(counts)))
        if state != "live" and running["receiver"] == "running":
            problems.append(f"the {endpoint.slot} URL of {endpoint.name}: {state}; run make up{_of(stack)}")
    head = ["integration", "schema", "slot", "token", "endpoint", "last used", "webhook", "last event"]
    print(table([*head, "accepted", "loaded", "rejected", "waiting"], rows))
    problems += [waiting_for_key(e.schema, stack.name) for e in made if e.active and e.webhook.startswith("waiting")]
    pending = [*_pending(resources), *interrupted.pending(stack.state, stack.project, stack.name)]
    if not pending and (failed := stack.failed()):
        pending = [f"the last {failed} failed, and what it left to do isn't done"]
    problems += [f"{what}: run make up{_of(stack)}" for what in pending]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _webhook(endpoint: Endpoint) -> str:
    return endpoint.webhook if endpoint.active else "-"  # the sender posts to the active slot


def _pending(resources: list[dict[str, Any]]) -> list[str]:
    """What an `up` that failed midway has replaced and not yet deleted, from the stack's state."""
    pending = []
    for resource in resources:
        if not resource.get("delete"):
            continue
        name = resource["urn"].rsplit("::", 1)[-1]
        if resource["type"] == "sluice:index:Endpoint":
            inputs = resource["inputs"]
            pending.append(
                f"the old {inputs['slot']} URL of {inputs['schema']}, {inputs['hash'][:12]}, still works, since the "
                "sender may not have been moved from it yet"
            )
        else:
            pending.append(f"{name} was replaced but is not deleted yet")
    return pending


def _problems(running: dict[str, str], answer: dict[str, Any], stack: Stack) -> list[str]:
    """What is down, one sentence each."""
    up = f"run make up{_of(stack)}"
    problems = []
    if running["postgres"] == "stopped":
        problems.append(f"PostgreSQL is down: {up}")
    if running["receiver"] in ("stopped", "none"):
        problems.append(f"the receiver is down, nothing is taken: {up}")
    elif running["receiver"] != "running":
        problems.append(f"the receiver is {running['receiver']}: {up}")
    warehouse = answer.get("warehouse", {})
    if warehouse.get("state") == "down" and running["postgres"] != "stopped":
        problems.append(f"the warehouse is down, events wait in the spool: {warehouse.get('error')}")
    if warehouse.get("state") == "unset" and warehouse.get("at"):
        problems.append(f"the receiver doesn't know the warehouse, events wait in the spool: {up}")
    if trouble := answer.get("spool", {}).get("trouble"):
        problems.append(f"the spool takes no events, senders get 503 and try again: {trouble}")
    for schema, counts in answer.get("schemas", {}).items():
        if counts.get("hold"):
            problems.append(f"events of {schema} wait in the spool, as it can't be loaded: {counts['hold']}")
    return problems


def _state(home: Path, endpoint: Endpoint) -> str:
    """What the receiver says of the endpoint."""
    try:
        return "live" if control.ask_sync(home, "endpoint", hash=endpoint.hash)["live"] else "not live"
    except control.ReceiverDown:
        return "receiver down"
    except control.ControlError as error:
        return f"unknown ({error})"


def _counts(counts: dict[str, Any] | None) -> list[str]:
    """The cells of `make status` after the endpoint's: counted by schema, so only its first line has them."""
    if counts is None:
        return [""] * 5
    numbers = (str(counts.get(key, "-")) for key in ("accepted", "loaded", "rejected", "waiting"))
    return [_when(counts.get("last_event_at")), *numbers]


def _when(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S") if seconds else "-"


def url() -> int:
    print(_chosen(existing()).url)
    return 0


def _chosen(stack: Stack) -> Endpoint:
    return endpoints.chosen(endpoints.of(stack.outputs()), given("NAME"), given("SLOT") or "primary")


def send() -> int:
    stack = existing()
    endpoint = _chosen(stack)
    if given("FILE"):
        files = [Path(given("FILE")).expanduser()]
    else:
        files = sorted((ROOT / "samples").glob(f"{endpoint.source}_*.jsonl"))
    for file in files:
        if not file.is_file():
            raise StackError(f"there is no file {file}")
    answers = deliveries.send(endpoint.url, deliveries.bodies(files), stack.credential(endpoint.schema, "signing_key"))
    taken = answers.pop(200, 0)
    print(f"taken: {taken}, not taken: {sum(answers.values())}{_by_status(answers)}")
    return 1 if answers else 0


def _by_status(answers: Counter[int]) -> str:
    listed = ", ".join(f"{count} × {status}" for status, count in sorted(answers.items()))
    return f" ({listed})" if listed else ""


def sql() -> int:
    stack = existing()
    variables = {**stack.environment, **_libpq(_warehouse_dsn(stack.outputs()))}
    command = [str(postgres.psql())]
    if given("SQL"):
        command += ["-X", "-At", "-v", "ON_ERROR_STOP=1", "-c", given("SQL")]
    os.execve(command[0], command, variables)  # noqa: S606


def _warehouse_dsn(outputs: dict[str, Any]) -> str:
    dsn = (outputs.get("warehouse") or {}).get("dsn")
    if not dsn:
        raise StackError("this stack has no PostgreSQL warehouse: run make up")
    return str(dsn)


def _libpq(dsn: str) -> dict[str, str]:
    """A DSN as libpq's environment variables: it must not stand on a command line, where everybody can read it."""
    by_keyword = {
        option.keyword.decode(): option.envvar.decode()
        for option in psycopg.pq.Conninfo.get_defaults()
        if option.envvar
    }
    return {
        by_keyword[key]: str(value)
        for key, value in conninfo_to_dict(dsn).items()
        if value is not None and key in by_keyword
    }


def env() -> int:
    stack = prepared()
    values = dict(stack.environment)
    if os.environ.get(environment.PASSPHRASE):
        values.pop(environment.PASSPHRASE)  # the shell has it already, and it may be a real one
    if stack.exists():
        stack.select()
        dsn = (stack.outputs().get("warehouse") or {}).get("dsn")
        if dsn:
            values["SLUICE_WAREHOUSE_DSN"] = dsn
    print(environment.export_lines(values))
    return 0


def logs() -> int:
    home = ROOT / ".sluice" / (given("STACK") or environment.DEV)
    server = postgres.recorded(home)
    for log in [*sorted(home.glob("*.log")), *([server.log] if server else [])]:
        print(f"{log.relative_to(ROOT) if log.is_relative_to(ROOT) else log}:\n{progress.tail(log, lines=20)}\n")
    return 0


def lint() -> int:
    for command in (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]):
        print(f"{' '.join(command)}", flush=True)
        code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT).returncode
        if code != 0:
            return code
    return 0


def test() -> int:
    code = lint()
    found = engine.get(os.environ)
    outer = {key: value for key, value in os.environ.items() if not key.startswith(("SLUICE_", "MAKE", "MFLAGS"))}
    without = environment.variables(ROOT, outer, engine=found.folder)
    standins = plugins.ready("local", without, engine.cache(outer))
    variables = environment.variables(ROOT, outer, engine=found.folder, standins=standins)
    del variables["PULUMI_BACKEND_URL"]  # each test brings a backend of its own, and none touches the project's
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "2",
        "--dist",
        "loadfile",
        "--no-loadscope-reorder",
        *shlex.split(given("ARGS")),
    ]
    tested = subprocess.run(command, cwd=ROOT, env=variables).returncode
    if code != 0:
        progress.say("sluice: the linters found something, see above")
    return tested or code


TARGETS: dict[str, Callable[[], int]] = {
    target.__name__: target
    for target in (up, preview, refresh, down, stop, status, url, send, sql, env, logs, lint, test)
}


def main(arguments: list[str]) -> int:
    """Runs the target that is named first; its exit code is the result."""
    postgres.forget_psqls_settings()
    if len(arguments) != 1 or arguments[0] not in TARGETS:
        progress.say(f"sluice: a target is one of {', '.join(TARGETS)}")
        return 2
    try:
        return TARGETS[arguments[0]]()
    except BrokenPipeError:  # the reader of stdout has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ERRORS as error:
        progress.say(f"sluice: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
